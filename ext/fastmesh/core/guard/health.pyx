"""See health.pxd."""
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.atomics cimport fm_add, fm_cas, fm_load, fm_store
from fastmesh.core.base.counters cimport (
    HC_ATTEMPT, HC_BEGUN, HC_CHECKED_AT, HC_FAILING, HC_FAILURE, HC_NETWORK_FAILURE, HC_PASSING, HC_SUCCESS,
    OUT_EJECTED_UNTIL,
)

cdef uint64_t FAILED = <uint64_t>1 << 63
cdef uint64_t PENDING = <uint64_t>1 << 62
cdef uint64_t COUNT = (1 << 24) - 1
cdef enum:
    ONE = 16                  # an observation; what is left of it after four half-lives still counts


cdef void _change(uint64_t* word, uint64_t clear, uint64_t set) noexcept nogil:
    cdef uint64_t was = fm_load(word)
    while was & clear != 0 or was & set != set:
        if fm_cas(word, was, (was & ~clear) | set):
            return
        was = fm_load(word)


cdef void health_begin(uint64_t* cell, uint64_t* health) noexcept nogil:
    if fm_load(&health[HC_BEGUN]) == 0 and fm_cas(&health[HC_BEGUN], 0, 1):
        _change(&cell[OUT_EJECTED_UNTIL], 0, PENDING)


cdef void health_forget(uint64_t* cell) noexcept nogil:
    _change(&cell[OUT_EJECTED_UNTIL], FAILED | PENDING, 0)


cdef bint health_failed(const uint64_t* cell) noexcept nogil:
    return fm_load(&cell[OUT_EJECTED_UNTIL]) & FAILED != 0


cdef bint health_pending(const uint64_t* cell) noexcept nogil:
    return fm_load(&cell[OUT_EJECTED_UNTIL]) & PENDING != 0


cdef int health_result(uint64_t* cell, uint64_t* health, const HealthThresholds* rule, bint passed, bint network,
                       uint64_t now) noexcept nogil:
    cdef bint first = health_pending(cell)
    fm_add(&health[HC_ATTEMPT], 1)
    fm_store(&health[HC_CHECKED_AT], now)
    if passed:
        fm_add(&health[HC_SUCCESS], 1)
        fm_store(&health[HC_FAILING], 0)
        if fm_add(&health[HC_PASSING], 1) + 1 < rule.healthy and not first:
            return HEALTH_SAME
        if not first and not health_failed(cell):
            return HEALTH_SAME
        _change(&cell[OUT_EJECTED_UNTIL], FAILED | PENDING, 0)
        return HEALTH_UP
    fm_add(&health[HC_FAILURE], 1)
    if network:
        fm_add(&health[HC_NETWORK_FAILURE], 1)
    fm_store(&health[HC_PASSING], 0)
    if fm_add(&health[HC_FAILING], 1) + 1 < rule.unhealthy and not first:
        return HEALTH_SAME
    if health_failed(cell):
        return HEALTH_SAME
    _change(&cell[OUT_EJECTED_UNTIL], PENDING, FAILED)
    return HEALTH_DOWN


cdef inline void _decayed(uint64_t word, uint64_t tick, uint64_t* observed, uint64_t* failed) noexcept nogil:
    cdef uint64_t past = (tick - (word >> 48)) & 0xffff
    observed[0] = word >> 24 & COUNT
    failed[0] = word & COUNT
    if past >= 0xff00:
        past = 0                          # another worker's clock reading was later
    if past > 24:
        past = 24
    observed[0] >>= past
    failed[0] >>= past


cdef void chance_note(uint64_t* word, bint passed, uint64_t now, uint32_t half_life) noexcept nogil:
    cdef uint64_t was, observed, failed
    cdef uint64_t tick = now // half_life
    while True:
        was = fm_load(word)
        _decayed(was, tick, &observed, &failed)
        if observed + ONE > COUNT:
            observed >>= 1
            failed >>= 1
        observed += ONE
        if not passed:
            failed += ONE
        if fm_cas(word, was, (tick & 0xffff) << 48 | observed << 24 | failed):
            return


cdef uint32_t chance_of(uint64_t word, uint64_t now, uint32_t half_life, uint32_t* observed) noexcept nogil:
    cdef uint64_t all, failed
    _decayed(word, now // half_life, &all, &failed)
    observed[0] = <uint32_t>all
    if all == 0:
        return 1000000
    return <uint32_t>(1000000 - failed * 1000000 // all)
