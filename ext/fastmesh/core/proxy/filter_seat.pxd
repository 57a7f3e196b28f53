"""What the exchange knows of filters that run for its request: an object that may take the request's body, and hold its end back."""
from fastmesh.core.wire.message cimport Head

cdef class FilterSeat:
    cdef bint takes_piece(self, const char* data, size_t size)   # False: the exchange goes on with these bytes as if there were no filter
    cdef bint takes_end(self, const Head* trailers)
    cdef bint is_full(self)           # so much waits for a hook that the client is not to be read
    cdef bint holds_end(self)         # hooks have not seen all of the response: the account waits, `_finish` is called again
    cdef void leave(self)             # the exchange ends: nothing that hooks still do matters
