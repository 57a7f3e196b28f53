"""The mean-error-rate breaker of a service: closed, open, half-open. State is words of the arena, shared by all workers.

Each instance has an error rate over a decaying window (guard/health). When the mean over the instances passes a threshold, the breaker
opens: for a time nobody is let through. Then it is half-open: one request after the other is let through, as many as `probes` in a row
have to go well for it to close; one that fails opens it again. `words`: GuardWord words. Time is an argument: ms of the monotonic clock.
"""
from libc.stdint cimport uint32_t, uint64_t


cdef enum BreakerState:
    BREAKER_CLOSED = 0
    BREAKER_HALF_OPEN
    BREAKER_OPEN

cdef struct BreakerRule:
    uint32_t threshold        # millionths: opens when the mean error rate is at least this
    uint32_t half_life        # ms: of the window
    uint32_t min_requests     # observed over all instances; with fewer nothing is judged
    uint64_t open_for         # ms
    uint32_t probes
    uint64_t probe_patience   # ms: a probe that says nothing for so long is given up

cdef int breaker_state(const uint64_t* words, uint64_t now) noexcept nogil
# Whether a request may go to the service; *probe: it decides whether the breaker closes, say so with `breaker_probed`
cdef bint breaker_admit(uint64_t* words, const BreakerRule* rule, uint64_t now, bint* probe) noexcept nogil
cdef bint breaker_due(uint64_t* words, const BreakerRule* rule, uint64_t now) noexcept nogil      # the mean is to be computed now
cdef bint breaker_judge(uint64_t* words, const BreakerRule* rule, uint64_t mean, uint64_t observed, uint64_t now) noexcept nogil     # True: it opened
cdef int breaker_probed(uint64_t* words, const BreakerRule* rule, bint passed, uint64_t now) noexcept nogil   # 1 closed now, -1 open again
cdef void breaker_let_go(uint64_t* words) noexcept nogil              # the probe ended without a verdict
