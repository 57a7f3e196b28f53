"""Where endpoints stand as seen from this proxy: their priorities, and the shares of localities.

https://istio.io/latest/docs/tasks/traffic-management/locality-load-balancing/
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fastmesh.config.mesh import Mesh
from fastmesh.config.services.networks import NETWORK, Networks
from fastmesh.config.services.role import Role
from fastmesh.config.store import ConfigSet
from fastmesh.model.destination_rule import Distribute, LoadBalancer, LocalityLoadBalancer, ZoneAwareLoadBalancer

CLUSTER = "topology.istio.io/cluster"
REGION = "topology.kubernetes.io/region"
ZONE = "topology.kubernetes.io/zone"
SUBZONE = "topology.istio.io/subzone"
HOSTNAME = "kubernetes.io/hostname"
OF_WORKLOAD = (
    "istio-locality",
    "topology.istio.io/locality",
)  # labels of a pod that name its locality, dots for slashes
OWN_CLUSTER = "Kubernetes"

Place = tuple[str, str, str]  # region, zone, subzone

# Service.spec.trafficDistribution as the priority labels that it stands for
_PREFERRED = {
    "prefersamezone": (NETWORK, REGION, ZONE),
    "preferclose": (NETWORK, REGION, ZONE),
    "prefersamenode": (NETWORK, REGION, ZONE, SUBZONE, HOSTNAME),
}


@dataclass(frozen=True, slots=True)
class Site:
    """Where somebody stands: an endpoint, or the proxy itself."""

    locality: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    weight: int = 1

    @property
    def place(self) -> Place:
        return place_of(self.locality)


@dataclass(slots=True)
class Arrangement:
    """What becomes of a cluster's endpoints: the priority of each (None: it gets nothing), and shares of localities."""

    priorities: list[int | None]
    localities: list[tuple[int, str, int]] = field(default_factory=list)  # priority, locality, weight


class Setting(Protocol):
    """The locality settings that hold for a cluster."""

    def arrange(self, own: Site, sites: Sequence[Site], ejects: bool) -> Arrangement: ...


def place_of(locality: str) -> Place:
    region, zone, subzone = (*locality.split("/", 2), "", "")[:3]
    return region, zone, subzone


def locality_of(labels: Mapping[str, str], known: str) -> str:
    """A pod's label wins over what its node or entry says."""
    written = next((labels[name] for name in OF_WORKLOAD if labels.get(name)), "")
    return (written if "/" in written else written.replace(".", "/")) or known


def topology(labels: Mapping[str, str], locality: str, network: str = "", node: str = "") -> dict[str, str]:
    """The labels with those that Istio adds, so that failoverPriority can name them."""
    region, zone, subzone = place_of(locality)
    added = {REGION: region, ZONE: zone, SUBZONE: subzone, NETWORK: network, HOSTNAME: node}
    return {CLUSTER: OWN_CLUSTER, **labels, **{name: value for name, value in added.items() if value}}


def own_site(config: ConfigSet, role: Role, network: str = "", node: str = "") -> Site:
    """Where the proxy stands: as it was told, else as its workload."""
    known = role.locality or locality_of(role.labels, "")
    for entry in config.workload_entries if not known and role.name else ():
        if (entry.namespace, entry.name) == (role.namespace, role.name):
            known = entry.spec.locality
    return Site(known, topology(role.labels, known, network, node))


def own_network(config: ConfigSet, role: Role, networks: Networks, address: str) -> str:
    """The network of the proxy: by its label, its WorkloadEntry, its address; else that of all of these files."""
    for entry in config.workload_entries if role.name else ():
        if (entry.namespace, entry.name) == (role.namespace, role.name) and entry.spec.network:
            return role.labels.get(NETWORK, "") or entry.spec.network
    return networks.of(role.labels, address)


def setting_of(mesh: Mesh, block: LoadBalancer | None, distribution: str) -> Setting | None:
    """The DestinationRule's, else what the Service asks for, else the mesh's; None: localities mean nothing."""
    if block is not None and block.zone_aware_lb_setting is not None:
        return ByRegion(block.zone_aware_lb_setting)
    if block is not None and block.locality_lb_setting is not None:
        return _unless_off(block.locality_lb_setting)
    preferred = _PREFERRED.get(distribution.lower())
    if preferred is not None:
        return ByLocality(LocalityLoadBalancer(failover_priority=list(preferred)), forced=True)
    if mesh.zone_aware is not None:
        return ByRegion(mesh.zone_aware)
    return _unless_off(mesh.locality or LocalityLoadBalancer())


def _unless_off(written: LocalityLoadBalancer) -> Setting | None:
    return None if written.enabled is False else ByLocality(written)


