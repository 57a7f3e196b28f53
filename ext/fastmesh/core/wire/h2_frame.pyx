"""See h2_frame.pxd."""
from libc.string cimport memcpy, memmove
from fastmesh.core.base.outbuf cimport out_reserve, out_size

cdef const char* PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

cdef enum:
    ANY_SIZE = -1
    ON_STREAM = 1             # a stream id is required
    ON_CONNECTION = 2         # stream 0 is required

cdef struct Shape:
    int size                  # of the payload, where it is fixed
    int place                 # ON_STREAM, ON_CONNECTION, or 0: either

cdef Shape[10] SHAPES
SHAPES[<int> FRAME_DATA] = Shape(ANY_SIZE, ON_STREAM)
SHAPES[<int> FRAME_HEADERS] = Shape(ANY_SIZE, ON_STREAM)
SHAPES[<int> FRAME_PRIORITY] = Shape(5, ON_STREAM)
SHAPES[<int> FRAME_RST_STREAM] = Shape(4, ON_STREAM)
SHAPES[<int> FRAME_SETTINGS] = Shape(ANY_SIZE, ON_CONNECTION)
SHAPES[<int> FRAME_PUSH_PROMISE] = Shape(ANY_SIZE, ON_STREAM)
SHAPES[<int> FRAME_PING] = Shape(8, ON_CONNECTION)
SHAPES[<int> FRAME_GOAWAY] = Shape(ANY_SIZE, ON_CONNECTION)
SHAPES[<int> FRAME_WINDOW_UPDATE] = Shape(4, 0)
SHAPES[<int> FRAME_CONTINUATION] = Shape(ANY_SIZE, ON_STREAM)


cdef int check_frame(const FrameHead* head, uint32_t max_size, bint* stream_only) noexcept nogil:
    cdef const Shape* shape
    stream_only[0] = False
    if head.size > max_size:              # 9113 4.2 lets some of these end a stream only; what follows cannot be trusted either
        return H2_FRAME_SIZE_ERROR
    if head.type > FRAME_CONTINUATION:
        return H2_NO_ERROR
    shape = &SHAPES[head.type]
    if (shape.place == ON_STREAM and head.stream == 0) or (shape.place == ON_CONNECTION and head.stream):
        return H2_PROTOCOL_ERROR
    if shape.size != ANY_SIZE and head.size != <uint32_t> shape.size:
        stream_only[0] = head.type == FRAME_PRIORITY            # 9113 6.3
        return H2_FRAME_SIZE_ERROR
    if head.type == FRAME_SETTINGS and (head.size if head.flags & FLAG_ACK else head.size % 6):
        return H2_FRAME_SIZE_ERROR
    if head.type == FRAME_GOAWAY and head.size < 8:
        return H2_FRAME_SIZE_ERROR
    return H2_NO_ERROR


cdef int strip_padding(const FrameHead* head, const char** payload, size_t* size, uint32_t* depends_on) noexcept nogil:
    cdef const char* at = payload[0]
    cdef size_t left = size[0], padding = 0
    depends_on[0] = 0
    if head.flags & FLAG_PADDED:
        if left == 0:
            return H2_FRAME_SIZE_ERROR
        padding = <uint8_t> at[0]
        at += 1
        left -= 1
    if head.type == FRAME_HEADERS and head.flags & FLAG_PRIORITY:
        if left < 5:
            return H2_FRAME_SIZE_ERROR
        depends_on[0] = read_31(at)
        at += 5
        left -= 5
    if padding > left:                    # 9113 6.1, 6.2
        return H2_PROTOCOL_ERROR
    payload[0] = at
    size[0] = left - padding
    return H2_NO_ERROR


cdef void settings_start(PeerSettings* settings) noexcept nogil:
    settings.header_table = settings.header_table_low = 4096
    settings.max_streams = settings.max_header_list = 0xffffffff
    settings.window = WINDOW_INITIAL
    settings.max_frame = FRAME_SIZE_LEAST
    settings.push = True
    settings.connect_protocol = settings.no_priorities = False


