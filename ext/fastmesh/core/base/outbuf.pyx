"""See outbuf.pxd. Blocks of usual sizes are kept for reuse, so that a busy worker visits neither malloc nor the kernel's page faults."""
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

cdef enum:
    BLOCK = 16384
    SIZES = 3                 # 16 KiB, 64 KiB, 256 KiB
    KEPT = 64                 # blocks of the smallest size; of each larger one a quarter of that

ctypedef char* Block
cdef Block[3][64] _spare
cdef int[3] _spares = [0, 0, 0]


cdef inline int _size_of(size_t room) noexcept nogil:
    """The smallest kept size that has it; SIZES = larger than all."""
    cdef int size = 0
    while size < SIZES and room > <size_t>BLOCK << 2 * size:
        size += 1
    return size


cdef char* _take(size_t wanted, size_t* room) noexcept nogil:
    cdef int size = _size_of(wanted)
    room[0] = wanted if size == SIZES else <size_t>BLOCK << 2 * size
    if size < SIZES and _spares[size] > 0:
        _spares[size] -= 1
        return _spare[size][_spares[size]]
    return <char*>malloc(room[0])


cdef void _give(char* block, size_t room) noexcept nogil:
    cdef int size = _size_of(room)
    if size < SIZES and room == <size_t>BLOCK << 2 * size and _spares[size] < KEPT >> 2 * size:
        _spare[size][_spares[size]] = block
        _spares[size] += 1
    else:
        free(block)


cdef char* out_reserve(OutBuf* out, size_t size) noexcept nogil:
    cdef size_t used = out.end - out.start
    cdef size_t room, wanted
    cdef char* grown
    if out.data == NULL:
        out.data = _take(size, &out.room)
        out.start = out.end = 0
        return out.data
    if out.end + size <= out.room:
        return out.data + out.end
    if out.start >= used and used + size <= out.room:
        memcpy(out.data, out.data + out.start, used)
        out.end = used
        out.start = 0
        return out.data + out.end
    wanted = used + size if used + size > out.room * 2 else out.room * 2
    if _size_of(wanted) == SIZES and _size_of(out.room) == SIZES and out.start == 0:
        grown = <char*>realloc(out.data, wanted)
        room = wanted
    else:
        grown = _take(wanted, &room)
        if grown != NULL:
            memcpy(grown, out.data + out.start, used)
            _give(out.data, out.room)
            out.start = 0
            out.end = used
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
    _give(out.data, out.room)
    out.data = NULL
    out.start = out.end = out.room = 0