@dataclass(frozen=True, slots=True)
class ByLocality:
    """localityLbSetting. Priorities only where a sick endpoint can be told: with outlierDetection (or when forced)."""

    written: LocalityLoadBalancer
    forced: bool = False

    def arrange(self, own: Site, sites: Sequence[Site], ejects: bool) -> Arrangement:
        written, failing = self.written, ejects or self.forced
        if written.distribute:
            return _distributed(own.place, sites, written.distribute)
        priorities = [0] * len(sites)
        if not failing:
            return Arrangement(list(priorities))
        if written.failover_priority:
            priorities = _by_labels(own.labels, sites, written.failover_priority)
        if written.failover or not written.failover_priority:
            targets = {pair.from_: pair.to for pair in reversed(written.failover)}
            priorities = _with(priorities, sites, 5, lambda place: _distance(own.place, place, targets))
        shared = bool(written.failover or written.failover_priority)
        return Arrangement(list(priorities), _shares(priorities, sites) if shared else [])


@dataclass(frozen=True, slots=True)
class ByRegion:
    """zoneAwareLbSetting: the own region first, then that of `failover`, then all others; whatever detects sickness."""

    written: ZoneAwareLoadBalancer

    def arrange(self, own: Site, sites: Sequence[Site], ejects: bool) -> Arrangement:
        written = self.written
        priorities = [0] * len(sites)
        if written.enabled is False:
            return Arrangement(list(priorities))
        if written.failover_priority:
            priorities = _by_labels(own.labels, sites, written.failover_priority)
        region = own.place[0]
        to = next((pair.to for pair in written.failover if pair.from_ == region), None)
        priorities = _with(priorities, sites, 3, lambda place: 0 if place[0] == region else 1 if place[0] == to else 2)
        return Arrangement(list(priorities))


def matches(place: Place, written: str) -> bool:
    """Whether a place lies in `region`, `region/zone/*` or the like."""
    region, zone, subzone = place_of(written)
    return (
        region in ("*", place[0])
        and (zone in ("*", "") or zone == place[1])
        and (subzone in ("*", "") or subzone == place[2])
    )


def _distance(own: Place, other: Place, failover: Mapping[str, str]) -> int:
    """0 the same subzone, 1 zone, 2 region, 3 elsewhere; 4 where `failover` sends this region's requests elsewhere."""
    if own[0] == other[0]:
        return 2 if own[1] != other[1] else 1 if own[2] != other[2] else 0
    return 4 if own[0] in failover and failover[own[0]] != other[0] else 3


def _with(priorities: list[int], sites: Sequence[Site], of: int, rank: Callable[[Place], int]) -> list[int]:
    """Priorities that stand, refined by a rank below `of`."""
    ranked = zip(priorities, sites, strict=True)
    return _compact([priority * of + rank(site.place) for priority, site in ranked])


def _compact(priorities: Iterable[int]) -> list[int]:
    """0 to N without gaps."""
    written = list(priorities)
    order = {priority: number for number, priority in enumerate(sorted(set(written)))}
    return [order[priority] for priority in written]


def _by_labels(own: Mapping[str, str], sites: Sequence[Site], wanted: Sequence[str]) -> list[int]:
    """The more labels of the list agree, up to the first that does not, the smaller the number."""
    if not own:
        return [0] * len(sites)
    names = [each.partition("=")[0] for each in wanted]
    values = {name: value for name, equals, value in (each.partition("=") for each in wanted) if equals}
    mine = {name: values.get(name, own.get(name, "")) for name in names}
    return _compact(_disagreement(mine, site.labels, names, wanted[0] == NETWORK) for site in sites)


def _disagreement(mine: Mapping[str, str], other: Mapping[str, str], names: Sequence[str], network: bool) -> int:
    """Another network, as the first label of the list, makes an endpoint worse than all of this one."""
    away = 0
    for number, name in enumerate(names):
        if mine[name] != other.get(name, ""):
            if number or not network:
                return len(names) - number + away
            away = len(names)
    return away


def _shares(priorities: Sequence[int], sites: Sequence[Site]) -> list[tuple[int, str, int]]:
    """Localities of each priority by the weight of what stands there."""
    found: dict[tuple[int, str], int] = {}
    for priority, site in zip(priorities, sites, strict=True):
        key = priority, site.locality
        found[key] = found.get(key, 0) + site.weight
    return [(priority, locality, weight) for (priority, locality), weight in sorted(found.items())]


def _distributed(own: Place, sites: Sequence[Site], written: Sequence[Distribute]) -> Arrangement:
    """The first entry whose `from` is here. Its localities share by their percents; others get nothing."""
    shares = _shares([0] * len(sites), sites)
    chosen = next((each for each in written if matches(own, each.from_)), None)
    if chosen is None:
        return Arrangement([0] * len(sites), shares)
    given: dict[str, int] = {}
    for target, percent in chosen.to.items():
        there = [(name, weight) for _, name, weight in shares if name not in given and matches(place_of(name), target)]
        total = sum(weight for _, weight in there)
        given |= {name: math.ceil(weight * percent / total) for name, weight in there}
    priorities: list[int | None] = [0 if site.locality in given else None for site in sites]
    return Arrangement(priorities, [(0, name, weight) for name, weight in sorted(given.items())])
