"""Heads as they go on to the other side: hop-by-hop fields left out, the proxy's own added, the rule's operations applied."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastmesh.core.proxy.transit cimport Transit
from fastmesh.core.wire.h1_write cimport HeadOut
from fastmesh.core.wire.message cimport Head

cdef struct RelayText:        # room for values that are made up while a head is written
    char[512] forwarded_for
    char[24] number
    char[24] attempt
    char[12] timeout
    char[64] limit

cdef void request_out(Transit t, HeadOut* out, RelayText* text)
cdef void response_out(Transit t, const Head* head, HeadOut* out, RelayText* text)
cdef void limit_out(Transit t, HeadOut* out, char* numbers)     # x-ratelimit-*; 64 bytes of room
cdef void apply_ops(Transit t, list levels, HeadOut* out)
cdef bint said_again(const HeadOut* out, const char* name, uint32_t size) noexcept nogil     # a field of that name is there
