"""The two directions of a tunnel that was asked for with POST: each is the body of a message.

What the client says goes up in chunks; what comes down is taken out of the answer's body, however that ends. A client that has said all
ends the request, and the connection stays for the answer."""
from libc.stdint cimport uint64_t
from fastmesh.core.net.tunnel cimport Flow, Tunnel, TunnelClient, TunnelEndpoint, TunnelOwner
from fastmesh.core.wire.h1_parse cimport ChunkDecoder

cdef class PostUp(Flow):
    cdef bint closed          # the last chunk was written
    cdef void _flush(self)

cdef class PostDown(Flow):
    cdef int framing          # message.Framing of the answer
    cdef uint64_t left        # of a body with a length
    cdef ChunkDecoder chunks
    cdef void _take_chunks(self, const char* data, size_t size)

# As `open_tunnel`
cdef Tunnel open_post(TunnelOwner owner, TunnelClient client, TunnelEndpoint endpoint, const char* data, size_t size, uint64_t idle,
                      uint64_t most)
