"""One HTTP/2 connection, either side of it: frames in (this file), frames out (send), streams (stream), budgets (budget).

It is not a Descriptor: the socket belongs to a Downstream or an Upstream, which calls `receive`, `flush` and `end_turn`. What differs
between the sides is in the hooks; ServerH2 and ClientH2 fill them. A stream is the H2Stream inside a ServerStream or ClientStream.

Errors of a stream end the stream (`stream_error`), errors of the connection end it with a GOAWAY that names the reason (`fail`).
Frames for a stream that we have reset are skipped; for one that the peer has ended they are an error, of the connection as in nghttp2:
RFC 9113 5.1 would let a stream error do, but nobody sends them by accident, and answers to them are what MadeYouReset lives on.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from fastmesh.core.base.outbuf cimport OutBuf
from fastmesh.core.base.wheel cimport Timer
from fastmesh.core.net.h2.budget cimport Bucket
from fastmesh.core.net.h2.send cimport H2Sender
from fastmesh.core.net.h2.stream cimport H2Stream
from fastmesh.core.net.readiness cimport Descriptor, Reactor
from fastmesh.core.wire.h2_frame cimport FrameHead
from fastmesh.core.wire.hpack cimport HpackDecoder

cdef enum:
    RECENT = 128              # ended streams that are remembered
    TURN_MAX = 32             # header blocks taken in one turn, then others have theirs

cdef enum Ended:              # how a stream that is not in the table has ended
    ENDED_UNKNOWN = 0
    ENDED_BOTH                # both sides said all, or the peer reset it
    ENDED_BY_US               # by our reset: the peer may not know of it yet

cdef char* header_text() noexcept         # HPACK_TEXT bytes for every decoder of this worker; good until the next block is decoded

cdef class H2Connection(H2Sender):
    cdef OutBuf held          # the beginning of a frame whose rest has not come
    cdef HpackDecoder decoder
    cdef int64_t receive_window       # of the connection
    cdef uint32_t last_id     # the newest stream that the peer has opened (server), or that we have (client)
    cdef uint32_t said_last   # in our last GOAWAY
    cdef H2Stream* touched    # streams that got something in this turn
    cdef OutBuf block         # a header block whose CONTINUATION has not come
    cdef uint32_t block_id    # its stream; 0 = none
    cdef uint8_t block_flags
    cdef uint32_t continuations
    cdef uint64_t block_since # ms
    cdef uint32_t turn_blocks # header blocks taken in this turn
    cdef bint settings_seen   # the peer's first frame was there
    cdef H2Stream* joined_of  # whose DATA is being joined in the receive buffer; NULL = nobody's
    cdef char* joined
    cdef size_t joined_size
    cdef bint failed          # a GOAWAY with an error is on its way: nothing more is read
    cdef uint32_t empty       # frames without content, in a row
    cdef uint64_t priorities, windows, opened # frames and streams so far
    cdef Bucket resets, chatter
    cdef uint32_t[128] recent # ids of ended streams; the top bit: ended by us
    cdef uint32_t recent_at
    cdef uint64_t ping_sent   # ms: a keep-alive ping of ours is not answered yet; 0 = none
    cdef Timer timer          # for the side

    # life
    cdef void open_on(self, Descriptor socket, bint server)   # the socket is connected: limits, our SETTINGS and window
    cdef void receive(self)                                   # the socket is readable
    cdef void take(self, const char* data, size_t size)       # bytes that were read
    cdef int add_stream(self, H2Stream* stream, uint32_t id, object owner)        # into the table; 0, or -1: no memory
    cdef void drop_stream(self, H2Stream* stream, int ended)  # out of the table; nobody is told
    cdef int how_ended(self, uint32_t id) noexcept            # Ended
    cdef void stream_error(self, uint32_t id, uint32_t code, const char* why)     # RST_STREAM, and it counts against the peer
    cdef void reset_stream(self, H2Stream* stream, uint32_t code)                 # RST_STREAM for our own reasons; nobody is told
    cdef void fail(self, uint32_t code, const char* why)      # GOAWAY, and the end
    cdef void go_away(self, uint32_t last_id, uint32_t code, const char* why)     # the frame alone
    cdef void pause(self, H2Stream* stream) noexcept          # no more window for the peer, until
    cdef void resume(self, H2Stream* stream)
    cdef void send_ping(self)                                 # for keep-alive: `ping_sent` is 0 again once it is answered
    cdef bint next_stream(self, uint32_t* at, H2Stream** stream) noexcept         # walks the table; *at begins as 0
    cdef void forget_all(self)                                # every stream has been told: empty the table, free the memory
    cdef void trim(self) noexcept                             # nothing goes on: memory that is not needed now

    # hooks of the side
    cdef bint on_preface(self, const char** data, size_t* size)   # bytes before the first frame; False: wait, or it has failed
    cdef void on_headers(self, H2Stream* stream, const char* block, size_t size, bint end)   # on a stream of the table
    cdef void on_new_headers(self, uint32_t id, const char* block, size_t size, bint end)    # the id is not in the table
    cdef void on_data(self, H2Stream* stream, const char* data, size_t size)      # never empty
    cdef void on_end(self, H2Stream* stream)                  # END_STREAM of a DATA frame
    cdef void on_stream_turn(self, H2Stream* stream)          # all that has come in this turn was handed on
    cdef void on_reset(self, H2Stream* stream, uint32_t code) # by the peer; the stream is out of the table already
    cdef void on_stream_error(self, H2Stream* stream, uint32_t code, const char* why)        # by us; NULL, or out of the table already
    cdef void on_dropped(self, H2Stream* stream)              # out of the table, for whatever reason
    cdef void on_settings(self)                               # the peer's have changed
    cdef void on_goaway(self, uint32_t last_id, uint32_t code)
    cdef void on_failed(self, uint32_t code, const char* why) # a GOAWAY is in `out`: tell the streams, flush, close
    cdef void on_end_of_input(self)                           # FIN

    # frames
    cdef void _take_all(self, const char** data, size_t* size)
    cdef void _frame(self, const FrameHead* head, const char* payload)
    cdef void _data(self, const FrameHead* head, const char* payload)
    cdef void _data_on(self, H2Stream* stream, const FrameHead* head, const char* payload, size_t size)
    cdef void _hand_on(self)
    cdef void _headers(self, const FrameHead* head, const char* payload)
    cdef void _continuation(self, const FrameHead* head, const char* payload)
    cdef void _block(self, uint32_t id, const char* block, size_t size, bint end)
    cdef void _settings(self, const FrameHead* head, const char* payload)
    cdef bint _new_window(self, int64_t delta)
    cdef void _ping(self, const FrameHead* head, const char* payload)
    cdef void _priority(self, const FrameHead* head, const char* payload)
    cdef void _reset(self, const FrameHead* head, const char* payload)
    cdef void _window_update(self, const FrameHead* head, const char* payload)
    cdef void _remember(self, uint32_t id, int ended) noexcept
    cdef bint _idle(self, uint32_t id) noexcept
    cdef bint _calm(self, const FrameHead* head)
    cdef void _touch(self, H2Stream* stream) noexcept
    cdef void _end_of_taking(self)
    cdef void _give_window(self, H2Stream* stream)
