"""TLS on the mesh listener: connections are passed on by their server name, as `tls` rules or the services say.

Without interception the port that a client wanted is not known. The server name alone decides, and a service's own TLS
port is meant: 443 where it has that one, else its first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fastmesh.config import protocols
from fastmesh.config.hosts import covers, fqdn
from fastmesh.config.plan import ChainPlan, DestinationPlan
from fastmesh.config.resource import Resource
from fastmesh.config.routes.l4 import applies_in_mesh, destinations
from fastmesh.config.routes.matches import Scope
from fastmesh.config.routes.virtual_hosts import short_names
from fastmesh.config.routes.virtual_service import Routes
from fastmesh.config.services.clusters import Clusters
from fastmesh.config.services.service import MeshService, Port, Services
from fastmesh.model.virtual_service import VirtualService

HTTPS_PORT = 443


class MeshChains:
    def __init__(self, registry: Services, clusters: Clusters, routes: Routes, scope: Scope) -> None:
        self._registry = registry
        self._clusters = clusters
        self._routes = routes
        self._scope = scope
        self._taken: set[str] = set()
        self._governed: list[str] = []  # hosts that have a `tls` rule for this client

    def build(self, written: Iterable[Resource[VirtualService]]) -> list[ChainPlan]:
        """None where nothing speaks TLS: then nobody has to look at the first bytes of a connection."""
        chains = [*self._by_rules(written), *self._by_services()]
        return [ChainPlan(name="http", transport="plaintext"), *chains] if chains else []

    def _by_rules(self, written: Iterable[Resource[VirtualService]]) -> Iterator[ChainPlan]:
        for item in written:
            hosts = [fqdn(host, item.namespace) for host in item.spec.hosts]
            port = self._port_of(hosts)
            for number, rule in enumerate(item.spec.tls):
                fitting = [match for match in rule.match if applies_in_mesh(match, self._scope, item.namespace)]
                if not fitting:
                    continue
                self._governed += hosts
                names = self._free(name.lower() for match in fitting for name in match.sni_hosts)
                to = destinations(self._routes, rule.route, item.namespace, port)
                if names:
                    yield _chain(f"{item.namespace}/{item.name} tls[{number}]", names, to)

    def _by_services(self) -> Iterator[ChainPlan]:
        """A service that no rule governs is reached by its own names."""
        for service in self._registry.rule_owners():
            port = _tls_port(service)
            if port is None or any(covers(host, service.host) for host in self._governed):
                continue
            names = self._free([service.host, *short_names(service.host, self._registry.namespace)])
            if names:
                name, exists = self._clusters.use(service.host, port.number, "")
                yield _chain(service.host, names, [DestinationPlan(cluster=name, weight=1, missing=not exists)])

    def _port_of(self, hosts: Iterable[str]) -> int:
        for host in hosts:
            service = self._registry.get(host)
            port = _tls_port(service) if service is not None else None
            if port is not None:
                return port.number
        return HTTPS_PORT

    def _free(self, names: Iterable[str]) -> list[str]:
        """Server names that have no chain yet; they have one now."""
        found = [name for name in dict.fromkeys(names) if name not in self._taken]
        self._taken.update(found)
        return found


def _tls_port(service: MeshService) -> Port | None:
    ports = [port for port in service.ports if port.protocol in protocols.TLS]
    return next((port for port in ports if port.number == HTTPS_PORT), ports[0] if ports else None)


def _chain(name: str, names: list[str], to: list[DestinationPlan]) -> ChainPlan:
    return ChainPlan(name=name, transport="tls", server_names=names, kind="tcp", destinations=to)
