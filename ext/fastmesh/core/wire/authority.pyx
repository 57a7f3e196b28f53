"""`host[:port]`, strictly: RFC 3986 3.2.2 without what two readers could read in two ways.

Refused though the grammar has it: percent-escapes (is `%61` the host `a`?), the comma (two Host values folded into
one), and an empty port (`h:` and `h` are one host to some and two to others). """
from fastmesh.core.wire.headers cimport CHAR_CLASS, CHAR_HOST, CHAR_HEX

cdef enum:
    AUTHORITY_MAX = 255       # a DNS name has at most 253 characters (RFC 1035 2.3.4)


cdef bint split_authority(const uint8_t* text, size_t size, uint16_t* host_size, uint16_t* port) noexcept nogil:
    cdef const uint8_t* at = text
    cdef const uint8_t* end = text + size
    if size == 0 or size > AUTHORITY_MAX:
        return False
    if at[0] == 91:
        at = skip_literal(at, end)
        if at == NULL:
            return False
    else:
        while at < end and CHAR_CLASS[at[0]] & CHAR_HOST:
            at += 1
    host_size[0] = <uint16_t> (at - text)
    port[0] = 0
    if at > text and at[-1] == 46:
        host_size[0] -= 1
    if host_size[0] == 0:
        return False
    if at == end:
        return True
    return at[0] == 58 and read_port(at + 1, end, port)


# "[" IPv6 "]": hex digits, colons and dots, at least two colons. The byte after it, or NULL.
cdef const uint8_t* skip_literal(const uint8_t* at, const uint8_t* end) noexcept nogil:
    cdef int colons = 0
    at += 1
    while at < end and (CHAR_CLASS[at[0]] & CHAR_HEX or at[0] == 58 or at[0] == 46):
        colons += at[0] == 58
        at += 1
    if at == end or at[0] != 93 or colons < 2:
        return NULL
    return at + 1


cdef bint read_port(const uint8_t* at, const uint8_t* end, uint16_t* port) noexcept nogil:
    cdef unsigned int number = 0
    if at == end or end - at > 5:
        return False
    while at < end:
        if at[0] < 48 or at[0] > 57:
            return False
        number = number * 10 + (at[0] - 48)
        at += 1
    if number == 0 or number > 65535:
        return False
    port[0] = <uint16_t> number
    return True
