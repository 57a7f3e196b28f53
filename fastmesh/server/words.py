"""The names of the arena's words, as the admin pages show them (Envoy's names where Envoy has one).

The order is that of `ext/fastmesh/core/base/counters.pxd`; a test holds the two together. `None` has no name in /stats.
"""

from __future__ import annotations

from typing import Literal

ENTRY_CLUSTER = 1
ENTRY_ENDPOINT = 2
ENTRY_SERIES = 5
ENTRY_WORKER = 6
ENTRY_LIMIT = 8
ENTRY_TCP_SERIES = 9
ENTRY_ROUTE = 20
ENTRY_HEALTH = 30
ENTRY_GUARD = 32
ENTRY_PRESSURE = 40
ENTRY_RULE_GUARD = 41

OUTLIER_WORDS = 8
OUT_EJECTED_UNTIL = 3
OUT_EJECTIONS = 6
CHECK_FAILED = 1 << 63  # of OUT_EJECTED_UNTIL, above the time
CHECK_PENDING = 1 << 62  # and below it a bit of those that are ejected until their trials have passed

CLUSTER_ROW = 32
ENDPOINT_ROW = 8
WORKER_ROW = 128
LIMIT_ROW = 8
ROUTE_ROW = 8
HEALTH_ROW = 16
GUARD_ROW = 32
PRESSURE_ROW = 8
RULE_GUARD_ROW = 8

CLUSTER_WORDS = {
    "CL_RQ_ACTIVE": "upstream_rq_active",
    "CL_CX_ACTIVE": "upstream_cx_active",
    "CL_RQ_PENDING": "upstream_rq_pending_active",
    "CL_RETRY_ACTIVE": "upstream_rq_retry_active",
    "CL_RQ_TOTAL": "upstream_rq_total",
    "CL_RQ_2XX": "upstream_rq_2xx",
    "CL_RQ_3XX": "upstream_rq_3xx",
    "CL_RQ_4XX": "upstream_rq_4xx",
    "CL_RQ_5XX": "upstream_rq_5xx",
    "CL_CX_TOTAL": "upstream_cx_total",
    "CL_CX_CONNECT_FAIL": "upstream_cx_connect_fail",
    "CL_CX_CONNECT_TIMEOUT": "upstream_cx_connect_timeout",
    "CL_CX_OVERFLOW": "upstream_cx_overflow",
    "CL_RQ_PENDING_OVERFLOW": "upstream_rq_pending_overflow",
    "CL_RQ_RETRY": "upstream_rq_retry",
    "CL_RQ_RETRY_SUCCESS": "upstream_rq_retry_success",
    "CL_RQ_RETRY_OVERFLOW": "upstream_rq_retry_overflow",
    "CL_RQ_RETRY_LIMIT": "upstream_rq_retry_limit_exceeded",
    "CL_RQ_TIMEOUT": "upstream_rq_timeout",
    "CL_RQ_PER_TRY_TIMEOUT": "upstream_rq_per_try_timeout",
    "CL_RQ_RX_RESET": "upstream_rq_rx_reset",
    "CL_NONE_HEALTHY": "upstream_cx_none_healthy",
    "CL_EJECTIONS": "outlier_detection.ejections_enforced_total",
    "CL_RX_BYTES": "upstream_cx_rx_bytes_total",
    "CL_TX_BYTES": "upstream_cx_tx_bytes_total",
    "CL_EJECTIONS_LATENCY": "outlier_detection.ejections_enforced_latency",
}

ENDPOINT_WORDS = {
    "EP_RQ_ACTIVE": "rq_active",
    "EP_CX_ACTIVE": "cx_active",
    "EP_RQ_TOTAL": "rq_total",
    "EP_RQ_SUCCESS": "rq_success",
    "EP_RQ_ERROR": "rq_error",
    "EP_CX_TOTAL": "cx_total",
    "EP_CX_CONNECT_FAIL": "cx_connect_fail",
    "EP_RQ_TIMEOUT": "rq_timeout",
}

