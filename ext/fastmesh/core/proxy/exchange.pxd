"""One request and its response, from the first step to the account. Read `proceed` first: it is the order of everything.

Transit (the state) <- Finding (what the tables say) <- Replying (own answers, the end) <- Attempting (endpoints) <- Tunnelling
(WebSocket) <- Mirroring (copies) <- Hedging (a second attempt at the same time) <- Exchange.
"""
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.net.stream cimport ServerStream
from fastmesh.core.proxy.engine cimport Engine
from fastmesh.core.proxy.hedge cimport Hedging
from fastmesh.core.route.snapshot cimport Listener
from fastmesh.core.wire.message cimport Head
from fastmesh.core.route.cluster cimport Cluster

cdef enum StoryStep:          # the same names in code, docs, explain and tests
    BEGIN = 0
    FIND_RULE
    AUTHENTICATE
    AUTHORIZE
    LIMIT
    FAULT
    CORS
    FILTER
    ANSWER
    REWRITE
    CHOOSE_CLUSTER
    MIRROR
    ATTEMPT
    STORY_END

cdef class Exchange(Hedging):
    # the steps, in order
    cdef void proceed(self, int step)
    cdef int begin(self)
    cdef void _take_id(self)
    cdef int find_rule(self)
    cdef int limit(self)
    cdef int fault(self)
    cdef int cors(self)
    cdef int filter(self)
    cdef int answer(self)
    cdef int rewrite(self)
    cdef int choose_cluster(self)
    cdef int _go_outside(self)
    cdef int _enter(self, Cluster cluster)
    cdef int attempt(self)
    cdef uint64_t _within_deadline(self, uint64_t limit)
    cdef void _report_call(self, const Head* head)
    cdef void _out_of_time(self)
    cdef void _abandon(self, uint32_t flag, const char* details)

cdef void refuse_exchange(Exchange exchange, ServerStream client, int status, const char* why)
cdef Exchange take_exchange(Engine engine, Listener listener)
