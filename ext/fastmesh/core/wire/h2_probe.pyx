"""HPACK and the frames of HTTP/2 as Python sees them: for tests, fuzzing and the micro benchmark only.

Every input is copied into a malloc block of exactly its size, so that an address sanitizer sees the first byte read too many.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from fastmesh.core.base.outbuf cimport OutBuf, out_append, out_free
from fastmesh.core.wire cimport h2_frame, hpack, huffman
from fastmesh.core.wire.h1_write cimport OUT_FIELDS_MAX, HeadOut, out_clear, out_field
from fastmesh.core.wire.message cimport *

VERDICTS = ("ok", "malformed", "too_large", "error", "flood")
FRAMINGS = ("none", "length", "chunked", "close", "stream")
TARGETS = ("origin", "absolute", "asterisk", "authority")

cdef enum:
    GUARD = 4096              # bytes behind the buffer of a decoder that it must not touch

METHODS = ("OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT")


cdef Limits limits_of(dict given) except *:
    cdef Limits limits
    limits.line = given.get("line", 16384)
    limits.head = given.get("head", 61440)
    limits.fields = given.get("fields", 100)
    limits.body = given.get("body", 0)
    limits.chunk_extension = 0
    return limits


cdef char* exact_copy(bytes data) except NULL:
    cdef size_t size = len(data)
    cdef char* copy = <char*> malloc(size if size else 1)
    if copy == NULL:
        raise MemoryError()
    memcpy(copy, <const char*> data, size)
    return copy


cdef bytes text(const Head* head, Span span):
    return span_ptr(head, span)[:span.len]


cdef list fields_of(const Head* head):
    return [(text(head, head.fields[i].name), text(head, head.fields[i].value), head.fields[i].id,
             bool(head.fields[i].flags & FIELD_HOP)) for i in range(head.field_count)]


cdef dict shown(const Head* head):
    return {
        "verdict": "ok", "size": head.size, "minor": head.minor, "framing": FRAMINGS[head.framing],
        "length": head.length, "keep_alive": bool(head.keep_alive), "upgrade": bool(head.upgrade),
        "te_trailers": bool(head.te_trailers), "fields": fields_of(head),
    }


cdef class Decoder:
    cdef hpack.HpackDecoder decoder
    cdef char* text

    def __cinit__(self, uint32_t table_size=4096):
        hpack.decoder_start(&self.decoder, table_size)
        self.text = <char*> malloc(hpack.HPACK_TEXT + GUARD)
        if self.text == NULL:
            raise MemoryError
        memset(self.text + hpack.HPACK_TEXT, 0x5a, GUARD)

    def __dealloc__(self):
        hpack.decoder_free(&self.decoder)
        free(self.text)

    cdef int guard(self) except -1:
        cdef int i
        for i in range(GUARD):
            if self.text[<int> hpack.HPACK_TEXT + i] != 0x5a:
                raise AssertionError("wrote behind the buffer")
        return 0

    def resize(self, uint32_t table_size):
        hpack.decoder_resize(&self.decoder, table_size)

    @property
    def table(self):
        """(entries, size, maximum)"""
        return self.decoder.table.count, self.decoder.table.size, self.decoder.table.max

    cdef dict refused(self, int verdict, const Head* head):
        if verdict >= hpack.HPACK_ERROR:
            return {"verdict": VERDICTS[verdict]}
        return {"verdict": VERDICTS[verdict], "status": head.error_status, "error": (<bytes> head.error).decode()}

    def request(self, bytes block not None, bint end_stream=True, **limits):
        cdef Head head
        cdef Limits bounds = limits_of(limits)
        cdef char* copy = exact_copy(block)
        cdef int verdict = hpack.decode_request(&self.decoder, copy, len(block), end_stream, &bounds, self.text, &head)
        free(copy)
        self.guard()
        if verdict != hpack.HPACK_OK:
            return self.refused(verdict, &head)
        return shown(&head) | {
            "method": METHODS[head.method], "method_name": text(&head, head.method_name),
            "target": TARGETS[head.target], "scheme": head.scheme, "path": text(&head, head.path),
            "query": text(&head, head.query) if head.has_query else None,
            "authority": text(&head, head.authority), "host": text(&head, head.host), "port": head.port,
            "protocol": text(&head, head.protocol), "expect_continue": bool(head.expect_continue),
            "expect_other": bool(head.expect_other),
        }

    def response(self, bytes block not None, bint end_stream=False, bint to_head=False, **limits):
        cdef Head head
        cdef Limits bounds = limits_of(limits)
        cdef char* copy = exact_copy(block)
        cdef int verdict = hpack.decode_response(&self.decoder, copy, len(block), end_stream, to_head, &bounds, self.text, &head)
        free(copy)
        self.guard()
        if verdict != hpack.HPACK_OK:
            return self.refused(verdict, &head)
        return shown(&head) | {"code": head.status}

    def trailers(self, bytes block not None, **limits):
        cdef Head head
        cdef Limits bounds = limits_of(limits)
        cdef char* copy = exact_copy(block)
        cdef int verdict = hpack.decode_trailers(&self.decoder, copy, len(block), &bounds, self.text, &head)
        free(copy)
        self.guard()
        return shown(&head) if verdict == hpack.HPACK_OK else self.refused(verdict, &head)

    def plain(self, bytes block not None, **limits):
        """Every field as it stands: pairs, or the verdict where there are none."""
        cdef Head head
        cdef Limits bounds = limits_of({"fields": 128, "head": 65535, "line": 65535} | limits)
        cdef char* copy = exact_copy(block)
        cdef int verdict = hpack.decode_plain(&self.decoder, copy, len(block), &bounds, self.text, &head)
        free(copy)
        self.guard()
        if verdict != hpack.HPACK_OK:
            return VERDICTS[verdict]
        return [(name, value) for name, value, _, _ in fields_of(&head)]

    def nothing(self, bytes block not None, **limits):
        cdef Limits bounds = limits_of(limits)
        cdef char* copy = exact_copy(block)
        cdef int verdict = hpack.decode_nothing(&self.decoder, copy, len(block), &bounds, self.text)
        free(copy)
        self.guard()
        return VERDICTS[verdict]

    def time_requests(self, list blocks not None, uint64_t rounds):
        """Nanoseconds per decode_request of `blocks`, decoded one after the other, all of them `rounds` times."""
        cdef Head head
        cdef Limits bounds = limits_of({})
        cdef uint64_t i, count = len(blocks)
        cdef const char* block
        cdef double spent = 0, start
        cdef size_t size
        cdef int verdict = 0
        for data in blocks:
            block, size = data, len(data)
            start = now()
            for i in range(rounds):
                verdict |= hpack.decode_request(&self.decoder, block, size, True, &bounds, self.text, &head)
            spent += now() - start
        if verdict:
            raise ValueError("not a good request")
        return spent / (rounds * count)


cdef class Encoder:
    cdef hpack.HpackEncoder encoder

    def __cinit__(self, uint32_t own_max=4096):
        hpack.encoder_start(&self.encoder, own_max)

    def __dealloc__(self):
        hpack.encoder_free(&self.encoder)

    def resize(self, uint32_t peer_max):
        hpack.encoder_resize(&self.encoder, peer_max)

    @property
    def table(self):
        return self.encoder.table.count, self.encoder.table.size, self.encoder.table.max

    def request(self, dict given not None):
        return encode(&self.encoder, given, True)

    def response(self, dict given not None):
        return encode(&self.encoder, given, False)

    def trailers(self, list fields not None, tuple dropped=()):
        """Fields whose place is in `dropped` are flagged FIELD_HOP."""
        cdef Head head
        cdef OutBuf out
        cdef bytes whole = b"".join([name + value for name, value in fields])
        cdef size_t at = 0
        memset(&head, 0, sizeof(Head))
        memset(&out, 0, sizeof(OutBuf))
        head.base = whole
        for i, (name, value) in enumerate(fields):
            head.fields[i].name.off, head.fields[i].name.len = at, len(name)
            head.fields[i].value.off, head.fields[i].value.len = at + len(name), len(value)
            head.fields[i].flags = FIELD_HOP if i in dropped else 0
            at += len(name) + len(value)
        head.field_count = len(fields)
        if hpack.encode_trailers(&self.encoder, &out, &head) < 0:
            raise MemoryError
        return taken(&out)

    def time_requests(self, dict given not None, uint64_t rounds):
        """Nanoseconds per encode_request."""
        return time_encode(&self.encoder, given, True, rounds)

    def time_responses(self, dict given not None, uint64_t rounds):
        return time_encode(&self.encoder, given, False, rounds)


cdef bytes taken(OutBuf* out):
    cdef bytes data = out.data[out.start:out.end] if out.data != NULL else b""
    out_free(out)
    return data


cdef int fill(HeadOut* out, dict given) except -1:
    """Pointers into `given`, which has to live as long."""
    cdef bytes piece
    out_clear(out)
    for name in ("method", "path", "query", "authority", "protocol"):
        piece = given.get(name)
        if piece is None:
            continue
        if name == "method":
            out.method, out.method_size = piece, len(piece)
        elif name == "path":
            out.path, out.path_size = piece, len(piece)
        elif name == "query":
            out.has_query, out.query, out.query_size = True, piece, len(piece)
        elif name == "authority":
            out.authority, out.authority_size = piece, len(piece)
        else:
            out.protocol, out.protocol_size = piece, len(piece)
    out.scheme = given.get("scheme", 1)
    out.te_trailers = given.get("te_trailers", False)
    out.status = given.get("status", 0)
    out.framing = FRAMINGS.index(given.get("framing", "none"))
    out.length = given.get("length", 0)
    if len(given.get("fields", ())) > OUT_FIELDS_MAX:
        raise ValueError("too many fields")
    for name, value in given.get("fields", ()):
        out_field(out, name, len(name), value, len(value), 0)
    return 0


cdef bytes encode(hpack.HpackEncoder* encoder, dict given, bint request):
    cdef HeadOut head
    cdef OutBuf out
    memset(&out, 0, sizeof(OutBuf))
    fill(&head, given)
    if (hpack.encode_request if request else hpack.encode_response)(encoder, &out, &head) < 0:
        raise MemoryError
    return taken(&out)


cdef double time_encode(hpack.HpackEncoder* encoder, dict given, bint request, uint64_t rounds) except -1:
    cdef HeadOut head
    cdef OutBuf out
    cdef uint64_t i
    cdef int verdict = 0
    cdef double start
    memset(&out, 0, sizeof(OutBuf))
    fill(&head, given)
    start = now()
    for i in range(rounds):
        if request:
            verdict |= hpack.encode_request(encoder, &out, &head)
        else:
            verdict |= hpack.encode_response(encoder, &out, &head)
        out.end = 0
    start = now() - start
    out_free(&out)
    if verdict:
        raise MemoryError
    return start / rounds


def huffman_encode(bytes data not None):
    cdef size_t size = huffman.huffman_size(<const uint8_t*> <const char*> data, len(data))
    cdef uint8_t* to = <uint8_t*> malloc(size if size else 1)
    try:
        if huffman.huffman_encode(<const uint8_t*> <const char*> data, len(data), to) != to + size:
            raise AssertionError("huffman_size and huffman_encode disagree")
        return to[:size]
    finally:
        free(to)


def huffman_decode(bytes data not None, size_t room=65536):
    """The bytes, "bad" or "long"."""
    cdef char* copy = exact_copy(data)
    cdef uint8_t* to = <uint8_t*> malloc(room if room else 1)
    cdef int64_t size = huffman.huffman_decode(<const uint8_t*> copy, len(data), to, room)
    try:
        if size < 0:
            return "bad" if size == huffman.HUFFMAN_BAD else "long"
        return to[:size]
    finally:
        free(copy)
        free(to)


def time_huffman(bytes data not None, uint64_t rounds):
    """Nanoseconds to code and to decode `data`."""
    cdef bytes coded = huffman_encode(data)
    cdef size_t size = len(data), coded_size = len(coded)
    cdef const uint8_t* plain = <const uint8_t*> <const char*> data
    cdef const uint8_t* code = <const uint8_t*> <const char*> coded
    cdef uint8_t* to = <uint8_t*> malloc(size + 8)
    cdef uint64_t i
    cdef double start = now(), middle
    for i in range(rounds):
        huffman.huffman_size(plain, size)
        huffman.huffman_encode(plain, size, to)
    middle = now()
    for i in range(rounds):
        huffman.huffman_decode(code, coded_size, to, size + 8)
    free(to)
    return (middle - start) / rounds, (now() - middle) / rounds


# --- frames ---------------------------------------------------------------------------------------------------------

ERRORS = {(<bytes> h2_frame.error_name(code)).decode(): code for code in range(14)}


def frame_head(bytes data not None):
    """(size, type, flags, stream)"""
    cdef h2_frame.FrameHead head
    if len(data) < h2_frame.FRAME_HEAD:
        raise ValueError("too short")
    head = h2_frame.read_frame_head(data)
    return head.size, head.type, head.flags, head.stream


cdef h2_frame.FrameHead head_of(uint32_t size, uint8_t kind, uint8_t flags, uint32_t stream):
    cdef h2_frame.FrameHead head
    head.size, head.type, head.flags, head.stream = size, kind, flags, stream
    return head


cdef str error_text(int code):
    return (<bytes> h2_frame.error_name(code)).decode()


def error_name(uint32_t code):
    return (<bytes> h2_frame.error_name(code)).decode()


def check_frame(uint32_t size, uint8_t kind, uint8_t flags, uint32_t stream, uint32_t max_size=16384):
    """(name of the error, whether it ends only the stream)"""
    cdef h2_frame.FrameHead head = head_of(size, kind, flags, stream)
    cdef bint stream_only
    cdef int code = h2_frame.check_frame(&head, max_size, &stream_only)
    return error_text(code), bool(stream_only)


def strip_padding(bytes payload not None, uint8_t kind, uint8_t flags):
    """(payload, the stream it depends on), or the name of the error."""
    cdef h2_frame.FrameHead head = head_of(len(payload), kind, flags, 1)
    cdef char* copy = exact_copy(payload)
    cdef const char* at = copy
    cdef size_t size = len(payload)
    cdef uint32_t depends_on
    cdef int code = h2_frame.strip_padding(&head, &at, &size, &depends_on)
    try:
        return error_text(code) if code else (at[:size], depends_on)
    finally:
        free(copy)


def read_settings(list payloads not None, uint32_t max_entries=32, bint from_server=False):
    """What the peer said after all of them, or the name of the first error."""
    cdef h2_frame.PeerSettings settings
    cdef char* copy
    cdef int code
    h2_frame.settings_start(&settings)
    for payload in payloads:
        copy = exact_copy(payload)
        code = h2_frame.read_settings(copy, len(payload), max_entries, from_server, &settings)
        free(copy)
        if code:
            return error_text(code)
    return settings


def write_settings(list pairs not None):
    cdef h2_frame.SettingValue[64] values
    cdef OutBuf out
    memset(&out, 0, sizeof(OutBuf))
    for i, (id, value) in enumerate(pairs[:64]):
        values[i].id, values[i].value = id, value
    h2_frame.write_settings(&out, values, len(pairs))
    return taken(&out)


def write(str what not None, *arguments):
    """The frame that the builder of this name makes."""
    cdef OutBuf out
    memset(&out, 0, sizeof(OutBuf))
    if what == "settings_ack":
        h2_frame.write_settings_ack(&out)
    elif what == "ping":
        h2_frame.write_ping(&out, arguments[0], arguments[1])
    elif what == "rst_stream":
        h2_frame.write_rst_stream(&out, arguments[0], arguments[1])
    elif what == "goaway":
        h2_frame.write_goaway(&out, arguments[0], arguments[1], arguments[2], len(arguments[2]))
    elif what == "window_update":
        h2_frame.write_window_update(&out, arguments[0], arguments[1])
    elif what == "data":
        h2_frame.write_data(&out, arguments[0], arguments[1], len(arguments[1]), arguments[2], arguments[3])
    else:
        raise ValueError(what)
    return taken(&out)


def write_block(bytes before not None, bytes block not None, uint32_t stream, bint end_stream, uint32_t max_frame):
    """`before`, then HEADERS and CONTINUATION with `block`."""
    cdef OutBuf out
    cdef int64_t mark
    memset(&out, 0, sizeof(OutBuf))
    out_append(&out, before, len(before))
    mark = h2_frame.begin_headers(&out)
    out_append(&out, block, len(block))
    h2_frame.end_headers(&out, mark, stream, end_stream, max_frame)
    return taken(&out)


cdef double now() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec * 1e9 + time.tv_nsec
