"""See stream.pxd."""
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from fastmesh.core.base.outbuf cimport out_free


cdef void table_start(StreamTable* table) noexcept nogil:
    memset(table, 0, sizeof(StreamTable))
    table.slots = table.few
    table.mask = 7


cdef inline bint _place(H2Stream** slots, uint32_t mask, H2Stream* stream) noexcept nogil:
    """True: its own place was taken."""
    cdef uint32_t home = (stream.id >> 1) & mask, at = home
    while slots[at] != NULL:
        at = (at + 1) & mask
    slots[at] = stream
    return at != home


cdef int table_put(StreamTable* table, H2Stream* stream) noexcept nogil:
    cdef H2Stream** grown
    cdef uint32_t room = table.mask + 1, i
    if (table.count + 1) * 4 > room * 3:
        grown = <H2Stream**>calloc(room * 2, sizeof(void*))
        if grown == NULL:
            return -1
        table.astray = 0
        for i in range(room):
            if table.slots[i] != NULL:
                table.astray += _place(grown, room * 2 - 1, table.slots[i])
        if table.slots != table.few:
            free(table.slots)
        table.slots = grown
        table.mask = room * 2 - 1
    table.astray += _place(table.slots, table.mask, stream)
    table.count += 1
    return 0


cdef void table_remove(StreamTable* table, uint32_t id) noexcept nogil:
    cdef H2Stream** slots = table.slots
    cdef uint32_t mask = table.mask, at = (id >> 1) & mask, hole, home
    while slots[at] == NULL or slots[at].id != id:
        if slots[at] == NULL:
            return
        at = (at + 1) & mask
    slots[at] = NULL
    table.count -= 1
    table.astray -= at != (id >> 1) & mask
    if table.astray == 0:
        return                            # the likely case: ids follow each other
    hole = at
    while True:                           # what stands behind moves up, unless that would put it before its own place
        at = (at + 1) & mask
        if slots[at] == NULL:
            return
        home = (slots[at].id >> 1) & mask
        if ((at - home) & mask) >= ((at - hole) & mask):
            slots[hole], slots[at] = slots[at], NULL
            table.astray -= hole == home
            hole = at


cdef void table_free(StreamTable* table) noexcept nogil:
    if table.slots != table.few:
        free(table.slots)
        table_start(table)


cdef void stream_clear(H2Stream* stream) noexcept nogil:
    out_free(&stream.out)
    if stream.trailers != NULL:
        free(stream.trailers)
        stream.trailers = NULL


cdef int keep_end(H2Stream* stream, const Head* trailers) noexcept nogil:
    cdef char* block = <char*>malloc(sizeof(Head) + trailers.size)
    if block == NULL:
        return -1
    memcpy(block, trailers, sizeof(Head))
    memcpy(block + sizeof(Head), trailers.base, trailers.size)
    stream.trailers = <Head*>block
    stream.trailers.base = block + sizeof(Head)
    return 0
