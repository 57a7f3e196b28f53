"""What fastmesh's own kinds say of destinations, put into their clusters."""

from __future__ import annotations

import msgspec

from fastmesh.config.plan import ClusterPlan
from fastmesh.config.services.health_checks import health_plan
from fastmesh.config.services.targets import Targets
from fastmesh.config.store import ConfigSet


class OwnKinds:
    def __init__(self, config: ConfigSet, namespace: str) -> None:
        self._health_checks = Targets(config.health_checks, namespace)

    def shape(self, plans: list[ClusterPlan]) -> list[ClusterPlan]:
        return [self._shape(plan) if plan.host and plan.endpoints else plan for plan in plans]

    def _shape(self, plan: ClusterPlan) -> ClusterPlan:
        check = self._health_checks.find(plan.host, plan.service_namespace, plan.port, plan.subset)
        if check is not None:
            least = plan.outlier.min_health_percent if plan.outlier is not None else 0
            plan = msgspec.structs.replace(plan, health=health_plan(check, plan.host, least))
        return plan
