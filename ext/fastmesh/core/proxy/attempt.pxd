"""One try after the other: pick an endpoint, get a connection, send; and whether a failure is tried again."""
from libc.stdint cimport uint32_t
from fastmesh.core.proxy.reply cimport Replying
from fastmesh.core.wire.h1_write cimport HeadOut
from fastmesh.core.wire.message cimport (
    Head, METHOD_DELETE, METHOD_GET, METHOD_HEAD, METHOD_OPTIONS, METHOD_PUT, METHOD_TRACE,
)

cdef enum AttemptTimer:
    TIMER_DELAY = 0           # an injected delay
    TIMER_ROUTE = 1
    TIMER_PER_TRY = 2
    TIMER_BACKOFF = 3
    TIMER_QUEUE = 5           # waiting for a connection
    TIMER_OUTSIDE = 6         # an answer of DNS has come

cdef enum:
    STATUS_LIMITED = 1000     # for `_may_retry`: somebody's rate limit said no; that alone decides then (Envoy: the same)

cdef bint says_limited(const Head* head) noexcept nogil

cdef inline bint idempotent(int method) noexcept nogil:
    return (method == METHOD_GET or method == METHOD_HEAD or method == METHOD_PUT or method == METHOD_DELETE
            or method == METHOD_OPTIONS or method == METHOD_TRACE)

cdef class Attempting(Replying):
    cdef int _send(self, bint fresh)
    cdef void _send_request(self)
    cdef void upgrade_out(self, HeadOut* out)
    cdef void _queue(self)
    cdef void _dequeue(self)
    cdef void _count_in(self)
    cdef void _count_out(self)
    cdef void _leave_upstream(self)
    cdef void _report(self, int outcome, int status)
    cdef int _failed(self, int failure)
    cdef bint left_to_rival(self)         # see hedge
    cdef bint _may_resend(self) noexcept
    cdef bint _may_retry(self, int failure, int status)
    cdef bint _wanted(self, uint32_t on, int failure, int status)
    cdef void _retry(self)
