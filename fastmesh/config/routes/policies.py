"""RoutePolicies and the MeshPolicy: what they add to rules that were made already.

The most specific policy that says a thing counts: the rule's, its object's, its namespace's, the mesh's. Of two for the
same, the older one.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fastmesh.config.plan import (
    DestinationPlan,
    DirectPlan,
    FallbackPlan,
    Origin,
    PolicyPlan,
    RefusalPlan,
    RulePlan,
    VirtualHostPlan,
)
from fastmesh.config.resource import Resource
from fastmesh.config.routes.virtual_service import Routes
from fastmesh.config.services.balancing import hash_plan, retry_budget
from fastmesh.errors import Problem
from fastmesh.model.destination_rule import LoadBalancer
from fastmesh.model.route_policy import Answer, Fallback, MeshPolicy, Refusal, RoutePolicy

Target = tuple[str, str, str, str]  # kind, namespace, name, section; an empty kind: the whole namespace


class Policies:
    """`apply` is called once, when every rule of the proxy is there; without policies it costs nothing."""

    def __init__(
        self, written: Iterable[Resource[RoutePolicy]], mesh: Iterable[Resource[MeshPolicy]], root: str, routes: Routes
    ) -> None:
        self._routes = routes
        self._by_target: dict[Target, Resource[RoutePolicy]] = {}
        for item in written:
            self._by_target.setdefault(_target(item), item)
        self.problems: list[Problem] = []
        self._mesh: MeshPolicy | None = None
        for each in mesh:
            if each.namespace != root:
                message = f"is for the whole mesh and has no effect in {each.namespace}, put it into {root}"
                self.problems.append(each.problem(("metadata", "namespace"), message, "warning", "reference"))
            elif self._mesh is not None:
                message = "has no effect: there is another MeshPolicy, put all into one"
                self.problems.append(each.problem(("metadata", "name"), message, "warning", "reference"))
            else:
                self._mesh = each.spec
        self._made: dict[tuple[int, ...], PolicyPlan] = {}
        self._seen: dict[int, tuple[RulePlan, RulePlan]] = {}

    @property
    def refusals(self) -> list[RefusalPlan]:
        """The mesh's, for requests that no rule takes."""
        return _refusals(self._mesh.refusals) if self._mesh is not None else []

    @property
    def merges(self) -> bool:
        return self._mesh is not None and self._mesh.merge_virtual_services

    @property
    def retry_budget(self) -> tuple[float, int, int] | None:
        """Of destinations that have none of their own."""
        return retry_budget(self._mesh.retry_budget) if self._mesh is not None else None

    @property
    def proxy_retry_budget(self) -> tuple[float, int] | None:
        budget = self._mesh.proxy_retry_budget if self._mesh is not None else None
        return (budget.percent / 100, budget.min_retry_concurrency) if budget is not None else None

    def apply(self, vhosts: list[VirtualHostPlan]) -> list[VirtualHostPlan]:
        if not self._by_target and self._mesh is None:
            return vhosts
        return [msgspec.structs.replace(each, rules=[self._rule(rule) for rule in each.rules]) for each in vhosts]

    def _rule(self, rule: RulePlan) -> RulePlan:
        """Hosts share rules: they go on sharing them."""
        seen = self._seen.get(id(rule))
        if seen is None:
            seen = self._seen[id(rule)] = (rule, self._extended(rule))
        return seen[1]

    def _extended(self, rule: RulePlan) -> RulePlan:
        if any(item.cluster.startswith("inbound|") for item in rule.destinations):
            return rule  # the rules are the client's: a request meets them once
        found = [item for target in _targets(rule.origin) if (item := self._by_target.get(target)) is not None]
        if not found and self._mesh is None:
            return rule
        timeout = rule.timeout
        if timeout is None and rule.destinations:
            timeout = self._timeout(found)
        key = tuple(id(item) for item in found)
        policy = self._made.get(key)
        if policy is None:
            policy = self._made[key] = self._plan(found)
        return msgspec.structs.replace(rule, policy=None if policy == PolicyPlan() else policy, timeout=timeout)

    def _timeout(self, found: list[Resource[RoutePolicy]]) -> int | None:
        own = next((item.spec.timeout for item in found if item.spec.timeout is not None), None)
        if own is None and self._mesh is not None:
            own = self._mesh.timeout
        return None if own is None else int(own)

    def _plan(self, found: list[Resource[RoutePolicy]]) -> PolicyPlan:
        resend = next((item.spec.resend_methods for item in found if item.spec.resend_methods is not None), None)
        refusals = next((item.spec.refusals for item in found if item.spec.refusals), [])
        if self._mesh is not None:
            resend = self._mesh.resend_methods if resend is None else resend
            refusals = refusals or self._mesh.refusals
        fallback = next(
            ((item.spec.fallback, item.namespace) for item in found if item.spec.fallback is not None), None
        )
        hedge = next((item.spec.hedge for item in found if item.spec.hedge is not None), None)
        sticky = next((item.spec.sticky for item in found if item.spec.sticky is not None), None)
        return PolicyPlan(
            resend=None if resend is None else [str(method) for method in resend],
            fallback=None if fallback is None else self._fallback(*fallback),
            refusals=_refusals(refusals),
            hedge=int(hedge.after) if hedge is not None else 0,
            sticky=None if sticky is None else hash_plan(LoadBalancer(consistent_hash=sticky)),
        )

    def _fallback(self, written: Fallback, namespace: str) -> FallbackPlan:
        if written.destination is None:
            return FallbackPlan(flags=list(written.on), direct=_direct(written.response or Answer()))
        name, exists = self._routes.cluster(written.destination, namespace, 80)
        return FallbackPlan(
            flags=list(written.on), destination=DestinationPlan(cluster=name, weight=1, missing=not exists)
        )


def _target(item: Resource[RoutePolicy]) -> Target:
    target = item.spec.target_ref
    if target is None:
        return ("", item.namespace, "", "")
    return (target.kind, item.namespace, target.name, target.section_name)


def _targets(place: Origin) -> list[Target]:
    """From the most specific one on. What is written for the root namespace's rules is not for everybody's."""
    kind, namespace, name = place.kind, place.namespace, place.name
    targets = [(kind, namespace, name, ""), ("", namespace, "", "")]
    return [(kind, namespace, name, place.route), *targets] if place.route else targets


def _refusals(written: list[Refusal]) -> list[RefusalPlan]:
    return [RefusalPlan(flags=list(item.flags), direct=_direct(item.response)) for item in written]


def _direct(written: Answer) -> DirectPlan:
    headers = [(name.lower(), value) for name, value in written.headers.items()]
    return DirectPlan(
        status=written.status, body=written.body.encode(), content_type=written.content_type, headers=headers
    )
