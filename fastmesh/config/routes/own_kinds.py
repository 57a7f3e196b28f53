"""What fastmesh's own kinds say of destinations, put into their clusters."""

from __future__ import annotations

import msgspec

from fastmesh.config.hosts import fqdn
from fastmesh.config.origins import origin
from fastmesh.config.plan import AdaptivePlan, BreakerPlan, ClusterPlan, ConcurrencyPlan, OwnAnswerPlan, PriorityPlan
from fastmesh.config.plan import ResiliencePlan as Plan
from fastmesh.config.resource import Resource
from fastmesh.config.routes.matches import Scope, clauses
from fastmesh.config.services.clusters import Clusters
from fastmesh.config.services.health_checks import health_plan
from fastmesh.config.services.targets import Targets
from fastmesh.config.store import ConfigSet
from fastmesh.model.resilience import Breaker, Concurrency, FixedAnswer, Resilience


class OwnKinds:
    """`retry_budget` is for destinations that say nothing of how many retries there may be."""

    def __init__(
        self, config: ConfigSet, clusters: Clusters, scope: Scope, retry_budget: tuple[float, int, int] | None = None
    ) -> None:
        self._retry_budget = retry_budget
        self._health_checks = Targets(config.health_checks, scope.namespace)
        self._resilience = Targets(config.resiliences, scope.namespace)
        self._clusters = clusters
        self._scope = scope

    def shape(self) -> list[ClusterPlan]:
        """All clusters, backups included: those are made here, when nobody else has asked for them."""
        done = 0
        shaped: list[ClusterPlan] = []
        while done < len(self._clusters.plans):
            plan = self._clusters.plans[done]
            if self._retry_budget is not None and plan.retry_budget is None and not plan.max_retries:
                plan = msgspec.structs.replace(plan, retry_budget=self._retry_budget)
            shaped.append(self._shape(plan) if plan.host and plan.endpoints else plan)
            done += 1
        return shaped

    def _shape(self, plan: ClusterPlan) -> ClusterPlan:
        check = self._health_checks.find(plan.host, plan.service_namespace, plan.port, plan.subset)
        if check is not None:
            least = plan.outlier.min_health_percent if plan.outlier is not None else 0
            plan = msgspec.structs.replace(plan, health=health_plan(check, plan.host, least))
        written = self._resilience.find(plan.host, plan.service_namespace, plan.port, plan.subset)
        if written is not None:
            plan = msgspec.structs.replace(plan, resilience=self._plan(written, plan))
        return plan

    def _plan(self, written: Resource[Resilience], cluster: ClusterPlan) -> Plan:
        spec = written.spec
        weighted = spec.health_weighted
        return Plan(
            origin=origin(written),
            half_life=int(spec.half_life),
            weighted_floor=weighted.floor_percent if weighted is not None else None,
            breaker=self._breaker(spec.breaker, written.namespace, cluster) if spec.breaker is not None else None,
            concurrency=self._concurrency(spec.concurrency, written, cluster) if spec.concurrency is not None else None,
            max_wait=int(spec.queue.max_wait) if spec.queue is not None else 0,
        )

    def _breaker(self, breaker: Breaker, namespace: str, cluster: ClusterPlan) -> BreakerPlan:
        backup = None
        if breaker.backup is not None:
            host = fqdn(breaker.backup.host, namespace)
            backup, _ = self._clusters.use(host, breaker.backup.port or cluster.port, breaker.backup.subset)
        return BreakerPlan(
            threshold=round(breaker.error_percent * 10_000),
            min_requests=breaker.min_requests,
            open_for=int(breaker.open_for),
            probes=breaker.probes,
            backup=backup,
            answer=_refusal(breaker.answer, max(1, int(breaker.open_for) // 1000)),
        )

    def _concurrency(
        self, concurrency: Concurrency, written: Resource[Resilience], cluster: ClusterPlan
    ) -> ConcurrencyPlan:
        adaptive = concurrency.adaptive
        count = len(concurrency.priorities)
        priorities = []
        for index, priority in enumerate(concurrency.priorities):
            matches = clauses(priority.match, self._scope.at(cluster.port), written.namespace)
            if matches is not None:
                share = priority.share if priority.share is not None else round(100 * (count - index) / count)
                priorities.append(PriorityPlan(name=priority.name, share=share, matches=matches))
        return ConcurrencyPlan(
            limit=concurrency.limit or 0,
            adaptive=AdaptivePlan(
                min_concurrency=adaptive.min_concurrency,
                max_concurrency=adaptive.max_concurrency,
                percentile=adaptive.percentile,
                interval=int(adaptive.interval),
                min_rtt_interval=int(adaptive.min_rtt_interval),
                min_rtt_requests=adaptive.min_rtt_requests,
                buffer_percent=adaptive.buffer_percent,
                jitter_percent=adaptive.jitter_percent,
            )
            if adaptive is not None
            else None,
            priorities=priorities,
            answer=_refusal(concurrency.answer, concurrency.retry_after),
        )


def _refusal(answer: FixedAnswer | None, retry_after: int) -> OwnAnswerPlan:
    found = answer or FixedAnswer()
    headers = [(name.lower(), value) for name, value in found.headers.items()]
    if found.status >= 500 and retry_after and "retry-after" not in dict(headers):
        headers.append(("retry-after", str(retry_after)))
    return OwnAnswerPlan(status=found.status, body=found.body.encode(), headers=headers)
