"""What is read of a gRPC call on its way. A request that is none pays one compare of its method for this.

A call is a POST whose content type says so. Its client may have set a deadline (grpc-timeout); the endpoint is told what is left of it
and of the rule's own time. How it ended stands in a field of the response's head or of its trailers, under HTTP 200 mostly.
"""
from fastmesh.core.proxy.relay cimport RelayText
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.wire.h1_write cimport HeadOut
from fastmesh.core.wire.message cimport Head

cdef void look_for_call(Transit t) noexcept           # sets `grpc` and `deadline`
cdef void call_out(Transit t, HeadOut* out, RelayText* text) noexcept        # the deadline, as it is sent on
cdef void read_call_status(Transit t, const Head* head) noexcept             # of a response's head or trailers
cdef bint call_is_late(Transit t) noexcept            # the client's own deadline is over
cdef const Head* late_trailers() noexcept             # what ends a call then, behind messages
