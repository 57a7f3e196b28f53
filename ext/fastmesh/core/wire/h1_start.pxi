# Request lines, status lines, and what a whole head adds up to.

cdef enum:
    METHOD_SIZE_MAX = 32      # the longest registered one has 17 (UPDATEREDIRECTREF); a stream of letters is no method


cdef int parse_request(const char* data, size_t size, const Limits* limits, Head* head) noexcept nogil:
    cdef const uint8_t* at = <const uint8_t*> data
    cdef const uint8_t* end = at + size
    cdef Facts facts
    cdef int verdict
    clear(head, data, True)
    verdict = skip_empty_line(head, &at, end)
    if verdict == H1_DONE:
        verdict = request_line(head, &at, end, limits)
    if verdict != H1_DONE:
        return verdict
    memset(&facts, 0, sizeof(Facts))
    verdict = parse_fields(head, at, end, limits, &facts)
    if verdict != H1_DONE:
        return verdict
    return finish_request(head, limits, &facts)


# RFC 9112 2.2: one empty line before a message is forgiven.
cdef inline int skip_empty_line(Head* head, const uint8_t** at, const uint8_t* end) noexcept nogil:
    if at[0] == end:
        return H1_MORE
    if at[0][0] != CR:
        return H1_DONE
    if at[0] + 1 == end:
        return H1_MORE
    if at[0][1] != LF:
        return bad(head, 400, b"bare_cr")
    at[0] += 2
    return H1_DONE if at[0] < end else H1_MORE


cdef int request_line(Head* head, const uint8_t** cursor, const uint8_t* end, const Limits* limits) noexcept nogil:
    cdef const uint8_t* line = cursor[0]
    cdef const uint8_t* at = line
    cdef int verdict
    if end - at >= 5 and load32(at) == load32(<const char*> b"GET ") and at[4] == 47:
        head.method = METHOD_GET
        head.method_name = span_of(head, at, at + 3)
        at += 4
    else:
        verdict = read_method(head, &at, end, limits)
        if verdict != H1_DONE:
            return verdict
    verdict = read_target(head, &at, end)
    if verdict == H1_DONE:
        if end - at >= 10 and load64(at) == load64(<const char*> b"HTTP/1.1") and at[8] == CR and at[9] == LF:
            head.minor = 1
            at += 10
        else:
            verdict = read_version(head, &at, end)
    if verdict != H1_DONE:
        if verdict == H1_MORE:
            return unfinished(head, line, end, limits, 414, b"request_line_too_long")
        return verdict
    if at - 2 - line > limits.line:
        return bad(head, 414, b"request_line_too_long")
    if at - <const uint8_t*> head.base >= head_limit(limits):
        return bad(head, 431, b"head_too_large")
    cursor[0] = at
    return H1_DONE


cdef int read_method(Head* head, const uint8_t** cursor, const uint8_t* end, const Limits* limits) noexcept nogil:
    cdef const uint8_t* start = cursor[0]
    cdef const uint8_t* at = start
    while at < end and CHAR_CLASS[at[0]] & CHAR_METHOD:
        at += 1
    if at - start > METHOD_SIZE_MAX:
        return bad(head, 400, b"method_too_long")
    if at == end:
        return H1_MORE
    if at[0] != SP or at == start:
        return bad_method(head, start, at)
    head.method_name = span_of(head, start, at)
    head.method = <uint8_t> method_id(start, at - start)
    if at - start == 3 and start[0] == 80 and start[1] == 82 and start[2] == 73:
        return bad(head, 505, b"http2_preface")                             # PRI, RFC 9113 3.4
    cursor[0] = at + 1
    return H1_DONE


cdef int bad_method(Head* head, const uint8_t* start, const uint8_t* at) noexcept nogil:
    if at[0] == CR or at[0] == LF:
        return bad(head, 400, b"empty_request_line" if at == start else b"missing_target")
    if at[0] == 0x16 and at == start:
        return bad(head, 400, b"tls_on_plain_port")
    if 97 <= at[0] <= 122:                # `get` is not GET (RFC 9110 9.1); back ends that fold it would undo a rule
        return bad(head, 400, b"lower_case_method")
    return bad(head, 400, b"bad_method")


