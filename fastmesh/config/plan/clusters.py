# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""Destinations: their endpoints, how one is chosen, what is watched, and what is done when there is too much."""

from __future__ import annotations

from typing import Literal

from fastmesh.config.plan.parts import HashPlan, MatchPlan, Origin, PlanPart
from fastmesh.config.plan.tls import ClientTLSPlan


class EndpointPlan(PlanPart, frozen=True):
    address: str  # IP literal, or "unix:///path"
    port: int
    weight: int = 1
    locality: str = ""
    workload: int = 0  # index of Plan.workloads
    priority: int = 0  # the healthy ones of 0 serve, then those of 1, ...; without gaps
    mesh_tls: bool = False  # a sidecar ends mTLS there, and the server's PeerAuthentication does not forbid it


class OutlierPlan(PlanPart, frozen=True):
    consecutive_5xx: int = 5  # 0 = off
    consecutive_gateway: int = 0
    split_local: bool = False
    consecutive_local: int = 5
    interval: int = 10_000
    base: int = 30_000
    max_percent: int = 10
    min_health_percent: int = 0
    codes: list[int] = []  # when given these replace "5xx"


class HealthCheckPlan(PlanPart, frozen=True):
    """How the endpoints of a cluster are asked whether they are well (HealthCheck)."""

    origin: Origin
    kind: Literal["http", "tcp", "grpc"]
    interval: int
    jitter: int
    timeout: int
    unhealthy: int
    healthy: int
    authority: str = ""
    path: str = "/"
    method: str = "GET"
    statuses: list[tuple[int, int]] = []  # the first and the last of each range
    headers: list[tuple[str, str]] = []
    service: str = ""  # that a gRPC server is asked about
    min_health_percent: int = 0  # fewer healthy endpoints than this: health is ignored; stands for the one of `outlier`


class OwnAnswerPlan(PlanPart, frozen=True):
    status: int
    body: bytes = b""
    headers: list[tuple[str, str]] = []
    written: bool = False  # by somebody; else a RoutePolicy may know another place to go


class BreakerPlan(PlanPart, frozen=True):
    threshold: int  # mean error rate, per million
    min_requests: int
    open_for: int
    probes: int
    answer: OwnAnswerPlan  # when there is no backup, or it does not exist
    backup: str | None = None  # names a ClusterPlan


class AdaptivePlan(PlanPart, frozen=True):
    min_concurrency: int
    max_concurrency: int
    percentile: int
    interval: int
    min_rtt_interval: int
    min_rtt_requests: int
    buffer_percent: int
    jitter_percent: int


class PriorityPlan(PlanPart, frozen=True):
    name: str
    share: int  # percent of the limit
    matches: list[MatchPlan] = []  # OR; empty = always


class ConcurrencyPlan(PlanPart, frozen=True):
    answer: OwnAnswerPlan
    limit: int = 0  # 0: `adaptive` finds it
    adaptive: AdaptivePlan | None = None
    priorities: list[PriorityPlan] = []  # the first one that fits counts; who fits none is of the last


class SlowPlan(PlanPart, frozen=True):
    """When an endpoint is slow; 0: there is no such bound."""

    above: int
    times: float  # what the others take
    least: int  # ms: who takes no longer is not slow by comparison
    percentile: int
    interval: int
    windows: int
    samples: int


class EjectionPlan(PlanPart, frozen=True):
    """`base` and `max_percent` are those of endpoints that are slow."""

    base: int
    max_percent: int
    latency: SlowPlan | None = None
    trials: int = 0  # at a time; 0: an ejected endpoint comes back when its time is over
    successes: int = 0
    by_checks: bool = False  # active checks are the trials, not requests


class ResiliencePlan(PlanPart, frozen=True):
    """What is done for a cluster that has too much or too many errors."""

    origin: Origin
    half_life: int
    weighted_floor: int | None = None  # percent; None: endpoints are not weighted by their health
    breaker: BreakerPlan | None = None
    concurrency: ConcurrencyPlan | None = None
    max_wait: int = 0
    ejection: EjectionPlan | None = None


class UtilizationPlan(PlanPart, frozen=True):
    """Weights by the load that endpoints report in their answers (ORCA); times in ms."""

    update: int = 1000
    stabilization: int = 10_000
    expiration: int = 180_000
    penalty: float = 1.0  # 1: a share of errors counts like the same share of utilization
    metrics: list[str] = []  # "named_metrics.NAME", "utilization.NAME", "mem_utilization"; the largest counts


class ZonesPlan(PlanPart, frozen=True):
    """Of the first priority, the own zone serves as much as its share of this proxy's replicas lets it."""

    own: str  # locality
    callers: list[tuple[str, int]]  # localities of this proxy's replicas, and how many stand there; `own` is one
    least: int  # healthy endpoints; with fewer, zones mean nothing


class ClusterPlan(PlanPart, frozen=True):
    """One destination: service + port + subset, with its endpoints and its limits (0 = no limit)."""

    name: str  # outbound|80|v1|reviews.default.svc.cluster.local
    kind: Literal["endpoints", "original_dst", "passthrough", "blackhole"] = "endpoints"  # passthrough: clients choose
    host: str = ""
    port: int = 0
    subset: str = ""
    service_name: str = "unknown"
    service_namespace: str = "unknown"
    endpoints: list[EndpointPlan] = []
    addresses: list[str] = []  # of the service itself, that clients may name where they choose
    balancer: Literal["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST", "PASSTHROUGH"] = "LEAST_REQUEST"
    hash: HashPlan | None = None  # instead of `balancer`
    utilization: UtilizationPlan | None = None  # the same
    localities: list[tuple[int, str, int]] = []  # that share a priority by weight: priority, locality, weight
    zones: ZonesPlan | None = None  # then `localities` is empty
    connect_timeout: int = 10_000
    max_connections: int = 0
    max_pending: int = 0
    max_requests: int = 0
    max_retries: int = 0
    # Instead: the share of requests that may be retries, the least number, ms in which requests count (0: under way)
    retry_budget: tuple[float, int, int] | None = None
    warmup: tuple[int, float, float] | None = None  # ms, the part of its weight that one starts with, aggression
    max_requests_per_connection: int = 0
    idle_timeout: int | None = None  # None: the proxy's own default, shorter than the application's
    max_connection_duration: int | None = None
    tcp_idle: int | None = None  # of a connection of a tcp chain; None: the proxy's own default, 0: for ever
    proxy_protocol: Literal[0, 1, 2] = 0  # version of the PROXY header that connections begin with
    tunnel: str = ""  # HTTP/1.1 request that has a 2xx before the bytes of a tcp chain; of a POST they are the body
    keepalive: tuple[int, int, int] | None = None  # probes, time s, interval s (0 = the system's)
    tls: ClientTLSPlan | None = None
    http: Literal["http1", "http2", "client"] = "http1"  # "client": the version of the request that is sent on
    max_streams: int = 0  # of one HTTP/2 connection, besides what the endpoint says; 0 = no own limit
    h2_ping: tuple[int, int] | None = None  # interval ms, time-out ms of keep-alive pings
    outlier: OutlierPlan | None = None
    health: HealthCheckPlan | None = None
    resilience: ResiliencePlan | None = None
    origin: Origin | None = None  # the DestinationRule that shaped it
