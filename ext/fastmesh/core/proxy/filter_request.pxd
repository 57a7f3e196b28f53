"""The lane of the request. It begins before an endpoint is chosen and may go on while the endpoint is sent to."""
from libc.stdint cimport uint32_t
from fastmesh.core.proxy.filter_lane cimport Lane
from fastmesh.core.route.filter cimport Filter

cdef class RequestLane(Lane):
    cdef Filter outermost     # whom a head is charged to that cannot be sent
    cdef bint bodied          # the body comes to this lane
    cdef bint in_step         # inside the step of the story: what it answers says how to go on
    cdef bint ready           # the story may go on
    cdef bint passing         # these bytes come from here
    cdef int begin(self)      # the step: a verdict
    cdef bint _has_body(self)
    cdef bint _apply(self)
    cdef void _go_on(self)
    cdef void _open(self)
    cdef void _pass_on(self, bytes piece)
    cdef void _end(self)
    cdef void _expect(self)
    cdef void _emit_whole(self, bytes piece)
    cdef void _reply(self, int status, uint32_t flag, bytes details, bytes content_type, bytes body, list fields)
    cdef void _resume_client(self)
    cdef bint is_full(self) noexcept          # so much waits for a hook that the client is not read
