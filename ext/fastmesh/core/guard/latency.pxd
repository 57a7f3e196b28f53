"""Whether an endpoint is slow, window by window: against a bound, or against what its peers take.

What counts is a percentile of a window, the median unless somebody asks for another one. A mean (EWMA) would be moved by a single
answer that took a hundred times as long, as garbage collection and cold caches make them, and forget half of what it knew by a time
that has nothing to do with how much was seen. A window that has too few samples goes on. `words`: LatencyWord words and a histogram.
"""
from libc.stdint cimport uint32_t, uint64_t

cdef struct LatencyRule:
    uint64_t above            # us; 0 = no such bound
    double times              # of what its peers take; 0 = they are not looked at
    uint64_t least            # us: who is as fast as that is not slow, whatever its peers take
    uint32_t percentile
    uint32_t samples          # of a window, at least
    uint32_t windows          # in a row that are too slow
    uint64_t interval         # ms: of a window, at least

cdef void latency_note(uint64_t* words, uint64_t us) noexcept nogil
cdef bint latency_due(uint64_t* judged_at, const LatencyRule* rule, uint64_t now) noexcept nogil      # True to one: it judges now
# What the window says, in us, and LT_TOOK from here on; the next one begins. 0: too few samples, it goes on
cdef uint64_t latency_take(uint64_t* words, const LatencyRule* rule) noexcept nogil
cdef uint64_t latency_bound(const LatencyRule* rule, uint64_t peers) noexcept nogil      # us; `peers` 0: nobody knows. 0: there is none
cdef bint latency_judge(uint64_t* words, const LatencyRule* rule, uint64_t took, uint64_t bound) noexcept nogil    # True: for long enough
