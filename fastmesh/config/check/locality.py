"""Locality settings of a load balancer: shares by locality, and failover between regions.

https://istio.io/latest/docs/reference/config/networking/destination-rule/#LocalityLoadBalancerSetting
"""

from __future__ import annotations

from collections.abc import Iterable

from fastmesh.config.check.report import At
from fastmesh.model.destination_rule import Failover, LocalityLoadBalancer, ZoneAwareLoadBalancer

_TOPOLOGY = frozenset(("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"))


def check_locality(locality: LocalityLoadBalancer, ejects: bool, at: At) -> None:
    """`ejects`: the same policy has outlierDetection, without which nothing fails over."""
    if locality.distribute and locality.failover:
        at["failover"].error("distribute and failover exclude each other, keep one")
        return
    if locality.failover:
        for index, label in enumerate(locality.failover_priority):
            if label in _TOPOLOGY:
                at["failoverPriority"][index].error(f"{label} is what failover decides already, remove one of them")
    for index, share in enumerate(locality.distribute):
        place = at["distribute"][index]["to"]
        for name, weight in share.to.items():
            if not 1 <= weight <= 100:
                place[name].error(f"{weight} is not a share, write 1 to 100")
        total = sum(share.to.values())
        if total != 100:
            place.error(f"the shares sum to {total}, they have to sum to 100")
        _check_names((name, place[name]) for name in share.to)
    _check_names((share.from_, at["distribute"][index]["from"]) for index, share in enumerate(locality.distribute))
    _check_failover(locality.failover, bool(locality.failover_priority), ejects, at)


def check_zone_aware(zones: ZoneAwareLoadBalancer, ejects: bool, at: At) -> None:
    for index, label in enumerate(zones.failover_priority):
        if label in _TOPOLOGY:
            at["failoverPriority"][index].error(f"{label} is handled by itself here, remove it")
    if zones.min_cluster_size == 0:
        at["minClusterSize"].error("0 is too small, write 1 or more")
    _check_failover(zones.failover, bool(zones.failover_priority), ejects, at)


def _check_failover(failover: list[Failover], by_priority: bool, ejects: bool, at: At) -> None:
    if (failover or by_priority) and not ejects:
        at.advice("nothing fails over without outlierDetection, add it to the same policy")
    for index, pair in enumerate(failover):
        place = at["failover"][index]
        if pair.from_ == pair.to:
            place.error(f"leads from {pair.from_} to itself, name two regions")
        for name, region in (("from", pair.from_), ("to", pair.to)):
            if "/" in region or "*" in region:
                place[name].error(f"{region} is not a region, write one such as us-east-1 without zone and *")


def _check_names(names: Iterable[tuple[str, At]]) -> None:
    """`region[/zone[/subzone]]` with `*` only at the end; none may cover another."""
    taken: list[tuple[str, ...]] = []
    for name, at in names:
        parts = tuple(name.split("/", 2))
        if not all(parts):
            at.error(f'"{name}" lacks a part, write region/zone/subzone, region/zone or region')
            continue
        if "*" in name and (name.count("*") > 1 or not name.endswith("*")):
            at.error(f"{name} has * in the wrong place, it may only be at the end")
            continue
        prefix = parts[:-1] if parts[-1] == "*" else parts
        if any(prefix[: len(other)] == other or other[: len(prefix)] == prefix for other in taken):
            at.error(f"{name} overlaps an earlier locality, make them apart")
        taken.append(prefix)
