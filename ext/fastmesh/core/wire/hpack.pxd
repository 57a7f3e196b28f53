"""HPACK (RFC 7541) and the rules of HTTP/2 for header sections (RFC 9113 8.2, 8.3): a block to a `Head`, a `HeadOut` to a block.

A decoder fills a `Head` exactly as HTTP/1 parsing does, so that nobody behind it can tell the two apart. Its text lies in a buffer
of HPACK_TEXT bytes that the caller lends for the call; whoever needs the head longer copies head.size bytes and sets `base`.

A block is decoded to its end whatever it says, or the dynamic table would go wrong for the blocks behind it. But once a head is
malformed or too large nothing more of it is stored, and over four times the limit the decoder stops.

A dynamic table is one piece of memory (about 2.6 x its size), taken when the first entry is put in.
"""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from fastmesh.core.base.outbuf cimport OutBuf
from fastmesh.core.wire.h1_write cimport HeadOut
from fastmesh.core.wire.message cimport Head, Limits

cdef enum HpackVerdict:
    HPACK_OK = 0
    HPACK_MALFORMED           # stream error PROTOCOL_ERROR; head.error says why, head.error_status what an answer would be
    HPACK_TOO_LARGE           # answer head.error_status (431, 414, 413) or reset the stream
    HPACK_ERROR               # connection error COMPRESSION_ERROR
    HPACK_FLOOD               # more than four times the limit: connection error ENHANCE_YOUR_CALM

cdef enum:
    HPACK_TEXT = 65536        # bytes of the buffer that a decoder writes into
    HPACK_TABLE = 4096        # the size of a dynamic table that nobody has spoken of
    HPACK_TABLE_MOST = 65536  # ours are never larger

cdef struct Meaning:          # what a field says by itself, computed once for each entry of a table
    uint8_t id                # message.HeaderId
    uint8_t kind              # PseudoKind; 0 = an ordinary field
    uint8_t flags             # message.FieldFlag
    uint8_t name_fault        # Fault; what is wrong with the name
    uint8_t fault             # Fault; what is wrong with name or value
    uint16_t first            # path: where its '?' is; authority: size of the host; method, scheme: number; status
    uint16_t second           # authority: port

cdef struct Entry:
    uint32_t at               # of the name in the table's text; the value follows it
    uint32_t hash             # encoder: of name and value
    uint32_t name_hash
    uint16_t name_size
    uint16_t value_size
    Meaning meaning

cdef struct Table:
    char* text                # one malloc: text, then entries; NULL until the first one
    Entry* entries            # a ring
    uint32_t entries_mask
    uint32_t text_room
    uint32_t text_end         # where the next entry's text goes, if it fits before text_room
    uint32_t inserted         # entries ever put in: the newest has this number - 1
    uint32_t count
    uint32_t size             # RFC 7541 4.1
    uint32_t max              # in force
    uint32_t made_for         # the max that the memory was made for

cdef struct HpackDecoder:
    Table table
    uint32_t allowed          # what our SETTINGS say; the peer may use less
    uint32_t update_due       # 1 + the size that the next block has to come down to, because we shrank it; 0 = none

cdef void decoder_start(HpackDecoder* decoder, uint32_t table_size) noexcept nogil
# Our SETTINGS_HEADER_TABLE_SIZE changed and the peer has acknowledged it.
cdef void decoder_resize(HpackDecoder* decoder, uint32_t table_size) noexcept nogil
cdef void decoder_free(HpackDecoder* decoder) noexcept nogil

# One complete block each. `end_stream`: no body follows. `text` has room for HPACK_TEXT bytes. All answer a HpackVerdict.
# framing: FRAMING_LENGTH with content-length, FRAMING_STREAM without, FRAMING_NONE when no body follows.
cdef int decode_request(HpackDecoder* decoder, const char* block, size_t size, bint end_stream, const Limits* limits,
                        char* text, Head* head) noexcept nogil
# `to_head`: the request was HEAD. 1xx heads come with FRAMING_NONE; with end_stream they are malformed.
cdef int decode_response(HpackDecoder* decoder, const char* block, size_t size, bint end_stream, bint to_head,
                         const Limits* limits, char* text, Head* head) noexcept nogil
# Fields that have no place in trailers are flagged FIELD_HOP, as after chunks.
cdef int decode_trailers(HpackDecoder* decoder, const char* block, size_t size, const Limits* limits, char* text,
                         Head* trailers) noexcept nogil
# The block of a stream that nobody wants any more: only the table is kept right. HPACK_OK, HPACK_ERROR or HPACK_FLOOD.
cdef int decode_nothing(HpackDecoder* decoder, const char* block, size_t size, const Limits* limits, char* text) noexcept nogil

# Every field as it stands, pseudo-headers too, nothing judged: for tests.
cdef int decode_plain(HpackDecoder* decoder, const char* block, size_t size, const Limits* limits, char* text,
                      Head* head) noexcept nogil

cdef enum:
    SEEN = 64                 # places of a filter, a power of two

cdef struct HpackEncoder:
    Table table
    uint32_t own_max          # we never use a larger table, whatever the peer allows
    uint32_t peer_max         # the peer's SETTINGS_HEADER_TABLE_SIZE
    uint32_t said             # the size that the peer's decoder knows of
    uint32_t low              # the least one since
    bint update_due           # the next block begins with the new size
    uint32_t[64] seen         # hashes of fields met once: what comes a second time goes into the table
    uint32_t[64] names_seen
    uint16_t[128] places      # by hash of a field: low bits of its entry's number + 1
    uint16_t[64] name_places

cdef void encoder_start(HpackEncoder* encoder, uint32_t own_max) noexcept nogil
# The peer's SETTINGS_HEADER_TABLE_SIZE. After a SETTINGS frame that names it several times: the least, then the last.
cdef void encoder_resize(HpackEncoder* encoder, uint32_t peer_max) noexcept nogil
cdef void encoder_free(HpackEncoder* encoder) noexcept nogil

# A block appended to `to`: 0, or -1 when there is no memory (then the connection has to end). Names are lower-cased, fields of the
# connection left out, content-length written when out.framing is FRAMING_LENGTH.
cdef int encode_request(HpackEncoder* encoder, OutBuf* to, const HeadOut* out) noexcept nogil
cdef int encode_response(HpackEncoder* encoder, OutBuf* to, const HeadOut* out) noexcept nogil
cdef int encode_trailers(HpackEncoder* encoder, OutBuf* to, const Head* trailers) noexcept nogil      # without its FIELD_HOP
