"""See gradient.pxd."""
from libc.math cimport sqrt
from libc.stdint cimport uint32_t, uint64_t
from fastmesh.core.base.atomics cimport fm_add, fm_cas, fm_load, fm_store
from fastmesh.core.base.counters cimport (
    GR_AT_LEAST, GR_BUSY, GR_KEPT, GR_LIMIT, GR_MEASURE_AT, GR_MEASURE_FROM, GR_MIN_RTT, GR_SAMPLES, GR_SAMPLE_RTT,
    GR_UPDATE_AT, GUARD_ROW,
)

cdef enum:
    FLOOR_US = 64             # the first bucket holds what is faster
    AT_LEAST_MAX = 5          # intervals at the least limit: min RTT may have changed, so it is measured anew (Envoy: the same)


cdef int rtt_bucket(uint64_t us) noexcept nogil:
    cdef int octave = 0
    cdef uint64_t value = us
    if us < FLOOR_US:
        return 0
    while value >= 2 * FLOOR_US:
        value >>= 1
        octave += 1
    if octave >= RTT_OCTAVES:
        return RTT_BUCKETS - 1
    return octave * RTT_SUB + <int>(((us >> octave) - FLOOR_US) * RTT_SUB // FLOOR_US)


cdef uint64_t rtt_value(int bucket) noexcept nogil:
    cdef int octave = bucket // RTT_SUB
    return ((FLOOR_US * RTT_SUB + (bucket % RTT_SUB) * FLOOR_US + FLOOR_US // 2) << octave) // RTT_SUB


cdef uint64_t _take_percentile(uint64_t* words, uint32_t percentile) noexcept nogil:
    """The percentile of what was gathered, which is forgotten."""
    cdef uint64_t[RTT_BUCKETS] counts
    cdef uint64_t total = 0, wanted, seen = 0
    cdef int i
    for i in range(RTT_BUCKETS):
        counts[i] = fm_load(&words[GUARD_ROW + i])
        if counts[i]:
            fm_add(&words[GUARD_ROW + i], <uint64_t>0 - counts[i])
        total += counts[i]
    fm_store(&words[GR_SAMPLES], 0)
    if total == 0:
        return 0
    wanted = (total * percentile + 99) // 100
    for i in range(RTT_BUCKETS):
        seen += counts[i]
        if seen >= wanted and counts[i]:
            return rtt_value(i)
    return rtt_value(RTT_BUCKETS - 1)


cdef void _begin_measuring(uint64_t* words, const GradientRule* rule, uint64_t now) noexcept nogil:
    cdef uint64_t limit = fm_load(&words[GR_LIMIT])
    _take_percentile(words, 50)           # what is there was gathered under another limit
    fm_store(&words[GR_KEPT], limit if limit else rule.min_concurrency)
    fm_store(&words[GR_MEASURE_FROM], now)
    fm_store(&words[GR_AT_LEAST], 0)
    fm_store(&words[GR_LIMIT], rule.min_concurrency)


cdef void _end_measuring(uint64_t* words, const GradientRule* rule, uint64_t now, uint32_t chance) noexcept nogil:
    cdef uint64_t spread = rule.measure_interval * rule.jitter_percent // 100
    fm_store(&words[GR_MIN_RTT], _take_percentile(words, rule.percentile))
    fm_store(&words[GR_LIMIT], fm_load(&words[GR_KEPT]))
    fm_store(&words[GR_KEPT], 0)
    fm_store(&words[GR_MEASURE_AT], now + rule.measure_interval + spread * chance // 100)
    fm_store(&words[GR_UPDATE_AT], now + rule.interval)


cdef void _update(uint64_t* words, const GradientRule* rule, uint64_t now) noexcept nogil:
    cdef uint64_t sample = _take_percentile(words, rule.percentile)
    cdef double gradient, limit
    cdef uint64_t made
    fm_store(&words[GR_UPDATE_AT], now + rule.interval)
    if sample == 0:
        return                            # nothing was answered: nothing is learned
    fm_store(&words[GR_SAMPLE_RTT], sample)
    gradient = <double>fm_load(&words[GR_MIN_RTT]) * (100 + rule.buffer_percent) / 100 / sample
    gradient = 0.5 if gradient < 0.5 else 2.0 if gradient > 2.0 else gradient
    limit = <double>fm_load(&words[GR_LIMIT]) * gradient
    limit += sqrt(limit)
    made = <uint64_t>limit
    made = rule.min_concurrency if made < rule.min_concurrency else rule.max_concurrency if made > rule.max_concurrency else made
    fm_store(&words[GR_LIMIT], made)
    if made > rule.min_concurrency:
        fm_store(&words[GR_AT_LEAST], 0)
    elif fm_add(&words[GR_AT_LEAST], 1) + 1 >= AT_LEAST_MAX:
        _begin_measuring(words, rule, now)


cdef void _look(uint64_t* words, const GradientRule* rule, uint64_t now, uint32_t chance) noexcept nogil:
    """Whatever is due. One at a time: who finds somebody at it goes on without."""
    if not fm_cas(&words[GR_BUSY], 0, now):
        # A worker that died here holds it for a second at most
        if fm_load(&words[GR_BUSY]) + 1000000 < now:
            fm_store(&words[GR_BUSY], 0)
        return
    if fm_load(&words[GR_LIMIT]) == 0:
        _begin_measuring(words, rule, now)
    elif fm_load(&words[GR_KEPT]):
        if fm_load(&words[GR_SAMPLES]) >= rule.min_requests:
            _end_measuring(words, rule, now, chance)
    elif now >= fm_load(&words[GR_MEASURE_AT]):
        _begin_measuring(words, rule, now)
    elif now >= fm_load(&words[GR_UPDATE_AT]):
        _update(words, rule, now)
    fm_store(&words[GR_BUSY], 0)


cdef uint64_t gradient_limit(uint64_t* words, const GradientRule* rule, uint64_t now, uint32_t chance) noexcept nogil:
    if fm_load(&words[GR_LIMIT]) == 0:
        _look(words, rule, now, chance)
    return fm_load(&words[GR_LIMIT])


cdef void gradient_sample(uint64_t* words, const GradientRule* rule, uint64_t began, uint64_t now, uint32_t chance) noexcept nogil:
    cdef uint64_t kept = fm_load(&words[GR_KEPT])
    if kept == 0 or began >= fm_load(&words[GR_MEASURE_FROM]):
        fm_add(&words[GUARD_ROW + rtt_bucket(now - began if now > began else 0)], 1)
        fm_add(&words[GR_SAMPLES], 1)
    if kept:
        if fm_load(&words[GR_SAMPLES]) < rule.min_requests:
            return
    elif now < fm_load(&words[GR_UPDATE_AT]) and now < fm_load(&words[GR_MEASURE_AT]):
        return                            # the likely case
    _look(words, rule, now, chance)
