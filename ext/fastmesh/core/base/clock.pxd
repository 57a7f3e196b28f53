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

# The earlier of two times, where 0 = never; the second only if it counts.
cdef inline uint64_t sooner(uint64_t one, uint64_t other, uint64_t counts) noexcept nogil:
    if not counts or other == 0:
        return one
    return other if one == 0 or other < one else one
