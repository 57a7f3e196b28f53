"""What is done for one destination that has too much or too many errors: one Resilience, compiled."""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from fastmesh.core.base.arena cimport Arena
from fastmesh.core.guard.breaker cimport BreakerRule
from fastmesh.core.guard.gradient cimport GradientRule
from fastmesh.core.guard.latency cimport LatencyRule
from fastmesh.core.guard.outlier cimport OutlierRule
from fastmesh.core.guard.trial cimport TrialRule
from fastmesh.core.route.match cimport Request

cdef class Refusal:           # how a request is answered that goes nowhere
    cdef uint16_t status
    cdef bytes body
    cdef list headers         # (name, value) bytes
    cdef bint written         # by somebody, else it is the default

cdef class PriorityClass:
    cdef readonly str name
    cdef list clauses
    cdef uint32_t share       # percent of the limit that it may fill

cdef class Resilience:
    cdef readonly str name    # namespace/name
    cdef uint64_t* words      # GuardWord words and a histogram, shared
    cdef uint32_t half_life   # ms: of what was observed of endpoints
    cdef bint weighted        # endpoints are chosen by the share of what went well
    cdef uint32_t floor       # millionths: the least that this share counts
    cdef bint breaks
    cdef BreakerRule breaker
    cdef str backup           # name of a cluster; None: there is none
    cdef Refusal broken       # what an open breaker without a backup answers
    cdef bint limits
    cdef uint32_t limit       # requests at a time; 0: it is found out, see guard/gradient
    cdef GradientRule gradient
    cdef list classes         # of PriorityClass, the first one is shed last; None
    cdef Refusal full
    cdef uint32_t max_wait    # ms for a connection; 0 = no limit
    cdef bint ejects          # one of the next two:
    cdef bint times           # endpoints that are slow are ejected,
    cdef bint half_open       # ejected ones come back through trials
    cdef bint by_checks       # which are active checks, not requests
    cdef LatencyRule latency
    cdef TrialRule trial
    cdef OutlierRule ejection # how long, and how many, of those that are slow
    cdef readonly list told   # for explain
    cdef void attach(self, Arena arena, bytes cluster)
    cdef PriorityClass class_of(self, const Request* request)      # None: there are no classes

cdef Resilience make_resilience(plan)        # None for None

cdef class RuleGuard:         # a Resilience for rules, together: how many of their requests are under way
    cdef Resilience resilience
    cdef bytes key            # "route|namespace/name"
    cdef uint64_t* rows       # row 0 of RuleGuardWord, made at the first request
    cdef uint64_t* row        # this worker's row
    cdef int slots
    cdef void attach(self, Arena arena, int slot)

cdef RuleGuard make_rule_guard(plan, dict shared)         # None for None
