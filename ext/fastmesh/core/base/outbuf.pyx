"""See outbuf.pxd. Blocks of the usual size are kept for reuse, so that a busy worker does not visit malloc per request."""
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

cdef enum:
    BLOCK = 16384
    KEPT = 64

ctypedef char* Block
cdef Block[64] _spare
cdef int _spares = 0


cdef char* _take_block() noexcept nogil:
    global _spares
    if _spares > 0:
        _spares -= 1
        return _spare[_spares]
    return <char*>malloc(BLOCK)


cdef void _give_block(char* block) noexcept nogil:
    global _spares
    if _spares < KEPT:
        _spare[_spares] = block
        _spares += 1
    else:
        free(block)


cdef char* out_reserve(OutBuf* out, size_t size) noexcept nogil:
    cdef size_t room
    cdef char* grown
    if out.data == NULL:
        if size <= BLOCK:
            out.data = _take_block()
            out.room = BLOCK
        else:
            out.data = <char*>malloc(size)
            out.room = size
        out.start = out.end = 0
        return out.data
    if out.end + size <= out.room:
        return out.data + out.end
    if out.start >= out.end - out.start and out.end - out.start + size <= out.room:
        memcpy(out.data, out.data + out.start, out.end - out.start)
        out.end -= out.start
        out.start = 0
        return out.data + out.end
    room = out.room * 2
    while room < out.end + size:
        room *= 2
    if out.room == BLOCK:
        grown = <char*>malloc(room)
        if grown == NULL:
            return NULL
        memcpy(grown, out.data, out.end)
        _give_block(out.data)
    else:
        grown = <char*>realloc(out.data, room)
        if grown == NULL:
            return NULL
    out.data = grown
    out.room = room
    return out.data + out.end


cdef int out_append(OutBuf* out, const char* data, size_t size) noexcept nogil:
    cdef char* at = out_reserve(out, size)
    if at == NULL:
        return -1
    memcpy(at, data, size)
    out.end += size
    return 0


cdef void out_consume(OutBuf* out, size_t size) noexcept nogil:
    out.start += size
    if out.start == out.end:
        out_free(out)


cdef void out_free(OutBuf* out) noexcept nogil:
    if out.data == NULL:
        return
    if out.room == BLOCK:
        _give_block(out.data)
    else:
        free(out.data)
    out.data = NULL
    out.start = out.end = out.room = 0