WORKER_WORDS = {
    "WK_CX_ACTIVE": "http.downstream_cx_active",
    "WK_RQ_ACTIVE": "http.downstream_rq_active",
    "WK_OPEN_FDS": "server.open_fds",
    "WK_H2_CX_ACTIVE": "http.downstream_cx_http2_active",
    "WK_H2_STREAMS": "http2.streams_active",
    "WK_UPGRADES_ACTIVE": "http.downstream_cx_upgrades_active",
    "WK_CX_TOTAL": "http.downstream_cx_total",
    "WK_RQ_TOTAL": "http.downstream_rq_total",
    "WK_RQ_1XX": "http.downstream_rq_1xx",
    "WK_RQ_2XX": "http.downstream_rq_2xx",
    "WK_RQ_3XX": "http.downstream_rq_3xx",
    "WK_RQ_4XX": "http.downstream_rq_4xx",
    "WK_RQ_5XX": "http.downstream_rq_5xx",
    "WK_REFUSED_400": "http.refused_400",
    "WK_REFUSED_413": "http.refused_413",
    "WK_REFUSED_414": "http.refused_414",
    "WK_REFUSED_431": "http.refused_431",
    "WK_REFUSED_501": "http.refused_501",
    "WK_REFUSED_505": "http.refused_505",
    "WK_HANDSHAKE_TIMEOUT": "listener.downstream_pre_cx_timeout",
    "WK_HEADER_TIMEOUT": "http.downstream_rq_header_timeout",
    "WK_IDLE_TIMEOUT": "http.downstream_cx_idle_timeout",
    "WK_BODY_TIMEOUT": "http.downstream_rq_body_timeout",
    "WK_TUNNEL_IDLE": "http.downstream_rq_idle_timeout",
    "WK_UPGRADES_TOTAL": "http.downstream_cx_upgrades_total",
    "WK_CLIENT_ABORT": "http.downstream_cx_destroy_remote_active_rq",
    "WK_ACCEPT_FULL": "http.downstream_cx_overflow",
    "WK_RX_BYTES": "http.downstream_cx_rx_bytes_total",
    "WK_TX_BYTES": "http.downstream_cx_tx_bytes_total",
    "WK_LOG_LINES": "access_log.lines",
    "WK_LOG_DROPPED": "access_log.dropped",
    "WK_RATE_LIMITED": "http.rate_limited",
    "WK_NO_ROUTE": "http.no_route",
    "WK_UPSTREAM_REFUSED": "http.upstream_protocol_error",
    "WK_H2_CX_TOTAL": "http.downstream_cx_http2_total",
    "WK_H2_RX_RESET": "http2.rx_reset",
    "WK_H2_TX_RESET": "http2.tx_reset",
    "WK_H2_REFUSED": "http2.stream_refused_errors",
    "WK_H2_UNPACKED": "http2.unpacked_overflow",
    "WK_H2_MESSAGING_ERROR": "http2.rx_messaging_error",
    "WK_H2_PROTOCOL_ERROR": "http.downstream_cx_protocol_error",
    "WK_H2_HEADER_OVERFLOW": "http2.header_overflow",
    "WK_H2_CONTINUATIONS": "http2.inbound_continuation_frames_flood",
    "WK_H2_SETTINGS": "http2.inbound_settings_flood",
    "WK_H2_EMPTY_FRAMES": "http2.inbound_empty_frames_flood",
    "WK_H2_PRIORITIES": "http2.inbound_priority_frames_flood",
    "WK_H2_WINDOWS": "http2.inbound_window_update_frames_flood",
    "WK_H2_CONTROL": "http2.outbound_control_flood",
    "WK_H2_CHATTER": "http2.inbound_ping_frames_flood",
    "WK_H2_RESETS": "http.downstream_rq_too_many_premature_resets",
    "WK_H2_MAX_REQUESTS": "http.downstream_cx_max_requests_reached",
    "WK_H2_MAX_AGE": "http.downstream_cx_max_duration_reached",
    "WK_TLS_HANDSHAKE": "listener.ssl.handshake",
    "WK_TLS_RESUMED": "listener.ssl.session_reused",
    "WK_TLS_NO_CERTIFICATE": "listener.ssl.no_certificate",
    "WK_TLS_ERROR": "listener.ssl.connection_error",
    "WK_TLS_FAIL_NO_CERTIFICATE": "listener.ssl.fail_verify_no_cert",
    "WK_TLS_FAIL_CERTIFICATE": "listener.ssl.fail_verify_error",
    "WK_TLS_FAIL_NAME": "listener.ssl.fail_verify_san",
    "WK_TLS_FAIL_PIN": "listener.ssl.fail_verify_cert_hash",
    "WK_TLS_NOT_READY": "listener.server_ssl_socket_factory.downstream_context_secrets_not_ready",
    "WK_NO_CHAIN": "listener.no_filter_chain_match",
    "WK_PROXY_BAD": "listener.proxy_proto_error",
    "WK_TCP_AGED": "tcp.max_downstream_connection_duration",
    "WK_TLS_OUTDATED": "upstream_tls_outdated",
    "WK_MIRROR_GIVEN_UP": "mirror_given_up",
    "WK_FALLBACKS": "fallbacks",
    "WK_HEDGES": "hedges",
    "WK_HEDGES_WON": "hedges_won",
    "WK_OUTSIDE_FAILED": "outside.dns_failed",
    "WK_OUTSIDE_REFUSED": "outside.refused",
    "WK_OUTSIDE_FULL": "outside.overflow",
    "WK_FILTER_ANSWERED": "filter.answered",
    "WK_FILTER_ERROR": "filter.errors",
    "WK_FILTER_TIMEOUT": "filter.timeouts",
    "WK_FILTER_BLOCKED": "filter.blocked",
    "WK_FILTER_TOO_LARGE": "filter.body_too_large",
    "WK_RETRY_OVERFLOW": "retry_budget_overflow",
    "WK_OVERLOAD_ENDED": "http.downstream_cx_overload_disable_keepalive",
    "WK_OVERLOAD_SHED": "http.downstream_rq_overload_close",
    "WK_OVERLOAD_WAITED": "listener.downstream_cx_overload_wait",
}

