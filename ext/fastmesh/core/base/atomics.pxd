"""C11 atomics on shared memory, and the hash that keys it."""
from libc.stdint cimport uint64_t

cdef extern from * nogil:
    """
    #include <stdint.h>
    #include <string.h>
    static inline uint64_t fm_load(const uint64_t* p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void fm_store(uint64_t* p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
    static inline uint64_t fm_add(uint64_t* p, uint64_t v) { return __atomic_fetch_add(p, v, __ATOMIC_ACQ_REL); }
    static inline int fm_cas(uint64_t* p, uint64_t want, uint64_t set) {
        return __atomic_compare_exchange_n(p, &want, set, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    }
    /* A counter with one writer: readers in other processes may see it a moment late, never torn. */
    static inline void fm_bump(uint64_t* p, uint64_t v) {
        __atomic_store_n(p, __atomic_load_n(p, __ATOMIC_RELAXED) + v, __ATOMIC_RELAXED);
    }
    static inline uint64_t fm_hash(const char* data, size_t size, uint64_t seed) {
        uint64_t h = seed ^ (size * 0x9E3779B97F4A7C15ull), w;
        while (size >= 8) {
            memcpy(&w, data, 8);
            h = (h ^ w) * 0xff51afd7ed558ccdull;
            h ^= h >> 32;
            data += 8; size -= 8;
        }
        w = 0;
        memcpy(&w, data, size);
        h = (h ^ w) * 0xff51afd7ed558ccdull;
        h ^= h >> 29;
        h *= 0xc4ceb9fe1a85ec53ull;
        h ^= h >> 32;
        return h;
    }
    """
    uint64_t fm_load(const uint64_t* p)
    void fm_store(uint64_t* p, uint64_t v)
    uint64_t fm_add(uint64_t* p, uint64_t v)
    bint fm_cas(uint64_t* p, uint64_t want, uint64_t set)
    void fm_bump(uint64_t* p, uint64_t v)
    uint64_t fm_hash(const char* data, size_t size, uint64_t seed)
