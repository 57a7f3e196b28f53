"""See filter_seat.pxd: the bodies are in filter."""
from fastmesh.core.wire.message cimport Head


cdef class FilterSeat:
    cdef bint takes_piece(self, const char* data, size_t size): return False
    cdef bint takes_end(self, const Head* trailers): return False
    cdef bint is_full(self): return False
    cdef bint holds_end(self): return False
    cdef void leave(self): pass
