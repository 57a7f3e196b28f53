"""Failures turned into responses, one row per kind: status, flag, response_code_details and body as Envoy gives them."""
from libc.stdint cimport uint16_t, uint32_t

cdef struct Rescue:
    uint16_t status
    uint32_t flag
    const char* details
    const char* body

cdef Rescue rescue(int failure) noexcept nogil
