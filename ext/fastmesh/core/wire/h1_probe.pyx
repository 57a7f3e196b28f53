"""The HTTP/1 parser as Python sees it: for tests, fuzzing and the micro benchmark only.

Every input is copied into a malloc block of exactly its size, so that an address sanitizer sees the first byte read too
many. """
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from fastmesh.core.wire cimport authority, h1_parse, headers, path as paths
from fastmesh.core.wire.message cimport *

VERDICTS = ("done", "more", "bad")
FRAMINGS = ("none", "length", "chunked", "close", "stream")
TARGETS = ("origin", "absolute", "asterisk", "authority")
METHODS = ("OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT")

HEADER_IDS = {
    b"host": HDR_HOST, b"content-length": HDR_CONTENT_LENGTH, b"transfer-encoding": HDR_TRANSFER_ENCODING,
    b"connection": HDR_CONNECTION, b"keep-alive": HDR_KEEP_ALIVE, b"proxy-connection": HDR_PROXY_CONNECTION,
    b"te": HDR_TE, b"trailer": HDR_TRAILER, b"upgrade": HDR_UPGRADE, b"expect": HDR_EXPECT, b"http2-settings": HDR_HTTP2_SETTINGS,
    b"user-agent": HDR_USER_AGENT, b"content-type": HDR_CONTENT_TYPE, b"x-request-id": HDR_X_REQUEST_ID,
    b"x-forwarded-for": HDR_X_FORWARDED_FOR, b"x-forwarded-proto": HDR_X_FORWARDED_PROTO,
    b"x-forwarded-host": HDR_X_FORWARDED_HOST, b"x-forwarded-port": HDR_X_FORWARDED_PORT,
    b"x-forwarded-client-cert": HDR_X_FORWARDED_CLIENT_CERT, b"forwarded": HDR_FORWARDED,
    b"traceparent": HDR_TRACEPARENT, b"tracestate": HDR_TRACESTATE, b"b3": HDR_B3, b"x-envoy-": HDR_X_ENVOY, b"grpc-status": HDR_GRPC_STATUS,
    b"grpc-timeout": HDR_GRPC_TIMEOUT, b"server": HDR_SERVER, b"date": HDR_DATE, b"location": HDR_LOCATION,
    b"cookie": HDR_COOKIE, b"set-cookie": HDR_SET_COOKIE, b"origin": HDR_ORIGIN, b"authorization": HDR_AUTHORIZATION,
    b"retry-after": HDR_RETRY_AFTER,
}


cdef Limits limits_of(dict given) except *:
    cdef Limits limits
    limits.line = given.get("line", 16384)
    limits.head = given.get("head", 61440)
    limits.fields = given.get("fields", 100)
    limits.body = given.get("body", 0)
    limits.chunk_extension = given.get("chunk_extension", 4096)
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


cdef dict failure_of(const Head* head):
    return {"verdict": "bad", "status": head.error_status, "error": (<bytes> head.error).decode()}


cdef dict common_of(const Head* head):
    return {
        "verdict": "done", "size": head.size, "minor": head.minor, "framing": FRAMINGS[head.framing],
        "length": head.length, "keep_alive": bool(head.keep_alive), "upgrade": bool(head.upgrade),
        "te_trailers": bool(head.te_trailers), "fields": fields_of(head),
    }


def parse_request(bytes data not None, **limits):
    cdef Head head
    cdef Limits bounds = limits_of(limits)
    cdef char* copy = exact_copy(data)
    cdef int verdict
    try:
        verdict = h1_parse.parse_request(copy, len(data), &bounds, &head)
        if verdict == h1_parse.H1_BAD:
            return failure_of(&head)
        if verdict == h1_parse.H1_MORE:
            return {"verdict": "more"}
        return common_of(&head) | {
            "method": METHODS[head.method], "method_name": text(&head, head.method_name),
            "target": TARGETS[head.target], "scheme": head.scheme, "path": text(&head, head.path),
            "query": text(&head, head.query) if head.has_query else None,
            "authority": text(&head, head.authority), "host": text(&head, head.host), "port": head.port,
            "expect_continue": bool(head.expect_continue), "expect_other": bool(head.expect_other),
        }
    finally:
        free(copy)


def parse_response(bytes data not None, bint to_head=False, **limits):
    cdef Head head
    cdef Limits bounds = limits_of(limits)
    cdef char* copy = exact_copy(data)
    cdef int verdict
    try:
        verdict = h1_parse.parse_response(copy, len(data), &bounds, to_head, &head)
        if verdict == h1_parse.H1_BAD:
            return failure_of(&head)
        if verdict == h1_parse.H1_MORE:
            return {"verdict": "more"}
        return common_of(&head) | {"code": head.status, "reason": text(&head, head.reason)}
    finally:
        free(copy)


