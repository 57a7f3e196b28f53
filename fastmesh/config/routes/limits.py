"""RateLimits: which token buckets stand before which virtual hosts and rules."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fastmesh.config.origins import origin
from fastmesh.config.plan import LimitPlan, MatchPlan, RulePlan, SharedPlan
from fastmesh.config.resource import Resource
from fastmesh.config.routes.matches import Scope, clauses
from fastmesh.config.services.registry import MeshService
from fastmesh.model.rate_limit import UNIT_MILLISECONDS, Limit, LimitKey, RateLimit
from fastmesh.model.virtual_service import VirtualService

Target = tuple[str, str, str, str]  # kind, namespace, name, section name; an empty kind: the whole namespace
LIMITED = ("x-envoy-ratelimited", "true")  # what retryOn: envoy-ratelimited looks for
LEASE_MOST = 1_000_000
CREDIT_LEAST = 10
LEASE_SHARE = 10  # at most this part of a limit is taken ahead by one proxy


class Limits:
    """Finds limits by what they are for. A limit whose clauses cannot fit on a port is left out there."""

    def __init__(self, written: Iterable[Resource[RateLimit]]) -> None:
        self.plans: list[LimitPlan] = []
        self._targets: dict[Target, list[Resource[RateLimit]]] = {}
        self._made: dict[tuple[str, int, bytes], int] = {}
        for item in written:
            self._targets.setdefault(_target(item), []).append(item)

    def of_namespace(self, namespace: str, scope: Scope) -> list[int]:
        return self._find([("", namespace, "", "")], scope)

    def of_service(self, service: MeshService, governor: Resource[VirtualService] | None, scope: Scope) -> list[int]:
        """For a service's virtual host: its namespace's, the VirtualService's that governs it, its own."""
        targets: list[Target] = [("", service.namespace, "", "")]
        if governor is not None:
            targets.append(("VirtualService", governor.namespace, governor.name, ""))
        targets.append((service.written.kind, service.namespace, service.written.name, ""))
        return self._find(targets, scope)

    def of_virtual_service(self, written: Resource[VirtualService], scope: Scope) -> list[int]:
        """For a host that is no service: the limits of the VirtualService and of its namespace."""
        target = ("VirtualService", written.namespace, written.name, "")
        return self._find([("", written.namespace, "", ""), target], scope)

    def of_gateway(self, namespace: str, name: str, scope: Scope) -> list[int]:
        return self._find([("", namespace, "", ""), ("Gateway", namespace, name, "")], scope)

    def of_destination(self, kind: str, namespace: str, name: str, scope: Scope) -> list[int]:
        return self._find([("", namespace, "", ""), (kind, namespace, name, "")], scope)

    def on_rules(self, rules: list[RulePlan], written: Resource[VirtualService], scope: Scope) -> list[RulePlan]:
        """The rules with the limits of their own route names."""
        return [
            self.extend(rule, self._find([("VirtualService", written.namespace, written.name, route)], scope))
            if (route := rule.origin.route)
            else rule
            for rule in rules
        ]

    def on_all_rules(self, rules: list[RulePlan], written: Resource[VirtualService], scope: Scope) -> list[RulePlan]:
        """The rules with the limits of their VirtualService: the virtual host is another one's."""
        limits = self._find([("VirtualService", written.namespace, written.name, "")], scope)
        return [self.extend(rule, limits) for rule in rules]

    def extend(self, rule: RulePlan, limits: list[int]) -> RulePlan:
        new = [index for index in limits if index not in rule.limits]
        return msgspec.structs.replace(rule, limits=rule.limits + new) if new else rule

    def _find(self, targets: list[Target], scope: Scope) -> list[int]:
        if not self._targets:
            return []
        found: list[int] = []
        for target in targets:
            for item in self._targets.get(target, ()):
                for number, limit in enumerate(item.spec.limits):
                    matches = clauses(limit.match, scope, item.namespace)
                    if matches is not None:
                        found.append(self._put(item, number, limit, matches))
        return list(dict.fromkeys(found))

    def put(self, plan: LimitPlan) -> int:
        """The index of a limit that was made elsewhere."""
        key = (plan.name, -1, msgspec.msgpack.encode(plan))
        if key not in self._made:
            self._made[key] = len(self.plans)
            self.plans.append(plan)
        return self._made[key]

    def _put(self, item: Resource[RateLimit], number: int, limit: Limit, matches: list[MatchPlan]) -> int:
        """The same limit with the same clauses is one plan; the bucket itself is found by its name in any case."""
        key = (f"{item.namespace}/{item.name}", number, msgspec.msgpack.encode(matches))
        index = self._made.get(key)
        if index is None:
            index = self._made[key] = len(self.plans)
            self.plans.append(_plan(item, number, limit, matches))
        return index


def _target(item: Resource[RateLimit]) -> Target:
    target = item.spec.target_ref
    if target is None:
        return ("", item.namespace, "", "")
    return (target.kind, target.namespace or item.namespace, target.name, target.section_name)


def _plan(item: Resource[RateLimit], number: int, limit: Limit, matches: list[MatchPlan]) -> LimitPlan:
    response = item.spec.response
    headers = response.headers if response is not None else None
    return LimitPlan(
        name=f"{item.namespace}/{item.name}/{number}",
        origin=origin(item, limit.name, ("spec", "limits", number)),
        requests=limit.requests,
        period=UNIT_MILLISECONDS[limit.per],
        burst=limit.requests if limit.burst is None else limit.burst,
        matches=matches,
        keys=[_key(key) for key in limit.keys],
        status=response.status if response is not None else 429,
        body=response.body.encode() if response is not None else b"",
        headers=_headers(headers or {}),
        retry_after=headers is None,
        told=response is not None and response.limit_headers,
        shared=_shared(item, number, limit),
    )


def _headers(written: dict[str, str]) -> list[tuple[str, str]]:
    found = [(name.lower(), value) for name, value in written.items()]
    return found if any(name == LIMITED[0] for name, _ in found) else [LIMITED, *found]


def _shared(item: Resource[RateLimit], number: int, limit: Limit) -> SharedPlan | None:
    counts = item.spec.global_
    if counts is None:
        return None
    return SharedPlan(
        domain=f"{counts.domain or f'{item.namespace}/{item.name}'}/{limit.name or number}",
        redis=counts.redis,
        fails_closed=counts.failure_mode_deny,
        lease=lease_of(limit.requests),
        credit=credit_of(limit.requests),
    )


def lease_of(requests: int) -> int:
    """The most tokens of one window that a proxy holds."""
    return min(max(1, requests // LEASE_SHARE), LEASE_MOST)


def credit_of(requests: int) -> int:
    """The most requests that it passes before Redis has answered; a small limit does not refuse for that moment."""
    return max(lease_of(requests), min(requests, CREDIT_LEAST))


def _key(written: LimitKey | str) -> tuple[str, str]:
    if isinstance(written, str):
        return (written, "")
    if written.header:
        return ("header", written.header.lower())
    if written.query_param:
        return ("queryParam", written.query_param)
    for name, chosen in (
        ("path", written.path),
        ("method", written.method),
        ("clientAddress", written.client_address),
    ):
        if chosen:
            return (name, "")
    return ("sourcePrincipal", "")
