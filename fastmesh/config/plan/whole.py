# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""The whole: what holds for the proxy, and all the parts."""

from __future__ import annotations

from typing import Literal

import msgspec

from fastmesh.config.plan.clusters import ClusterPlan
from fastmesh.config.plan.listeners import ListenerPlan
from fastmesh.config.plan.parts import PlanPart
from fastmesh.config.plan.routes import FilterPlan, LimitPlan, RefusalPlan, VirtualHostPlan
from fastmesh.config.plan.tls import CredentialPlan, CredentialSourcePlan


class WorkloadPlan(PlanPart, frozen=True):
    """The peer's facts that metrics show; "unknown" where nothing is known."""

    name: str = "unknown"
    namespace: str = "unknown"
    app: str = "unknown"
    version: str = "unknown"
    canonical_service: str = "unknown"
    canonical_revision: str = "latest"
    principal: str = "unknown"
    cluster: str = "Kubernetes"


class MeshPlan(PlanPart, frozen=True):
    """What holds for the whole proxy."""

    version: str  # hash of the sources, shown in /server_info and /config_dump
    workload: WorkloadPlan  # this proxy's own identity: the source_* labels
    trust_domain: str = "cluster.local"
    trust_domain_aliases: list[str] = []  # their names mean the same: the same roots are asked
    domain: str = "cluster.local"
    http10: bool = True
    path_normalization: Literal["NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"] = "BASE"
    server_name: str = "istio-envoy"
    refusals: list[RefusalPlan] = []  # of requests that no rule takes
    namespace_limits: list[int] = []  # RateLimits without targetRef: asked for every request
    # The share of all requests under way that may be retries, the least number; None: destinations alone decide
    retry_budget: tuple[float, int] | None = None


class Plan(PlanPart, frozen=True):
    mesh: MeshPlan
    workloads: list[WorkloadPlan]  # index 0 is the all-unknown one
    limits: list[LimitPlan]
    clusters: list[ClusterPlan]
    vhosts: list[VirtualHostPlan]
    listeners: list[ListenerPlan]
    credentials: list[CredentialPlan] = []
    filters: list[FilterPlan] = []
    sources: list[CredentialSourcePlan] = []  # of the credentials; `credentials.sources.collect` finds the material

    def shown(self) -> Plan:
        """The plan without key material, for dumps and for people."""
        hidden = [msgspec.structs.replace(each, key=b"[redacted]" if each.key else b"") for each in self.credentials]
        filters = [msgspec.structs.replace(each, source=b"") for each in self.filters]
        return msgspec.structs.replace(self, credentials=hidden, filters=filters)
