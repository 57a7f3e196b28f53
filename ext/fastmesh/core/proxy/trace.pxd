"""x-request-id: made when missing or not fit to be passed on."""
from libc.stdint cimport uint64_t
from fastmesh.core.base.rng cimport Rng

cdef void make_request_id(Rng* rng, char* to) noexcept nogil              # a random UUID, 36 characters
cdef bint fit_request_id(const char* text, size_t size) noexcept nogil    # short and of harmless characters
