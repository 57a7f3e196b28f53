"""See proxy_header.pxd."""
import socket
import struct

from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memchr, memcmp, memcpy, memset

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* text, void* out)
    int AF_INET, AF_INET6

cdef enum:
    V2_HEAD = 16
    V2_IPV4 = 0x11            # family and transport: TCP over IPv4
    V2_IPV6 = 0x21
    V2_SOCKET = 0x31
    V2_UNSPECIFIED = 0

cdef bytes SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
cdef const char* V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
cdef const char* V1_SIGNATURE = b"PROXY "


cdef int read_proxy_header(const char* data, size_t size, ProxyHeader* header) noexcept nogil:
    memset(header, 0, sizeof(ProxyHeader))
    if size == 0:
        return PROXY_MORE
    if memcmp(data, V2_SIGNATURE, size if size < 12 else 12) == 0:
        return _version_2(<const uint8_t*>data, size, header)
    if memcmp(data, V1_SIGNATURE, size if size < 6 else 6) == 0:
        return _version_1(data, size, header)
    return _bad(header, "the connection does not begin with a PROXY header")


cdef inline int _bad(ProxyHeader* header, const char* why) noexcept nogil:
    header.error = why
    return PROXY_BAD


# --- version 1: a line ------------------------------------------------------------------------------------------------

cdef int _version_1(const char* data, size_t size, ProxyHeader* header) noexcept nogil:
    cdef const char* end = <const char*>memchr(data, c"\r", size if size < PROXY_LINE_MAX else PROXY_LINE_MAX)
    cdef const char* at = data + 6
    cdef int family
    if not _begins(at, data + size - at):
        return _bad(header, "neither TCP4 nor TCP6 nor UNKNOWN")
    if end == NULL or end == data + size - 1:
        if memchr(data, c"\n", size if size < PROXY_LINE_MAX else PROXY_LINE_MAX) != NULL:
            return _bad(header, "the line does not end in CRLF")
        return PROXY_MORE if size < PROXY_LINE_MAX else _bad(header, "the line is too long")
    if end[1] != c"\n" or end - data + 2 > PROXY_LINE_MAX:
        return _bad(header, "the line does not end in CRLF")
    header.size = end - data + 2
    if end - at >= 7 and memcmp(at, b"UNKNOWN", 7) == 0 and (at[7] == c" " or at + 7 == end):
        return PROXY_DONE             # what follows is not looked at
    if end - at < 5 or memcmp(at, b"TCP", 3) != 0 or at[3] != c"4" and at[3] != c"6" or at[4] != c" ":
        return _bad(header, "neither TCP4 nor TCP6 nor UNKNOWN")
    family = AF_INET if at[3] == c"4" else AF_INET6
    at += 5
    if not _address(&at, end, family, header.source) or not _address(&at, end, family, header.target):
        return _bad(header, "an address is wrong")
    if not _port(&at, end, c" ", &header.source_port) or not _port(&at, end, c"\r", &header.target_port):
        return _bad(header, "a port is wrong")
    header.told = True
    return PROXY_DONE


cdef inline bint _begins(const char* at, ssize_t size) noexcept nogil:
    """As far as it has come."""
    return size <= 0 or memcmp(at, b"TCP4 ", size if size < 5 else 5) == 0 or memcmp(at, b"TCP6 ", size if size < 5 else 5) == 0 \
        or memcmp(at, b"UNKNOWN", size if size < 7 else 7) == 0


cdef bint _address(const char** at, const char* end, int family, uint8_t* out) noexcept nogil:
    """An address and the one blank behind it."""
    cdef char[48] text
    cdef size_t i = 0
    while at[0] + i < end and at[0][i] != c" ":
        if i == sizeof(text) - 1 or at[0][i] == 0:
            return False
        text[i] = at[0][i]
        i += 1
    text[i] = 0
    if at[0] + i >= end:
        return False
    at[0] += i + 1
    if family == AF_INET6:
        return inet_pton(AF_INET6, text, out) == 1
    out[10] = out[11] = 0xff
    return inet_pton(AF_INET, text, out + 12) == 1


