"""The sending half of an HTTP/2 connection: frames are gathered in `out` and leave with one system call at the end of a turn.

Body bytes go into `out` at once while windows and room allow, else they wait in their stream; `flush` lets the waiting streams take
turns, a frame each. Nothing grows without limit: bodies by `waiting` (the user stops its source), heads by the number of streams
and by not reading while the peer takes nothing, acknowledgements and resets by `owed`.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from fastmesh.core.base.outbuf cimport OutBuf
from fastmesh.core.base.wheel cimport Timed
from fastmesh.core.net.h2.budget cimport H2Limits
from fastmesh.core.net.h2.stream cimport H2Stream, StreamTable
from fastmesh.core.net.readiness cimport Descriptor, Reactor
from fastmesh.core.wire.h1_write cimport HeadOut
from fastmesh.core.wire.h2_frame cimport PeerSettings
from fastmesh.core.wire.hpack cimport HpackEncoder
from fastmesh.core.wire.message cimport Head

cdef enum:
    OUT_FULL = 65536          # bytes of frames behind which bodies wait in their streams
    OUT_STOP = 262144         # bytes of frames that the peer does not take: it is not read any more
    STREAM_PIECE = 49152      # bytes that are read at once for one stream: with
    STREAM_HIGH = 16384       # bytes that wait its source is not read any more, so no more than 64 KiB ever do,
    STREAM_LOW = 8192         # until no more than this wait
    FRAME_MOST = 16384        # of DATA that we send, so that streams take turns

cdef class H2Sender(Timed):
    cdef Descriptor socket    # the connection; None when it has ended
    cdef Reactor reactor
    cdef const H2Limits* limits
    cdef StreamTable streams
    cdef H2Stream* ring       # streams with bytes and a window
    cdef OutBuf out
    cdef uint64_t sent        # bytes of `out` that have left, ever; TLS may have encrypted some more
    cdef uint64_t last_data   # 1 + the place of the DATA frame at the very end of `out`; 0 = another frame is there
    cdef int64_t send_window  # of the connection
    cdef PeerSettings peer
    cdef HpackEncoder encoder
    cdef uint32_t owed        # frames in `out` that nobody asked for: settings, pings, resets, windows
    cdef uint64_t data_frames # sent
    cdef uint64_t stuck_at    # ms: since then the kernel takes nothing; 0 = it does
    cdef bint server          # of the two sides, the one that answers
    cdef bint choked          # not reading, because too much waits
    cdef bint ended           # nothing more is put into `out`
    cdef bint broken          # there was no memory for a frame

    # a stream's messages; what is said after the end of a stream is dropped
    cdef void send_head(self, H2Stream* stream, const HeadOut* out)           # also interim responses
    cdef void send_data(self, H2Stream* stream, const char* data, size_t size)
    cdef void send_end(self, H2Stream* stream, const Head* trailers)          # trailers may be NULL
    cdef void send_reset(self, uint32_t id, uint32_t code)                    # the frame alone
    cdef void adjust_windows(self, int64_t delta)                             # SETTINGS_INITIAL_WINDOW_SIZE changed
    cdef void window_opened(self, H2Stream* stream)
    cdef void want_flush(self)                                                # at the end of this turn
    cdef void end_turn(self)                                                  # for the socket's on_turn_end
    cdef void flush(self)                                                     # for the socket's on_writable
    cdef void wrote_control(self)                                             # a frame that counts as `owed` is in `out`

    # for the two sides
    cdef void on_end_sent(self, H2Stream* stream)     # END_STREAM is among the frames
    cdef void on_drained(self, H2Stream* stream)      # little waits, after much had
    cdef void on_lost(self)                           # the peer is gone, or there is no memory
    cdef void on_flood(self)                          # more is owed than the limit

    cdef void _write_data(self, H2Stream* stream, const char* data, size_t size) noexcept
    cdef size_t _extend(self, const char* data, size_t size) noexcept
    cdef void _write_end(self, H2Stream* stream, const Head* trailers)
    cdef void _write_trailers(self, H2Stream* stream, const Head* trailers)
    cdef void _fill(self)
    cdef int _push(self) noexcept
    cdef void _choke(self)
    cdef inline char* _at(self, uint64_t place) noexcept
    cdef inline bint _is_here(self, uint64_t frame) noexcept
