"""See outlier.pxd."""
from libc.stdint cimport uint64_t
from fastmesh.core.base.atomics cimport fm_add, fm_cas, fm_load, fm_store
from fastmesh.core.base.counters cimport (
    OUT_CONSECUTIVE_5XX, OUT_CONSECUTIVE_GATEWAY, OUT_CONSECUTIVE_LOCAL, OUT_EJECTED_AT, OUT_EJECTED_UNTIL,
    OUT_EJECTIONS, OUT_EJECT_COUNT,
)
from fastmesh.core.guard.trial cimport ON_TRIAL

cdef uint64_t TIME = ((<uint64_t>1 << 62) - 1)     # of OUT_EJECTED_UNTIL; above it lies the verdict of checks
cdef uint64_t LONGEST = 300_000      # ms: an ejection lasts at most this, or the base when that is longer


cdef bint outlier_is_error(const OutlierRule* rule, int status) noexcept nogil:
    cdef int i
    if rule.code_count == 0:
        return status >= 500
    for i in range(rule.code_count):
        if rule.codes[i] == status:
            return True
    return False


cdef inline bint _count(uint64_t* word, uint64_t threshold) noexcept nogil:
    """One more in a row; True when the threshold is reached."""
    cdef uint64_t count = fm_add(word, 1) + 1
    if threshold == 0 or count < threshold:
        return False
    fm_store(word, 0)
    return True


cdef inline void _clear(uint64_t* word) noexcept nogil:
    if fm_load(word) != 0:
        fm_store(word, 0)


cdef bint outlier_result(uint64_t* cell, const OutlierRule* rule, int outcome, int status) noexcept nogil:
    cdef bint gateway, out
    if outcome == OUTCOME_STATUS and not outlier_is_error(rule, status):
        _clear(&cell[OUT_CONSECUTIVE_5XX])          # the likely case: three loads of a line that nobody writes
        _clear(&cell[OUT_CONSECUTIVE_GATEWAY])
        _clear(&cell[OUT_CONSECUTIVE_LOCAL])
        return False
    if outcome == OUTCOME_LOCAL and rule.split_local:
        return _count(&cell[OUT_CONSECUTIVE_LOCAL], rule.consecutive_local)
    if outcome == OUTCOME_STATUS:
        _clear(&cell[OUT_CONSECUTIVE_LOCAL])
    gateway = outcome == OUTCOME_LOCAL or status == 502 or status == 503 or status == 504
    out = _count(&cell[OUT_CONSECUTIVE_5XX], rule.consecutive_5xx)
    if gateway:
        out = _count(&cell[OUT_CONSECUTIVE_GATEWAY], rule.consecutive_gateway) or out
    else:
        _clear(&cell[OUT_CONSECUTIVE_GATEWAY])
    return out


cdef bint outlier_may_eject(const OutlierRule* rule, uint32_t out, uint32_t total) noexcept nogil:
    return (out + 1) * 100 <= rule.max_percent * total


cdef bint outlier_eject(uint64_t* cell, const OutlierRule* rule, uint64_t now, bint tried) noexcept nogil:
    cdef uint64_t until = fm_load(&cell[OUT_EJECTED_UNTIL])
    cdef uint64_t count = fm_load(&cell[OUT_EJECT_COUNT])
    cdef uint64_t healthy, length
    if until & ~ON_TRIAL > now:
        return False
    # The multiplier falls by one for each healthy interval; the time on trial is none
    if until != 0 and rule.interval != 0 and not until & ON_TRIAL:
        healthy = (now - until) // rule.interval
        count = count - healthy if count > healthy else 0
    if rule.base * count < LONGEST + rule.base:      # it does not grow beyond what can be felt, so that it falls in time
        count += 1
    length = rule.base * count
    if length > LONGEST:
        length = LONGEST if LONGEST > rule.base else rule.base
    # Hosts come back at a sweep, so the end is rounded up to a whole number of intervals
    if rule.interval != 0:
        length = (length + rule.interval - 1) // rule.interval * rule.interval
    if not fm_cas(&cell[OUT_EJECTED_UNTIL], until, now + length | (ON_TRIAL if tried else 0)):
        return False
    fm_store(&cell[OUT_EJECT_COUNT], count)
    fm_store(&cell[OUT_EJECTED_AT], now)
    _clear(&cell[OUT_CONSECUTIVE_5XX])              # it returns with a clean slate
    _clear(&cell[OUT_CONSECUTIVE_GATEWAY])
    _clear(&cell[OUT_CONSECUTIVE_LOCAL])
    fm_add(&cell[OUT_EJECTIONS], 1)
    return True


cdef bint outlier_is_out(const uint64_t* cell, uint64_t now) noexcept nogil:
    return fm_load(&cell[OUT_EJECTED_UNTIL]) > now


cdef bint outlier_is_ejected(const uint64_t* cell, uint64_t now) noexcept nogil:
    return fm_load(&cell[OUT_EJECTED_UNTIL]) & TIME > now