cdef int read_settings(const char* payload, size_t size, uint32_t max_entries, bint from_server,
                       PeerSettings* settings) noexcept nogil:
    cdef const char* at = payload
    cdef const char* end = payload + size
    cdef int fault
    if size % 6:
        return H2_FRAME_SIZE_ERROR
    if size // 6 > max_entries:
        return H2_ENHANCE_YOUR_CALM
    while at < end:
        fault = _setting(<uint16_t> (<uint8_t> at[0] << 8 | <uint8_t> at[1]), read_32(at + 2), from_server, settings)
        if fault:
            return fault
        at += 6
    return H2_NO_ERROR


cdef int _setting(uint16_t id, uint32_t value, bint from_server, PeerSettings* settings) noexcept nogil:
    if id == SETTING_HEADER_TABLE_SIZE:
        settings.header_table = value
        if value < settings.header_table_low:
            settings.header_table_low = value
    elif id == SETTING_ENABLE_PUSH:
        if value > (0 if from_server else 1):                   # 9113 6.5.2
            return H2_PROTOCOL_ERROR
        settings.push = value
    elif id == SETTING_MAX_CONCURRENT_STREAMS:
        settings.max_streams = value
    elif id == SETTING_INITIAL_WINDOW_SIZE:
        if value > WINDOW_MAX:
            return H2_FLOW_CONTROL_ERROR
        settings.window = value
    elif id == SETTING_MAX_FRAME_SIZE:
        if value < FRAME_SIZE_LEAST or value > FRAME_SIZE_MOST:
            return H2_PROTOCOL_ERROR
        settings.max_frame = value
    elif id == SETTING_MAX_HEADER_LIST_SIZE:
        settings.max_header_list = value
    elif id == SETTING_ENABLE_CONNECT_PROTOCOL:
        if value > 1 or (settings.connect_protocol and value == 0):                # RFC 8441 3
            return H2_PROTOCOL_ERROR
        settings.connect_protocol = value
    elif id == SETTING_NO_RFC7540_PRIORITIES:
        if value > 1:
            return H2_PROTOCOL_ERROR
        settings.no_priorities = value
    return H2_NO_ERROR                    # unknown ones are ignored


cdef char* _frame(OutBuf* to, uint32_t size, uint8_t kind, uint8_t flags, uint32_t stream) noexcept nogil:
    """A whole frame with its head written; where the payload goes, or NULL."""
    cdef char* at = out_reserve(to, FRAME_HEAD + size)
    if at == NULL:
        return NULL
    write_frame_head(at, size, kind, flags, stream)
    to.end += FRAME_HEAD + size
    return at + FRAME_HEAD


cdef int write_settings(OutBuf* to, const SettingValue* values, int count) noexcept nogil:
    cdef char* at = _frame(to, 6 * count, FRAME_SETTINGS, 0, 0)
    cdef int i
    if at == NULL:
        return -1
    for i in range(count):
        at[0] = <char> (values[i].id >> 8)
        at[1] = <char> values[i].id
        write_32(at + 2, values[i].value)
        at += 6
    return 0


cdef int write_settings_ack(OutBuf* to) noexcept nogil:
    return 0 if _frame(to, 0, FRAME_SETTINGS, FLAG_ACK, 0) != NULL else -1


cdef int write_ping(OutBuf* to, const char* opaque, bint ack) noexcept nogil:
    cdef char* at = _frame(to, 8, FRAME_PING, FLAG_ACK if ack else 0, 0)
    if at == NULL:
        return -1
    memcpy(at, opaque, 8)
    return 0


cdef int write_rst_stream(OutBuf* to, uint32_t stream, uint32_t code) noexcept nogil:
    cdef char* at = _frame(to, 4, FRAME_RST_STREAM, 0, stream)
    if at == NULL:
        return -1
    write_32(at, code)
    return 0


cdef int write_goaway(OutBuf* to, uint32_t last_stream, uint32_t code, const char* debug, uint32_t size) noexcept nogil:
    cdef char* at = _frame(to, 8 + size, FRAME_GOAWAY, 0, 0)
    if at == NULL:
        return -1
    write_32(at, last_stream)
    write_32(at + 4, code)
    if size:
        memcpy(at + 8, debug, size)
    return 0


