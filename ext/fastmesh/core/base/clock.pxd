"""Time. Durations use the monotonic clock, so that a jump of the wall clock never fires a time-out."""
from libc.stdint cimport uint64_t

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* out)
    int CLOCK_MONOTONIC
    int CLOCK_REALTIME

cdef inline uint64_t now_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t>t.tv_sec * 1000000000 + <uint64_t>t.tv_nsec

cdef inline uint64_t now_ms() noexcept nogil:
    return now_ns() // 1000000

cdef inline uint64_t wall_us() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_REALTIME, &t)
    return <uint64_t>t.tv_sec * 1000000 + <uint64_t>t.tv_nsec // 1000
