"""Chance as an argument: xoshiro256++ with its state in the caller's hands, seeded for tests."""
from libc.stdint cimport uint32_t, uint64_t

cdef struct Rng:
    uint64_t s0
    uint64_t s1
    uint64_t s2
    uint64_t s3

cdef inline uint64_t _rotl(uint64_t x, int k) noexcept nogil:
    return (x << k) | (x >> (64 - k))

cdef inline uint64_t rng_next(Rng* r) noexcept nogil:
    cdef uint64_t result = _rotl(r.s0 + r.s3, 23) + r.s0
    cdef uint64_t t = r.s1 << 17
    r.s2 ^= r.s0
    r.s3 ^= r.s1
    r.s1 ^= r.s2
    r.s0 ^= r.s3
    r.s2 ^= t
    r.s3 = _rotl(r.s3, 45)
    return result

# Uniform in [0, bound); the bias of the multiplication is below 2**-32 for the bounds used here.
cdef inline uint32_t rng_below(Rng* r, uint32_t bound) noexcept nogil:
    return <uint32_t>(((rng_next(r) >> 32) * <uint64_t>bound) >> 32)

cdef inline void rng_seed(Rng* r, uint64_t seed) noexcept nogil:
    # splitmix64, as the generator's authors advise
    cdef uint64_t z
    cdef uint64_t* word = &r.s0
    cdef int i
    for i in range(4):
        seed += <uint64_t>0x9E3779B97F4A7C15
        z = seed
        z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
        z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
        word[i] = z ^ (z >> 31)
