"""Copies of a request for other clusters: sent and forgotten (VirtualService mirror, HTTPRoute RequestMirror).

A copy is an exchange of its own, so that balancing, limits, TLS, outlier detection and metrics are those of its cluster. Its client is
one that gives it the bytes of the request as they come and takes no answer. It is never tried twice, is in no access log, and is given
up when its endpoint does not keep pace, or when the request ends before it is whole.
"""
from fastmesh.core.proxy.tunnel cimport Tunnelling
from fastmesh.core.route.rule cimport Mirror
from fastmesh.core.wire.message cimport Head

cdef class Mirroring(Tunnelling):
    cdef int mirror(self)                                 # a step of the story; always GO_ON
    cdef void _copy(self, Mirror mirror)
    cdef Mirroring another(self)                          # an exchange that has not begun
    cdef void begin_copy(self)                            # its story, from choose_cluster on
    # the bytes of the request, for all copies
    cdef void copy_body(self, const char* data, size_t size)
    cdef void copy_end(self, const Head* trailers)
    cdef void copy_turn(self)
    cdef void _give_up_copy(self, Mirroring copy)
