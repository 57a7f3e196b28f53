"""Gateway listeners: one per port, whose virtual hosts are where Gateway servers and VirtualServices overlap.

VirtualServices for one host are merged here: their rules in load order, then those that fit always. On a port with TLS
a host belongs to one server, the one whose hosts fit it best: what another server demands of clients is never evaded
by asking this one for its host (the data plane answers such a request with 421).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from fastmesh.config.api_listeners import Place as ApiPlace
from fastmesh.config.hosts import HostIndex, as_domain, fqdn, intersection, is_wildcard
from fastmesh.config.listeners.api_chains import ApiChains
from fastmesh.config.listeners.gateway_chains import GatewayChains
from fastmesh.config.listeners.gateway_places import Place
from fastmesh.config.origins import origin
from fastmesh.config.plan import DomainPlan, ListenerPlan, RulePlan, VirtualHostPlan
from fastmesh.config.resource import Resource
from fastmesh.config.routes.gateway_api import HTTPRoutes
from fastmesh.config.routes.limits import Limits
from fastmesh.config.routes.matches import Scope, catch_all_last
from fastmesh.config.routes.virtual_hosts import binds
from fastmesh.config.routes.virtual_service import Routes
from fastmesh.config.services.registry import Registry
from fastmesh.model.virtual_service import VirtualService


@dataclass(slots=True)
class Host:
    port: int = 0  # of the server that came first; 0: the listener's
    rules: list[RulePlan] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)
    redirects: bool = False
    ordered: list[RulePlan] = field(default_factory=list)  # of the Gateway API: they stay as they stand
    first: Resource[VirtualService] | None = None


class ByHost:
    """VirtualServices by their hosts: a gateway may have a thousand of them, and as many servers."""

    def __init__(self, written: list[Resource[VirtualService]]) -> None:
        self._all = written
        self._wild: set[int] = set()
        self._exact: dict[str, list[int]] = {}
        self._below: dict[str, list[int]] = {}  # ".b.com" -> those with an exact host that ends so
        for number, item in enumerate(written):
            for host in item.spec.hosts:
                name = fqdn(host, item.namespace)
                if is_wildcard(name):
                    self._wild.add(number)
                    continue
                self._exact.setdefault(name, []).append(number)
                for at, letter in enumerate(name):
                    if letter == ".":
                        self._below.setdefault(name[at:], []).append(number)

    def near(self, hosts: Iterable[str]) -> list[Resource[VirtualService]]:
        """In load order all that share a host with one of `hosts`, and perhaps others."""
        found = set(self._wild)
        for host in hosts:
            if not is_wildcard(host):
                found.update(self._exact.get(host, ()))
            elif host.startswith("*."):
                found.update(self._below.get(host[1:], ()))
            else:
                return self._all
        return [self._all[number] for number in sorted(found)]


class GatewayHosts:
    """Builds the listeners of a gateway; virtual hosts with the same rules are shared between hosts."""

    def __init__(
        self,
        registry: Registry,
        routes: Routes,
        http_routes: HTTPRoutes,
        limits: Limits,
        virtual_services: list[Resource[VirtualService]],
        scope: Scope,
        chains: GatewayChains,
        api_places: Mapping[int, list[ApiPlace]],
        api_chains: ApiChains,
        proxy_protocol: bool,
    ) -> None:
        self._proxy_protocol = proxy_protocol
        self.vhosts: list[VirtualHostPlan] = []
        self._chains = chains
        self._api_chains = api_chains
        self._registry = registry
        self._routes = routes
        self._http_routes = http_routes
        self._api_places = api_places
        self._limits = limits
        self._written = ByHost(virtual_services)
        self._scope = scope
        self._shared: dict[tuple[object, ...], int] = {}

    def ports(self, own: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
        """Bind address and port of every listener, those of Gateways of the Gateway API last."""
        return list(dict.fromkeys([*own, *(("", port) for port in self._api_places)]))

    def listener(self, bind: str, port: int, own: list[Place], address: str) -> ListenerPlan:
        """`port` is that of `ports`; its servers may have other ones, which a Service translates."""
        hosts: dict[str, Host] = {}
        rules: dict[tuple[str, int], list[RulePlan]] = {}
        secure = [place for place in own if place.is_tls]
        owners: HostIndex[Place] = HostIndex()
        for place in secure:
            for name in place.hosts():
                owners.put(name, place)
        for place in own:
            if place.reads_requests:
                self._add_place(place, hosts, rules, owners)
        names = [place.name for place in own]
        api = self._of_api(bind, port, own)
        self._add_api(port, hosts, [place for place in api if place.reads_requests])
        names += [place.name for place in api]
        return ListenerPlan(
            name=f"{bind or '0.0.0.0'}_{port}" if port else bind,
            role="gateway",
            port=own[0].server.port.number if own else port,
            address=address,
            domains=[
                DomainPlan(domain=as_domain(name), port=0, vhost=self._vhost(name, host.port or port, host))
                for name, host in hosts.items()
            ],
            unknown="404",
            https_redirect=[name for name, host in hosts.items() if host.redirects],
            origins=list(dict.fromkeys(names)),
            proxy_protocol=self._proxy_protocol,
            chains=self._chains.of_places([place for place in own if place.is_tls or place.is_tcp])
            + self._api_chains.of_port(self._of_api(bind, port, own)),
        )

    def _add_place(
        self,
        place: Place,
        hosts: dict[str, Host],
        rules: dict[tuple[str, int], list[RulePlan]],
        owners: HostIndex[Place],
    ) -> None:
        port = place.server.port.number
        scope = replace(self._scope, port=port, gateways=frozenset({place.name}))
        limits = self._limits.of_gateway(place.gateway.namespace, place.gateway.name, scope)
        for written in self._written.near(place.hosts()):
            if not binds(written, scope.gateways):
                continue
            common = _common(place.hosts_for(written.namespace), written)
            if place.is_tls:
                common = [name for name in common if owners.most_specific(name) is place]
            if not common:
                continue
            key = (place.name, id(written))
            if key not in rules:
                rules[key] = self._rules(written, scope)
            if not rules[key]:
                continue
            for name in common:
                host = hosts.setdefault(name, Host(port))
                host.first = host.first or written
                host.rules.extend(rules[key])
                host.limits.extend(index for index in limits if index not in host.limits)
                host.redirects |= place.redirects
        if place.redirects:
            for name in place.hosts():
                hosts.setdefault(name, Host(port)).redirects = True
        if place.is_tls:
            for name in place.hosts():
                hosts.setdefault(name, Host(port))  # without a rule it is no host of a wider server either: 404

    def _of_api(self, bind: str, port: int, own: list[Place]) -> list[ApiPlace]:
        """Listeners of the Gateway API on this port; those that cannot stand beside Istio's servers are left out."""
        if bind:
            return []
        kind = (own[0].is_tls, own[0].is_tcp) if own else None
        if kind == (False, True):
            return []
        return [place for place in self._api_places.get(port, ()) if kind in (None, (place.is_tls, place.is_tcp))]

    def _add_api(self, port: int, hosts: dict[str, Host], places: list[ApiPlace]) -> None:
        """The hosts of routes of the Gateway API on this port."""
        scope = replace(self._scope, port=port)
        for name, (place, rules) in self._http_routes.of_port(port, places).items():
            host = hosts.setdefault(name, Host())
            limits = self._limits.of_gateway(place.gateway.namespace, place.gateway.name, scope)
            host.limits.extend(index for index in limits if index not in host.limits)
            host.ordered = [self._limits.extend(rule, self._of_destinations(rule, scope)) for rule in rules]

    def _rules(self, written: Resource[VirtualService], scope: Scope) -> list[RulePlan]:
        """The rules with the limits that hold here: by route name, by VirtualService, by the service that is meant."""
        found = self._limits.on_rules(self._routes.of_virtual_service(written, scope), written, scope)
        own = self._limits.of_virtual_service(written, scope)
        return [self._limits.extend(rule, own + self._of_destinations(rule, scope)) for rule in found]

    def _of_destinations(self, rule: RulePlan, scope: Scope) -> list[int]:
        found: list[int] = []
        for destination in rule.destinations:
            service = self._registry.get(destination.cluster.rpartition("|")[2])
            if service is not None:
                found += self._limits.of_service(service, None, scope)
        return found

    def _vhost(self, name: str, port: int, host: Host) -> int:
        key = (port, tuple(map(id, host.rules)), tuple(map(id, host.ordered)), tuple(host.limits))
        index = self._shared.get(key)
        if index is None:
            index = self._shared[key] = len(self.vhosts)
            self.vhosts.append(
                VirtualHostPlan(
                    name=f"{name}:{port}",
                    rules=catch_all_last(host.rules) + host.ordered,
                    origin=origin(host.first) if host.first is not None else None,
                    limits=host.limits,
                )
            )
        return index


def _common(server_hosts: list[str], written: Resource[VirtualService]) -> list[str]:
    """The hosts on which a server and a VirtualService agree, the more specific of each pair."""
    own = [fqdn(host, written.namespace) for host in written.spec.hosts]
    found: dict[str, None] = {}
    for server_host in server_hosts:
        if server_host == "*":
            found.update(dict.fromkeys(own))
            continue
        for host in own:
            common = intersection(server_host, host)
            if common is not None:
                found[common] = None
    return list(found)
