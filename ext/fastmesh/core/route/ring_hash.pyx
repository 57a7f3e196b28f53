"""See ring_hash.pxd."""
from math import ceil

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy
from fastmesh.core.base.clock cimport now_ns
from fastmesh.core.base.xxh64 cimport xxh64
from fastmesh.core.route.hash_table cimport AT_ONCE, HashTable
from fastmesh.core.wire.h1_write cimport write_number

cdef uint64_t MOST = 8 << 20          # Envoy's largest ring


cdef Ring make_ring(list endpoints, list weights, uint64_t least):
    cdef Ring ring = Ring.__new__(Ring)
    ring.least = least
    ring._take(endpoints, weights)
    return ring


cdef class Ring(HashTable):
    def __dealloc__(self):
        free(self.points)
        free(self.pieces)

    cdef uint64_t place(self, uint64_t hash) noexcept:
        cdef uint64_t at = self.pieces[hash >> self.shift]
        while at < self.count and self.points[at] < hash:
            at += 1
        return at if at < self.count else 0

    cdef bint build(self, uint64_t until) except -1:
        if self.built:
            return True
        if self._counts is None:
            self._begin()
        while not self.built:
            self._step()
            if until and now_ns() >= until:
                break
        return self.built

    cdef int _begin(self) except -1:
        """The lightest endpoint gets a whole number of points, at least `least` in all; the others by their weight."""
        cdef double scale, wanted = 0, made = 0
        cdef int bits = 1
        lightest = min(self.shares)
        scale = min(ceil(lightest * self.least) / lightest, <double>MOST)
        self._counts = []
        for share in self.shares:
            wanted += scale * share
            points = max(0, ceil(wanted - made - 1e-9))
            self._counts.append(points)
            made += points
        self.count = <uint64_t>made
        while (<uint64_t>1 << bits) < self.count:
            bits += 1
        self.shift = 64 - bits
        self.owners = <uint16_t*>malloc(self.count * sizeof(uint16_t))
        self.points = <uint64_t*>malloc(self.count * sizeof(uint64_t))
        self.pieces = <uint32_t*>calloc((<size_t>1 << bits) + 2, sizeof(uint32_t))
        if self.owners == NULL or self.points == NULL or self.pieces == NULL:
            raise MemoryError()
        return 0

    cdef int _step(self) except -1:
        """Up to AT_ONCE points of one endpoint; the end of a pass, when there is none left."""
        cdef bytes name
        cdef char[160] text
        cdef size_t size
        cdef uint64_t hash, end
        cdef uint32_t at, piece
        if self._pass == 2:
            return self._sort()
        if self._name == len(self.names):
            return self._end_of_pass()
        name = self.names[self._name]
        size = PyBytes_GET_SIZE(name)
        memcpy(text, PyBytes_AS_STRING(name), size)
        text[size] = c'_'
        end = min(<uint64_t>self._counts[self._name], self._point + AT_ONCE)
        while self._point < end:
            hash = xxh64(text, size + 1 + write_number(text + size + 1, self._point), 0)
            piece = <uint32_t>(hash >> self.shift)
            self._point += 1
            if self._pass == 0:
                self.pieces[piece + 2] += 1
                continue
            at = self.pieces[piece + 1]
            self.pieces[piece + 1] += 1
            self.points[at], self.owners[at] = hash, self.numbers[self._name]
        if self._point == <uint64_t>self._counts[self._name]:
            self._name += 1
            self._point = 0
        return 0

    cdef int _end_of_pass(self) except -1:
        cdef uint64_t i
        if self._pass == 0:
            # pieces[i + 1] becomes where piece i starts; the second pass moves it to the piece's end, which is the start of i + 1
            for i in range((<uint64_t>1 << (64 - self.shift)) + 1):
                self.pieces[i + 1] += self.pieces[i]
            self._name = 0
        self._pass += 1
        return 0

    cdef int _sort(self) except -1:
        """The points of each piece, one or two, by insertion: no point leaves its piece."""
        cdef uint64_t end = min(self.count, self._point + AT_ONCE)
        cdef uint64_t at, hash
        cdef uint16_t owner
        while self._point < end:
            at = self._point
            hash, owner = self.points[at], self.owners[at]
            while at > 0 and self.points[at - 1] > hash:
                self.points[at], self.owners[at] = self.points[at - 1], self.owners[at - 1]
                at -= 1
            self.points[at], self.owners[at] = hash, owner
            self._point += 1
        self.built = self._point == self.count
        return 0
