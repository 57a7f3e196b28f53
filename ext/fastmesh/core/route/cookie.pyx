"""See cookie.pxd."""
from libc.string cimport memchr, memcmp
from fastmesh.core.wire.message cimport HDR_COOKIE, Field, Head


cdef const char* cookie_value(const Head* head, const char* name, size_t name_size, Py_ssize_t* size) noexcept nogil:
    cdef const Field* field
    cdef const char* found
    cdef int i
    for i in range(head.field_count):
        field = &head.fields[i]
        if field.id == HDR_COOKIE:
            found = _in_field(head.base + field.value.off, field.value.len, name, name_size, size)
            if found != NULL:
                return found
    size[0] = -1
    return NULL


cdef const char* _in_field(const char* text, size_t text_size, const char* name, size_t name_size, Py_ssize_t* size) noexcept nogil:
    cdef const char* at = text
    cdef const char* end = text + text_size
    cdef const char* stop
    while at < end:
        while at < end and (at[0] == c' ' or at[0] == c'\t'):
            at += 1
        stop = <const char*>memchr(at, c';', end - at)
        if stop == NULL:
            stop = end
        if <size_t>(stop - at) > name_size and at[name_size] == c'=' and memcmp(at, name, name_size) == 0:
            at += name_size + 1
            while stop > at and stop[-1] == c' ':
                stop -= 1
            if stop - at >= 2 and at[0] == c'"' and stop[-1] == c'"':
                at += 1
                stop -= 1
            size[0] = stop - at
            return at
        at = stop + 1
    return NULL
