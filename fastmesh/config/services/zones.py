"""zoneAwareLbSetting inside the own region: the own zone first, as far as other replicas of this proxy leave it room.

How far that is follows from where they stand: if the own zone has half of the replicas and a quarter of the endpoints,
half of this proxy's requests can stay. A proxy knows its replicas by the service that leads to its own workload.
"""

from __future__ import annotations

from collections import Counter

from fastmesh.config.plan import ZonesPlan
from fastmesh.config.services.localities import Site, locality_of, place_of
from fastmesh.config.services.registry import Registry
from fastmesh.config.services.role import Role, about_flag
from fastmesh.config.services.workloads import facts
from fastmesh.errors import Problem

LEAST = 6  # Envoy's, of a cluster's endpoints


class Zones:
    """`problems`: why zones mean nothing to this proxy, when somebody asked."""

    def __init__(self, registry: Registry, role: Role, own: Site) -> None:
        self._registry = registry
        self._role = role
        self._own = own
        self._callers: list[tuple[str, int]] | None = None
        self.problems: list[Problem] = []

    def plan(self, least: int | None) -> ZonesPlan | None:
        """None: the own zone goes before no other one."""
        if self._callers is None:
            self._callers = self._find()
        if len(self._callers) < 2:
            return None
        return ZonesPlan(own=self._own.locality, callers=self._callers, least=LEAST if least is None else least)

    def _find(self) -> list[tuple[str, int]]:
        """Localities of the replicas of this proxy's workload in its region, and how many stand there."""
        found = Counter(self._replicas())
        if found[self._own.locality]:
            return sorted(found.items())
        flag, why = "--workload", "no service of these files leads to a replica of this proxy in its own zone"
        if not self._own.locality:
            flag, why = "--locality", "where this proxy stands is not known"
        message = f"zoneAwareLbSetting keeps to the region and prefers no zone in it: {why}"
        self.problems.append(about_flag(flag, message, "warning"))
        return []

    def _replicas(self) -> list[str]:
        role, region = self._role, self._own.place[0]
        mine = facts(role.name, role.namespace, role.labels)
        workloads = self._registry.workloads.plans
        for service in self._registry.known:
            if service.namespace != role.namespace or not service.leads_to(role.labels):
                continue
            found = [
                locality
                for instance in service.instances
                for locality in [locality_of(instance.labels, instance.locality)]
                for known in [workloads[instance.workload]]
                if place_of(locality)[0] == region
                and (known.canonical_service, known.canonical_revision)
                == (mine.canonical_service, mine.canonical_revision)
            ]
            if found:
                return found
        return []
