"""HTTPRoutes of the Gateway API: to which listeners and services they belong, and the rules that each host gets.

All rules for a host are tried in one order of specificity, whichever route they come from; routes of a less specific
listener never serve a host of a more specific one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from fastmesh.config.clusters import Clusters
from fastmesh.config.hosts import HostIndex, intersection, is_wildcard
from fastmesh.config.matches import MESH, Scope
from fastmesh.config.plan import RulePlan
from fastmesh.config.registry import MeshService
from fastmesh.config.resource import Resource
from fastmesh.config.route_rules import Order, rules_of
from fastmesh.config.selectors import selects
from fastmesh.config.store import ConfigSet
from fastmesh.model.gateway_api import (
    GROUP,
    Gateway,
    HTTPRoute,
    LabelExpression,
    Listener,
    NamespaceSelector,
    ParentRef,
)

GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"  # the label of a Gateway's own workload
CLASSES = frozenset({"istio", "fastmesh"})
Placed = tuple[tuple[int, ...], RulePlan]


@dataclass(frozen=True, slots=True)
class Place:
    """One HTTP listener of a Gateway."""

    gateway: Resource[Gateway]
    listener: Listener

    @property
    def name(self) -> str:
        return f"{self.gateway.namespace}/{self.gateway.name}"

    @property
    def host(self) -> str:
        return self.listener.hostname.lower() or "*"


class HTTPRoutes:
    def __init__(self, config: ConfigSet, clusters: Clusters, scope: Scope) -> None:
        self._routes: list[Resource[HTTPRoute]] = config.http_routes
        self._gateways: list[Resource[Gateway]] = config.api_gateways
        self._ages = {id(route): age for age, route in enumerate(self._routes)}
        self._namespaces = {item.name: item.labels for item in config.namespaces}
        self._clusters = clusters
        self._scope = scope
        self._made: dict[tuple[int, int, int], list[tuple[Order, RulePlan]]] = {}
        self._by_service: dict[str, list[tuple[Resource[HTTPRoute], ParentRef]]] = {}
        for route in self._routes:
            for parent in route.spec.parent_refs:
                if parent.kind == "Service" and parent.group in ("", "core"):
                    host = f"{parent.name}.{parent.namespace or route.namespace}"
                    self._by_service.setdefault(host, []).append((route, parent))

    def places(self) -> dict[int, list[Place]]:
        """HTTP listeners of our classes by port; a workload with labels is that of one Gateway."""
        found: dict[int, list[Place]] = {}
        labels = self._scope.labels
        for gateway in self._gateways:
            ours = gateway.spec.gateway_class_name in CLASSES
            if ours and (not labels or labels.get(GATEWAY_NAME) == gateway.name):
                for listener in gateway.spec.listeners:
                    if listener.protocol == "HTTP":
                        found.setdefault(listener.port, []).append(Place(gateway, listener))
        return found

    def of_service(self, service: MeshService, port: int) -> list[RulePlan]:
        """For clients of the mesh: routes of the client's own namespace, else those of the service's namespace."""
        attached = self._by_service.get(f"{service.name}.{service.namespace}", ())
        fitting = [route for route, parent in attached if _names_port(parent, service, port)]
        own = [route for route in fitting if route.namespace == self._scope.namespace]
        chosen = own or [route for route in fitting if route.namespace == service.namespace]
        scope = replace(self._scope, port=port, gateways=frozenset({MESH}))
        placed = [item for route in chosen for item in self._placed((0,), route, scope)]
        return [rule for _, rule in sorted(placed, key=lambda item: item[0])]

    def of_port(self, port: int, places: list[Place]) -> dict[str, tuple[Place, list[RulePlan]]]:
        """Hosts and their rules on the listeners of one port; a listener's own host is there even without a rule."""
        own: dict[int, HostIndex[list[Placed]]] = {}
        owners: HostIndex[Place] = HostIndex()
        for place in places:
            owners.put(place.host, place)
            own[id(place)] = HostIndex()
        hosts: dict[str, None] = dict.fromkeys(place.host for place in places)
        for place in places:
            for route in self._attached(place):
                for host in _hosts(route, place.host):
                    self._add(own[id(place)], host, route, replace(self._scope, port=port))
                    hosts[host] = None
        found: dict[str, tuple[Place, list[RulePlan]]] = {}
        for host in hosts:
            owner = owners.most_specific(host)
            if owner is not None:
                found[host] = (owner, list(_in_order(own[id(owner)], host)))
        return found

    def _add(self, index: HostIndex[list[Placed]], host: str, route: Resource[HTTPRoute], scope: Scope) -> None:
        rules = index.get(host)
        if rules is None:
            rules = []
            index.put(host, rules)
        rules.extend(self._placed((1 if is_wildcard(host) else 0, -len(host)), route, scope))

    def _placed(self, before: tuple[int, ...], route: Resource[HTTPRoute], scope: Scope) -> Iterator[Placed]:
        """The rules of a route with their places in the order: host, match, age of the route, number of the rule."""
        age = self._ages[id(route)]
        for number in range(len(route.spec.rules)):
            key = (id(route), number, scope.port)
            if key not in self._made:
                self._made[key] = rules_of(route, number, self._clusters, scope)
            for order, rule in self._made[key]:
                yield (*before, *order, age, number), rule

    def _attached(self, place: Place) -> Iterator[Resource[HTTPRoute]]:
        for route in self._routes:
            named = any(_names_listener(parent, route.namespace, place) for parent in route.spec.parent_refs)
            if named and self._allowed(place, route.namespace):
                yield route

    def _allowed(self, place: Place, namespace: str) -> bool:
        allowed = place.listener.allowed_routes
        if allowed.kinds and not any(item.kind == "HTTPRoute" and item.group == GROUP for item in allowed.kinds):
            return False
        wanted = allowed.namespaces
        if wanted.from_ == "Same":
            return namespace == place.gateway.namespace
        if wanted.from_ == "Selector":
            return wanted.selector is not None and _selected(wanted.selector, namespace, self._namespaces)
        return wanted.from_ == "All"


