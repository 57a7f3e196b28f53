"""See trace.pxd."""
from libc.stdint cimport uint64_t
from fastmesh.core.base.rng cimport Rng, rng_next


cdef inline char _hex(uint64_t nibble) noexcept nogil:
    return <char>(c'0' + nibble if nibble < 10 else c'a' + nibble - 10)


cdef void make_request_id(Rng* rng, char* to) noexcept nogil:
    cdef uint64_t high = (rng_next(rng) & ~<uint64_t>0xf000) | 0x4000
    cdef uint64_t low = (rng_next(rng) & ~(<uint64_t>0xc << 60)) | (<uint64_t>0x8 << 60)
    cdef int i, at = 0
    for i in range(16):
        if i == 8 or i == 12:
            to[at] = c'-'
            at += 1
        to[at] = _hex(high >> (60 - 4 * i) & 15)
        at += 1
    for i in range(16):
        if i == 0 or i == 4:
            to[at] = c'-'
            at += 1
        to[at] = _hex(low >> (60 - 4 * i) & 15)
        at += 1


cdef bint fit_request_id(const char* text, size_t size) noexcept nogil:
    cdef size_t i
    cdef char c
    if size == 0 or size > 128:
        return False
    for i in range(size):
        c = text[i]
        if not (c'0' <= c <= c'9' or c'a' <= c <= c'z' or c'A' <= c <= c'Z' or c == c'-' or c == c'_' or c == c'.'
                or c == c':' or c == c'/' or c == c'+' or c == c'='):
            return False
    return True