# RFC 9112 3.2: the target up to its single space. Spans may wrap on a line too long for 16 bits; request_line refuses
# it then.
cdef int read_target(Head* head, const uint8_t** cursor, const uint8_t* end) noexcept nogil:
    cdef const uint8_t* at = cursor[0]
    cdef const uint8_t* start = at
    if at < end and (at[0] != 47 or head.method == METHOD_CONNECT):
        if at[0] == 42 or head.method == METHOD_CONNECT:
            return read_other_target(head, cursor, end)
        at = read_scheme(head, at, end)
        if at == NULL:
            return bad(head, 400, b"bad_target")
        if at == end:
            return H1_MORE
        start = at
        while at < end and CHAR_CLASS[at[0]] & CHAR_TARGET and at[0] != 47:
            at += 1
        if not note_authority(head, start, at, at < end):
            return bad(head, 400, b"bad_authority")
        start = at
    while at < end and CHAR_CLASS[at[0]] & CHAR_TARGET:
        at += 1
    head.path = span_of(head, start, at)
    if at == start:                       # `http://host?query`: the path is "/", as it stands before the authority
        head.path.off = head.authority.off - 1
        head.path.len = 1
    if at < end and at[0] == 63:
        at += 1
        start = at
        while at < end and (CHAR_CLASS[at[0]] & CHAR_TARGET or at[0] == 63):
            at += 1
        head.has_query = True
        head.query = span_of(head, start, at)
    cursor[0] = at
    return end_target(head, cursor, end)


# OPTIONS * and CONNECT host:port.
cdef int read_other_target(Head* head, const uint8_t** cursor, const uint8_t* end) noexcept nogil:
    cdef const uint8_t* start = cursor[0]
    cdef const uint8_t* at = start
    if head.method == METHOD_OPTIONS:
        head.target = TARGET_ASTERISK
        at += 1
        head.path = span_of(head, start, at)
    elif head.method == METHOD_CONNECT:
        head.target = TARGET_AUTHORITY
        while at < end and CHAR_CLASS[at[0]] & CHAR_TARGET and at[0] != 47:
            at += 1
        if not note_authority(head, start, at, at < end) or (at < end and head.port == 0):
            return bad(head, 400, b"bad_authority")
    else:
        return bad(head, 400, b"asterisk_without_options")
    cursor[0] = at
    return end_target(head, cursor, end)


cdef int end_target(Head* head, const uint8_t** cursor, const uint8_t* end) noexcept nogil:
    cdef const uint8_t* at = cursor[0]
    if at == end:
        return H1_MORE
    cursor[0] = at + 1
    if at[0] == SP:
        return H1_DONE
    if at[0] == CR or at[0] == LF:
        return bad(head, 400, b"missing_version")
    return bad(head, 400, b"fragment_in_target" if at[0] == 35 else b"bad_target")


# `http://` or `https://` in any case. The byte after it; `end` while it could still become one; NULL when it cannot.
cdef const uint8_t* read_scheme(Head* head, const uint8_t* at, const uint8_t* end) noexcept nogil:
    cdef const uint8_t* scheme = <const uint8_t*> b"http"
    cdef const uint8_t* slashes = <const uint8_t*> b"://"
    cdef size_t i
    for i in range(4):
        if at == end:
            return end
        if (at[0] | 0x20) != scheme[i]:
            return NULL
        at += 1
    head.target = TARGET_ABSOLUTE
    head.scheme = 1
    if at < end and (at[0] | 0x20) == 115:
        head.scheme = 2
        at += 1
    for i in range(3):
        if at == end:
            return end
        if at[0] != slashes[i]:
            return NULL
        at += 1
    return at


