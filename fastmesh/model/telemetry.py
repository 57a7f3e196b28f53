# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""Telemetry: which metrics, logs and traces are made of a workload's traffic.

https://istio.io/latest/docs/reference/config/telemetry/
"""

from __future__ import annotations

from typing import Literal

from fastmesh.model.base import Duration, MatchLabels, Spec, TargetReference

WorkloadMode = Literal["CLIENT_AND_SERVER", "CLIENT", "SERVER"]
IstioMetric = Literal[
    "ALL_METRICS", "REQUEST_COUNT", "REQUEST_DURATION", "REQUEST_SIZE", "RESPONSE_SIZE",
    "TCP_OPENED_CONNECTIONS", "TCP_CLOSED_CONNECTIONS", "TCP_SENT_BYTES", "TCP_RECEIVED_BYTES",
    "GRPC_REQUEST_MESSAGES", "GRPC_RESPONSE_MESSAGES",
]  # fmt: skip


class ProviderRef(Spec, frozen=True):
    name: str


class ModeSelector(Spec, frozen=True):
    mode: WorkloadMode = "CLIENT_AND_SERVER"


class Literally(Spec, frozen=True):
    value: str


class Environment(Spec, frozen=True):
    name: str
    default_value: str = ""


class RequestHeader(Spec, frozen=True):
    name: str
    default_value: str = ""


class Formatter(Spec, frozen=True):
    value: str


class CustomTag(Spec, frozen=True):
    """One of the four."""

    literal: Literally | None = None
    environment: Environment | None = None
    header: RequestHeader | None = None
    formatter: Formatter | None = None


class Tracing(Spec, frozen=True):
    """None: what the next wider level says."""

    match: ModeSelector | None = None
    providers: list[ProviderRef] = []
    random_sampling_percentage: float | None = None
    disable_span_reporting: bool | None = None
    custom_tags: dict[str, CustomTag] = {}
    use_request_id_for_trace_sampling: bool | None = None
    enable_istio_tags: bool | None = None
    disable_context_propagation: bool | None = None


class MetricSelector(Spec, frozen=True):
    """A metric of Istio or one of the user's own, not both."""

    metric: IstioMetric | None = None
    custom_metric: str | None = None
    mode: WorkloadMode = "CLIENT_AND_SERVER"


class TagOverride(Spec, frozen=True):
    operation: Literal["UPSERT", "REMOVE"] = "UPSERT"
    value: str | None = None


class MetricsOverrides(Spec, frozen=True):
    match: MetricSelector | None = None
    disabled: bool | None = None
    tag_overrides: dict[str, TagOverride] = {}


class Metrics(Spec, frozen=True):
    providers: list[ProviderRef] = []
    overrides: list[MetricsOverrides] = []
    reporting_interval: Duration | None = None


class LogFilter(Spec, frozen=True):
    """A CEL expression over Envoy's attributes."""

    expression: str = ""


class AccessLogging(Spec, frozen=True):
    match: ModeSelector | None = None
    providers: list[ProviderRef] = []
    disabled: bool | None = None
    filter: LogFilter | None = None


class Telemetry(Spec, frozen=True):
    """Mesh, namespace and workload are merged; the narrower one wins."""

    selector: MatchLabels | None = None
    target_ref: TargetReference | None = None
    target_refs: list[TargetReference] = []
    tracing: list[Tracing] = []
    metrics: list[Metrics] = []
    access_logging: list[AccessLogging] = []
