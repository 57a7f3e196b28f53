"""How the endpoints of a cluster are asked whether they are well: one HealthCheck, compiled."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from fastmesh.core.guard.health cimport HealthThresholds

cdef enum HealthKind:
    HEALTH_HTTP = 0
    HEALTH_TCP
    HEALTH_GRPC

cdef struct StatusRange:
    uint16_t first
    uint16_t last

cdef enum:
    STATUS_RANGES = 16

cdef class HealthRule:
    cdef uint8_t kind         # HealthKind
    cdef uint32_t interval    # ms, here and below
    cdef uint32_t jitter      # at most, added to each interval
    cdef uint32_t timeout
    cdef HealthThresholds thresholds
    cdef bytes authority
    cdef bytes path
    cdef bytes method
    cdef list headers         # (name, value) bytes
    cdef int ranges
    cdef StatusRange[16] expected
    cdef bytes service        # that a gRPC server is asked about
    cdef readonly str told    # for explain
    cdef bint expects(self, int status) noexcept

cdef HealthRule make_health_rule(plan)       # None for None