def decode_chunked(pieces, **limits):
    """Feeds `pieces` one after the other. `used` counts the bytes that belong to the body, over all pieces."""
    cdef h1_parse.ChunkDecoder decoder
    cdef Limits bounds = limits_of(limits)
    cdef Head trailers
    cdef dict result = {"verdict": "more", "body": b"", "used": 0}
    h1_parse.chunk_start(&decoder)
    try:
        for data in pieces:
            feed(&decoder, &bounds, data, result)
            if result["verdict"] != "more":
                break
        if result["verdict"] == "bad":
            result["status"] = decoder.error_status
            result["error"] = (<bytes> decoder.error).decode()
        elif result["verdict"] == "done":
            if h1_parse.chunk_trailers(&decoder, &bounds, &trailers) != h1_parse.H1_DONE:
                raise AssertionError("a complete body with unreadable trailers")
            result["trailers"] = fields_of(&trailers)
        return result
    finally:
        h1_parse.chunk_free(&decoder)


cdef feed(h1_parse.ChunkDecoder* decoder, const Limits* bounds, bytes data, dict result):
    cdef char* copy = exact_copy(data)
    cdef size_t offset = 0, used, size = len(data), piece_size
    cdef const char* piece
    cdef int step
    try:
        while True:
            step = h1_parse.chunk_next(decoder, copy + offset, size - offset, bounds, &used, &piece, &piece_size)
            if used > size - offset:
                raise AssertionError("ate more than was there")
            if step == h1_parse.CHUNK_DATA:
                if piece < copy + offset or piece + piece_size > copy + offset + used:
                    raise AssertionError("a piece outside of what was eaten")
                result["body"] += piece[:piece_size]
            offset += used
            if step != h1_parse.CHUNK_DATA:
                break
        if step == h1_parse.CHUNK_MORE and offset != size:
            raise AssertionError("wants more but left bytes behind")
        result["used"] += offset
        result["verdict"] = "more" if step == h1_parse.CHUNK_MORE else "done" if step == h1_parse.CHUNK_END else "bad"
    finally:
        free(copy)


def head_worth_parsing(bytes data not None, size_t seen):
    cdef char* copy = exact_copy(data)
    try:
        return bool(h1_parse.head_worth_parsing(copy, seen, len(data)))
    finally:
        free(copy)


def normalize_path(bytes path not None, int mode):
    """The normalised path, or None where the answer is 400."""
    cdef char* copy = exact_copy(path)
    cdef char* out = NULL
    cdef int size
    try:
        out = exact_copy(path)
        size = paths.normalize_path(copy, len(path), mode, out)
        return None if size < 0 else out[:size]
    finally:
        free(copy)
        free(out)


def path_needs_work(bytes path not None, int mode):
    cdef char* copy = exact_copy(path)
    try:
        return bool(paths.path_needs_work(copy, len(path), mode))
    finally:
        free(copy)


def split_authority(bytes authority_text not None):
    """(host, port) or None."""
    cdef char* copy = exact_copy(authority_text)
    cdef uint16_t host_size = 0, port = 0
    try:
        if not authority.split_authority(<const uint8_t*> copy, len(authority_text), &host_size, &port):
            return None
        return copy[:host_size], port
    finally:
        free(copy)


def header_id(bytes name not None):
    cdef char* copy = exact_copy(name)
    try:
        return headers.header_id(<const uint8_t*> copy, len(name))
    finally:
        free(copy)


def char_class(uint8_t char):
    return headers.CHAR_CLASS[char]


def find_control(bytes data not None):
    cdef char* copy = exact_copy(data)
    try:
        return <const char*> headers.find_control(<const uint8_t*> copy, <const uint8_t*> copy + len(data)) - copy
    finally:
        free(copy)


cdef double now() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec * 1e9 + time.tv_nsec


def time_request(bytes data not None, uint64_t rounds):
    """Nanoseconds per parse_request of `data`, the mean of `rounds` in a row."""
    cdef Head head
    cdef Limits bounds = limits_of({})
    cdef char* copy = exact_copy(data)
    cdef size_t size = len(data)
    cdef uint64_t i
    cdef int verdict = 0
    cdef double start
    with nogil:
        start = now()
        for i in range(rounds):
            verdict |= h1_parse.parse_request(copy, size, &bounds, &head)
        start = now() - start
    free(copy)
    if verdict:
        raise ValueError("not a complete request")
    return start / rounds


def time_response(bytes data not None, uint64_t rounds):
    """Nanoseconds per parse_response of `data`, the mean of `rounds` in a row."""
    cdef Head head
    cdef Limits bounds = limits_of({})
    cdef char* copy = exact_copy(data)
    cdef size_t size = len(data)
    cdef uint64_t i
    cdef int verdict = 0
    cdef double start
    with nogil:
        start = now()
        for i in range(rounds):
            verdict |= h1_parse.parse_response(copy, size, &bounds, False, &head)
        start = now() - start
    free(copy)
    if verdict:
        raise ValueError("not a complete response")
    return start / rounds