# An authority in the target. While it is not `complete` only its length is judged: `[::1` may still become `[::1]`.
cdef bint note_authority(Head* head, const uint8_t* start, const uint8_t* end, bint complete) noexcept nogil:
    if not complete:
        return end - start <= 255
    head.authority = span_of(head, start, end)
    head.host.off = head.authority.off
    return split_authority(start, end - start, &head.host.len, &head.port)


# The version and the line end, also in part. RFC 9110 2.5 lets 1.2 be read as 1.1; like Envoy we speak 1.0 and 1.1
# only.
cdef int read_version(Head* head, const uint8_t** cursor, const uint8_t* end) noexcept nogil:
    cdef const uint8_t* at = cursor[0]
    cdef const uint8_t* name = <const uint8_t*> b"HTTP/"
    cdef size_t i
    for i in range(5):
        if at == end:
            return H1_MORE
        if at[0] != name[i]:
            return bad(head, 400, b"bad_version")
        at += 1
    for i in range(3):
        if at == end:
            return H1_MORE
        if at[0] != 46 if i == 1 else not 48 <= at[0] <= 57:
            return bad(head, 400, b"bad_version")
        if (i == 1 and at[-1] != 49) or (i == 2 and at[0] > 49):
            return bad(head, 505, b"unsupported_version")
        at += 1
    if at == end:
        return H1_MORE
    if at[0] != CR:
        return bad(head, 400, b"bare_lf" if at[0] == LF else b"bad_version")
    head.minor = at[-1] - 48
    if at + 1 == end:
        return H1_MORE
    if at[1] != LF:
        return bad(head, 400, b"bare_cr")
    cursor[0] = at + 2
    return H1_DONE


cdef int finish_request(Head* head, const Limits* limits, Facts* facts) noexcept nogil:
    cdef int verdict
    if facts.saw & SAW_HOST:
        verdict = settle_host(head, facts.host)
        if verdict != H1_DONE:
            return verdict
    elif head.minor:
        return bad(head, 400, b"missing_host")                   # RFC 9112 3.2
    if facts.saw & SAW_CODING:
        if facts.saw & SAW_LENGTH:                               # RFC 9112 6.1: "ought to be handled as an error"
            return bad(head, 400, b"content_length_and_transfer_encoding")
        if head.minor == 0:
            return bad(head, 400, b"transfer_encoding_in_http_1_0")
        head.framing = FRAMING_CHUNKED
    elif facts.saw & SAW_LENGTH:
        head.framing = FRAMING_LENGTH
        if limits.body and head.length > limits.body:
            return bad(head, 413, b"body_too_large")
    if head.method == METHOD_TRACE and (head.framing == FRAMING_CHUNKED or head.length):
        return bad(head, 400, b"body_in_trace")                  # RFC 9110 9.3.8
    finish_connection(head, facts)
    return H1_DONE


# Host, and the authority in the target if there is one: both have to mean the same (default ports left out).
cdef int settle_host(Head* head, Span value) noexcept nogil:
    cdef const uint8_t* text = <const uint8_t*> span_ptr(head, value)
    cdef uint16_t size = 0, port = 0, usual
    if not split_authority(text, value.len, &size, &port):
        return bad(head, 400, b"bad_host")
    if head.target == TARGET_ORIGIN or head.target == TARGET_ASTERISK:
        head.authority = value
        head.host.off = value.off
        head.host.len = size
        head.port = port
        return H1_DONE
    usual = 443 if head.scheme == 2 else 80 if head.scheme == 1 else head.port
    if (size != head.host.len or not same_text(text, <const uint8_t*> span_ptr(head, head.host), size)
            or (port or usual) != (head.port or usual)):
        return bad(head, 400, b"host_differs_from_target")
    return H1_DONE


cdef int parse_response(const char* data, size_t size, const Limits* limits, bint to_head, Head* head) noexcept nogil:
    cdef const uint8_t* at = <const uint8_t*> data
    cdef const uint8_t* end = at + size
    cdef Facts facts
    cdef int verdict
    clear(head, data, False)
    verdict = skip_empty_line(head, &at, end)    # some servers send one too many after 100 (Continue)
    if verdict == H1_DONE:
        verdict = status_line(head, &at, end, limits)
    if verdict == H1_DONE:
        memset(&facts, 0, sizeof(Facts))
        verdict = parse_fields(head, at, end, limits, &facts)
    if verdict == H1_DONE:
        verdict = finish_response(head, to_head, &facts)
    if verdict == H1_BAD:
        head.error_status = 502
    return verdict


