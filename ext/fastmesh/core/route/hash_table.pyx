"""See hash_table.pxd."""
from libc.stdint cimport uint64_t
from libc.stdlib cimport free
from fastmesh.core.route.endpoint cimport Endpoint


cdef class HashTable:
    def __dealloc__(self):
        free(self.owners)

    cdef uint64_t place(self, uint64_t hash) noexcept:
        return 0

    cdef bint build(self, uint64_t until) except -1:
        return True

    cdef _take(self, list endpoints, list weights):
        """In the order of the addresses, so that the order in which somebody lists them means nothing."""
        cdef Endpoint endpoint
        if len(endpoints) > HASHED_MAX:
            raise ValueError(f"{len(endpoints)} endpoints in a table of consistent hashing, which has room for {HASHED_MAX}")
        order = sorted(range(len(endpoints)), key=[(<Endpoint>each).text for each in endpoints].__getitem__)
        total = sum([weights[i] for i in order])
        self.names = [(<Endpoint>endpoints[i]).text for i in order]
        self.numbers = order
        self.shares = [weights[i] / total for i in order]
        self.built = not order
