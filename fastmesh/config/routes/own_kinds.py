"""What fastmesh's own kinds say of destinations, put into their clusters."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fastmesh.config.hosts import fqdn
from fastmesh.config.origins import origin
from fastmesh.config.plan import (
    AdaptivePlan,
    BreakerPlan,
    ClusterPlan,
    ConcurrencyPlan,
    EjectionPlan,
    OwnAnswerPlan,
    PriorityPlan,
    RulePlan,
    SlowPlan,
    VirtualHostPlan,
)
from fastmesh.config.plan import ResiliencePlan as Plan
from fastmesh.config.resource import Resource
from fastmesh.config.routes.matches import Scope, clauses
from fastmesh.config.services.clusters import Clusters
from fastmesh.config.services.health_checks import health_plan
from fastmesh.config.services.targets import Targets
from fastmesh.config.store import ConfigSet
from fastmesh.errors import Problem
from fastmesh.model.resilience import Breaker, Concurrency, Ejection, FixedAnswer, Resilience, SlowEndpoints

Target = tuple[str, str, str, str]  # kind, namespace, name, section


class OwnKinds:
    """`retry_budget` is for destinations that say nothing of how many retries there may be."""

    def __init__(
        self, config: ConfigSet, clusters: Clusters, scope: Scope, retry_budget: tuple[float, int, int] | None = None
    ) -> None:
        self._retry_budget = retry_budget
        self.problems: list[Problem] = []
        self._health_checks = Targets(config.health_checks, scope.namespace)
        self._resilience, self._server_side = (
            Targets([each for each in config.resiliences if each.spec.host and each.spec.side == side], scope.namespace)
            for side in ("client", "server")
        )
        self._of_rules: dict[Target, Resource[Resilience]] = {}
        for item in config.resiliences:
            target = item.spec.target_ref
            if target is not None:
                self._of_rules.setdefault((target.kind, item.namespace, target.name, target.section_name), item)
        self._guarded: dict[int, tuple[RulePlan, RulePlan]] = {}
        self._written: dict[str, Resource[Resilience]] = {}  # by the cluster that it shapes
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
        return self._without_circles(shaped)

    def shape_inbound(self, plans: list[ClusterPlan], ports: Mapping[str, int]) -> list[ClusterPlan]:
        """What a sidecar does for its own application. `ports`: those of the service, by cluster."""
        shaped = []
        for plan in plans:
            port = ports.get(plan.name, plan.port)
            written = self._server_side.find(plan.host, plan.service_namespace, port, "") if plan.host else None
            if written is not None:
                plan = msgspec.structs.replace(plan, resilience=self._plan(written, plan, port))
            shaped.append(plan)
        return shaped

    def guard(self, vhosts: list[VirtualHostPlan]) -> list[VirtualHostPlan]:
        """Rules of the objects that a Resilience names. Those that a client runs, not the one before an application."""
        if not self._of_rules:
            return vhosts
        return [msgspec.structs.replace(each, rules=[self._rule(rule) for rule in each.rules]) for each in vhosts]

    def _rule(self, rule: RulePlan) -> RulePlan:
        """Hosts share rules: they go on sharing them."""
        seen = self._guarded.get(id(rule))
        if seen is None:
            made, place = rule, rule.origin
            section = (
                self._of_rules.get((place.kind, place.namespace, place.name, place.route)) if place.route else None
            )
            written = section or self._of_rules.get((place.kind, place.namespace, place.name, ""))
            if written is not None and rule.destinations:
                made = msgspec.structs.replace(rule, guard=self._of_rule(written))
            seen = self._guarded[id(rule)] = (rule, made)
        return seen[1]

    def _of_rule(self, written: Resource[Resilience]) -> Plan:
        concurrency = written.spec.concurrency
        made = None if concurrency is None else self._concurrency(concurrency, written, 0)
        return Plan(origin=origin(written), half_life=int(written.spec.half_life), concurrency=made)

    def _without_circles(self, shaped: list[ClusterPlan]) -> list[ClusterPlan]:
        """A backup's backup counts too; where they lead back nobody would ever answer."""
        after = {
            plan.name: plan.resilience.breaker.backup
            for plan in shaped
            if plan.resilience is not None and plan.resilience.breaker is not None and plan.resilience.breaker.backup
        }
        done = set[str]()
        for start in after:
            road: list[str] = []
            at: str | None = start
            while at is not None and at not in done and at not in road:
                road.append(at)
                at = after.get(at)
            if at is not None and at in road:
                circle = " -> ".join([*road[road.index(at) :], at])
                message = f"leads back to where it began, so nobody would serve: {circle}; end it with an answer"
                self.problems.append(self._written[at].problem(("spec", "breaker", "backup"), message))
            done.update(road)
        return shaped

    def _shape(self, plan: ClusterPlan) -> ClusterPlan:
        check = self._health_checks.find(plan.host, plan.service_namespace, plan.port, plan.subset)
        if check is not None:
            least = plan.outlier.min_health_percent if plan.outlier is not None else 0
            plan = msgspec.structs.replace(plan, health=health_plan(check, plan.host, least))
        written = self._resilience.find(plan.host, plan.service_namespace, plan.port, plan.subset)
        if written is not None:
            self._written[plan.name] = written
            plan = msgspec.structs.replace(plan, resilience=self._plan(written, plan, plan.port))
        return plan

    def _plan(self, written: Resource[Resilience], cluster: ClusterPlan, port: int) -> Plan:
        spec = written.spec
        weighted = spec.health_weighted
        chosen = cluster.kind == "endpoints"  # by the balancer, not by the client
        return Plan(
            origin=origin(written),
            half_life=int(spec.half_life),
            weighted_floor=weighted.floor_percent if weighted is not None else None,
            breaker=self._breaker(spec.breaker, written.namespace, cluster) if spec.breaker is not None else None,
            concurrency=self._concurrency(spec.concurrency, written, port) if spec.concurrency is not None else None,
            max_wait=int(spec.queue.max_wait) if spec.queue is not None else 0,
            ejection=self._ejection(spec.ejection, written, cluster) if spec.ejection is not None and chosen else None,
        )

    def _ejection(self, ejection: Ejection, written: Resource[Resilience], cluster: ClusterPlan) -> EjectionPlan:
        half_open, slow = ejection.half_open, ejection.latency
        by_checks = half_open is not None and half_open.by == "checks"
        if by_checks and cluster.health is None:
            self._warn(written, "by", f"no HealthCheck is for {cluster.host}, so requests are the trials")
        if half_open is not None and slow is None and cluster.outlier is None:
            message = f"nothing ejects endpoints of {cluster.host}: its DestinationRule has no outlierDetection"
            self._warn(written, "", f"{message}, and there is no latency here")
        return EjectionPlan(
            base=int(ejection.base_ejection_time),
            max_percent=ejection.max_ejection_percent,
            latency=_slow(slow) if slow is not None else None,
            trials=half_open.requests if half_open is not None else 0,
            successes=half_open.successes if half_open is not None else 0,
            by_checks=by_checks and cluster.health is not None,
        )

    def _warn(self, written: Resource[Resilience], field: str, message: str) -> None:
        """Once, however many ports and subsets there are."""
        path = ("spec", "ejection", "halfOpen", *([field] if field else []))
        problem = written.problem(path, message, "warning", "reference")
        if problem not in self.problems:
            self.problems.append(problem)

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

    def _concurrency(self, concurrency: Concurrency, written: Resource[Resilience], port: int) -> ConcurrencyPlan:
        adaptive = concurrency.adaptive
        count = len(concurrency.priorities)
        priorities = []
        for index, priority in enumerate(concurrency.priorities):
            matches = clauses(priority.match, self._scope.at(port), written.namespace)
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


def _slow(slow: SlowEndpoints) -> SlowPlan:
    return SlowPlan(
        above=int(slow.above or 0),
        times=slow.times_peers or 0.0,
        least=int(slow.floor),
        percentile=slow.percentile,
        interval=int(slow.interval),
        windows=slow.intervals,
        samples=slow.min_requests,
    )


def _refusal(answer: FixedAnswer | None, retry_after: int) -> OwnAnswerPlan:
    found = answer or FixedAnswer()
    headers = [(name.lower(), value) for name, value in found.headers.items()]
    if found.status >= 500 and retry_after and "retry-after" not in dict(headers):
        headers.append(("retry-after", str(retry_after)))
    return OwnAnswerPlan(status=found.status, body=found.body.encode(), headers=headers, written=answer is not None)
