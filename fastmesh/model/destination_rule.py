# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""DestinationRule: what applies to traffic after routing: balancing, pools, ejection, TLS, subsets.

https://istio.io/latest/docs/reference/config/networking/destination-rule/
"""

from __future__ import annotations

from typing import Literal

import msgspec

from fastmesh.model.base import Duration, Int32, MatchLabels, PortSelector, Spec, UInt32, UInt64


class CookieAttribute(Spec, frozen=True):
    name: str
    value: str = ""


class HTTPCookie(Spec, frozen=True):
    """`ttl` None: the cookie is used but never made; 0: a session cookie is made."""

    name: str
    path: str = ""
    ttl: Duration | None = None
    attributes: list[CookieAttribute] = []


class RingHash(Spec, frozen=True):
    minimum_ring_size: UInt64 = 0


class MagLev(Spec, frozen=True):
    table_size: UInt64 = 0


class ConsistentHash(Spec, frozen=True):
    http_header_name: str = ""
    http_cookie: HTTPCookie | None = None
    use_source_ip: bool | None = None
    http_query_parameter_name: str = ""
    ring_hash: RingHash | None = None
    maglev: MagLev | None = None
    minimum_ring_size: UInt64 = 0


class Distribute(Spec, frozen=True):
    """Localities to percent; the percents sum to 100."""

    from_: str = msgspec.field(name="from", default="")
    to: dict[str, UInt32] = {}


class Failover(Spec, frozen=True):
    from_: str = msgspec.field(name="from", default="")
    to: str = ""


class LocalityLoadBalancer(Spec, frozen=True):
    distribute: list[Distribute] = []
    failover: list[Failover] = []
    failover_priority: list[str] = []
    enabled: bool | None = None


class ZoneAwareLoadBalancer(Spec, frozen=True):
    enabled: bool | None = None
    failover: list[Failover] = []
    failover_priority: list[str] = []
    min_cluster_size: UInt32 | None = None


class Warmup(Spec, frozen=True):
    """Slow start: `minimum_percent` 0-100 (default 10), `aggression` > 0 (default 1.0)."""

    duration: Duration
    minimum_percent: float | None = None
    aggression: float | None = None


class BackendUtilization(Spec, frozen=True):
    weight_update_period: Duration | None = None
    weight_stabilization_period: Duration | None = None
    weight_expiration_period: Duration | None = None
    error_utilization_penalty_percent: UInt32 | None = None
    metric_names_for_computing_utilization: list[str] = []


class LoadBalancer(Spec, frozen=True):
    """`simple` None or UNSPECIFIED means LEAST_REQUEST; LEAST_CONN is its deprecated name."""

    simple: Literal["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"] | None = None
    consistent_hash: ConsistentHash | None = None
    locality_lb_setting: LocalityLoadBalancer | None = None
    zone_aware_lb_setting: ZoneAwareLoadBalancer | None = None
    warmup_duration_secs: Duration | None = None
    warmup: Warmup | None = None
    backend_utilization: BackendUtilization | None = None


class TcpKeepalive(Spec, frozen=True):
    """0 probes and absent times mean the operating system's values."""

    probes: UInt32 = 0
    time: Duration | None = None
    interval: Duration | None = None


class TCPSettings(Spec, frozen=True):
    """`max_connections` 0 means the default (2^32-1); `idle_timeout` 0 means off, None one hour."""

    max_connections: Int32 = 0
    connect_timeout: Duration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: Duration | None = None
    idle_timeout: Duration | None = None


class HTTP2KeepAlive(Spec, frozen=True):
    interval: Duration | None = None
    timeout: Duration | None = None


class HTTPSettings(Spec, frozen=True):
    """For every number 0 means the default."""

    http1_max_pending_requests: Int32 = 0
    http2_max_requests: Int32 = 0
    max_requests_per_connection: Int32 = 0
    max_retries: Int32 = 0
    idle_timeout: Duration | None = None
    h2_upgrade_policy: Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] = "DEFAULT"
    use_client_protocol: bool = False
    max_concurrent_streams: Int32 = 0
    http2_keep_alive: HTTP2KeepAlive | None = None


class ConnectionPool(Spec, frozen=True):
    tcp: TCPSettings | None = None
    http: HTTPSettings | None = None


class OutlierDetection(Spec, frozen=True):
    """None means Istio's default (5 errors, 10s, 30s); 0 switches a counter off; `max_ejection_percent` 0 means 10."""

    consecutive_errors: Int32 = 0
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failures: UInt32 | None = None
    consecutive_gateway_errors: UInt32 | None = None
    consecutive_5xx_errors: UInt32 | None = msgspec.field(name="consecutive5xxErrors", default=None)
    interval: Duration | None = None
    base_ejection_time: Duration | None = None
    max_ejection_percent: Int32 = 0
    min_health_percent: Int32 = 0
    outlier_detection_http_error_codes: list[UInt32] = []


class ClientTLS(Spec, frozen=True):
    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] = "DISABLE"
    client_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    credential_name: str = ""
    subject_alt_names: list[str] = []
    sni: str = ""
    insecure_skip_verify: bool | None = None
    ca_crl: str = ""


class Tunnel(Spec, frozen=True):
    target_host: str
    target_port: UInt32
    protocol: str = ""


class ProxyProtocol(Spec, frozen=True):
    version: Literal["V1", "V2"] = "V1"


class RetryBudget(Spec, frozen=True):
    """`percent` of active requests (default 20), never below `min_retry_concurrency` (default 3)."""

    percent: float | None = None
    min_retry_concurrency: UInt32 | None = None
    budget_interval: Duration | None = None


class PortTrafficPolicy(Spec, frozen=True):
    """Replaces the four destination-level blocks whole for one service port."""

    port: PortSelector | None = None
    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLS | None = None


class TrafficPolicy(Spec, frozen=True):
    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLS | None = None
    port_level_settings: list[PortTrafficPolicy] = []
    tunnel: Tunnel | None = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None


class Subset(Spec, frozen=True):
    """An endpoint belongs when all labels match; no labels means every endpoint."""

    name: str
    labels: dict[str, str] = {}
    traffic_policy: TrafficPolicy | None = None


class DestinationRule(Spec, frozen=True):
    host: str
    traffic_policy: TrafficPolicy | None = None
    subsets: list[Subset] = []
    export_to: list[str] = []
    workload_selector: MatchLabels | None = None
