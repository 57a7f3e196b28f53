"""Ring hash (Ketama): each endpoint owns many points of a circle, a hash belongs to the next point. As Envoy places them.

The circle is cut into as many pieces as it has points, so a look-up reads one piece and a point or two: no search.
"""
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.route.hash_table cimport HashTable

cdef class Ring(HashTable):
    cdef uint64_t* points             # sorted
    cdef uint32_t* pieces             # the first point at or behind the start of each piece of the circle, and one more
    cdef int shift                    # a hash belongs to piece hash >> shift
    cdef uint64_t least               # points asked for
    cdef list _counts                 # points of each endpoint
    cdef int _pass                    # 0 count them, 1 put them in their pieces, 2 sort the pieces
    cdef Py_ssize_t _name             # how far the pass has come: the endpoint,
    cdef uint64_t _point              # and its point
    cdef int _begin(self) except -1
    cdef int _step(self) except -1
    cdef int _end_of_pass(self) except -1
    cdef int _sort(self) except -1

cdef Ring make_ring(list endpoints, list weights, uint64_t least)
