"""See breaker.pxd."""
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.atomics cimport fm_add, fm_cas, fm_load, fm_store
from fastmesh.core.base.counters cimport (
    BR_CLOSED, BR_LOOKED_AT, BR_OPENED, BR_OPEN_UNTIL, BR_PASSED, BR_PROBES, BR_PROBE_AT, BR_REFUSED,
)

cdef enum:
    LOOKS = 1000              # to a half-life


cdef int breaker_state(const uint64_t* words, uint64_t now) noexcept nogil:
    cdef uint64_t until = fm_load(&words[BR_OPEN_UNTIL])
    if until == 0:
        return BREAKER_CLOSED
    return BREAKER_OPEN if until > now else BREAKER_HALF_OPEN


cdef bint breaker_admit(uint64_t* words, const BreakerRule* rule, uint64_t now, bint* probe) noexcept nogil:
    cdef uint64_t until = fm_load(&words[BR_OPEN_UNTIL])
    cdef uint64_t before
    probe[0] = False
    if until == 0:
        return True                       # the likely case
    if until <= now:
        before = fm_load(&words[BR_PROBE_AT])
        if (before == 0 or before + rule.probe_patience < now) and fm_cas(&words[BR_PROBE_AT], before, now):
            probe[0] = True
            fm_add(&words[BR_PROBES], 1)
            return True
    fm_add(&words[BR_REFUSED], 1)
    return False


cdef bint breaker_due(uint64_t* words, const BreakerRule* rule, uint64_t now) noexcept nogil:
    cdef uint64_t before = fm_load(&words[BR_LOOKED_AT])
    if fm_load(&words[BR_OPEN_UNTIL]) != 0 or now < before + rule.half_life // LOOKS:
        return False
    return fm_cas(&words[BR_LOOKED_AT], before, now)


cdef bint breaker_judge(uint64_t* words, const BreakerRule* rule, uint64_t mean, uint64_t observed, uint64_t now) noexcept nogil:
    if observed < rule.min_requests or mean < rule.threshold:
        return False
    if not fm_cas(&words[BR_OPEN_UNTIL], 0, now + rule.open_for):
        return False
    fm_store(&words[BR_PROBE_AT], 0)
    fm_store(&words[BR_PASSED], 0)
    fm_add(&words[BR_OPENED], 1)
    return True


cdef void breaker_let_go(uint64_t* words) noexcept nogil:
    fm_store(&words[BR_PROBE_AT], 0)


cdef int breaker_probed(uint64_t* words, const BreakerRule* rule, bint passed, uint64_t now) noexcept nogil:
    cdef uint64_t until = fm_load(&words[BR_OPEN_UNTIL])
    if until == 0 or until > now:
        return 0                          # another one decided meanwhile
    if not passed:
        fm_store(&words[BR_PASSED], 0)
        fm_store(&words[BR_PROBE_AT], 0)
        if not fm_cas(&words[BR_OPEN_UNTIL], until, now + rule.open_for):
            return 0
        fm_add(&words[BR_OPENED], 1)
        return -1
    if fm_add(&words[BR_PASSED], 1) + 1 < rule.probes:
        fm_store(&words[BR_PROBE_AT], 0)
        return 0
    if not fm_cas(&words[BR_OPEN_UNTIL], until, 0):
        return 0
    fm_store(&words[BR_PASSED], 0)
    fm_store(&words[BR_PROBE_AT], 0)
    fm_add(&words[BR_CLOSED], 1)
    return 1