# The worst of all workers counts: a sum would say nothing.
PRESSURE_WORDS = {
    "PR_MEMORY": "overload.memory.pressure",
    "PR_CONNECTIONS": "overload.connections.pressure",
    "PR_LAG": "overload.lag.pressure",
    "PR_LEVEL": "overload.level",
}
PRESSURE_LEVELS = ("none", "close", "shed", "stop")

LIMIT_WORDS = {
    "LM_PASSED": "passed",
    "LM_LIMITED": "limited",
    "LM_OPEN": "failure_mode_allowed",
    "LM_CLOSED": "failure_mode_denied",
    "LM_SHADOW": "shadow",
    "LM_CREDIT": "on_credit",
    "LM_EVICTED": "evicted",
}

ROUTE_WORDS = {
    "RT_RQ_TOTAL": "upstream_rq_total",
    "RT_RQ_2XX": "upstream_rq_2xx",
    "RT_RQ_3XX": "upstream_rq_3xx",
    "RT_RQ_4XX": "upstream_rq_4xx",
    "RT_RQ_5XX": "upstream_rq_5xx",
    "RT_RQ_TIMEOUT": "upstream_rq_timeout",
    "RT_RQ_RETRY": "upstream_rq_retry",
    "RT_RQ_MS": "upstream_rq_time_sum",
}

HEALTH_WORDS = {
    "HC_BEGUN": "begun",
    "HC_PASSING": "passed_in_a_row",
    "HC_FAILING": "failed_in_a_row",
    "HC_ATTEMPT": "attempt",
    "HC_SUCCESS": "success",
    "HC_FAILURE": "failure",
    "HC_NETWORK_FAILURE": "network_failure",
    "HC_CHECKED_AT": "checked_at",
    "HC_WINDOW": "window",
}

GUARD_WORDS = {
    "BR_OPEN_UNTIL": "breaker.open_until",
    "BR_PROBE_AT": "breaker.probe_at",
    "BR_PASSED": "breaker.probes_passed_in_a_row",
    "BR_LOOKED_AT": "breaker.looked_at",
    "BR_OPENED": "breaker.opened",
    "BR_CLOSED": "breaker.closed",
    "BR_REFUSED": "breaker.rq_refused",
    "BR_PROBES": "breaker.rq_probes",
    "GU_FAILED_OVER": "breaker.rq_failed_over",
    "GU_ANSWERED": "breaker.rq_answered",
    "GU_LIMITED": "adaptive_concurrency.gradient_controller.rq_blocked",
    "GU_SHED": "priority.rq_shed",
    "GU_WAITED": "upstream_rq_pending_timeout",
    "GR_LIMIT": "adaptive_concurrency.gradient_controller.concurrency_limit",
    "GR_MIN_RTT": "adaptive_concurrency.gradient_controller.min_rtt_usecs",
    "GR_KEPT": "adaptive_concurrency.gradient_controller.kept_limit",
    "GR_MEASURE_FROM": "adaptive_concurrency.measure_from",
    "GR_MEASURE_AT": "adaptive_concurrency.measure_at",
    "GR_UPDATE_AT": "adaptive_concurrency.update_at",
    "GR_SAMPLES": "adaptive_concurrency.samples",
    "GR_AT_LEAST": "adaptive_concurrency.at_least",
    "GR_SAMPLE_RTT": "adaptive_concurrency.gradient_controller.sample_rtt_usecs",
    "GR_BUSY": "adaptive_concurrency.busy",
    "GU_JUDGED_AT": "outlier_detection.latency_judged_at",
    "GU_PEERS": "outlier_detection.latency_median_usecs",
    "GU_TRIALS_PASSED": "outlier_detection.trials_passed",
    "GU_TRIALS_FAILED": "outlier_detection.trials_failed",
}
GUARD_SHOWN = (
    "BR_OPENED", "BR_CLOSED", "BR_REFUSED", "BR_PROBES", "GU_FAILED_OVER", "GU_ANSWERED", "GU_LIMITED", "GU_SHED",
    "GU_WAITED", "GR_LIMIT", "GR_MIN_RTT", "GR_SAMPLE_RTT", "GU_PEERS", "GU_TRIALS_PASSED", "GU_TRIALS_FAILED",
)  # fmt: skip


def is_ejected(endpoint: tuple[int, ...], now: float) -> bool:
    """By outlier detection; `now`: ms of the monotonic clock."""
    return endpoint[OUT_EJECTED_UNTIL] & (CHECK_PENDING - 1) > now


def verdict(endpoint: tuple[int, ...]) -> Literal["", "failed", "pending"]:
    """Of active checks: "" when there are none, or they pass."""
    word = endpoint[OUT_EJECTED_UNTIL]
    return "failed" if word & CHECK_FAILED else "pending" if word & CHECK_PENDING else ""


def summed(words: tuple[int, ...], row: int, names: dict[str, str], first: int = 0) -> list[tuple[str, int]]:
    """The rows of all workers added up, word by word."""
    return [(name, sum(words[first + i :: row])) for i, name in enumerate(names.values())]
