# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""Resilience (fastmesh.io/v1alpha1): for a destination that has too much to do, or too many errors. Our own kind."""

from __future__ import annotations

from typing import Literal

from fastmesh.model.base import Duration, Spec, UInt32
from fastmesh.model.route_policy import RouteTarget
from fastmesh.model.virtual_service import HTTPMatchRequest


class HealthWeighted(Spec, frozen=True):
    """An endpoint is chosen in proportion to p = passed / observed; `floor_percent` is the least that p counts."""

    floor_percent: UInt32 = 5


class FixedAnswer(Spec, frozen=True):
    status: UInt32 = 503
    body: str = ""
    headers: dict[str, str] = {}


class Backup(Spec, frozen=True):
    """Another destination; `port`: that of the request's."""

    host: str
    subset: str = ""
    port: UInt32 | None = None


class Breaker(Spec, frozen=True):
    """Opens when the mean error rate of the instances reaches `error_percent`; then `backup` or `answer` serves."""

    error_percent: float
    min_requests: UInt32 = 20
    open_for: Duration = Duration(30_000)
    probes: UInt32 = 3
    backup: Backup | None = None
    answer: FixedAnswer | None = None


class AdaptiveConcurrency(Spec, frozen=True):
    """Envoy's gradient controller, with its defaults."""

    min_concurrency: UInt32 = 3
    max_concurrency: UInt32 = 1000
    percentile: UInt32 = 50
    interval: Duration = Duration(100)
    min_rtt_interval: Duration = Duration(30_000)
    min_rtt_requests: UInt32 = 50
    buffer_percent: UInt32 = 25
    jitter_percent: UInt32 = 15


class PriorityClass(Spec, frozen=True):
    """Requests of the first class whose match fits; `share` is how much of the limit they may fill, in percent."""

    name: str
    match: list[HTTPMatchRequest] = []
    share: UInt32 | None = None


class Concurrency(Spec, frozen=True):
    """Requests under way to the destination, over all workers: at most `limit`, or what `adaptive` finds."""

    limit: UInt32 | None = None
    adaptive: AdaptiveConcurrency | None = None
    priorities: list[PriorityClass] = []
    answer: FixedAnswer | None = None
    retry_after: UInt32 = 1  # seconds; 0: the header is left out


class Queue(Spec, frozen=True):
    """How long a request may wait for a connection."""

    max_wait: Duration


class SlowEndpoints(Spec, frozen=True):
    """Ejects an endpoint whose `percentile` is above `above`, or above `times_peers` times what the others take.

    It has to be so in `intervals` windows in a row, each with `min_requests` answers or more. `floor`: whoever takes no
    longer is never slow by comparison.
    """

    above: Duration | None = None
    times_peers: float | None = None
    floor: Duration = Duration(10)
    percentile: UInt32 = 50
    interval: Duration = Duration(10_000)
    intervals: UInt32 = 3
    min_requests: UInt32 = 10


class HalfOpen(Spec, frozen=True):
    """Ejected endpoints come back after `successes` trials in a row: `requests` of users at a time, or the checks."""

    by: Literal["requests", "checks"] = "requests"
    requests: UInt32 = 1
    successes: UInt32 = 3


class Ejection(Spec, frozen=True):
    """The time and the share are those of endpoints that are slow; for errors the DestinationRule has its own."""

    latency: SlowEndpoints | None = None
    base_ejection_time: Duration = Duration(30_000)
    max_ejection_percent: UInt32 = 50
    half_open: HalfOpen | None = None


class Resilience(Spec, frozen=True):
    """For a host, or for rules (`target_ref`). No `subset`: every subset and the whole; no `port`: every port. `side`:
    where it acts, in the proxies of those who call the host, or in the sidecars of those who serve it.
    """

    host: str = ""
    target_ref: RouteTarget | None = None
    side: Literal["client", "server"] = "client"
    subset: str | None = None
    port: UInt32 | None = None
    half_life: Duration = Duration(10_000)  # of what is observed of endpoints: the past counts half after each
    health_weighted: HealthWeighted | None = None
    breaker: Breaker | None = None
    concurrency: Concurrency | None = None
    queue: Queue | None = None
    ejection: Ejection | None = None
