"""Passive ejection of endpoints (Istio's outlierDetection, Envoy's consecutive detectors), state shared by all workers.

`outlier_result` is told each outcome; it answers True when this endpoint should be ejected now, which the caller confirms with the
cluster-wide share (`max_percent`) before it calls `outlier_eject`. Time is an argument, in milliseconds of the monotonic clock.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef enum Outcome:            # what happened to one attempt
    OUTCOME_STATUS = 0        # a response with a status
    OUTCOME_LOCAL = 1         # connect failure, time-out, reset

cdef struct OutlierRule:
    uint32_t consecutive_5xx  # 0 = off
    uint32_t consecutive_gateway
    uint32_t consecutive_local
    bint split_local
    uint64_t interval         # ms
    uint64_t base             # ms
    uint32_t max_percent
    uint32_t min_health_percent
    uint16_t code_count
    uint16_t[16] codes        # when given, these statuses are the errors instead of 5xx

cdef bint outlier_result(uint64_t* cell, const OutlierRule* rule, int outcome, int status) noexcept nogil
cdef bint outlier_is_error(const OutlierRule* rule, int status) noexcept nogil
# False: it was out already. `tried`: it returns through trials (guard/trial)
cdef bint outlier_eject(uint64_t* cell, const OutlierRule* rule, uint64_t now, bint tried) noexcept nogil
cdef bint outlier_is_out(const uint64_t* cell, uint64_t now) noexcept nogil         # for whatever reason: see health.pxd
cdef bint outlier_is_ejected(const uint64_t* cell, uint64_t now) noexcept nogil     # by outlier detection
# Whether one more of `total` may go when `out` are ejected already: the candidate counts too (Envoy since 1.31).
cdef bint outlier_may_eject(const OutlierRule* rule, uint32_t out, uint32_t total) noexcept nogil
