"""What the tables say about a request: shared by the exchange, which acts on it, and by explain, which tells it."""
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.route.limit cimport Limit
from fastmesh.core.route.match cimport Clause

cdef enum Verdict:            # what a step answers
    GO_ON = 0
    WAIT                      # an event continues the story
    ANSWERED                  # the proxy answered itself; failures are answers, too

cdef class Finding(Transit):
    cdef int normalize(self)
    cdef void look_up(self, uint32_t port, bint strict)
    cdef bint misdirected(self)       # the request should have come through another filter chain: RFC 9110 section 15.5.20
    cdef bint moves_to_https(self)
    cdef Limit refusing_limit(self)
    cdef Limit _refusing(self, list limits)
    cdef bint _admitted(self, Limit limit, bytes client, bytes principal, uint64_t now)
    cdef void _tell_of(self, Limit limit, bytes client, bytes principal, uint64_t now)
    cdef Clause clause(self)
    cdef void rewrite_path(self)
    cdef bytes location(self)