cdef enum:
    STATUS_START = 12         # "HTTP/1.1 200"


cdef int status_line(Head* head, const uint8_t** cursor, const uint8_t* end, const Limits* limits) noexcept nogil:
    cdef const uint8_t* line = cursor[0]
    cdef const uint8_t* at = line
    cdef const uint8_t* most = end if end - line < STATUS_START else line + STATUS_START
    while at < most:
        if not fits_status_start(at - line, at[0]):
            return bad(head, 400, b"bad_status_line")
        at += 1
    if at == end:
        return unfinished(head, line, end, limits, 502, b"status_line_too_long")
    head.minor = line[7] - 48
    head.status = <uint16_t> ((line[9] - 48) * 100 + (line[10] - 48) * 10 + (line[11] - 48))
    if at[0] == SP:
        at += 1
    elif at[0] != CR:
        return bad(head, 400, b"bare_lf" if at[0] == LF else b"bad_status_line")
    return read_reason(head, cursor, at, end, limits)


# "HTTP/1." [01] " " [1-9] [0-9] [0-9]. Statuses above 599 have no class (RFC 9110 15) but are in use (999): passed on.
cdef inline bint fits_status_start(int64_t place, uint8_t char) noexcept nogil:
    cdef const uint8_t* name = <const uint8_t*> b"HTTP/1."
    if place < 7:
        return char == name[place]
    if place == 7:
        return char == 48 or char == 49
    if place == 8:
        return char == SP
    return (49 if place == 9 else 48) <= char <= 57


# The reason phrase may be empty, with or without the space before it (RFC 9112 4 has the space; many servers do not).
cdef int read_reason(Head* head, const uint8_t** cursor, const uint8_t* start, const uint8_t* end,
                     const Limits* limits) noexcept nogil:
    cdef const uint8_t* line = cursor[0]
    cdef const uint8_t* at = find_control(start, end)
    while at < end and at[0] == HTAB:
        at = find_control(at + 1, end)
    if at == end:
        return unfinished(head, line, end, limits, 502, b"status_line_too_long")
    if at[0] != CR:
        return bad(head, 400, b"bare_lf" if at[0] == LF else b"bad_reason_phrase")
    if at + 1 == end:
        return unfinished(head, line, end, limits, 502, b"status_line_too_long")
    if at[1] != LF:
        return bad(head, 400, b"bare_cr")
    if at - line > limits.line or at + 2 - <const uint8_t*> head.base >= head_limit(limits):
        return bad(head, 400, b"status_line_too_long")
    head.reason = span_of(head, start, at)
    cursor[0] = at + 2
    return H1_DONE


# RFC 9112 6.3, in its order.
cdef int finish_response(Head* head, bint to_head, Facts* facts) noexcept nogil:
    finish_connection(head, facts)
    if facts.saw & SAW_CODING and head.minor == 0:
        return bad(head, 400, b"transfer_encoding_in_http_1_0")
    if head.status < 200 or head.status == 204:
        head.length = 0
        return H1_DONE
    if facts.saw & SAW_CODING and facts.saw & SAW_LENGTH:
        head.length = 0                          # the coding wins, and this peer is not trusted with another message
        head.keep_alive = False
    if to_head or head.status == 304:            # `length` is what GET would have got (RFC 9110 8.6): the writer may say it
        return H1_DONE
    if facts.saw & SAW_CODING:
        head.framing = FRAMING_CHUNKED
    elif facts.saw & SAW_LENGTH:
        head.framing = FRAMING_LENGTH
    else:
        head.framing = FRAMING_CLOSE
        head.keep_alive = False
    return H1_DONE
