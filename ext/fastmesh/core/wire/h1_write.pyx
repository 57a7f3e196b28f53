"""See h1_write.pxd."""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, strlen
from fastmesh.core.base.outbuf cimport OutBuf, out_reserve
from fastmesh.core.wire.message cimport (
    FIELD_HOP, FRAMING_CHUNKED, FRAMING_LENGTH, FRAMING_NONE, Field, Head,
)


cdef inline char* _put(char* at, const char* text, size_t size) noexcept nogil:
    memcpy(at, text, size)
    return at + size


cdef int write_number(char* at, uint64_t value) noexcept nogil:
    cdef char[20] digits
    cdef int n = 0, i
    if value < 10:                        # the likely case
        at[0] = <char>(c'0' + value)
        return 1
    while True:
        digits[n] = <char>(c'0' + value % 10)
        value //= 10
        n += 1
        if value == 0:
            break
    for i in range(n):
        at[i] = digits[n - 1 - i]
    return n


cdef int write_chunk_size(char* at, size_t size) noexcept nogil:
    cdef char[16] digits
    cdef int n = 0, i, digit
    while True:
        digit = size & 15
        digits[n] = <char>(c'0' + digit if digit < 10 else c'a' + digit - 10)
        size >>= 4
        n += 1
        if size == 0:
            break
    for i in range(n):
        at[i] = digits[n - 1 - i]
    at[n] = c'\r'
    at[n + 1] = c'\n'
    return n + 2


cdef size_t _fields_size(const HeadOut* out) noexcept nogil:
    cdef size_t total = 0
    cdef int i
    for i in range(out.count):
        total += out.fields[i].name_size + out.fields[i].value_size + 4
    return total


cdef char* _put_fields(char* at, const HeadOut* out) noexcept nogil:
    cdef const OutField* field
    cdef int i
    for i in range(out.count):
        field = &out.fields[i]
        if field.name_size == 0:
            continue
        at = _put(at, field.name, field.name_size)
        at[0] = c':'
        at[1] = c' '
        at = _put(at + 2, field.value, field.value_size)
        at[0] = c'\r'
        at[1] = c'\n'
        at += 2
    return at


cdef char* _put_framing(char* at, const HeadOut* out) noexcept nogil:
    if out.framing == FRAMING_LENGTH:
        at = _put(at, "content-length: ", 16)
        at += write_number(at, out.length)
        at = _put(at, "\r\n", 2)
    elif out.framing == FRAMING_CHUNKED:
        at = _put(at, "transfer-encoding: chunked\r\n", 28)
    if out.protocol_size:
        at = _put(at, "connection: upgrade\r\nupgrade: ", 30)
        at = _put(_put(at, out.protocol, out.protocol_size), "\r\n", 2)
    elif out.connection == CONNECTION_CLOSE:
        at = _put(at, "connection: close\r\n", 19)
    elif out.connection == CONNECTION_KEEP_ALIVE:
        at = _put(at, "connection: keep-alive\r\n", 24)
    return _put(at, "\r\n", 2)


cdef int write_request(OutBuf* to, const HeadOut* out) noexcept nogil:
    cdef size_t room = out.method_size + out.path_size + out.query_size + out.authority_size + _fields_size(out) + 160
    room += out.protocol_size
    cdef char* start = out_reserve(to, room)
    cdef char* at = start
    if start == NULL:
        return -1
    at = _put(at, out.method, out.method_size)
    at[0] = c' '
    at = _put(at + 1, out.path, out.path_size)
    if out.has_query:
        at[0] = c'?'
        at = _put(at + 1, out.query, out.query_size)
    at = _put(at, " HTTP/1.1\r\nhost: ", 17)
    at = _put(at, out.authority, out.authority_size)
    at = _put(at, "\r\n", 2)
    at = _put_fields(at, out)
    if out.te_trailers:
        at = _put(at, "te: trailers\r\n", 14)
    at = _put_framing(at, out)
    to.end += at - start
    return 0


cdef int write_response(OutBuf* to, const HeadOut* out) noexcept nogil:
    cdef const char* reason = out.reason
    cdef uint32_t reason_size = out.reason_size
    cdef size_t room
    cdef char* start
    cdef char* at
    if reason == NULL:
        reason = reason_phrase(out.status)
        reason_size = <uint32_t>strlen(reason)
    room = reason_size + _fields_size(out) + out.protocol_size + 160
    start = at = out_reserve(to, room)
    if start == NULL:
        return -1
    at = _put(at, "HTTP/1.1 ", 9)
    at[0] = <char>(c'0' + out.status // 100)
    at[1] = <char>(c'0' + out.status // 10 % 10)
    at[2] = <char>(c'0' + out.status % 10)
    at[3] = c' '
    at = _put(at + 4, reason, reason_size)
    at = _put(at, "\r\n", 2)
    at = _put_fields(at, out)
    at = _put_framing(at, out)
    to.end += at - start
    return 0


cdef int write_last_chunk(OutBuf* to, const Head* trailers) noexcept nogil:
    cdef size_t room = 8
    cdef char* start
    cdef char* at
    cdef const Field* field
    cdef int i
    if trailers != NULL:
        room += trailers.size + 4 * trailers.field_count
    start = at = out_reserve(to, room)
    if start == NULL:
        return -1
    at = _put(at, "0\r\n", 3)
    if trailers != NULL:
        for i in range(trailers.field_count):
            field = &trailers.fields[i]
            if field.flags & FIELD_HOP:
                continue
            at = _put(at, trailers.base + field.name.off, field.name.len)
            at = _put(at, ": ", 2)
            at = _put(at, trailers.base + field.value.off, field.value.len)
            at = _put(at, "\r\n", 2)
    at = _put(at, "\r\n", 2)
    to.end += at - start
    return 0


cdef const char* reason_phrase(int status) noexcept nogil:
    if status == 200: return "OK"
    if status == 404: return "Not Found"
    if status == 503: return "Service Unavailable"
    if status == 100: return "Continue"
    if status == 101: return "Switching Protocols"
    if status == 103: return "Early Hints"
    if status == 201: return "Created"
    if status == 202: return "Accepted"
    if status == 204: return "No Content"
    if status == 206: return "Partial Content"
    if status == 301: return "Moved Permanently"
    if status == 302: return "Found"
    if status == 303: return "See Other"
    if status == 304: return "Not Modified"
    if status == 307: return "Temporary Redirect"
    if status == 308: return "Permanent Redirect"
    if status == 400: return "Bad Request"
    if status == 401: return "Unauthorized"
    if status == 403: return "Forbidden"
    if status == 405: return "Method Not Allowed"
    if status == 408: return "Request Timeout"
    if status == 409: return "Conflict"
    if status == 411: return "Length Required"
    if status == 413: return "Content Too Large"
    if status == 414: return "URI Too Long"
    if status == 417: return "Expectation Failed"
    if status == 418: return "I'm a teapot"
    if status == 421: return "Misdirected Request"
    if status == 426: return "Upgrade Required"
    if status == 429: return "Too Many Requests"
    if status == 431: return "Request Header Fields Too Large"
    if status == 500: return "Internal Server Error"
    if status == 501: return "Not Implemented"
    if status == 502: return "Bad Gateway"
    if status == 504: return "Gateway Timeout"
    if status == 505: return "HTTP Version Not Supported"
    if status == 508: return "Loop Detected"
    return "Unknown" if status >= 400 else "OK"
