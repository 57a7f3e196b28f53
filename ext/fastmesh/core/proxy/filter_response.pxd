"""The lane of the response, and the stream that leads into it: the exchange writes to FilterStream as to its client.

It comes after retries: what hooks see is the answer that the client is to get, of an endpoint or of the proxy. The last filter of the
request is the first one here.
"""
from libc.stdint cimport uint32_t
from fastmesh.core.net.stream cimport ServerStream
from fastmesh.core.proxy.filter_lane cimport Lane
from fastmesh.core.proxy.filter_message cimport Response
from fastmesh.core.wire.h1_write cimport HeadOut

cdef class ResponseLane(Lane):
    cdef ServerStream client  # the real one
    cdef Response response    # None until there is a head
    cdef bint sent            # its head went to the client
    cdef bint replaced        # a hook answered: what the exchange still writes is dropped
    cdef bint bodyless
    cdef bint done            # the end went to the client
    cdef bint finishing       # the exchange has ended but for its account
    cdef void take_head(self, HeadOut* out)
    cdef void _send(self)
    cdef void _open(self)
    cdef void _end(self)
    cdef bint _has_body(self)
    cdef void _replace(self, Response response, bytes body, uint32_t flag, bytes details)
    cdef Response _call_answer(self, int status, bytes body)

cdef class FilterStream(ServerStream):
    cdef ServerStream inner
    cdef ResponseLane lane

cdef FilterStream make_stream(ResponseLane lane)
