# ruff: noqa: RUF012 - msgspec copies an empty list for each object
"""CapacityModel (fastmesh.io/v1alpha1): services, what an instance of each can do, and who calls whom how often.

fastmesh's own kind, read by `fastmesh capacity`; a proxy passes it over.
"""

from __future__ import annotations

from fastmesh.model.base import Spec, UInt32


class Call(Spec, frozen=True):
    """`times` requests to `service` for each request of the caller, on average."""

    service: str
    times: float = 1.0


class CapacityService(Spec, frozen=True):
    """Requests a second of an instance: `rate` for each of `replicas`, or `rates`, one for each instance."""

    name: str
    rate: float | None = None
    replicas: UInt32 = 1
    rates: list[float] = []
    calls: list[Call] = []


class CapacityModel(Spec, frozen=True):
    """`entry` is where requests come in; "": the one service that no other calls."""

    services: list[CapacityService]
    entry: str = ""
    requests_per_second: float | None = None
