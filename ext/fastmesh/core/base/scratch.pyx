"""See scratch.pxd."""
from libc.stddef cimport size_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef enum:
    ROOM = 4096               # bytes of an ordinary sheet


cdef inline char* _text(Sheet* sheet) noexcept nogil:
    return <char*>sheet + sizeof(Sheet)


cdef void scratch_reset(Scratch* s) noexcept nogil:
    cdef Sheet* sheet = s.sheet
    s.used = s.begun = 0
    if sheet == NULL:
        return
    while sheet.older != NULL:            # the oldest one stays: it has the ordinary size
        s.sheet = sheet.older
        free(sheet)
        sheet = s.sheet


cdef void scratch_begin(Scratch* s) noexcept nogil:
    s.begun = s.used


cdef int scratch_put(Scratch* s, const char* data, size_t size) noexcept nogil:
    cdef size_t open = s.used - s.begun
    cdef size_t room
    cdef Sheet* sheet
    if s.sheet == NULL or s.used + size > s.sheet.room:
        room = ROOM if 2 * (open + size) < ROOM else 2 * (open + size)
        sheet = <Sheet*>malloc(sizeof(Sheet) + room)
        if sheet == NULL:
            return -1
        sheet.older, sheet.room = s.sheet, room
        if open:
            memcpy(_text(sheet), _text(s.sheet) + s.begun, open)
        s.sheet, s.begun, s.used = sheet, 0, open
    memcpy(_text(s.sheet) + s.used, data, size)
    s.used += size
    return 0


cdef const char* scratch_end(Scratch* s, size_t* size) noexcept nogil:
    size[0] = s.used - s.begun
    return _text(s.sheet) + s.begun if s.sheet != NULL else NULL


cdef void scratch_free(Scratch* s) noexcept nogil:
    scratch_reset(s)
    free(s.sheet)
    s.sheet = NULL
