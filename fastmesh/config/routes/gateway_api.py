"""HTTPRoutes and GRPCRoutes: to which listeners and services they belong, and the rules that each host gets.

All rules for a host are tried in one order of specificity, whichever route they come from; routes of a less specific
listener never serve a host of a more specific one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from fastmesh.config.api_listeners import Attachment, Place
from fastmesh.config.gateway_names import MESH
from fastmesh.config.hosts import HostIndex, intersection, is_wildcard
from fastmesh.config.place import Path
from fastmesh.config.plan import RulePlan
from fastmesh.config.resource import Resource
from fastmesh.config.routes.grpc_route import request_routes
from fastmesh.config.routes.http_route import Backends, Order, rules_of
from fastmesh.config.routes.matches import Scope
from fastmesh.config.services.registry import MeshService
from fastmesh.config.store import ConfigSet
from fastmesh.errors import Problem
from fastmesh.model.gateway_api import HTTPRoute, ParentRef

Placed = tuple[tuple[int, ...], RulePlan]


class HTTPRoutes:
    def __init__(self, config: ConfigSet, backends: Backends, scope: Scope, problems: list[Problem]) -> None:
        self._problems = problems
        self._routes: list[Resource[HTTPRoute]] = request_routes(config)
        self._ages = {id(route): age for age, route in enumerate(self._routes)}
        self._attachment = Attachment({item.name: item.labels for item in config.namespaces})
        self._backends = backends
        self._scope = scope
        self._made: dict[tuple[int, int, int], list[tuple[Order, RulePlan]]] = {}
        self._by_service: dict[str, list[tuple[Resource[HTTPRoute], ParentRef]]] = {}
        for route in self._routes:
            for parent in route.spec.parent_refs:
                if parent.kind == "Service" and parent.group in ("", "core"):
                    host = f"{parent.name}.{parent.namespace or route.namespace}"
                    self._by_service.setdefault(host, []).append((route, parent))

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
        own: dict[str, HostIndex[list[Placed]]] = {}  # by host: Gateways with equal listeners share it
        added: set[tuple[str, str, int]] = set()
        owners: HostIndex[Place] = HostIndex()
        for place in places:
            owners.put(place.host, place)
            own[place.host] = HostIndex()
        hosts: dict[str, None] = dict.fromkeys(place.host for place in places)
        for place in places:
            for route in self._attached(place):
                for host in _hosts(route, place.host):
                    hosts[host] = None
                    key = (place.host, host, id(route))
                    if key not in added:
                        added.add(key)
                        self._add(own[place.host], host, route, replace(self._scope, port=port))
        found: dict[str, tuple[Place, list[RulePlan]]] = {}
        for host in hosts:
            owner = owners.most_specific(host)
            if owner is not None:
                found[host] = (owner, list(_in_order(own[owner.host], host)))
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
                self._made[key] = rules_of(route, number, self._backends, scope)
            for order, rule in self._made[key]:
                yield (*before, *order, age, number), rule

    def _attached(self, place: Place) -> Iterator[Resource[HTTPRoute]]:
        """The routes of a listener. A route whose host has an older route of the other kind (HTTP, gRPC) is refused."""
        accepted: list[tuple[str, list[str]]] = []
        for route in self._routes:
            if not self._attachment.holds(place, route.kind, route.namespace, route.spec.parent_refs):
                continue
            hosts = _hosts(route, place.host)
            if any(kind != route.kind and _overlap(hosts, others) for kind, others in accepted):
                message = f"an older route of the other kind has its hosts on listener {place.listener.name}, so it is"
                self._tell(route, ("spec", "hostnames"), f"{message} left out")
                continue
            accepted.append((route.kind, hosts))
            yield route

    def _tell(self, route: Resource[HTTPRoute], path: Path, message: str) -> None:
        problem = route.problem(path, message, "warning", "reference")
        if problem not in self._problems:
            self._problems.append(problem)


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


def _overlap(left: list[str], right: list[str]) -> bool:
    return any(intersection(one, other) is not None for one in left for other in right)


def _names_port(parent: ParentRef, service: MeshService, port: int) -> bool:
    found = service.port(port)
    return found is not None and parent.port in (0, port) and parent.section_name in ("", found.name)
