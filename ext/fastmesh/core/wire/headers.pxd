"""Characters, and the field names that the proxy itself reads: what HTTP/1 and HTTP/2 both ask of a name.

Everything that a message pays for byte by byte is inline here, so each parser has it in its own object file. Loads are
little-endian (x86-64, arm64), and every one of them lies inside the bytes that the caller gave.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from fastmesh.core.wire.message cimport (
    HDR_OTHER, HDR_HOST, HDR_CONTENT_LENGTH, HDR_TRANSFER_ENCODING, HDR_CONNECTION, HDR_KEEP_ALIVE,
    HDR_PROXY_CONNECTION, HDR_TE, HDR_TRAILER, HDR_UPGRADE, HDR_EXPECT, HDR_HTTP2_SETTINGS, HDR_USER_AGENT,
    HDR_CONTENT_TYPE, HDR_X_REQUEST_ID,
    HDR_X_FORWARDED_FOR, HDR_X_FORWARDED_PROTO, HDR_X_FORWARDED_HOST, HDR_X_FORWARDED_PORT,
    HDR_X_FORWARDED_CLIENT_CERT, HDR_FORWARDED, HDR_TRACEPARENT, HDR_TRACESTATE, HDR_B3, HDR_X_ENVOY, HDR_GRPC_STATUS,
    HDR_GRPC_TIMEOUT, HDR_SERVER, HDR_DATE, HDR_LOCATION, HDR_COOKIE, HDR_SET_COOKIE, HDR_ORIGIN, HDR_AUTHORIZATION,
    HDR_RETRY_AFTER,
    METHOD_CONNECT, METHOD_DELETE, METHOD_GET, METHOD_HEAD, METHOD_OPTIONS, METHOD_OTHER, METHOD_PATCH, METHOD_POST, METHOD_PUT,
    METHOD_TRACE)

cdef enum CharClass:          # tests/core/wire/test_h1_classes.py derives the table again from the grammars
    CHAR_TOKEN = 1            # RFC 9110 5.6.2
    CHAR_METHOD = 2           # a token character that is not a lower-case letter
    CHAR_TARGET = 4           # 0x21-0x7e without '?' and '#': path and authority of a request target
    CHAR_HOST = 8             # RFC 3986 reg-name without '%' and ','
    CHAR_UNDERSCORE = 16
    CHAR_HEX = 32
    CHAR_UNRESERVED = 64      # RFC 3986 2.3
    CHAR_PLAIN = 128          # a path byte that normalisation never looks at: CHAR_TARGET without '%', '.', '/', '\'

cdef extern from *:
    """
    static const unsigned char fastmesh_char_class[256] __attribute__((unused)) = {
          0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,
          0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,
          0, 143, 132,   3, 143,   7, 143, 143, 140, 140, 143, 143, 132, 207,  79,   4,
        239, 239, 239, 239, 239, 239, 239, 239, 239, 239, 132, 140, 132, 140, 132,   0,
        132, 239, 239, 239, 239, 239, 239, 207, 207, 207, 207, 207, 207, 207, 207, 207,
        207, 207, 207, 207, 207, 207, 207, 207, 207, 207, 207, 132,   4, 132, 135, 223,
        135, 237, 237, 237, 237, 237, 237, 205, 205, 205, 205, 205, 205, 205, 205, 205,
        205, 205, 205, 205, 205, 205, 205, 205, 205, 205, 205, 132, 135, 132, 207,   0,
          0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,
          0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,
          0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,
          0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,
          0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,
          0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,
          0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,
          0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,
    };
    #define fastmesh_lowest_bit(word) __builtin_ctzll(word)
    """
    const uint8_t CHAR_CLASS "fastmesh_char_class" [256]
    int lowest_bit "fastmesh_lowest_bit" (uint64_t word) noexcept nogil

cdef enum:
    ONES = 0x0101010101010101
    HIGHS = 0x8080808080808080
    FOLD = 0x2020202020202020 # on a token, OR with 0x20 folds letters and keeps '-' and digits


cdef inline uint32_t load32(const void* at) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, at, 4)
    return word


cdef inline uint64_t load64(const void* at) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, at, 8)
    return word


# The first byte below 0x20 or equal to 0x7f in at..end, or `end`. Borrows of the subtraction reach only bytes after a
# true hit, so the lowest marked byte is exact.
cdef inline const uint8_t* find_control(const uint8_t* at, const uint8_t* end) noexcept nogil:
    cdef uint64_t word, deleted, hit
    while end - at >= 8:
        word = load64(at)
        deleted = word ^ (<uint64_t> 0x7f * ONES)
        hit = (((word - <uint64_t> 0x20 * ONES) & ~word) | ((deleted - <uint64_t> ONES) & ~deleted)) & <uint64_t> HIGHS
        if hit:
            return at + (lowest_bit(hit) >> 3)
        at += 8
    while at < end and at[0] >= 0x20 and at[0] != 0x7f:
        at += 1
    return at


# A token of `size` bytes against a lower-case literal of the same size. With both constant it is two or three compares.
cdef inline bint token_is(const uint8_t* token, const char* name, size_t size) noexcept nogil:
    cdef size_t at = 0
    if size < 4:
        while at < size and (token[at] | 0x20) == <uint8_t> name[at]:
            at += 1
        return at == size
    if size < 8:
        return ((load32(token) | <uint32_t> 0x20202020) == load32(name)
                and (load32(token + size - 4) | <uint32_t> 0x20202020) == load32(name + size - 4))
    while at + 8 < size:
        if (load64(token + at) | <uint64_t> FOLD) != load64(name + at):
            return False
        at += 8
    return (load64(token + size - 8) | <uint64_t> FOLD) == load64(name + size - 8)


# The HeaderId of a valid token in any case. Length first: most fields leave after one or two compares of a word.
cdef inline int header_id(const uint8_t* name, size_t size) noexcept nogil:
    if size == 4:
        if token_is(name, b"host", 4):
            return HDR_HOST
        if token_is(name, b"date", 4):
            return HDR_DATE
    elif size == 6:
        if token_is(name, b"cookie", 6):
            return HDR_COOKIE
        if token_is(name, b"origin", 6):
            return HDR_ORIGIN
        if token_is(name, b"server", 6):
            return HDR_SERVER
        if token_is(name, b"expect", 6):
            return HDR_EXPECT
    elif size == 10:
        if token_is(name, b"user-agent", 10):
            return HDR_USER_AGENT
        if token_is(name, b"connection", 10):
            return HDR_CONNECTION
        if token_is(name, b"set-cookie", 10):
            return HDR_SET_COOKIE
        if token_is(name, b"keep-alive", 10):
            return HDR_KEEP_ALIVE
        if token_is(name, b"tracestate", 10):
            return HDR_TRACESTATE
    elif size == 11:
        if token_is(name, b"traceparent", 11):
            return HDR_TRACEPARENT
        if token_is(name, b"grpc-status", 11):
            return HDR_GRPC_STATUS
        if token_is(name, b"retry-after", 11):
            return HDR_RETRY_AFTER
    elif size == 12:
        if token_is(name, b"content-type", 12):
            return HDR_CONTENT_TYPE
        if token_is(name, b"x-request-id", 12):
            return HDR_X_REQUEST_ID
        if token_is(name, b"grpc-timeout", 12):
            return HDR_GRPC_TIMEOUT
    elif size == 13:
        if token_is(name, b"authorization", 13):
            return HDR_AUTHORIZATION
    elif size == 14:
        if token_is(name, b"content-length", 14):
            return HDR_CONTENT_LENGTH
        if token_is(name, b"http2-settings", 14):
            return HDR_HTTP2_SETTINGS
    elif size == 15:
        if token_is(name, b"x-forwarded-for", 15):
            return HDR_X_FORWARDED_FOR
    elif size == 16:
        if token_is(name, b"x-forwarded-host", 16):
            return HDR_X_FORWARDED_HOST
        if token_is(name, b"x-forwarded-port", 16):
            return HDR_X_FORWARDED_PORT
        if token_is(name, b"proxy-connection", 16):
            return HDR_PROXY_CONNECTION
    elif size == 17:
        if token_is(name, b"transfer-encoding", 17):
            return HDR_TRANSFER_ENCODING
        if token_is(name, b"x-forwarded-proto", 17):
            return HDR_X_FORWARDED_PROTO
    elif size == 7:
        if token_is(name, b"upgrade", 7):
            return HDR_UPGRADE
        if token_is(name, b"trailer", 7):
            return HDR_TRAILER
    elif size == 8:
        if token_is(name, b"location", 8):
            return HDR_LOCATION
    elif size == 9:
        if token_is(name, b"forwarded", 9):
            return HDR_FORWARDED
    elif size == 2:
        if token_is(name, b"te", 2):
            return HDR_TE
        if token_is(name, b"b3", 2):
            return HDR_B3
    elif size == 23:
        if token_is(name, b"x-forwarded-client-cert", 23):
            return HDR_X_FORWARDED_CLIENT_CERT
    if size > 8 and token_is(name, b"x-envoy-", 8):
        return HDR_X_ENVOY
    return HDR_OTHER


# Any two byte strings, ASCII letters folded. For bytes that nobody has checked yet.
cdef bint same_text(const uint8_t* one, const uint8_t* other, size_t size) noexcept nogil

# The HeaderId that a name would have if each '_' were '-': CGI-like back ends cannot tell the two apart.
cdef int lookalike_id(const uint8_t* name, size_t size) noexcept nogil

# A Connection option must not take this field away: a sender could make us drop what an earlier proxy vouched for
# (RFC 9110 7.6.1 forbids listing fields meant for all recipients).
cdef bint outlives_connection(int id, const uint8_t* name, size_t size) noexcept nogil

# RFC 9110 6.5.1: framing, routing, authentication, request modifiers and content description have no place in trailers.
cdef bint forbidden_in_trailers(int id, const uint8_t* name, size_t size) noexcept nogil

# The next element of a comma-separated list in at..end, blanks cut, empty elements skipped. False when there is none.
cdef bint next_element(const uint8_t** at, const uint8_t* end, const uint8_t** element, size_t* size) noexcept nogil

# The message.Method of a method name; exact bytes, methods are case-sensitive.
cdef int method_id(const uint8_t* name, size_t size) noexcept nogil
