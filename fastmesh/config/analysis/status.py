"""Conditions that somebody wrote into an object's status and that say that it does not work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastmesh.config.analysis.raw import Raw
from fastmesh.config.kinds import GATEWAY_API, ISTIO, ISTIO_SECURITY
from fastmesh.config.place import Path, Source
from fastmesh.errors import Problem

_WAYPOINT = ("istio.io/WaypointBound",)
_ROUTED = ("Accepted", "Programmed", "ResolvedRefs")
_CONDITIONS = {
    ("", "Service"): _WAYPOINT,
    (ISTIO, "ServiceEntry"): _WAYPOINT,
    (ISTIO, "WorkloadEntry"): _WAYPOINT,
    (ISTIO_SECURITY, "AuthorizationPolicy"): ("ZtunnelAccepted", "WaypointAccepted"),
    (GATEWAY_API, "Gateway"): _ROUTED,
    (GATEWAY_API, "HTTPRoute"): _ROUTED,
    (GATEWAY_API, "GRPCRoute"): _ROUTED,
}


def analyze_status(documents: Iterable[Source], problems: list[Problem]) -> None:
    for raw in map(Raw, documents):
        wanted = _CONDITIONS.get((raw.group, raw.kind), ())
        for path, condition in _conditions(raw) if wanted else ():
            name, reason = condition.get("type"), condition.get("reason")
            partly = raw.kind == "AuthorizationPolicy" and (name, reason) == ("WaypointAccepted", "PartiallyInvalid")
            if partly or (name in wanted and condition.get("status") == "False"):
                message = f"{name} is {condition.get('status')}: {reason}: {condition.get('message')}"
                problems.append(raw.found(path, "IST0171", message))


def _conditions(raw: Raw) -> Iterator[tuple[Path, dict[str, Any]]]:
    places: list[Path] = [("status",)]
    places += [("status", "parents", index) for index, _ in enumerate(raw.items("status", "parents"))]
    for place in places:
        for index, condition in enumerate(raw.items(*place, "conditions")):
            if isinstance(condition, dict):
                yield (*place, "conditions", index), condition
