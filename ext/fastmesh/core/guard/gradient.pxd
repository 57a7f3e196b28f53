"""How many requests at a time a service can take, found from how long they take (Envoy's adaptive concurrency, a gradient controller).

Now and then the limit goes down to `min_concurrency` for `min_requests` requests: what they take is the time without a queue, min RTT.
In between, every `interval`, the limit is multiplied by (min RTT + buffer) / (what requests took in that interval), within 0.5 and 2, and
the square root of it is added, so that it grows while nothing waits. State is words of the arena; everything happens in the call of
whoever ends a request: there is no timer. `words`: GuardWord words. Time is an argument, in us of the monotonic clock, and so is chance.
"""
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    RTT_SUB = 16              # buckets to a doubling: a bucket is at most 6 % wide
    RTT_OCTAVES = 22          # 64 us to 268 s
    RTT_BUCKETS = 352         # words behind the GuardWord ones


cdef struct GradientRule:
    uint32_t min_concurrency
    uint32_t max_concurrency
    uint32_t min_requests     # samples of one measurement of min RTT
    uint32_t percentile       # of the samples
    uint32_t buffer_percent   # of min RTT, that requests may take longer
    uint32_t jitter_percent   # of the time between two measurements
    uint64_t interval         # us between updates of the limit
    uint64_t measure_interval # us between measurements

cdef int rtt_bucket(uint64_t us) noexcept nogil
cdef uint64_t rtt_value(int bucket) noexcept nogil            # the middle of a bucket, in us
# The limit of this moment. `chance`: 0 to 99
cdef uint64_t gradient_limit(uint64_t* words, const GradientRule* rule, uint64_t now, uint32_t chance) noexcept nogil
# A request that began at `began` has been answered
cdef void gradient_sample(uint64_t* words, const GradientRule* rule, uint64_t began, uint64_t now, uint32_t chance) noexcept nogil
