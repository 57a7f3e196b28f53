"""Which rules of a host may fit a path, in their order: a thousand rules cost what the few cost whose paths lead there.

A rule stands under the paths of its clauses, exact or as a prefix; one that has a clause for any path (no path, a suffix, a regex, any
case) is always a candidate. The index only leaves out rules that cannot fit; whether a candidate fits is asked as without it.
"""
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    INDEXED_FROM = 16         # rules of a host; fewer are simply walked
    SIZES_MAX = 32            # different sizes of prefixes that are looked up; a longer prefix stands under its beginning

cdef struct Slot:             # a path, and the rules under it
    uint64_t hash
    const char* path
    uint32_t size
    bint prefix
    uint32_t first            # in `numbers`
    uint32_t count            # 0 = a free place

cdef struct Run:              # numbers of rules that go up
    const uint32_t* at
    const uint32_t* end

cdef struct Walk:
    Run[34] runs              # SIZES_MAX, exact, always
    int count

cdef class PathIndex:
    cdef Slot* slots
    cdef size_t room          # a power of two
    cdef uint32_t* numbers
    cdef uint32_t always      # how many numbers at the beginning are of rules for any path
    cdef uint32_t[32] sizes   # of prefixes, going up
    cdef int size_count
    cdef list kept            # owns the paths
    cdef void begin(self, const char* path, size_t size, Walk* walk) noexcept nogil
    cdef const Slot* _probe(self, const char* path, size_t size, bint prefix) noexcept nogil

cdef Py_ssize_t next_rule(Walk* walk) noexcept nogil        # the next candidate, -1 = there is none
cdef PathIndex make_path_index(list rules)                  # of lists of Clause; None: it would not help
