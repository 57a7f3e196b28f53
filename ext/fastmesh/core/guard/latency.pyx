"""See latency.pxd."""
from libc.stdint cimport uint64_t
from fastmesh.core.base.atomics cimport fm_add, fm_cas, fm_load, fm_store
from fastmesh.core.base.counters cimport LATENCY_ROW, LT_SAMPLES, LT_SLOW, LT_TOOK
from fastmesh.core.guard.gradient cimport RTT_BUCKETS, rtt_bucket, rtt_value


cdef void latency_note(uint64_t* words, uint64_t us) noexcept nogil:
    fm_add(&words[LATENCY_ROW + rtt_bucket(us)], 1)
    fm_add(&words[LT_SAMPLES], 1)


cdef bint latency_due(uint64_t* judged_at, const LatencyRule* rule, uint64_t now) noexcept nogil:
    cdef uint64_t before = fm_load(judged_at)
    if before == 0:
        fm_cas(judged_at, 0, now)         # the first window begins
        return False
    return now >= before + rule.interval and fm_cas(judged_at, before, now)


cdef uint64_t latency_take(uint64_t* words, const LatencyRule* rule) noexcept nogil:
    cdef uint64_t[RTT_BUCKETS] counts
    cdef uint64_t total = 0, seen = 0, wanted
    cdef int i
    if fm_load(&words[LT_SAMPLES]) < rule.samples:
        return 0
    for i in range(RTT_BUCKETS):
        counts[i] = fm_load(&words[LATENCY_ROW + i])
        if counts[i]:
            fm_add(&words[LATENCY_ROW + i], <uint64_t>0 - counts[i])
        total += counts[i]
    fm_add(&words[LT_SAMPLES], <uint64_t>0 - total)
    wanted = (total * rule.percentile + 99) // 100
    for i in range(RTT_BUCKETS):
        seen += counts[i]
        if counts[i] and seen >= wanted:
            fm_store(&words[LT_TOOK], rtt_value(i))
            return rtt_value(i)
    return 0


cdef uint64_t latency_bound(const LatencyRule* rule, uint64_t peers) noexcept nogil:
    cdef uint64_t compared = 0
    if rule.times > 0 and peers:
        compared = <uint64_t>(rule.times * peers)
        if compared < rule.least:
            compared = rule.least
    if rule.above == 0 or compared == 0:
        return rule.above + compared      # the one that there is
    return compared if compared < rule.above else rule.above


cdef bint latency_judge(uint64_t* words, const LatencyRule* rule, uint64_t took, uint64_t bound) noexcept nogil:
    if bound == 0:
        return False                      # nobody to compare it with: that says nothing
    if took <= bound:
        fm_store(&words[LT_SLOW], 0)
        return False
    return fm_add(&words[LT_SLOW], 1) + 1 >= rule.windows
