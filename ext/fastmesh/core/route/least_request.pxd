"""Power of two choices: of two endpoints drawn by chance (heavier ones more often), the one with fewer active requests in all workers."""
from libc.stdint cimport uint64_t
from fastmesh.core.base.arena cimport sum_rows
from fastmesh.core.base.counters cimport ENDPOINT_ROW, EP_RQ_ACTIVE
from fastmesh.core.route.endpoint cimport Endpoint

cdef inline bint less_loaded(Endpoint a, Endpoint b, int slots) noexcept:
    """Whether `a` is the better choice; heavier endpoints carry more. Equal loads leave it to chance, which has weighed already."""
    cdef uint64_t x = sum_rows(a.rows + EP_RQ_ACTIVE, ENDPOINT_ROW, slots)
    cdef uint64_t y = sum_rows(b.rows + EP_RQ_ACTIVE, ENDPOINT_ROW, slots)
    return x * b.weight <= y * a.weight
