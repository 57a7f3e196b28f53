"""One HTTP/1.1 connection to an endpoint: connect, then one request and its response at a time."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from fastmesh.core.base.outbuf cimport OutBuf
from fastmesh.core.net.readiness cimport Reactor
from fastmesh.core.net.splice cimport Pipe
from fastmesh.core.net.stream cimport ClientStream, ServerStream, StreamUser
from fastmesh.core.net.tls.session cimport Tls
from fastmesh.core.net.upstream cimport ConnectionOwner
from fastmesh.core.route.cluster cimport Cluster
from fastmesh.core.route.endpoint cimport Endpoint
from fastmesh.core.wire.h1_parse cimport ChunkDecoder
from fastmesh.core.wire.h1_write cimport HeadOut
from fastmesh.core.wire.message cimport Head

cdef enum ClientState:
    CLIENT_CONNECTING = 0
    CLIENT_IDLE               # in the pool; any byte or FIN ends it
    CLIENT_HEAD               # the head of the response is awaited
    CLIENT_BODY
    CLIENT_CLOSED

cdef class ClientH1(ClientStream):
    cdef uint8_t state        # ClientState
    cdef StreamUser user
    # the request
    cdef OutBuf out
    cdef uint8_t out_framing
    cdef bint request_done    # all of it is in `out` or sent
    cdef bint upgrading       # it asks for an upgrade
    # the response
    cdef OutBuf held          # a head that is not complete yet
    cdef size_t seen          # bytes of it that the parser has looked at
    cdef ChunkDecoder chunks
    cdef uint8_t framing
    cdef uint64_t left
    cdef bint to_head
    cdef bint keep_alive
    cdef bint paused
    cdef Pipe pipe            # the body's way while it is spliced
    cdef ServerStream target  # where it goes
    cdef uint8_t interims
    cdef bint ended           # the endpoint has sent its last byte into the tunnel
    # life
    cdef uint32_t served      # requests
    cdef uint64_t idle_since  # ms
    cdef uint64_t idle_limit  # ms; 0 = never
    cdef uint64_t idle_turn   # reactor.turn when it came into the pool
    cdef ClientH1 next_idle   # the pool's stack
    cdef bint in_pool

    cdef void assign(self, StreamUser user)
    cdef void _process(self, const char* data, size_t size)
    cdef size_t _take_head(self, const char* data, size_t size)
    cdef size_t _take_body(self, const char* data, size_t size)
    cdef size_t _take_chunks(self, const char* data, size_t size)
    cdef void _splice(self)
    cdef void _drop_pipe(self)
    cdef void _end_of_input(self)
    cdef void _settle_tunnel(self)
    cdef void _end_of_response(self, const Head* trailers, size_t rest)
    cdef void _fail(self, int failure)
    cdef void close(self)
    cdef void _close(self, int failure)

# None: refused at once
cdef ClientH1 connect_h1(Reactor reactor, ConnectionOwner owner, Endpoint endpoint, Cluster cluster, Tls tls)
