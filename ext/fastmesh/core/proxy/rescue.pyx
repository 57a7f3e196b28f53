"""See rescue.pxd."""
from fastmesh.core.net.failure cimport (
    FAIL_CONNECT, FAIL_CONNECT_TIMEOUT, FAIL_NO_CLUSTER, FAIL_NO_HEALTHY, FAIL_OVERFLOW, FAIL_PER_TRY_TIMEOUT,
    FAIL_PROTOCOL, FAIL_QUEUE, FAIL_REFUSED, FAIL_TIMEOUT, FAIL_TLS, FAIL_UPGRADE,
)
from fastmesh.core.proxy.transit cimport (
    FLAG_NC, FLAG_UC, FLAG_UF, FLAG_UH, FLAG_UO, FLAG_UPE, FLAG_UR, FLAG_UT,
)


cdef inline Rescue _row(int status, int flag, const char* details, const char* body) noexcept nogil:
    cdef Rescue row
    row.status, row.flag, row.details, row.body = status, flag, details, body
    return row


cdef Rescue rescue(int failure) noexcept nogil:
    if failure == FAIL_NO_HEALTHY:
        return _row(503, FLAG_UH, "no_healthy_upstream", "no healthy upstream")
    if failure == FAIL_CONNECT:
        return _row(503, FLAG_UF, "upstream_reset_before_response_started{connection_failure}",
                    "upstream connect error or disconnect/reset before headers. reset reason: connection failure")
    if failure == FAIL_CONNECT_TIMEOUT:
        return _row(503, FLAG_UF, "upstream_reset_before_response_started{connection_timeout}",
                    "upstream connect error or disconnect/reset before headers. reset reason: connection timeout")
    if failure == FAIL_OVERFLOW:
        return _row(503, FLAG_UO, "upstream_reset_before_response_started{overflow}",
                    "upstream connect error or disconnect/reset before headers. reset reason: overflow")
    if failure == FAIL_QUEUE:
        return _row(503, FLAG_UO, "waited_too_long_for_a_connection", "upstream request waited too long for a connection")
    if failure == FAIL_TIMEOUT:
        return _row(504, FLAG_UT, "response_timeout", "upstream request timeout")
    if failure == FAIL_PER_TRY_TIMEOUT:
        return _row(504, FLAG_UT, "upstream_per_try_timeout", "upstream request timeout")
    if failure == FAIL_NO_CLUSTER:
        return _row(503, FLAG_NC, "cluster_not_found", "")
    if failure == FAIL_PROTOCOL:
        return _row(502, FLAG_UPE, "upstream_reset_before_response_started{protocol_error}",
                    "upstream connect error or disconnect/reset before headers. reset reason: protocol error")
    if failure == FAIL_UPGRADE:
        return _row(502, FLAG_UPE, "upgrade_not_supported_by_upstream", "the endpoint takes no WebSocket over HTTP/2")
    if failure == FAIL_TLS:
        return _row(503, FLAG_UF, "upstream_reset_before_response_started{connection_failure}",
                    "upstream connect error or disconnect/reset before headers. reset reason: connection failure, "
                    "transport failure reason: TLS handshake")
    if failure == FAIL_REFUSED:
        return _row(503, FLAG_UR, "upstream_reset_before_response_started{remote_refused_stream_reset}",
                    "upstream connect error or disconnect/reset before headers. reset reason: remote refused stream reset")
    return _row(503, FLAG_UC, "upstream_reset_before_response_started{connection_termination}",
                "upstream connect error or disconnect/reset before headers. reset reason: connection termination")
