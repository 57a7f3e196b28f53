"""loadBalancer of a DestinationRule, but for its locality settings: how one of several endpoints is picked.

https://istio.io/latest/docs/reference/config/networking/destination-rule/#LoadBalancerSettings
"""

from __future__ import annotations

from typing import Literal

from fastmesh.config.plan import HashPlan, UtilizationPlan
from fastmesh.model.destination_rule import ConsistentHash, HTTPCookie, LoadBalancer, RetryBudget

Balancer = Literal["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST", "PASSTHROUGH"]

_SIMPLE: dict[str, Balancer] = {"ROUND_ROBIN": "ROUND_ROBIN", "RANDOM": "RANDOM", "PASSTHROUGH": "PASSTHROUGH"}
_RING, _MAGLEV = 1024, 65537  # Envoy's sizes


def balancer(block: LoadBalancer | None) -> Balancer:
    return _SIMPLE.get(block.simple or "", "LEAST_REQUEST") if block is not None else "LEAST_REQUEST"


def hash_plan(block: LoadBalancer | None) -> HashPlan | None:
    written = block.consistent_hash if block is not None else None
    if written is None:
        return None
    table: Literal["ring", "maglev"] = "ring" if written.maglev is None else "maglev"
    size = _MAGLEV if table == "maglev" else _RING
    if written.maglev is not None:
        size = written.maglev.table_size or size
    elif written.ring_hash is not None:
        size = written.ring_hash.minimum_ring_size or size  # the older field next to it does not count
    else:
        size = written.minimum_ring_size or size
    source, name = _source(written)
    cookie = written.http_cookie
    made = set_cookie(cookie) if cookie is not None and cookie.ttl is not None else None
    return HashPlan(source=source, name=name, cookie=made, table=table, size=size)


def utilization(block: LoadBalancer | None) -> UtilizationPlan | None:
    """Envoy's defaults, as Istio names none."""
    written = block.backend_utilization if block is not None else None
    if written is None:
        return None
    usual = UtilizationPlan()
    percent = written.error_utilization_penalty_percent
    return UtilizationPlan(
        update=int(written.weight_update_period or usual.update),
        stabilization=_or(written.weight_stabilization_period, usual.stabilization),
        expiration=_or(written.weight_expiration_period, usual.expiration),
        penalty=usual.penalty if percent is None else percent / 100,
        metrics=list(written.metric_names_for_computing_utilization),
    )


def _or(written: int | None, usual: int) -> int:
    return usual if written is None else int(written)


def warmup(block: LoadBalancer | None) -> tuple[int, float, float] | None:
    """Duration in ms, the part to start with, aggression; only ROUND_ROBIN and LEAST_REQUEST know how to."""
    if block is None or block.consistent_hash is not None or block.backend_utilization is not None:
        return None
    if balancer(block) not in ("ROUND_ROBIN", "LEAST_REQUEST"):
        return None
    written = block.warmup
    if written is None:
        return (int(block.warmup_duration_secs), 0.1, 1.0) if block.warmup_duration_secs else None
    least = 10.0 if written.minimum_percent is None else written.minimum_percent
    return int(written.duration), least / 100, 1.0 if written.aggression is None else written.aggression


def retry_budget(written: RetryBudget | None) -> tuple[float, int, int] | None:
    if written is None:
        return None
    percent = 20.0 if written.percent is None else written.percent
    return percent / 100, written.min_retry_concurrency or 3, int(written.budget_interval or 0)


def _source(written: ConsistentHash) -> tuple[Literal["", "header", "cookie", "source_ip", "query"], str]:
    if written.http_header_name:
        return "header", written.http_header_name
    if written.http_cookie is not None:
        return "cookie", written.http_cookie.name
    if written.http_query_parameter_name:
        return "query", written.http_query_parameter_name
    return ("source_ip", "") if written.use_source_ip else ("", "")


def set_cookie(cookie: HTTPCookie) -> str:
    """What Envoy says behind the value of a cookie that it makes; a ttl of 0 is that of the browser's session."""
    seconds = (cookie.ttl or 0) // 1000
    parts = [f"Max-Age={seconds}"] if seconds else []
    parts += [f"Path={cookie.path}"] if cookie.path else []
    parts += [f"{each.name}={each.value}" if each.value else each.name for each in cookie.attributes]
    return "".join(f"; {part}" for part in [*parts, "HttpOnly"])
