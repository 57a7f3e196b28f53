"""Which virtual host answers for a name: exact names by hash, then wildcards by their longest suffix. Same price for one host
and for ten thousand."""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from fastmesh.core.route.rule cimport VirtualHost

cdef struct Place:
    uint64_t hash
    const char* name
    uint32_t size
    uint32_t port
    void* vhost               # borrowed; NULL = free place

cdef class HostTable:
    cdef Place* exact
    cdef Place* wildcard
    cdef size_t exact_room    # powers of two
    cdef size_t wildcard_room
    cdef list suffix_sizes    # lengths of the wildcard suffixes, longest first
    cdef list kept            # owns the names and the virtual hosts
    cdef int add(self, str domain, uint32_t port, VirtualHost vhost) except -1       # of equal ones the first wins
    # `name` in lower case, without port and trailing dot. None when nothing matches.
    cdef VirtualHost find(self, const char* name, size_t size, uint32_t port)

cdef HostTable make_host_table(size_t room)      # for at most `room` names
