"""See trace.pxd."""
from libc.stdint cimport uint64_t
from libc.string cimport memcpy
from fastmesh.core.base.rng cimport Rng, rng_next


cdef extern from * nogil:
    """
    #include <stdint.h>
    #include <string.h>
    /* Sixteen hex digits of a number at once: nibbles are spread to bytes, then '0' or 'a' - 10 is added to each. */
    static inline uint64_t fm_hex8(uint32_t value) {
        uint64_t x = value;
        x = ((x & 0xffff0000ull) << 16) | (x & 0xffffull);
        x = ((x & 0x0000ff000000ff00ull) << 8) | (x & 0x000000ff000000ffull);
        x = ((x & 0x00f000f000f000f0ull) << 4) | (x & 0x000f000f000f000full);
        uint64_t letters = ((x + 0x0606060606060606ull) >> 4) & 0x0101010101010101ull;
        x = x + 0x3030303030303030ull + letters * 39;
        return __builtin_bswap64(x);
    }
    static inline void fm_hex(char* to, uint64_t value) {
        uint64_t high = fm_hex8((uint32_t)(value >> 32)), low = fm_hex8((uint32_t)value);
        memcpy(to, &high, 8);
        memcpy(to + 8, &low, 8);
    }
    """
    void fm_hex(char* to, uint64_t value)


cdef void make_request_id(Rng* rng, char* to) noexcept nogil:
    cdef char[16] high
    cdef char[16] low
    fm_hex(high, (rng_next(rng) & ~<uint64_t>0xf000) | 0x4000)
    fm_hex(low, (rng_next(rng) & ~(<uint64_t>0xc << 60)) | (<uint64_t>0x8 << 60))
    memcpy(to, high, 8)
    memcpy(to + 9, high + 8, 4)
    memcpy(to + 14, high + 12, 4)
    memcpy(to + 19, low, 4)
    memcpy(to + 24, low + 4, 12)
    to[8] = to[13] = to[18] = to[23] = c'-'


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
