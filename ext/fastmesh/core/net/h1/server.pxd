"""One HTTP/1 connection from a client: requests in, one after the other, and their responses out."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from fastmesh.core.base.outbuf cimport OutBuf
from fastmesh.core.base.wheel cimport Timer
from fastmesh.core.net.stream cimport ServerStream, StreamUser
from fastmesh.core.wire.h1_parse cimport ChunkDecoder
from fastmesh.core.wire.h1_write cimport HeadOut
from fastmesh.core.wire.message cimport Head

cdef enum ServerState:        # what the next bytes from the client are
    SERVER_HEAD = 0           # the head of a request
    SERVER_BODY               # its body
    SERVER_WAIT               # nothing until the response is out: pipelined requests stay in `held`
    SERVER_LINGER             # thrown away: a refusal was sent, and must not be killed by a reset
    SERVER_TUNNEL             # of another protocol: the upgrade was agreed on
    SERVER_CLOSED

cdef class ServerH1(ServerStream):
    # the request
    cdef uint8_t state        # ServerState
    cdef StreamUser user      # the exchange of the request at hand
    cdef OutBuf held          # bytes read but not used yet
    cdef size_t seen          # bytes of an incomplete head that the parser has looked at
    cdef ChunkDecoder chunks
    cdef uint8_t framing      # of the request body
    cdef uint64_t left        # of a body with a length
    cdef uint64_t received    # body bytes so far
    cdef bint keep_alive
    cdef bint half_closed     # the client sent FIN
    cdef bint paused          # the exchange wants no more body now
    cdef bint head_begun      # a part of a head has come
    cdef bint processing      # inside _process: `held` may not be freed
    # the response
    cdef OutBuf out
    cdef uint8_t out_framing
    cdef uint64_t out_left    # of a response with a length
    cdef bint head_sent
    cdef bint response_done
    cdef bint bodyless        # HEAD, 204, 304: body bytes are dropped
    # time
    cdef Timer timer
    cdef Timer probe
    cdef uint64_t since       # ms: start of what the timer watches (idle, head, last piece)
    cdef uint8_t probes
    cdef uint32_t requests

    # in
    cdef void _process(self, const char* data, size_t size)
    cdef size_t _take(self, const char* data, size_t size)
    cdef size_t _take_head(self, const char* data, size_t size)
    cdef size_t _more_head(self, size_t size)
    cdef void _hand_to_h2(self, const char* data, size_t size)
    cdef size_t _take_body(self, const char* data, size_t size)
    cdef size_t _take_chunks(self, const char* data, size_t size)
    cdef void _end_of_request(self, const Head* trailers)
    cdef void _end_of_input(self)
    cdef void _bad_body(self, int status, const char* why)
    # out
    cdef void _after_response(self)
    cdef void _send_direct(self, const char* data, size_t size)
    cdef void refuse(self, int status, const char* why)
    cdef void _open_tunnel(self, HeadOut* out)
    cdef void _settle_tunnel(self)
    # life
    cdef void _linger(self)
    cdef void _gone(self)
    cdef void _timed_out(self)
    cdef void close(self)
    cdef void _probe_client(self)
    cdef void _within(self, uint64_t limit)