def _hosts(route: Resource[HTTPRoute], listener_host: str) -> list[str]:
    if not route.spec.hostnames:
        return [listener_host]
    common = (intersection(listener_host, host.lower()) for host in route.spec.hostnames)
    return [host for host in common if host is not None]


def _in_order(index: HostIndex[list[Placed]], host: str) -> Iterator[RulePlan]:
    """The rules of a host and of the wildcards over it."""
    names = [host, *(index.covering(host) if not is_wildcard(host) else _wider(index, host))]
    placed = [item for name in dict.fromkeys(names) for item in index.get(name) or ()]
    return (rule for _, rule in sorted(placed, key=lambda item: item[0]))


def _wider(index: HostIndex[list[Placed]], host: str) -> Iterable[str]:
    return ["*" + suffix for suffix in index.wildcards if host[1:].endswith(suffix)]


def _names_listener(parent: ParentRef, namespace: str, place: Place) -> bool:
    return (
        parent.kind == "Gateway"
        and parent.group == GROUP
        and f"{parent.namespace or namespace}/{parent.name}" == place.name
        and parent.section_name in ("", place.listener.name)
        and parent.port in (0, place.listener.port)
    )


def _names_port(parent: ParentRef, service: MeshService, port: int) -> bool:
    found = service.port(port)
    return found is not None and parent.port in (0, port) and parent.section_name in ("", found.name)


def _selected(selector: NamespaceSelector, namespace: str, namespaces: Mapping[str, Mapping[str, str]]) -> bool:
    labels = {"kubernetes.io/metadata.name": namespace, **namespaces.get(namespace, {})}
    return selects(selector.match_labels, labels) and all(_holds(item, labels) for item in selector.match_expressions)


def _holds(expression: LabelExpression, labels: Mapping[str, str]) -> bool:
    value = labels.get(expression.key)
    if expression.operator == "In":
        return value in expression.values
    if expression.operator == "NotIn":
        return value not in expression.values
    return (value is not None) == (expression.operator == "Exists")
