"""The filter chains of a gateway's port: what becomes of bytes, and of a TLS connection by its server name.

A server ends TLS for requests (HTTPS) or for bytes (TLS with a mode that terminates, routed by `tcp` rules), or passes
it on: by the `tls` rules of VirtualServices, or to the cluster that the server name spells out (AUTO_PASSTHROUGH).
"""

from __future__ import annotations

from collections.abc import Iterable

from fastmesh.config.credentials.names import Credentials
from fastmesh.config.credentials.server_tls import server_tls
from fastmesh.config.hosts import covers, fqdn, intersection, is_wildcard
from fastmesh.config.listeners.gateway_places import Place
from fastmesh.config.plan import ChainPlan, DestinationPlan
from fastmesh.config.resource import Resource
from fastmesh.config.routes.l4 import applies_on_gateway, destinations
from fastmesh.config.routes.virtual_hosts import binds
from fastmesh.config.routes.virtual_service import Routes
from fastmesh.config.services.clusters import Clusters
from fastmesh.config.services.registry import Registry
from fastmesh.errors import Problem
from fastmesh.model.gateway import TERMINATES
from fastmesh.model.virtual_service import TLSRoute, VirtualService


class GatewayChains:
    def __init__(
        self,
        registry: Registry,
        clusters: Clusters,
        routes: Routes,
        credentials: Credentials,
        virtual_services: list[Resource[VirtualService]],
        problems: list[Problem],
    ) -> None:
        self._problems = problems
        self._registry = registry
        self._clusters = clusters
        self._routes = routes
        self._credentials = credentials
        self._written = virtual_services

    def of_places(self, places: Iterable[Place]) -> list[ChainPlan]:
        """The chains of the servers of one listener, but those of plaintext HTTP. A server name has one chain."""
        chains: list[ChainPlan] = []
        taken: dict[str, str] = {}  # server names of passed-on connections, and who has them
        for place in places:
            port = place.server.port.number
            if place.is_tcp:
                chains.append(ChainPlan(name=_name(place), kind="tcp", destinations=self._by_tcp_rules(place, port)))
            elif place.mode in TERMINATES:
                chains.append(self._terminating(place, port))
            elif place.mode == "AUTO_PASSTHROUGH":
                chains += self._automatic(place)
            else:
                chains += self._passed_on(place, port, taken)
        return chains

    def _terminating(self, place: Place, port: int) -> ChainPlan:
        """TLS ends here. Bytes without a `tcp` rule lead nowhere: the connection is closed."""
        tls = place.server.tls
        assert tls is not None
        http = place.reads_requests
        return ChainPlan(
            name=_name(place),
            transport="tls",
            server_names=_names(place),
            tls=server_tls(
                tls, place.gateway, (*place.path, "tls"), self._credentials, self._registry.client_domains, http=http
            ),
            kind="http" if http else "tcp",
            shared=http,
            destinations=[] if http else self._by_tcp_rules(place, port),
        )

    def _by_tcp_rules(self, place: Place, port: int) -> list[DestinationPlan]:
        for written in self._bound(place):
            for rule in written.spec.tcp:
                if not rule.match or any(
                    applies_on_gateway(match, place.name, port, written.namespace) for match in rule.match
                ):
                    return destinations(self._routes, rule.route, written.namespace, port)
        return []

    def _passed_on(self, place: Place, port: int, taken: dict[str, str]) -> list[ChainPlan]:
        found = []
        for written in self._bound(place):
            allowed = place.hosts_for(written.namespace)
            for number, rule in enumerate(written.spec.tls):
                names = self._sni_names(rule, place, port, written, allowed)
                mine = f"{written.namespace}/{written.name} tls[{number}]"
                free = [name for name in names if taken.setdefault(name, mine) == mine]
                for name in names:
                    if name not in free:
                        message = f"{name} on port {port} is passed on by VirtualService {taken[name]} already"
                        path = ("spec", "tls", number)
                        self._problems.append(written.problem(path, f"{message}, which stays", "warning", "advice"))
                if free:
                    chain = f"{_name(place)} {mine}"
                    found.append(
                        self._opaque(chain, free, destinations(self._routes, rule.route, written.namespace, port))
                    )
        return found

    def _sni_names(
        self, rule: TLSRoute, place: Place, port: int, written: Resource[VirtualService], allowed: list[str]
    ) -> list[str]:
        """The server names of a rule that this server exposes, the more specific of each pair."""
        found: dict[str, None] = {}
        for match in rule.match:
            if applies_on_gateway(match, place.name, port, written.namespace):
                for name in match.sni_hosts:
                    common = (intersection(host, name.lower()) for host in allowed)
                    found.update(dict.fromkeys(host for host in common if host is not None))
        return list(found)

    def _automatic(self, place: Place) -> list[ChainPlan]:
        """A chain for each port and subset of the services that the server's hosts cover; nothing else is reached."""
        found = []
        for service in self._registry.services.values():
            hosts = place.hosts_for(service.namespace)
            if service.external or service.alias or is_wildcard(service.host):
                continue
            if not any(covers(host, service.host) for host in hosts):
                continue
            for port in service.ports:
                for subset in self._clusters.subsets(service):
                    name = self._clusters.use_opaque(service, port, subset)
                    destination = DestinationPlan(cluster=name, weight=1)
                    chain = self._opaque(f"{_name(place)} {name}", [name.lower()], [destination], mesh_alpn=True)
                    found.append(chain)
        return found

    def _opaque(
        self, name: str, names: list[str], destinations: list[DestinationPlan], *, mesh_alpn: bool = False
    ) -> ChainPlan:
        return ChainPlan(
            name=name,
            transport="tls",
            mesh_alpn=mesh_alpn,
            server_names=[] if "*" in names else names,
            kind="tcp",
            destinations=destinations,
        )

    def _bound(self, place: Place) -> list[Resource[VirtualService]]:
        """The VirtualServices that name this Gateway and share a host with the server."""
        gateways = frozenset({place.name})
        return [item for item in self._written if binds(item, gateways) and _overlaps(place, item)]


def _overlaps(place: Place, written: Resource[VirtualService]) -> bool:
    own = [fqdn(host, written.namespace) for host in written.spec.hosts]
    return any(intersection(host, name) is not None for host in place.hosts_for(written.namespace) for name in own)


def _names(place: Place) -> list[str]:
    hosts = place.hosts()
    return [] if "*" in hosts else hosts


def _name(place: Place) -> str:
    return f"{place.name} {place.server.name or place.server.port.name}"
