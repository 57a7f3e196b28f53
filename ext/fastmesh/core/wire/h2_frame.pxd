"""HTTP/2 frames (RFC 9113 4, 6): heads, the rules that a head alone can break, payloads of fixed form, and how frames are written.

No state of a connection lives here. What answers `int` answers 0, or an ErrorCode; which of them end the connection and which only
a stream is said beside each.
"""
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from fastmesh.core.base.outbuf cimport OutBuf

cdef enum FrameType:
    FRAME_DATA = 0
    FRAME_HEADERS = 1
    FRAME_PRIORITY = 2
    FRAME_RST_STREAM = 3
    FRAME_SETTINGS = 4
    FRAME_PUSH_PROMISE = 5
    FRAME_PING = 6
    FRAME_GOAWAY = 7
    FRAME_WINDOW_UPDATE = 8
    FRAME_CONTINUATION = 9

cdef enum FrameFlag:
    FLAG_END_STREAM = 1
    FLAG_ACK = 1              # SETTINGS and PING
    FLAG_END_HEADERS = 4
    FLAG_PADDED = 8
    FLAG_PRIORITY = 32

cdef enum ErrorCode:          # RFC 9113 7
    H2_NO_ERROR = 0
    H2_PROTOCOL_ERROR = 1
    H2_INTERNAL_ERROR = 2
    H2_FLOW_CONTROL_ERROR = 3
    H2_SETTINGS_TIMEOUT = 4
    H2_STREAM_CLOSED = 5
    H2_FRAME_SIZE_ERROR = 6
    H2_REFUSED_STREAM = 7
    H2_CANCEL = 8
    H2_COMPRESSION_ERROR = 9
    H2_CONNECT_ERROR = 10
    H2_ENHANCE_YOUR_CALM = 11
    H2_INADEQUATE_SECURITY = 12
    H2_HTTP_1_1_REQUIRED = 13

cdef enum Setting:
    SETTING_HEADER_TABLE_SIZE = 1
    SETTING_ENABLE_PUSH = 2
    SETTING_MAX_CONCURRENT_STREAMS = 3
    SETTING_INITIAL_WINDOW_SIZE = 4
    SETTING_MAX_FRAME_SIZE = 5
    SETTING_MAX_HEADER_LIST_SIZE = 6
    SETTING_ENABLE_CONNECT_PROTOCOL = 8        # RFC 8441
    SETTING_NO_RFC7540_PRIORITIES = 9          # RFC 9218

cdef enum:
    FRAME_HEAD = 9
    PREFACE_SIZE = 24         # "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    WINDOW_MAX = 0x7fffffff
    WINDOW_INITIAL = 65535    # of streams and of the connection until somebody says otherwise
    FRAME_SIZE_LEAST = 16384  # RFC 9113 4.2: what everybody takes; also the initial value
    FRAME_SIZE_MOST = 16777215
    STREAM_MAX = 0x7fffffff

cdef const char* PREFACE

cdef struct FrameHead:
    uint32_t size             # of the payload
    uint32_t stream           # the reserved bit cut off
    uint8_t type              # FrameType, or one that nobody knows: to be ignored
    uint8_t flags

cdef inline FrameHead read_frame_head(const char* at) noexcept nogil:          # FRAME_HEAD bytes
    cdef const uint8_t* byte = <const uint8_t*> at
    cdef FrameHead head
    head.size = <uint32_t> byte[0] << 16 | <uint32_t> byte[1] << 8 | byte[2]
    head.type = byte[3]
    head.flags = byte[4]
    head.stream = read_31(at + 5)
    return head

cdef inline void write_frame_head(char* at, uint32_t size, uint8_t kind, uint8_t flags, uint32_t stream) noexcept nogil:
    cdef uint8_t* byte = <uint8_t*> at
    byte[0], byte[1], byte[2] = <uint8_t> (size >> 16), <uint8_t> (size >> 8), <uint8_t> size
    byte[3] = kind
    byte[4] = flags
    write_32(at + 5, stream)

