"""Uniform choice."""
from libc.stdint cimport uint32_t
from fastmesh.core.base.rng cimport Rng, rng_below

cdef inline size_t random_pick(Rng* rng, size_t count) noexcept nogil:
    return rng_below(rng, <uint32_t>count)
