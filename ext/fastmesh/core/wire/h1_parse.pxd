"""HTTP/1 heads and chunked bodies, parsed in place. Strict: what cannot be sent on in one canonical form is refused.

A parse function sees all bytes that have arrived, every time; it keeps no state and copies nothing. It answers H1_DONE,
H1_MORE, or H1_BAD with `head.error_status` and `head.error` set (also when the limit is passed before the end has
come). """
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastmesh.core.wire.message cimport Head, Limits

cdef enum Verdict:
    H1_DONE = 0
    H1_MORE = 1
    H1_BAD = 2

# One request head at data[0:size]. A single empty line before it is skipped (and counted in head.size).
cdef int parse_request(const char* data, size_t size, const Limits* limits, Head* head) noexcept nogil

# One response head. `to_head`: the request was HEAD, so there is no body whatever the framing headers say.
# 1xx heads are answered like others, with FRAMING_NONE.
cdef int parse_response(const char* data, size_t size, const Limits* limits, bint to_head, Head* head) noexcept nogil

cdef enum ChunkStep:
    CHUNK_DATA = 0            # *piece, *piece_size: body bytes inside `data`
    CHUNK_MORE = 1            # all of `data` was used, the body goes on
    CHUNK_END = 2             # the body and its trailers are complete; bytes after *used belong to the next message
    CHUNK_BAD = 3             # decoder.error says why

cdef struct ChunkDecoder:
    uint8_t state
    uint8_t digits
    uint64_t left             # bytes left in this chunk
    uint64_t total            # body bytes so far
    uint32_t extension        # extension bytes so far
    char* trailer             # raw trailer section while it arrives (malloc), NULL when there is none
    uint32_t trailer_size
    uint32_t trailer_room
    const char* error
    uint16_t error_status     # 400, 413 (body limit) or 431 (trailers too large)

cdef void chunk_start(ChunkDecoder* decoder) noexcept nogil
cdef void chunk_free(ChunkDecoder* decoder) noexcept nogil

# One step over data[0:size]: sets *used to what was eaten. Call again with the rest until CHUNK_MORE, CHUNK_END or
# CHUNK_BAD.
cdef int chunk_next(ChunkDecoder* decoder, const char* data, size_t size, const Limits* limits,
                    size_t* used, const char** piece, size_t* piece_size) noexcept nogil

# The trailer fields after CHUNK_END, with forbidden ones (framing, routing, authentication, hop-by-hop) flagged
# FIELD_HOP. trailers.field_count is 0 when there are none. H1_DONE or H1_BAD.
cdef int chunk_trailers(ChunkDecoder* decoder, const Limits* limits, Head* trailers) noexcept nogil

# Is there a reason to parse data[0:size] when data[0:seen] gave H1_MORE? Only a line end can complete a head, so a peer
# that sends a byte at a time does not make us read the whole head each time. (A wrong byte within a line is then seen
# at its end.)
cdef bint head_worth_parsing(const char* data, size_t seen, size_t size) noexcept nogil
