"""Tables of consistent hashing: a hash leads to a place, a place belongs to an endpoint. See ring_hash and maglev, which fill them.

A table depends on the addresses and weights alone, so all workers and every reload have the same one. When the owner of a place is
ejected, the caller goes on to the next place: only the requests of that endpoint move, and they come back when it does.
"""
from libc.stdint cimport uint16_t, uint64_t
from fastmesh.core.base.rng cimport Rng

cdef class HashTable:
    cdef readonly uint64_t count      # of places; 0: there is nobody
    cdef uint16_t* owners             # a place's endpoint: its number in `Tier.endpoints`
    cdef readonly bint built
    cdef list names                   # bytes of each endpoint, "10.0.0.1:80", in the order in which they are dealt with
    cdef list numbers                 # of those endpoints
    cdef list shares                  # of the whole; they sum to 1
    cdef uint64_t place(self, uint64_t hash) noexcept
    # Build for as long as the clock of `now_ns` is before `until` (0 = to the end); True when it is complete.
    cdef bint build(self, uint64_t until) except -1
    cdef _take(self, list endpoints, list weights)

cdef enum:
    HASHED_MAX = 65535                # endpoints in one table: `owners` has 16 bits for each place
    AT_ONCE = 4096                    # places that are made between two looks at the clock
