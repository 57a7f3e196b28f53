"""Cookies of a request (RFC 6265 section 4.2): `a=1; b="2"`, in one field or, in HTTP/2, in several."""
from fastmesh.core.wire.message cimport Head

# The value of the first cookie of this name without its quotes, *size = -1 when there is none. Points into the head.
cdef const char* cookie_value(const Head* head, const char* name, size_t name_size, Py_ssize_t* size) noexcept nogil
