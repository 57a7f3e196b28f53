"""Filters: which of them stand before which rules. They are put on when all virtual hosts are there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from fastmesh.config.gateway_names import gateway_name
from fastmesh.config.hosts import intersection
from fastmesh.config.origins import origin
from fastmesh.config.plan import FilterPlan, ListenerPlan, RulePlan, VirtualHostPlan
from fastmesh.config.resource import Resource
from fastmesh.config.routes.matches import clause
from fastmesh.config.selectors import selects
from fastmesh.config.services.registry import Registry
from fastmesh.config.services.role import Role
from fastmesh.config.store import ConfigSet
from fastmesh.model.filter import Filter, FilterTarget

Places = dict[int, list[ListenerPlan]]  # virtual host -> the listeners that lead to it


class Filters:
    """`attach` answers the virtual hosts with the numbers of their filters in `plans`, and `on_listeners` the listeners
    with those that see requests for which there is no rule."""

    def __init__(self, config: ConfigSet, role: Role, registry: Registry, root: str) -> None:
        self.plans: list[FilterPlan] = []
        self._config = config
        self._role = role
        self._root = root
        self._registry = registry
        self._numbers: dict[int, int] = {}
        self._written = sorted(
            (item for item in config.filters if self._is_ours(item)),
            key=lambda item: (item.spec.order, item.namespace != root, item.namespace, item.name),
        )

    def attach(self, vhosts: list[VirtualHostPlan], listeners: list[ListenerPlan]) -> list[VirtualHostPlan]:
        if not self._written:
            return vhosts
        places: Places = {}
        domains: dict[int, list[str]] = {}
        for listener in listeners:
            for domain in listener.domains:
                seen = places.setdefault(domain.vhost, [])
                if listener not in seen:
                    seen.append(listener)
                domains.setdefault(domain.vhost, []).append(domain.domain)
        return [
            self._with_filters(vhost, places.get(number, []), domains.get(number, []))
            for number, vhost in enumerate(vhosts)
        ]

    def on_listeners(self, listeners: list[ListenerPlan]) -> list[ListenerPlan]:
        """What is for all that comes in there: as with Envoy it also sees what is answered with 404."""
        return [self._on_listener(each) for each in listeners] if self._written else listeners

    def _on_listener(self, listener: ListenerPlan) -> ListenerPlan:
        found = [
            self._number(item)
            for item in self._written
            if _has_role(item.spec, [listener])
            and (
                not item.spec.target_refs
                or any(
                    target.kind == "Gateway" and f"{item.namespace}/{target.name}" in listener.origins
                    for target in item.spec.target_refs
                )
            )
        ]
        return msgspec.structs.replace(listener, filters=found) if found else listener

    def _with_filters(
        self, vhost: VirtualHostPlan, listeners: list[ListenerPlan], domains: list[str]
    ) -> VirtualHostPlan:
        near = [item for item in self._written if _is_near(item.spec, listeners, domains)]
        if not near:
            return vhost
        rules = [self._on_rule(rule, vhost, listeners, near) for rule in vhost.rules]
        return msgspec.structs.replace(vhost, rules=rules)

    def _on_rule(
        self, rule: RulePlan, vhost: VirtualHostPlan, listeners: list[ListenerPlan], near: list[Resource[Filter]]
    ) -> RulePlan:
        found = [
            self._number(item)
            for item in near
            if not item.spec.target_refs
            or any(self._is_meant(target, item.namespace, rule, vhost, listeners) for target in item.spec.target_refs)
        ]
        return msgspec.structs.replace(rule, filters=found) if found else rule

    def _is_ours(self, item: Resource[Filter]) -> bool:
        """What has a target follows it to whoever serves it, as routes do; the rest stays in its namespace."""
        spec, role = item.spec, self._role
        if not spec.target_refs and item.namespace not in (role.namespace, self._root):
            return False
        return spec.selector is None or selects(spec.selector.match_labels, role.labels)

    def _is_meant(
        self,
        target: FilterTarget,
        namespace: str,
        rule: RulePlan,
        vhost: VirtualHostPlan,
        listeners: list[ListenerPlan],
    ) -> bool:
        if target.kind == "Gateway":
            return any(self._is_behind(rule, f"{namespace}/{target.name}", each) for each in listeners)
        if target.kind in ("Service", "ServiceEntry"):
            return self._is_for(target, namespace, rule, vhost, listeners)
        place = rule.origin
        if (place.kind, place.namespace, place.name) != (target.kind, namespace, target.name):
            return False
        return target.section_name in ("", place.route)

    def _is_behind(self, rule: RulePlan, gateway: str, listener: ListenerPlan) -> bool:
        """A listener may serve several gateways: then the rule must be for this one."""
        if gateway not in listener.origins:
            return False
        if len(listener.origins) == 1:
            return True
        written = self._config.get(rule.origin.kind, rule.origin.namespace, rule.origin.name)
        if written is None:
            return False
        if rule.origin.kind == "VirtualService":
            names = written.spec.gateways  # none: a delegate, which stands where its root stands
            return not names or any(gateway_name(name, written.namespace) == gateway for name in names)
        parents = getattr(written.spec, "parent_refs", [])
        return any(f"{parent.namespace or written.namespace}/{parent.name}" == gateway for parent in parents)

    def _is_for(
        self,
        target: FilterTarget,
        namespace: str,
        rule: RulePlan,
        vhost: VirtualHostPlan,
        listeners: list[ListenerPlan],
    ) -> bool:
        """Its own host on the mesh, the listener before its workload; at a gateway the rules that lead to it."""
        hosts = self._hosts(target, namespace)
        if vhost.name.rpartition(":")[0] in hosts:
            return True
        if any(listener.role == "inbound" for listener in listeners):
            place = rule.origin
            return (place.kind, place.namespace, place.name) == (target.kind, namespace, target.name)
        if any(listener.role == "gateway" for listener in listeners):
            return any(each.cluster.rpartition("|")[2] in hosts for each in rule.destinations)
        return False

    def _hosts(self, target: FilterTarget, namespace: str) -> set[str]:
        wanted = (target.kind, namespace, target.name)
        return {
            service.host
            for service in self._registry.services.values()
            if (service.written.kind, service.namespace, service.written.name) == wanted
        }

    def _number(self, item: Resource[Filter]) -> int:
        number = self._numbers.get(id(item))
        if number is None:
            number = self._numbers[id(item)] = len(self.plans)
            self.plans.append(_plan(item))
        return number


def _has_role(spec: Filter, listeners: Iterable[ListenerPlan]) -> bool:
    roles = {"inbound" if listener.role == "inbound" else "outbound" for listener in listeners}
    return not (
        (spec.mode == "CLIENT" and "outbound" not in roles) or (spec.mode == "SERVER" and "inbound" not in roles)
    )


def _is_near(spec: Filter, listeners: Iterable[ListenerPlan], domains: list[str]) -> bool:
    if not _has_role(spec, listeners):
        return False
    if not spec.hosts:
        return True
    return any(domain == "*" or intersection(domain, host.lower()) for domain in domains for host in spec.hosts)


def _plan(item: Resource[Filter]) -> FilterPlan:
    spec = item.spec
    return FilterPlan(
        name=f"{item.namespace}/{item.name}",
        origin=origin(item, path=("spec", "function")),
        function=spec.function,
        config=_plain(spec.config),
        hosts=[host.lower().removeprefix("*") if host != "*" else "" for host in spec.hosts],
        matches=[clause(match) for match in spec.match],
        passes=spec.failure_mode == "open",
        timeout=int(spec.timeout),
        body_limit=spec.body_limit,
    )


def _plain(value: Mapping[str, object]) -> dict[str, object]:
    return dict(value)
