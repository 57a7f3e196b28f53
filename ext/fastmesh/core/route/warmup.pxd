"""Slow start: an endpoint that is new is worth a part of its weight, which grows until its warm-up is over. As Envoy counts it.

Time is an argument, in milliseconds of the monotonic clock. When an endpoint was born stands in the arena, so that no worker and no
reload begins anew.
"""
from libc.stdint cimport uint64_t

cdef struct WarmupRule:
    uint64_t duration         # ms; 0 = no warm-up
    double least              # the part it starts with
    double bend               # 1 / aggression: 1 grows evenly, a larger aggression faster at first

cdef double warmth(const WarmupRule* rule, uint64_t born, uint64_t now) noexcept nogil      # above 0, to 1
