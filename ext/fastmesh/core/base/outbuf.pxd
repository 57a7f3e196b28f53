"""Bytes on their way out: appended during an event, sent with one system call at its end, kept only while the kernel is full."""
from libc.stdint cimport uint32_t, uint64_t

cdef struct OutBuf:
    char* data                # malloc, NULL while nothing waits
    size_t start              # first byte not yet sent
    size_t end
    size_t room

cdef inline size_t out_size(const OutBuf* out) noexcept nogil:
    return out.end - out.start

cdef char* out_reserve(OutBuf* out, size_t size) noexcept nogil          # room for `size` more bytes at data+end; NULL: no memory
cdef int out_append(OutBuf* out, const char* data, size_t size) noexcept nogil   # 0, or -1: no memory
cdef void out_consume(OutBuf* out, size_t size) noexcept nogil           # the first `size` bytes were sent
cdef void out_free(OutBuf* out) noexcept nogil