cdef inline uint32_t read_32(const char* at) noexcept nogil:
    cdef const uint8_t* byte = <const uint8_t*> at
    return <uint32_t> byte[0] << 24 | <uint32_t> byte[1] << 16 | <uint32_t> byte[2] << 8 | byte[3]

cdef inline uint32_t read_31(const char* at) noexcept nogil:                   # stream ids and increments: the top bit is reserved
    return read_32(at) & 0x7fffffff

cdef inline void write_32(char* at, uint32_t value) noexcept nogil:
    cdef uint8_t* byte = <uint8_t*> at
    byte[0], byte[1] = <uint8_t> (value >> 24), <uint8_t> (value >> 16)
    byte[2], byte[3] = <uint8_t> (value >> 8), <uint8_t> value

# --- reading --------------------------------------------------------------------------------------------------------

# The rules that type, size, flags and stream id can break alone: a connection error, but PRIORITY of a wrong size ends only its
# stream (*stream_only). Types that nobody knows pass when they are not too large.
cdef int check_frame(const FrameHead* head, uint32_t max_size, bint* stream_only) noexcept nogil

# DATA, HEADERS: moves *payload and *size to what lies between padding and priority. H2_PROTOCOL_ERROR or H2_FRAME_SIZE_ERROR end the
# connection. Flow control counts head.size, padding included. *depends_on: the stream that HEADERS says to depend on, else 0; a
# stream that depends on itself is a stream error (RFC 7540 5.3.1; RFC 9113 lets it pass), for the caller to judge.
cdef int strip_padding(const FrameHead* head, const char** payload, size_t* size, uint32_t* depends_on) noexcept nogil

cdef struct PeerSettings:     # what the peer said last; settings_start gives the initial values
    uint32_t header_table
    uint32_t header_table_low # the least since the caller last set it to header_table: the encoder has to hear both
    uint32_t max_streams      # 0xffffffff = not said
    uint32_t window
    uint32_t max_frame
    uint32_t max_header_list  # 0xffffffff = not said
    bint push
    bint connect_protocol
    bint no_priorities

cdef void settings_start(PeerSettings* settings) noexcept nogil

# The payload of a SETTINGS frame without ACK, applied entry by entry. Any error ends the connection. `from_server`: a server must not
# ask for push. ENHANCE_YOUR_CALM: more than `max_entries`.
cdef int read_settings(const char* payload, size_t size, uint32_t max_entries, bint from_server,
                       PeerSettings* settings) noexcept nogil

# --- writing: 0, or -1 when there is no memory ----------------------------------------------------------------------

cdef struct SettingValue:
    uint16_t id
    uint32_t value

cdef int write_settings(OutBuf* to, const SettingValue* values, int count) noexcept nogil
cdef int write_settings_ack(OutBuf* to) noexcept nogil
cdef int write_ping(OutBuf* to, const char* opaque, bint ack) noexcept nogil         # 8 bytes
cdef int write_rst_stream(OutBuf* to, uint32_t stream, uint32_t code) noexcept nogil
cdef int write_goaway(OutBuf* to, uint32_t last_stream, uint32_t code, const char* debug, uint32_t size) noexcept nogil
cdef int write_window_update(OutBuf* to, uint32_t stream, uint32_t increment) noexcept nogil      # stream 0: the connection

# DATA frames of at most max_frame bytes each; END_STREAM on the last one. size 0 with end_stream: one empty frame.
cdef int write_data(OutBuf* to, uint32_t stream, const char* data, size_t size, bint end_stream,
                    uint32_t max_frame) noexcept nogil

# A header block of any size: room for a frame head, then the caller appends the block to `to`, then `end_headers` writes that head
# and cuts the block into HEADERS and CONTINUATION where it has to. Answers the mark for end_headers, or -1.
cdef int64_t begin_headers(OutBuf* to) noexcept nogil
cdef int end_headers(OutBuf* to, int64_t mark, uint32_t stream, bint end_stream, uint32_t max_frame) noexcept nogil

# "PROTOCOL_ERROR" and its like, for logs. Never NULL.
cdef const char* error_name(uint32_t code) noexcept nogil
