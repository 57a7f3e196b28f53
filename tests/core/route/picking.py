"""Clusters for tests of balancing: plans as a snapshot gets them."""

from __future__ import annotations

from typing import Any

import msgspec

from fastmesh.config.plan import ClusterPlan, EndpointPlan, HashPlan, OutlierPlan
from fastmesh.core.route.route_probe import Picker


def addresses(count: int) -> list[str]:
    return [f"10.0.{number // 250}.{number % 250 + 1}" for number in range(count)]


def endpoints(*hosts: str, weights: dict[str, int] | None = None, **more: Any) -> list[EndpointPlan]:
    return [EndpointPlan(address=host, port=80, weight=(weights or {}).get(host, 1), **more) for host in hosts]


def picker(made: list[EndpointPlan], arena: Any = None, slot: int = 0, slice_ns: int = 0, **fields: Any) -> Picker:
    plan = ClusterPlan(name="outbound|80||app", endpoints=made, **fields)
    return Picker(msgspec.to_builtins(plan), arena, slot, 1, slice_ns)


def hashing(made: list[EndpointPlan], *, table: str = "ring", size: int = 0, **more: Any) -> Picker:
    size = size or (1024 if table == "ring" else 65537)
    return picker(made, hash=HashPlan(table=table, size=size), **more)  # type: ignore[arg-type]


def ejecting(percent: int = 100, panic: int = 0) -> OutlierPlan:
    return OutlierPlan(consecutive_5xx=1, max_percent=percent, min_health_percent=panic)
