"""See maglev.pxd."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint16_t, uint64_t
from libc.stdlib cimport calloc, free
from fastmesh.core.base.clock cimport now_ns
from fastmesh.core.base.xxh64 cimport xxh64
from fastmesh.core.route.hash_table cimport AT_ONCE, HashTable


cdef Maglev make_maglev(list endpoints, list weights, uint64_t size):
    cdef Maglev table = Maglev.__new__(Maglev)
    table._take(endpoints, weights)
    table.count = size if endpoints else 0
    return table


cdef class Maglev(HashTable):
    def __dealloc__(self):
        self._forget()

    cdef void _forget(self) noexcept:
        free(self._offsets)
        free(self._skips)
        free(self._nexts)
        free(self._targets)
        free(self._shares)
        free(self._taken)
        self._offsets = self._skips = self._nexts = NULL
        self._targets = self._shares = NULL
        self._taken = NULL

    cdef uint64_t place(self, uint64_t hash) noexcept:
        return hash % self.count

    cdef bint build(self, uint64_t until) except -1:
        if self.built:
            return True
        if self.owners == NULL:
            self._begin()
        while self._filled < self.count:
            self._fill(AT_ONCE)
            if until and now_ns() >= until:
                break
        if self._filled == self.count:
            self.built = True
            self._forget()
        return self.built

    cdef int _begin(self) except -1:
        cdef size_t i, total = len(self.names)
        cdef bytes name
        self.owners = <uint16_t*>calloc(self.count, sizeof(uint16_t))
        self._taken = <char*>calloc(self.count, 1)
        self._offsets = <uint64_t*>calloc(total, sizeof(uint64_t))
        self._skips = <uint64_t*>calloc(total, sizeof(uint64_t))
        self._nexts = <uint64_t*>calloc(total, sizeof(uint64_t))
        self._targets = <double*>calloc(total, sizeof(double))
        self._shares = <double*>calloc(total, sizeof(double))
        if self.owners == NULL or self._taken == NULL or self._offsets == NULL or self._skips == NULL or self._nexts == NULL \
                or self._targets == NULL or self._shares == NULL:
            raise MemoryError()
        for i in range(total):
            name = self.names[i]
            self._offsets[i] = xxh64(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), 0) % self.count
            self._skips[i] = xxh64(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), 1) % (self.count - 1) + 1 if self.count > 1 else 0
            self._shares[i] = self.shares[i]
        self._largest = max(self.shares)
        self._round = 1
        return 0

    cdef void _fill(self, uint64_t some) noexcept:
        """One endpoint after the other takes its next free place; the lighter ones miss rounds."""
        cdef uint64_t at
        cdef size_t total = len(self.names)
        cdef uint64_t end = min(self.count, self._filled + some)
        while self._filled < end:
            if self._turn == total:
                self._turn = 0
                self._round += 1
            if <double>self._round * self._shares[self._turn] >= self._targets[self._turn]:
                self._targets[self._turn] += self._largest
                at = (self._offsets[self._turn] + self._skips[self._turn] * self._nexts[self._turn]) % self.count
                while self._taken[at]:
                    self._nexts[self._turn] += 1
                    at = (self._offsets[self._turn] + self._skips[self._turn] * self._nexts[self._turn]) % self.count
                self._taken[at] = 1
                self.owners[at] = <uint16_t>(<int>self.numbers[self._turn])
                self._nexts[self._turn] += 1
                self._filled += 1
            self._turn += 1
