"""Round robin over the position that all workers share, so that N workers deal endpoints out like one."""
from libc.stdint cimport uint64_t
from fastmesh.core.base.atomics cimport fm_add

cdef inline size_t round_robin(uint64_t* ring, size_t count) noexcept nogil:
    return <size_t>(fm_add(ring, 1) % count)
