"""What is known of an endpoint's health: the verdict of active checks, and the share of what was asked of it that went well.

The verdict lies in two high bits of OUT_EJECTED_UNTIL, beside the end of an ejection: whoever picks an endpoint looks at one word, and
`outlier_is_out` is true for an ejected endpoint, for one that failed its checks, and for one that was not checked yet.

The rest is an entry of its own, ENTRY_HEALTH, of endpoints that somebody wants this of. Time is an argument: ms of the monotonic clock.
"""
from libc.stdint cimport uint32_t, uint64_t

cdef enum HealthChange:
    HEALTH_SAME = 0
    HEALTH_UP = 1
    HEALTH_DOWN = 2

cdef struct HealthThresholds:
    uint32_t healthy          # passes in a row that bring a failed endpoint back
    uint32_t unhealthy        # failures in a row that take it out

# `cell`: OutlierWord words, `health`: HealthWord words
cdef void health_begin(uint64_t* cell, uint64_t* health) noexcept nogil       # checks are meant for it: out until one has passed
cdef void health_forget(uint64_t* cell) noexcept nogil                        # nobody checks it any more
cdef bint health_failed(const uint64_t* cell) noexcept nogil
cdef bint health_pending(const uint64_t* cell) noexcept nogil
# One result; a first one decides at once. A HealthChange
cdef int health_result(uint64_t* cell, uint64_t* health, const HealthThresholds* rule, bint passed, bint network,
                       uint64_t now) noexcept nogil

# p = passed / observed over a window in which the past counts half after each `half_life` (ms). One word, one compare-and-swap:
# 16 bits of time, 24 of what was observed, 24 of what failed, both in sixteenths.
cdef void chance_note(uint64_t* word, bint passed, uint64_t now, uint32_t half_life) noexcept nogil
# In millionths, and how much was observed (in sixteenths); 1000000 when nothing was
cdef uint32_t chance_of(uint64_t word, uint64_t now, uint32_t half_life, uint32_t* observed) noexcept nogil
