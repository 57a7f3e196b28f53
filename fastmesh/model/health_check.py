# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""HealthCheck (fastmesh.io/v1alpha1): endpoints are asked whether they are well. fastmesh's own kind."""

from __future__ import annotations

from typing import Literal

from fastmesh.model.base import Duration, Spec, UInt32


class HTTPCheck(Spec, frozen=True):
    """A request; `expected_statuses` are numbers and ranges (`200-299`). `host`: the Host header; "": the service's."""

    path: str = "/"
    host: str = ""
    method: Literal["GET", "HEAD", "OPTIONS"] = "GET"
    expected_statuses: list[int | str] | None = None  # 200-299
    headers: dict[str, str] = {}


class TCPCheck(Spec, frozen=True):
    """A connection, with TLS when that is how the destination is spoken to."""


class GRPCCheck(Spec, frozen=True):
    """grpc.health.v1.Health/Check has to answer SERVING for `service`; empty: the server as a whole."""

    service: str = ""
    authority: str = ""


class HealthCheck(Spec, frozen=True):
    """Exactly one of http, tcp, grpc. No `subset`: every subset and the whole; no `port`: every port."""

    host: str
    subset: str | None = None
    port: UInt32 | None = None
    interval: Duration = Duration(5000)
    jitter: Duration | None = None  # a tenth of the interval
    timeout: Duration = Duration(1000)
    unhealthy_threshold: UInt32 = 3
    healthy_threshold: UInt32 = 2
    min_health_percent: UInt32 | None = None  # below it health is ignored; that of the DestinationRule
    http: HTTPCheck | None = None
    tcp: TCPCheck | None = None
    grpc: GRPCCheck | None = None


def status_range(written: int | str) -> tuple[int, int] | None:
    """`200` or `200-299`; None when it is neither."""
    first, dash, last = str(written).partition("-")
    if not first.isdigit() or (dash and not last.isdigit()):
        return None
    found = int(first), int(last) if dash else int(first)
    return found if 100 <= found[0] <= found[1] <= 599 else None
