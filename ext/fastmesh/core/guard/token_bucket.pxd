"""Token buckets in shared memory: exact for all workers together, without a lock.

The state is one 64-bit word, changed by compare-and-swap. Two sorts (`requests` tokens per `period`, at most `burst` kept):
- burst >= requests: refilled as a whole at every border of a period, counted from the bucket's first use (as Envoy's
  fill_interval does), so no window of one period that starts at a border passes more than `requests` once the burst is used up;
- burst < requests: refilled evenly, one token every period / requests.
Time is an argument, in nanoseconds of the monotonic clock.
"""
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.rng cimport Rng

cdef struct BucketRule:
    uint64_t requests
    uint64_t period           # ns
    uint64_t burst

cdef struct Bucket:           # the words of an ENTRY_BUCKET, zeroed at birth
    uint64_t epoch            # ns of the first use; 0 = never used
    uint64_t state

cdef enum:
    BUCKET_WORDS = 8
    SET_WAYS = 4

# True: a token was taken. False: none is left now.
cdef bint bucket_take(Bucket* bucket, const BucketRule* rule, uint64_t now) noexcept nogil

# Tokens that a request would find now, without taking one.
cdef uint64_t bucket_peek(const Bucket* bucket, const BucketRule* rule, uint64_t now) noexcept nogil

# ns until the bucket has more tokens than now: to the next border, or the next token where they come evenly.
cdef uint64_t bucket_wait(const Bucket* bucket, const BucketRule* rule, uint64_t now) noexcept nogil

# A bounded table of buckets, `sets` x SET_WAYS of (tag, epoch, state) words: the bucket of a key; a full set gives up its bucket
# that was used the longest ago (*evicted is set when that one was still in use).
cdef Bucket* bucket_of_key(uint64_t* words, uint64_t sets, uint64_t key, uint64_t now, bint* evicted) noexcept nogil
