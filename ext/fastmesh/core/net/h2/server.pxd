"""HTTP/2 with a client, in three classes: the socket (ServerH2), the frames (ServerFrames), a request and its response (ServerH2Stream).

The exchange sees a ServerStream like any other. A stream that has ended goes to the spare ones of its connection, which are given
back when the connection rests.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from fastmesh.core.net.h2.connection cimport H2Connection
from fastmesh.core.net.h2.stream cimport H2Stream
from fastmesh.core.net.stream cimport Downstream, ServerStream, StreamUser
from fastmesh.core.wire.message cimport Head

cdef enum Leaving:            # how far a connection is with its end
    LEAVING_NOT = 0
    LEAVING_SAID              # a GOAWAY that allows every stream: the client may not have heard of it yet
    LEAVING_LAST              # a GOAWAY with the last stream: closed when its streams have ended
    LEAVING_LINGER            # all is said; what still comes is thrown away, so that no reset destroys what we said

cdef class ServerH2(Downstream):
    cdef ServerFrames frames
    cdef uint32_t thrown_away
    cdef void end(self)                               # say what is left to say, then close
    cdef void close(self)

cdef class ServerFrames(H2Connection):
    cdef ServerH2 connection
    cdef ServerH2Stream spare # streams to use again, each the next one's `next_spare`
    cdef int spares
    cdef uint8_t preface      # bytes of it that have come
    cdef uint8_t leaving      # Leaving
    cdef uint64_t born        # ms
    cdef uint64_t unpacked    # what the heads of its streams stand for, beyond what came: see H2Limits
    cdef uint64_t rests_since # ms: without a stream
    cdef uint64_t leaves_at   # ms: the last GOAWAY is due, or the linger is over

    cdef void wind_down(self)
    cdef void leave(self)                             # the last GOAWAY; closes once the streams have ended
    cdef void tell_all(self, bint cut)                # the client is gone, or we go: every stream hears of it
    cdef void check_end(self)                         # called at the end of a turn
    # streams
    cdef void _open(self, uint32_t id, const char* block, size_t size, bint end)
    cdef ServerH2Stream _new_stream(self)
    cdef void _drop_spares(self)
    cdef void _begin(self, ServerH2Stream stream, StreamUser user, bint end)
    cdef void _refuse(self, ServerH2Stream stream, int status, const char* why)
    cdef bint _skip(self, const char* block, size_t size)
    cdef bint _holds(self, ServerH2Stream stream, size_t came, size_t size) noexcept    # False: it unpacks too far
    cdef bint _decoded(self, int verdict)             # False: the connection has failed
    cdef void _end_request(self, ServerH2Stream stream, const Head* trailers)
    cdef void _trailers(self, H2Stream* stream, const char* block, size_t size)
    # time
    cdef void _within(self, uint64_t limit, uint64_t now)
    cdef uint64_t _next_look(self, uint64_t now)
    cdef uint64_t _look_at_rest(self, uint64_t now)
    cdef uint64_t _look_at_streams(self, uint64_t now)
    cdef void _stream_timed_out(self, H2Stream* stream)

cdef class ServerH2Stream(ServerStream):
    cdef ServerFrames frames
    cdef H2Stream h2
    cdef StreamUser user      # None: the response is complete, or nobody wants it any more
    cdef ServerH2Stream next_spare
    cdef uint64_t left        # of a request body with a length
    cdef uint64_t received    # body bytes so far
    cdef uint32_t unpacked    # its part of the connection's
    cdef bint measured        # the request has a length
    cdef bint patient         # a gRPC call or a tunnel: it may stand still for as long as its ends want
    cdef bint tunnel          # each direction ends by itself
    cdef bint head_sent
    cdef bint bodyless        # HEAD, 204, 304: body bytes are dropped

cdef ServerH2 make_server_h2()
