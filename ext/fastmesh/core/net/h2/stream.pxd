"""One stream of an HTTP/2 connection as both sides see it, the table that finds it by its id, and the ring of those that want to send.

No Python objects here. `owner` is the ServerStream or ClientStream that the struct lives in; the table holds a reference to it.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from fastmesh.core.base.outbuf cimport OutBuf
from fastmesh.core.wire.message cimport Head

cdef enum StreamState:        # bits
    STREAM_OPEN = 1           # in the table; without it nothing below counts any more
    STREAM_REMOTE_ENDED = 2   # END_STREAM has come
    STREAM_ENDING = 4         # our side has said all; it may still wait in `out`
    STREAM_LOCAL_ENDED = 8    # END_STREAM is among the frames
    STREAM_PAUSED = 16        # the user takes no more now: the peer is given no window
    STREAM_TOUCHED = 32       # something came in this turn
    STREAM_FULL = 64          # the user was told that too much waits; it hears when that has changed

cdef struct H2Stream:
    uint32_t id
    uint8_t state             # StreamState bits
    int64_t send_window       # may fall below 0 (RFC 9113 6.9.2)
    int64_t receive_window
    OutBuf out                # body bytes that wait for a window, or for their turn
    uint64_t frame            # 1 + the place of its last frame head among all bytes ever sent; 0 = none
    H2Stream* next            # in the ring of those that have bytes and a window
    H2Stream* prev
    H2Stream* next_touched
    Head* trailers            # ours, behind `out`; one malloc with their text
    uint64_t since            # ms: when it last made progress
    uint64_t moved            # bytes sent since `since`: less than a little is no progress
    void* owner

cdef struct StreamTable:      # open addressing; ids of one side follow each other, so that few collide
    H2Stream** slots
    uint32_t mask
    uint32_t count
    uint32_t astray           # streams that do not stand in their own place; 0 = whoever leaves moves nobody
    H2Stream* few[8]          # no malloc for a connection with a few streams

cdef void table_start(StreamTable* table) noexcept nogil
cdef int table_put(StreamTable* table, H2Stream* stream) noexcept nogil          # 0, or -1: no memory
cdef void table_remove(StreamTable* table, uint32_t id) noexcept nogil
cdef void table_free(StreamTable* table) noexcept nogil                          # of an empty table: back to its smallest form

cdef inline H2Stream* table_find(const StreamTable* table, uint32_t id) noexcept nogil:
    cdef uint32_t at = (id >> 1) & table.mask
    while table.slots[at] != NULL:
        if table.slots[at].id == id:
            return table.slots[at]
        at = (at + 1) & table.mask
    return NULL

cdef inline void ring_add(H2Stream** ring, H2Stream* stream) noexcept nogil:     # at the end
    if stream.next != NULL:
        return
    if ring[0] == NULL:
        stream.next = stream.prev = stream
        ring[0] = stream
    else:
        stream.next, stream.prev = ring[0], ring[0].prev
        stream.prev.next = stream
        ring[0].prev = stream

cdef inline void ring_remove(H2Stream** ring, H2Stream* stream) noexcept nogil:
    if stream.next == NULL:
        return
    if stream.next == stream:
        ring[0] = NULL
    else:
        stream.prev.next = stream.next
        stream.next.prev = stream.prev
        if ring[0] == stream:
            ring[0] = stream.next
    stream.next = stream.prev = NULL

cdef void stream_clear(H2Stream* stream) noexcept nogil       # frees what waits
cdef int keep_end(H2Stream* stream, const Head* trailers) noexcept nogil         # a copy of `trailers`; 0, or -1: no memory
