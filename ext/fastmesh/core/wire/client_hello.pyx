"""See client_hello.pxd."""
from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memset
from fastmesh.core.base.outbuf cimport OutBuf, out_append, out_size

cdef enum:
    RECORD_HEADER = 5
    RECORD_MAX = 16384
    HANDSHAKE = 22            # content type
    CLIENT_HELLO = 1          # handshake type
    MESSAGE_HEADER = 4
    SERVER_NAME = 0           # extension
    ALPN = 16

cdef struct Cursor:           # what is left to read
    const uint8_t* at
    size_t left


cdef inline size_t _number(const uint8_t* at, int width) noexcept nogil:
    cdef size_t value = 0
    cdef int i
    for i in range(width):
        value = value << 8 | at[i]
    return value


cdef inline int _open(Cursor* outer, int width, Cursor* inner) noexcept nogil:
    """A vector with a length of `width` bytes in front: 0, or -1 when it is longer than what there is."""
    cdef size_t size
    if outer.left < <size_t>width:
        return -1
    size = _number(outer.at, width)
    if outer.left - width < size:
        return -1
    inner.at, inner.left = outer.at + width, size
    outer.at += width + size
    outer.left -= width + size
    return 0


cdef inline int _skip(Cursor* cursor, size_t size) noexcept nogil:
    if cursor.left < size:
        return -1
    cursor.at += size
    cursor.left -= size
    return 0


cdef inline int _bad(Hello* hello, const char* why) noexcept nogil:
    hello.error = why
    return HELLO_BAD


cdef int read_hello(const char* data, size_t size, size_t most, OutBuf* joined, Hello* hello) noexcept nogil:
    cdef const uint8_t* at = <const uint8_t*>data
    cdef size_t length, got, whole
    cdef Cursor message
    memset(hello, 0, sizeof(Hello))
    if size == 0:
        return HELLO_MORE
    if at[0] != HANDSHAKE:
        if at[0] & 0x80 and (size < 3 or at[2] == CLIENT_HELLO):
            return HELLO_MORE if size < 3 else _bad(hello, "an SSL 2 hello")
        return HELLO_PLAIN
    if size > 1 and at[1] != 3:
        return _bad(hello, "not a handshake record")
    joined.start = joined.end = 0
    while True:
        if size <= RECORD_HEADER:
            return HELLO_MORE
        length = _number(at + 3, 2)
        if at[0] != HANDSHAKE or at[1] != 3 or length == 0 or length > RECORD_MAX:
            return _bad(hello, "not a handshake record")
        message.at, message.left = at + RECORD_HEADER, size - RECORD_HEADER
        if message.left > length:
            message.left = length
        got = message.left
        if out_size(joined) or got < MESSAGE_HEADER or got < MESSAGE_HEADER + _number(message.at + 1, 3):
            # A part of the message: the likely case is that it is all here
            if out_append(joined, <const char*>message.at, got) < 0:
                return _bad(hello, "no memory")
            message.at, message.left = <const uint8_t*>joined.data + joined.start, out_size(joined)
        if message.at[0] != CLIENT_HELLO:
            return _bad(hello, "a handshake that begins with something else than a ClientHello")
        if message.left >= MESSAGE_HEADER:
            whole = MESSAGE_HEADER + _number(message.at + 1, 3)
            if whole > most:
                return _bad(hello, "the ClientHello is too long")
            if message.left > whole:
                return _bad(hello, "something follows the ClientHello in its record")
            if message.left == whole and got == length:
                message.at += MESSAGE_HEADER
                message.left -= MESSAGE_HEADER
                return _read_message(message, hello)
        if got < length:
            return HELLO_MORE
        at += RECORD_HEADER + length
        size -= RECORD_HEADER + length


cdef int _read_message(Cursor message, Hello* hello) noexcept nogil:
    cdef Cursor field, extensions, extension
    cdef size_t kind
    cdef bint named = False, offered = False
    if _skip(&message, 2 + 32) < 0 or _open(&message, 1, &field) < 0 or field.left > 32:
        return _bad(hello, "a bad session id")
    if _open(&message, 2, &field) < 0 or field.left < 2 or field.left & 1:
        return _bad(hello, "bad cipher suites")
    if _open(&message, 1, &field) < 0 or field.left == 0:
        return _bad(hello, "bad compression methods")
    if message.left == 0:
        return HELLO_DONE                 # TLS 1.2 without extensions
    if _open(&message, 2, &extensions) < 0 or message.left:
        return _bad(hello, "bad extensions")
    while extensions.left:
        if extensions.left < 4:
            return _bad(hello, "a bad extension")
        kind = _number(extensions.at, 2)
        _skip(&extensions, 2)
        if _open(&extensions, 2, &extension) < 0:
            return _bad(hello, "a bad extension")
        if kind == SERVER_NAME:
            if named or _read_name(extension, hello) < 0:
                return _bad(hello, "a bad server name")
            named = True
        elif kind == ALPN:
            if offered or _read_protocols(extension, hello) < 0:
                return _bad(hello, "a bad list of protocols")
            offered = True
    return HELLO_DONE


cdef int _read_name(Cursor extension, Hello* hello) noexcept nogil:
    """RFC 6066 section 3: one host name. Letters, digits, hyphen, underscore and dots; anything else never reaches a log or a table."""
    cdef Cursor names, name
    cdef size_t i
    cdef uint8_t c
    if _open(&extension, 2, &names) < 0 or extension.left or names.left < 1 or names.at[0] != 0:
        return -1
    _skip(&names, 1)
    if _open(&names, 2, &name) < 0 or names.left or name.left == 0 or name.left > HELLO_NAME_MAX:
        return -1
    for i in range(name.left):
        c = name.at[i]
        if c'A' <= c <= c'Z':
            c += 32
        elif not (c'a' <= c <= c'z' or c'0' <= c <= c'9' or c == c'-' or c == c'_' or c == c'.'):
            return -1
        hello.name[i] = <char>c
    hello.name_size = name.left
    if hello.name[name.left - 1] == c'.':
        hello.name_size -= 1
    return 0 if hello.name_size and hello.name[0] != c'.' else -1


cdef int _read_protocols(Cursor extension, Hello* hello) noexcept nogil:
    """RFC 7301 section 3.1."""
    cdef Cursor list_, name
    if _open(&extension, 2, &list_) < 0 or extension.left or list_.left == 0:
        return -1
    hello.protocols, hello.protocols_size = list_.at, list_.left
    while list_.left:
        if _open(&list_, 1, &name) < 0 or name.left == 0:
            return -1
    return 0


cdef bint offers_mesh(const Hello* hello) noexcept nogil:
    cdef Cursor list_, name
    list_.at, list_.left = hello.protocols, hello.protocols_size
    while list_.left and _open(&list_, 1, &name) == 0:
        if name.left >= 5 and memcmp(name.at, "istio", 5) == 0:
            return True
    return False