cdef bint _port(const char** at, const char* end, char behind, uint16_t* out) noexcept nogil:
    cdef unsigned int value = 0
    cdef int digits = 0
    cdef char c
    while at[0] < end and c"0" <= at[0][0] <= c"9" and digits < 5:
        c = at[0][0]
        value = value * 10 + (c - c"0")
        digits += 1
        at[0] += 1
    if digits == 0 or value > 65535 or digits > 1 and at[0][-digits] == c"0" or at[0][0] != behind:
        return False
    at[0] += 1
    out[0] = <uint16_t>value
    return True


# --- version 2: bytes -------------------------------------------------------------------------------------------------

cdef int _version_2(const uint8_t* data, size_t size, ProxyHeader* header) noexcept nogil:
    cdef size_t length, used
    cdef int command, family
    if size < V2_HEAD:
        return PROXY_MORE
    command, family = data[12], data[13]
    length = data[14] << 8 | data[15]
    if command != 0x20 and command != 0x21:
        return _bad(header, "neither LOCAL nor PROXY of version 2")
    if V2_HEAD + length > PROXY_MOST:
        return _bad(header, "the header is too long")
    if size < V2_HEAD + length:
        return PROXY_MORE
    header.size = V2_HEAD + length
    if command == 0x20:
        return PROXY_DONE             # the proxy before us speaks for itself; what follows is not looked at
    if family == V2_IPV4:
        used = 12
    elif family == V2_IPV6:
        used = 36
    elif family == V2_SOCKET:
        used = 216
    elif family == V2_UNSPECIFIED:
        return PROXY_DONE
    else:
        return _bad(header, "not of a stream of bytes")
    if length < used:
        return _bad(header, "the addresses are cut off")
    if not _fields(data + V2_HEAD + used, length - used):
        return _bad(header, "a field behind the addresses is cut off")
    if family != V2_SOCKET:
        _take_addresses(data + V2_HEAD, family == V2_IPV4, header)
    return PROXY_DONE


cdef bint _fields(const uint8_t* at, size_t left) noexcept nogil:
    """Type, length, value: none of them is used, all of them must be whole."""
    cdef size_t size
    while left:
        if left < 3:
            return False
        size = 3 + (at[1] << 8 | at[2])
        if size > left:
            return False
        at += size
        left -= size
    return True


cdef void _take_addresses(const uint8_t* at, bint short, ProxyHeader* header) noexcept nogil:
    cdef size_t width = 4 if short else 16
    if short:
        header.source[10] = header.source[11] = header.target[10] = header.target[11] = 0xff
    memcpy(header.source + 16 - width, at, width)
    memcpy(header.target + 16 - width, at + width, width)
    at += 2 * width
    header.source_port = at[0] << 8 | at[1]
    header.target_port = at[2] << 8 | at[3]
    header.told = True


# --- out --------------------------------------------------------------------------------------------------------------

cdef bytes make_proxy_header(int version, bytes source, bytes target):
    address, port = _split(source)
    other, other_port = _split(target)
    if address is None or other is None:
        return b"PROXY UNKNOWN\r\n" if version == 1 else SIGNATURE + b"\x20\0\0\0"
    if (b":" in address) != (b":" in other):
        address, other = _long(address), _long(other)
    family = socket.AF_INET6 if b":" in address else socket.AF_INET
    if version == 1:
        return b"PROXY TCP%d %s %s %d %d\r\n" % (4 if family == socket.AF_INET else 6, address, other, port, other_port)
    raw = socket.inet_pton(family, address.decode()) + socket.inet_pton(family, other.decode())
    kind = V2_IPV4 if family == socket.AF_INET else V2_IPV6
    return SIGNATURE + struct.pack(">BBH", 0x21, kind, len(raw) + 4) + raw + struct.pack(">HH", port, other_port)


cdef tuple _split(bytes text):
    host, _, port = text.rpartition(b":")
    host = host.strip(b"[]")
    return (host, int(port)) if host and port.isdigit() else (None, 0)


cdef bytes _long(bytes address):
    return address if b":" in address else b"::ffff:" + address
