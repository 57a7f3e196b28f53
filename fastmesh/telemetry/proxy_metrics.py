"""The proxy's own metrics, `fastmesh_*`: what every word of the arena is called, and the families made of them.

A row of a table says: word, metric, kind, labels that stand for the word, help. Rows of one metric follow each other.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Literal, NamedTuple

from fastmesh.config.plan import Plan
from fastmesh.server import words as names
from fastmesh.telemetry.exposition import Family, label_text
from fastmesh.telemetry.membership import Members, members
from fastmesh.telemetry.readable import Entry, signed, totals

HC_BEGUN = list(names.HEALTH_WORDS).index("HC_BEGUN")


class Row(NamedTuple):
    word: str
    metric: str
    kind: Literal["counter", "gauge"]
    help: str
    label: tuple[str, str] | None = None


def _gauge(word: str, metric: str, help: str) -> Row:
    return Row(word, metric, "gauge", help)


def _count(word: str, metric: str, help: str, **label: str) -> Row:
    return Row(word, metric, "counter", help, next(iter(label.items()), None))


_ANSWERS = "Responses to clients by class of status; 1xx are those relayed before the final one."
_REFUSED = "Messages that the HTTP parser refused, by the status sent."
_ENDED = "HTTP/2 connections of clients that were ended for what they did."
_TLS = "TLS connections of clients that were refused or broken off in the handshake, by reason."
_TIMEOUTS = "Client connections or messages given up, by what did not come in time."
WORKER = (
    _gauge("WK_CX_ACTIVE", "fastmesh_downstream_connections_active", "Open connections of clients."),
    _gauge("WK_RQ_ACTIVE", "fastmesh_downstream_requests_active", "Requests under way."),
    _gauge("WK_H2_CX_ACTIVE", "fastmesh_http2_connections_active", "Open HTTP/2 connections of clients."),
    _gauge("WK_H2_STREAMS", "fastmesh_http2_streams_active", "Open streams of these connections."),
    _gauge("WK_UPGRADES_ACTIVE", "fastmesh_downstream_tunnels_active", "Open tunnels (WebSocket)."),
    _count("WK_CX_TOTAL", "fastmesh_downstream_connections", "Connections accepted."),
    _count("WK_RQ_TOTAL", "fastmesh_downstream_requests", "Requests that ended."),
    _count("WK_RQ_1XX", "fastmesh_downstream_responses", _ANSWERS, code_class="1xx"),
    _count("WK_RQ_2XX", "fastmesh_downstream_responses", _ANSWERS, code_class="2xx"),
    _count("WK_RQ_3XX", "fastmesh_downstream_responses", _ANSWERS, code_class="3xx"),
    _count("WK_RQ_4XX", "fastmesh_downstream_responses", _ANSWERS, code_class="4xx"),
    _count("WK_RQ_5XX", "fastmesh_downstream_responses", _ANSWERS, code_class="5xx"),
    _count("WK_REFUSED_400", "fastmesh_downstream_refused_messages", _REFUSED, code="400"),
    _count("WK_REFUSED_413", "fastmesh_downstream_refused_messages", _REFUSED, code="413"),
    _count("WK_REFUSED_414", "fastmesh_downstream_refused_messages", _REFUSED, code="414"),
    _count("WK_REFUSED_431", "fastmesh_downstream_refused_messages", _REFUSED, code="431"),
    _count("WK_REFUSED_501", "fastmesh_downstream_refused_messages", _REFUSED, code="501"),
    _count("WK_REFUSED_505", "fastmesh_downstream_refused_messages", _REFUSED, code="505"),
    _count("WK_HANDSHAKE_TIMEOUT", "fastmesh_downstream_timeouts", _TIMEOUTS, awaited="handshake"),
    _count("WK_HEADER_TIMEOUT", "fastmesh_downstream_timeouts", _TIMEOUTS, awaited="header"),
    _count("WK_IDLE_TIMEOUT", "fastmesh_downstream_timeouts", _TIMEOUTS, awaited="request"),
    _count("WK_BODY_TIMEOUT", "fastmesh_downstream_timeouts", _TIMEOUTS, awaited="body"),
    _count("WK_TUNNEL_IDLE", "fastmesh_downstream_timeouts", _TIMEOUTS, awaited="tunnel"),
    _count("WK_UPGRADES_TOTAL", "fastmesh_downstream_tunnels", "Tunnels (WebSocket) that were opened."),
    _count("WK_CLIENT_ABORT", "fastmesh_downstream_aborts", "Clients that left before their response was complete."),
    _count("WK_ACCEPT_FULL", "fastmesh_downstream_accepts_full", "Accepts that met a full descriptor table."),
    _count("WK_RX_BYTES", "fastmesh_downstream_received_bytes", "Bytes from clients, heads included."),
    _count("WK_TX_BYTES", "fastmesh_downstream_sent_bytes", "Bytes to clients, heads included."),
    _count("WK_LOG_LINES", "fastmesh_access_log_lines", "Access log lines written."),
    _count("WK_LOG_DROPPED", "fastmesh_access_log_dropped_lines", "Access log lines lost: the file took none."),
    _count("WK_RATE_LIMITED", "fastmesh_requests_rate_limited", "Requests refused by a RateLimit."),
    _count("WK_NO_ROUTE", "fastmesh_requests_unrouted", "Requests for which there was no host or no rule (flag NR)."),
    _count("WK_UPSTREAM_REFUSED", "fastmesh_upstream_refused_responses", "Responses that broke the protocol."),
    _count("WK_H2_CX_TOTAL", "fastmesh_http2_connections", "HTTP/2 connections of clients."),
    _count("WK_H2_RX_RESET", "fastmesh_http2_resets", "Streams that were reset, by whom.", by="client"),
    _count("WK_H2_TX_RESET", "fastmesh_http2_resets", "Streams that were reset, by whom.", by="proxy"),
    _count("WK_H2_REFUSED", "fastmesh_http2_refused_streams", "Streams above the limit of their connection."),
    _count("WK_H2_UNPACKED", "fastmesh_http2_unpacked_overflows", "Streams reset: heads that unpack to too much."),
    _count("WK_H2_MESSAGING_ERROR", "fastmesh_http2_stream_errors", "Streams that broke the protocol."),
    _count("WK_H2_PROTOCOL_ERROR", "fastmesh_http2_connections_ended", _ENDED, reason="protocol_error"),
    _count("WK_H2_HEADER_OVERFLOW", "fastmesh_http2_connections_ended", _ENDED, reason="header_overflow"),
    _count("WK_H2_CONTINUATIONS", "fastmesh_http2_connections_ended", _ENDED, reason="continuations"),
    _count("WK_H2_SETTINGS", "fastmesh_http2_connections_ended", _ENDED, reason="settings"),
    _count("WK_H2_EMPTY_FRAMES", "fastmesh_http2_connections_ended", _ENDED, reason="empty_frames"),
    _count("WK_H2_PRIORITIES", "fastmesh_http2_connections_ended", _ENDED, reason="priorities"),
    _count("WK_H2_WINDOWS", "fastmesh_http2_connections_ended", _ENDED, reason="window_updates"),
    _count("WK_H2_CONTROL", "fastmesh_http2_connections_ended", _ENDED, reason="control_frames"),
    _count("WK_H2_CHATTER", "fastmesh_http2_connections_ended", _ENDED, reason="pings"),
    _count("WK_H2_RESETS", "fastmesh_http2_connections_ended", _ENDED, reason="resets"),
    _count("WK_H2_MAX_REQUESTS", "fastmesh_http2_connections_ended", _ENDED, reason="max_requests"),
    _count("WK_H2_MAX_AGE", "fastmesh_http2_connections_ended", _ENDED, reason="max_age"),
    _count(
        "WK_TLS_HANDSHAKE", "fastmesh_downstream_tls_handshakes", "TLS handshakes with clients that were completed."
    ),
    _count("WK_TLS_RESUMED", "fastmesh_downstream_tls_resumptions", "Those that a session ticket made short."),
    _count("WK_TLS_NO_CERTIFICATE", "fastmesh_downstream_tls_anonymous", "Those without a client certificate."),
    _count("WK_TLS_ERROR", "fastmesh_downstream_tls_failures", _TLS, reason="protocol"),
    _count("WK_TLS_FAIL_NO_CERTIFICATE", "fastmesh_downstream_tls_failures", _TLS, reason="no_certificate"),
    _count("WK_TLS_FAIL_CERTIFICATE", "fastmesh_downstream_tls_failures", _TLS, reason="certificate"),
    _count("WK_TLS_FAIL_NAME", "fastmesh_downstream_tls_failures", _TLS, reason="name"),
    _count("WK_TLS_FAIL_PIN", "fastmesh_downstream_tls_failures", _TLS, reason="pin"),
    _count("WK_TLS_NOT_READY", "fastmesh_downstream_tls_failures", _TLS, reason="not_ready"),
    _count("WK_NO_CHAIN", "fastmesh_downstream_unmatched", "Connections closed: they fit no filter chain."),
    _count(
        "WK_PROXY_BAD", "fastmesh_downstream_proxy_protocol_errors", "Connections closed: no PROXY header came first."
    ),
    _count("WK_TCP_AGED", "fastmesh_tcp_connections_aged", "TCP connections closed at maxConnectionDuration."),
    _count(
        "WK_TLS_OUTDATED",
        "fastmesh_upstream_tls_outdated",
        "Endpoint connections given up: the TLS policy had changed.",
    ),
    _count("WK_MIRROR_GIVEN_UP", "fastmesh_mirror_copies_given_up", "Copies of requests that were not sent whole."),
    _count("WK_FALLBACKS", "fastmesh_fallbacks", "Requests that went to the fallback of their rule."),
    _count("WK_HEDGES", "fastmesh_hedges", "Second attempts that began while the first was under way."),
    _count("WK_HEDGES_WON", "fastmesh_hedges_won", "Second attempts whose answer counted."),
    _count("WK_OUTSIDE_FAILED", "fastmesh_outside_dns_failures", "Hosts of requests that DNS had no answer for."),
    _count("WK_OUTSIDE_REFUSED", "fastmesh_outside_refused", "Requests for hosts whose addresses are not allowed."),
    _count("WK_OUTSIDE_FULL", "fastmesh_outside_overflows", "Requests refused: too many hosts were being asked for."),
    _count("WK_FILTER_ANSWERED", "fastmesh_filter_answers", "Answers of filters in the place of an endpoint's."),
    _count("WK_FILTER_ERROR", "fastmesh_filter_errors", "Hooks of filters that raised, or returned nonsense."),
    _count("WK_FILTER_TIMEOUT", "fastmesh_filter_timeouts", "Hooks of filters that were awaited for too long."),
    _count("WK_FILTER_BLOCKED", "fastmesh_filter_blocks", "Plain hooks that kept a worker for longer than they may."),
    _count("WK_FILTER_TOO_LARGE", "fastmesh_filter_bodies_too_large", "Bodies that no hook could be given whole."),
    _count("WK_RETRY_OVERFLOW", "fastmesh_retry_budget_overflows", "Retries not sent: the proxy's budget was spent."),
    _count("WK_OVERLOAD_ENDED", "fastmesh_overload_connections_ended", "Connections not kept: there was pressure."),
    _count("WK_OVERLOAD_SHED", "fastmesh_overload_requests_refused", "Requests refused under pressure (flag OM)."),
    _count("WK_OVERLOAD_WAITED", "fastmesh_overload_accepts_put_off", "Times that connections were left waiting."),
)

_RESPONSES = "Requests to the cluster that ended, by class of the status that the client saw."
CLUSTER = (
    _gauge("CL_RQ_ACTIVE", "fastmesh_cluster_requests_active", "Requests under way to the cluster."),
    _gauge("CL_CX_ACTIVE", "fastmesh_cluster_connections_active", "Open connections to the cluster."),
    _gauge("CL_RQ_PENDING", "fastmesh_cluster_requests_pending", "Requests that wait for a connection."),
    _gauge("CL_RETRY_ACTIVE", "fastmesh_cluster_retries_active", "Requests that are being retried."),
    _count("CL_RQ_TOTAL", "fastmesh_cluster_requests", "Requests to the cluster that ended."),
    _count("CL_RQ_2XX", "fastmesh_cluster_responses", _RESPONSES, code_class="2xx"),
    _count("CL_RQ_3XX", "fastmesh_cluster_responses", _RESPONSES, code_class="3xx"),
    _count("CL_RQ_4XX", "fastmesh_cluster_responses", _RESPONSES, code_class="4xx"),
    _count("CL_RQ_5XX", "fastmesh_cluster_responses", _RESPONSES, code_class="5xx"),
    _count("CL_CX_TOTAL", "fastmesh_cluster_connections", "Connections begun."),
    _count("CL_CX_CONNECT_FAIL", "fastmesh_cluster_connect_failures", "Connections that failed, time-outs included."),
    _count("CL_CX_CONNECT_TIMEOUT", "fastmesh_cluster_connect_timeouts", "Connections that took too long."),
    _count("CL_CX_OVERFLOW", "fastmesh_cluster_connection_overflows", "Requests that found maxConnections reached."),
    _count("CL_RQ_PENDING_OVERFLOW", "fastmesh_cluster_request_overflows", "Requests refused by a breaker (flag UO)."),
    _count("CL_RQ_RETRY", "fastmesh_cluster_retries", "Retries sent."),
    _count("CL_RQ_RETRY_SUCCESS", "fastmesh_cluster_retry_successes", "Requests that a retry saved."),
    _count("CL_RQ_RETRY_OVERFLOW", "fastmesh_cluster_retry_overflows", "Retries not sent: too many at once."),
    _count("CL_RQ_RETRY_LIMIT", "fastmesh_cluster_retries_exhausted", "Requests that failed after their last retry."),
    _count("CL_RQ_TIMEOUT", "fastmesh_cluster_request_timeouts", "Requests that exceeded the route's time-out."),
    _count("CL_RQ_PER_TRY_TIMEOUT", "fastmesh_cluster_per_try_timeouts", "Attempts that exceeded perTryTimeout."),
    _count("CL_RQ_RX_RESET", "fastmesh_cluster_resets", "Attempts that the endpoint cut."),
    _count("CL_NONE_HEALTHY", "fastmesh_cluster_none_healthy", "Requests that found no usable endpoint (flag UH)."),
    _count("CL_EJECTIONS", "fastmesh_cluster_ejections", "Endpoints ejected by outlier detection."),
    _count("CL_RX_BYTES", "fastmesh_cluster_received_bytes", "Body bytes from the cluster."),
    _count("CL_TX_BYTES", "fastmesh_cluster_sent_bytes", "Body bytes to the cluster."),
    _count("CL_EJECTIONS_LATENCY", "fastmesh_cluster_latency_ejections", "Of the ejections: those of slow endpoints."),
)

ENDPOINT = (
    _gauge("EP_RQ_ACTIVE", "fastmesh_endpoint_requests_active", "Attempts under way to the endpoint."),
    _gauge("EP_CX_ACTIVE", "fastmesh_endpoint_connections_active", "Open connections to the endpoint."),
    _count("EP_RQ_TOTAL", "fastmesh_endpoint_requests", "Attempts sent to the endpoint."),
    _count("EP_RQ_SUCCESS", "fastmesh_endpoint_successes", "Attempts answered with a status below 500."),
    _count("EP_RQ_ERROR", "fastmesh_endpoint_errors", "Attempts that failed or were answered with 5xx."),
    _count("EP_CX_TOTAL", "fastmesh_endpoint_connections", "Connections begun."),
    _count("EP_CX_CONNECT_FAIL", "fastmesh_endpoint_connect_failures", "Connections that failed."),
    _count("EP_RQ_TIMEOUT", "fastmesh_endpoint_timeouts", "Attempts that exceeded perTryTimeout."),
)

_LIMITED = "Requests that a RateLimit decided, by result."
LIMIT = (
    _count("LM_PASSED", "fastmesh_rate_limit_requests", _LIMITED, result="passed"),
    _count("LM_LIMITED", "fastmesh_rate_limit_requests", _LIMITED, result="limited"),
    _count("LM_OPEN", "fastmesh_rate_limit_requests", _LIMITED, result="failure_mode_allowed"),
    _count("LM_CLOSED", "fastmesh_rate_limit_requests", _LIMITED, result="failure_mode_denied"),
    _count("LM_SHADOW", "fastmesh_rate_limit_requests", _LIMITED, result="shadow"),
    _count("LM_CREDIT", "fastmesh_rate_limit_credits", "Requests passed before Redis had granted a token for them."),
    _count("LM_EVICTED", "fastmesh_rate_limit_evictions", "Keyed buckets given to another key before they were full."),
)

_ROUTED = "Requests of matches with a statPrefix, by class of status."
ROUTE = (
    _count("RT_RQ_TOTAL", "fastmesh_route_requests", "Requests that a match with a statPrefix sent on."),
    _count("RT_RQ_2XX", "fastmesh_route_responses", _ROUTED, code_class="2xx"),
    _count("RT_RQ_3XX", "fastmesh_route_responses", _ROUTED, code_class="3xx"),
    _count("RT_RQ_4XX", "fastmesh_route_responses", _ROUTED, code_class="4xx"),
    _count("RT_RQ_5XX", "fastmesh_route_responses", _ROUTED, code_class="5xx"),
    _count("RT_RQ_TIMEOUT", "fastmesh_route_timeouts", "Those that exceeded a time-out."),
    _count("RT_RQ_RETRY", "fastmesh_route_retries", "Further attempts of those."),
    _count("RT_RQ_MS", "fastmesh_route_milliseconds", "How long those took, in all."),
)


_CHECKED = "Active health checks of the endpoint, by result."
HEALTH = (
    _count("HC_SUCCESS", "fastmesh_endpoint_health_checks", _CHECKED, result="success"),
    _count("HC_FAILURE", "fastmesh_endpoint_health_checks", _CHECKED, result="failure"),
    _count("HC_NETWORK_FAILURE", "fastmesh_endpoint_health_check_silences", "Of the failures: there was no answer."),
)


_BREAKER = "Requests that found the breaker of their destination open, by what became of them."
GUARD = (
    _count("BR_OPENED", "fastmesh_breaker_openings", "How often the breaker of a destination opened."),
    _count("GU_FAILED_OVER", "fastmesh_breaker_requests", _BREAKER, result="backup"),
    _count("GU_ANSWERED", "fastmesh_breaker_requests", _BREAKER, result="answered"),
    _count("GU_LIMITED", "fastmesh_concurrency_refused_requests", "Requests refused.", reason="limit"),
    _count("GU_SHED", "fastmesh_concurrency_refused_requests", "Requests refused.", reason="priority"),
    _count("GU_WAITED", "fastmesh_queue_timeouts", "Requests that waited too long for a connection."),
    _count("GU_TRIALS_PASSED", "fastmesh_ejection_trials", "Trials of ejected endpoints.", result="passed"),
    _count("GU_TRIALS_FAILED", "fastmesh_ejection_trials", "Trials of ejected endpoints.", result="failed"),
    _gauge("GR_LIMIT", "fastmesh_concurrency_limit", "Requests at a time that latency allows; 0: it is not asked."),
)


class Table:
    """The families of one sort of row."""

    def __init__(self, rows: tuple[Row, ...], words: dict[str, str], width: int, first: int = 0) -> None:
        places = list(words)
        self._width, self._first = width, first
        self.families: list[Family] = []
        self._columns: list[tuple[int, bool, str, Family]] = []
        for row in rows:
            if not self.families or self.families[-1].name != row.metric:
                self.families.append(Family(row.metric, row.kind, row.help))
            own = label_text([row.label[0]], [row.label[1]]) if row.label else ""
            self._columns.append((places.index(row.word), row.kind == "gauge", own, self.families[-1]))

    def add(self, values: tuple[int, ...], labels: str = "") -> None:
        sums = totals(values, self._width, self._first)
        for place, gauge, own, family in self._columns:
            value = signed(sums[place]) if gauge else sums[place]
            family.samples.append((f"{labels},{own}" if labels and own else labels or own, value))


def families(entries: Iterable[Entry], plan: Plan | None = None) -> list[Family]:
    """Every word of the arena. With a plan, clusters and endpoints that it no longer has are left out."""
    present = members(plan) if plan is not None else None
    worker = Table(WORKER, names.WORKER_WORDS, names.WORKER_ROW)
    cluster = Table(CLUSTER, names.CLUSTER_WORDS, names.CLUSTER_ROW)
    limit = Table(LIMIT, names.LIMIT_WORDS, names.LIMIT_ROW)
    route = Table(ROUTE, names.ROUTE_WORDS, names.ROUTE_ROW)
    endpoints: list[tuple[bytes, tuple[int, ...]]] = []
    checks: list[tuple[bytes, tuple[int, ...]]] = []
    guards: list[tuple[bytes, tuple[int, ...]]] = []
    for kind, key, values in entries:
        if kind == names.ENTRY_WORKER:
            worker.add(values)
        elif kind == names.ENTRY_CLUSTER and (present is None or present.has_cluster(key)):
            cluster.add(values, label_text(["cluster_name"], [key.decode("utf-8", "replace")]))
        elif kind == names.ENTRY_ENDPOINT:
            endpoints.append((key, values))
        elif kind == names.ENTRY_HEALTH:
            checks.append((key, values))
        elif kind == names.ENTRY_GUARD and (present is None or key in present.guarded):
            guards.append((key, values))
        elif kind == names.ENTRY_LIMIT:
            limit.add(values, label_text(["limit"], [key.decode("utf-8", "replace")]))
        elif kind == names.ENTRY_ROUTE:
            route.add(values, label_text(["virtual_host", "route"], key.decode("utf-8", "replace").split("\0")))
    return [
        *worker.families,
        *cluster.families,
        *_endpoints(endpoints, present),
        *_health(checks, dict(endpoints), present),
        *_guards(guards),
        *limit.families,
        *route.families,
    ]


def _endpoints(found: list[tuple[bytes, tuple[int, ...]]], present: Members | None) -> list[Family]:
    table = Table(ENDPOINT, names.ENDPOINT_WORDS, names.ENDPOINT_ROW, names.OUTLIER_WORDS)
    ejected = Family("fastmesh_endpoint_ejected", "gauge", "1 while outlier detection keeps the endpoint out.")
    ejections = Family("fastmesh_endpoint_ejections", "counter", "How often outlier detection took the endpoint out.")
    now = time.monotonic() * 1000
    for key, values in found:
        if present is not None and not present.has_endpoint(key):
            continue
        cluster, _, address = key.decode("utf-8", "replace").partition("\0")
        labels = label_text(("cluster_name", "endpoint"), (cluster, address))
        table.add(values, labels)
        ejected.add(int(names.is_ejected(values, now)), labels)
        ejections.add(values[names.OUT_EJECTIONS], labels)
    return [*table.families, ejected, ejections]


def _health(
    found: list[tuple[bytes, tuple[int, ...]]], endpoints: dict[bytes, tuple[int, ...]], present: Members | None
) -> list[Family]:
    if not found:
        return []
    table = Table(HEALTH, names.HEALTH_WORDS, names.HEALTH_ROW)
    healthy = Family("fastmesh_endpoint_healthy", "gauge", "1 while active health checks of the endpoint pass.")
    for key, values in found:
        if key in endpoints and values[HC_BEGUN] and (present is None or present.is_checked(key)):
            cluster, _, address = key.decode("utf-8", "replace").partition("\0")
            labels = label_text(("cluster_name", "endpoint"), (cluster, address))
            table.add(values, labels)
            healthy.add(int(not names.verdict(endpoints[key])), labels)
    return [*table.families, healthy]


def _guards(found: list[tuple[bytes, tuple[int, ...]]]) -> list[Family]:
    if not found:
        return []
    table = Table(GUARD, names.GUARD_WORDS, names.GUARD_ROW)
    opened = Family("fastmesh_breaker_open", "gauge", "1 while the breaker of the destination is open or half-open.")
    for key, values in found:
        name = key.decode("utf-8", "replace")
        kind = "cluster_name" if not name.startswith("route|") else "route"
        labels = label_text([kind], [name.removeprefix("route|")])
        table.add(values[: names.GUARD_ROW], labels)
        opened.add(int(values[0] != 0), labels)
    return [*table.families, opened]


def arena_families(usage: tuple[int, int, int, int]) -> list[Family]:
    """How full the shared memory is."""
    used, size, entries, overflows = usage
    rows: list[tuple[str, Literal["counter", "gauge"], str, int]] = [
        ("fastmesh_arena_used_bytes", "gauge", "Shared memory in use for counters, limits and ejections.", used),
        ("fastmesh_arena_size_bytes", "gauge", "Shared memory that may be used (--arena-size).", size),
        ("fastmesh_arena_entries", "gauge", "Clusters, endpoints, limits and series in shared memory.", entries),
        ("fastmesh_arena_overflows", "counter", "Entries that found no room: their numbers are lost.", overflows),
    ]
    made = []
    for name, kind, help, value in rows:
        made.append(Family(name, kind, help))
        made[-1].add(value)
    return made