cdef int write_window_update(OutBuf* to, uint32_t stream, uint32_t increment) noexcept nogil:
    cdef char* at = _frame(to, 4, FRAME_WINDOW_UPDATE, 0, stream)
    if at == NULL:
        return -1
    write_32(at, increment)
    return 0


cdef int write_data(OutBuf* to, uint32_t stream, const char* data, size_t size, bint end_stream,
                    uint32_t max_frame) noexcept nogil:
    cdef uint32_t piece
    cdef char* at
    while True:
        piece = <uint32_t> size if size < max_frame else max_frame
        size -= piece
        at = _frame(to, piece, FRAME_DATA, FLAG_END_STREAM if end_stream and size == 0 else 0, stream)
        if at == NULL:
            return -1
        if piece:
            memcpy(at, data, piece)
        data += piece
        if size == 0:
            return 0


# out_reserve may move what is in `to`, but never its place behind `start`: marks count from there.
cdef int64_t begin_headers(OutBuf* to) noexcept nogil:
    cdef int64_t mark
    if out_reserve(to, FRAME_HEAD) == NULL:
        return -1
    mark = out_size(to)
    to.end += FRAME_HEAD
    return mark


cdef int end_headers(OutBuf* to, int64_t mark, uint32_t stream, bint end_stream, uint32_t max_frame) noexcept nogil:
    cdef char* head = to.data + to.start + mark
    cdef size_t size = out_size(to) - mark - FRAME_HEAD
    cdef uint8_t flags = FLAG_END_STREAM if end_stream else 0
    cdef size_t more, i
    if size <= max_frame:                 # the likely case
        write_frame_head(head, <uint32_t> size, FRAME_HEADERS, flags | FLAG_END_HEADERS, stream)
        return 0
    more = (size - 1) // max_frame        # frames behind the first one
    if out_reserve(to, more * FRAME_HEAD) == NULL:
        return -1
    head = to.data + to.start + mark
    to.end += more * FRAME_HEAD
    for i in range(more, 0, -1):          # from the last one on: each moves to where nothing is needed any more
        memmove(head + FRAME_HEAD + i * (max_frame + FRAME_HEAD), head + FRAME_HEAD + i * max_frame,
                max_frame if i < more else size - more * max_frame)
        write_frame_head(head + i * (max_frame + FRAME_HEAD), <uint32_t> (max_frame if i < more else size - more * max_frame),
                         FRAME_CONTINUATION, FLAG_END_HEADERS if i == more else 0, stream)
    write_frame_head(head, max_frame, FRAME_HEADERS, flags, stream)
    return 0


cdef const char* error_name(uint32_t code) noexcept nogil:
    if code == H2_NO_ERROR: return "NO_ERROR"
    if code == H2_PROTOCOL_ERROR: return "PROTOCOL_ERROR"
    if code == H2_INTERNAL_ERROR: return "INTERNAL_ERROR"
    if code == H2_FLOW_CONTROL_ERROR: return "FLOW_CONTROL_ERROR"
    if code == H2_SETTINGS_TIMEOUT: return "SETTINGS_TIMEOUT"
    if code == H2_STREAM_CLOSED: return "STREAM_CLOSED"
    if code == H2_FRAME_SIZE_ERROR: return "FRAME_SIZE_ERROR"
    if code == H2_REFUSED_STREAM: return "REFUSED_STREAM"
    if code == H2_CANCEL: return "CANCEL"
    if code == H2_COMPRESSION_ERROR: return "COMPRESSION_ERROR"
    if code == H2_CONNECT_ERROR: return "CONNECT_ERROR"
    if code == H2_ENHANCE_YOUR_CALM: return "ENHANCE_YOUR_CALM"
    if code == H2_INADEQUATE_SECURITY: return "INADEQUATE_SECURITY"
    if code == H2_HTTP_1_1_REQUIRED: return "HTTP_1_1_REQUIRED"
    return "UNKNOWN_ERROR"
