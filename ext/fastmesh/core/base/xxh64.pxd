"""XXH64, the hash that Envoy's ring hash and Maglev use: a mesh of both kinds of proxies sends one user to one endpoint.

https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md; little-endian machines only, as everything here.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy

cdef enum:
    _STRIPE = 32

cdef inline uint64_t _prime(int which) noexcept nogil:
    if which == 1:
        return <uint64_t>0x9E3779B185EBCA87
    if which == 2:
        return <uint64_t>0xC2B2AE3D27D4EB4F
    if which == 3:
        return <uint64_t>0x165667B19E3779F9
    return <uint64_t>0x85EBCA77C2B2AE63 if which == 4 else <uint64_t>0x27D4EB2F165667C5

cdef inline uint64_t _turn(uint64_t x, int bits) noexcept nogil:
    return (x << bits) | (x >> (64 - bits))

cdef inline uint64_t _word(const char* at) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, at, 8)
    return value

cdef inline uint64_t _round(uint64_t lane, uint64_t input) noexcept nogil:
    return _turn(lane + input * _prime(2), 31) * _prime(1)

cdef inline uint64_t _merge(uint64_t hash, uint64_t lane) noexcept nogil:
    return (hash ^ _round(0, lane)) * _prime(1) + _prime(4)

cdef inline uint64_t _stripes(const char** at, const char* end, uint64_t seed) noexcept nogil:
    cdef uint64_t[4] lanes
    cdef uint64_t hash
    cdef int i
    lanes[0] = seed + _prime(1) + _prime(2)
    lanes[1] = seed + _prime(2)
    lanes[2] = seed
    lanes[3] = seed - _prime(1)
    while end - at[0] >= _STRIPE:
        for i in range(4):
            lanes[i] = _round(lanes[i], _word(at[0] + 8 * i))
        at[0] += _STRIPE
    hash = _turn(lanes[0], 1) + _turn(lanes[1], 7) + _turn(lanes[2], 12) + _turn(lanes[3], 18)
    for i in range(4):
        hash = _merge(hash, lanes[i])
    return hash

cdef inline uint64_t xxh64(const char* data, size_t size, uint64_t seed) noexcept nogil:
    cdef const char* at = data
    cdef const char* end = data + size
    cdef uint64_t hash
    cdef uint32_t half
    hash = _stripes(&at, end, seed) if size >= _STRIPE else seed + _prime(5)
    hash += size
    while end - at >= 8:
        hash = _turn(hash ^ _round(0, _word(at)), 27) * _prime(1) + _prime(4)
        at += 8
    if end - at >= 4:
        memcpy(&half, at, 4)
        hash = _turn(hash ^ (half * _prime(1)), 23) * _prime(2) + _prime(3)
        at += 4
    while at < end:
        hash = _turn(hash ^ (<uint8_t>at[0] * _prime(5)), 11) * _prime(1)
        at += 1
    hash = (hash ^ (hash >> 33)) * _prime(2)
    hash = (hash ^ (hash >> 29)) * _prime(3)
    return hash ^ (hash >> 32)
