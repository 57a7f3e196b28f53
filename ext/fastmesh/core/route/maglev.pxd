"""Maglev: each endpoint fills places of a table in an order of its own, by turns, until the table is full. As Envoy fills it.

https://static.googleusercontent.com/media/research.google.com/en//pubs/archive/44824.pdf (section 3.4)
"""
from libc.stdint cimport uint64_t
from fastmesh.core.route.hash_table cimport HashTable

cdef class Maglev(HashTable):
    cdef uint64_t* _offsets           # of each endpoint's order: offset, offset + skip, ...
    cdef uint64_t* _skips
    cdef uint64_t* _nexts             # how far each has come in it
    cdef double* _targets             # whose turn it is: an endpoint waits until the rounds reach its target
    cdef double* _shares
    cdef double _largest
    cdef uint64_t _filled
    cdef uint64_t _round
    cdef size_t _turn
    cdef char* _taken
    cdef int _begin(self) except -1
    cdef void _fill(self, uint64_t some) noexcept
    cdef void _forget(self) noexcept

cdef Maglev make_maglev(list endpoints, list weights, uint64_t size)
