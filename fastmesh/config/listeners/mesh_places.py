"""Bytes of the mesh: which clusters they go to, by the address and port that a client wanted to reach.

A client that speaks to the proxy itself does not say that with its bytes. It is known where the kernel redirects
connections (--interception-mode), where a PROXY header comes first, and on sockets that stand for one service: egress
listeners, and services whose address is of this machine alone. The choice is Istio's: the port, then the longest
prefix, then server names; what a rule's `destinationSubnets` say replaces the addresses of the service.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fastmesh.config import protocols
from fastmesh.config.hosts import covers, fqdn, is_address, is_wildcard
from fastmesh.config.plan import ChainPlan, ClusterPlan, DestinationPlan
from fastmesh.config.resource import Resource
from fastmesh.config.routes.l4 import applies_in_mesh, destinations
from fastmesh.config.routes.matches import Scope
from fastmesh.config.routes.virtual_service import Routes
from fastmesh.config.services.clusters import Clusters
from fastmesh.config.services.service import MeshService, Port, Services
from fastmesh.model.service_entry import ServiceEntry
from fastmesh.model.virtual_service import VirtualService

PASSTHROUGH = "PassthroughCluster"
EVERYWHERE = ["::/0"]  # IPv4 too: its addresses are compared as those of IPv6 that stand for them


@dataclass(slots=True)
class MeshPlaces:
    view: Services
    clusters: Clusters
    routes: Routes
    scope: Scope
    written: list[Resource[VirtualService]]  # those for the mesh that the view sees
    _taken: set[tuple[int, str, str]] = field(default_factory=set)  # port, block, server name

    def build(self, unknown: str) -> list[ChainPlan]:
        """For every port of every service; what no service has goes where it wanted to go, or nowhere."""
        found: list[ChainPlan] = []
        requests = {port.number: None for service in self.view.rule_owners() for port in service.http_ports}
        for number in requests:
            found.append(ChainPlan(name=f"http {number}", port=number))
            self._taken.add((number, "", ""))
        for service in self.view.rule_owners():
            for port in service.ports:
                if port.protocol in protocols.TCP:
                    found += self._bytes(service, port)
                elif port.protocol in protocols.TLS:
                    found += self._by_name(service, port)
        to = []
        if unknown == "passthrough":
            self.clusters.plans.append(ClusterPlan(name=PASSTHROUGH, kind="original_dst", service_name=PASSTHROUGH))
            to = [DestinationPlan(cluster=PASSTHROUGH, weight=1)]
        return [*found, ChainPlan(name=unknown, kind="tcp", destinations=to, to=EVERYWHERE)]

    def leads(self, service: MeshService, port: int, address: str) -> list[DestinationPlan]:
        """Where the bytes go that come for a service on a socket of its own, which is at `address`."""
        for rule in self._rules(service, port):
            if rule.everywhere or _within(address, rule.subnets):
                return rule.to
        return self._whole(service, port)

    def _bytes(self, service: MeshService, port: Port) -> Iterator[ChainPlan]:
        own = blocks_of(service)
        for rule in self._rules(service, port.number):
            blocks = [] if rule.everywhere else [_block(subnet) for subnet in rule.subnets]
            yield from self._chain(rule.name, rule.to, port.number, blocks or own)
            if rule.everywhere or blocks == own:
                return
        yield from self._chain(service.host, self._whole(service, port.number), port.number, own)

    def _by_name(self, service: MeshService, port: Port) -> Iterator[ChainPlan]:
        """TLS: the server names of rules; a service without one is known by its address, where it has a whole one."""
        own, governed = blocks_of(service), False
        for item in self._written_for(service):
            for number, rule in enumerate(item.spec.tls):
                to = destinations(self.routes, rule.route, item.namespace, port.number)
                for match in rule.match:
                    if applies_in_mesh(match, self.scope, item.namespace, port.number):
                        governed = True
                        blocks = [_block(subnet) for subnet in match.destination_subnets] or own
                        names = [name.lower() for name in match.sni_hosts]
                        name = f"{item.namespace}/{item.name} tls[{number}]"
                        yield from self._chain(name, to, port.number, blocks, names)
        if not governed:
            vague = not own or any(ipaddress.ip_network(block).num_addresses > 1 for block in own)
            names = [service.host] if vague else []
            yield from self._chain(service.host, self._whole(service, port.number), port.number, own, names)

    def _chain(
        self, name: str, to: list[DestinationPlan], port: int, blocks: list[str], names: Iterable[str] = ()
    ) -> Iterator[ChainPlan]:
        """What no older chain has of it, with the same port, block and server name."""
        wanted = list(names)
        free = [
            (block, each)
            for block in blocks or [""]
            for each in wanted or [""]
            if (port, block, each) not in self._taken
        ]
        self._taken.update((port, block, each) for block, each in free)
        by_block: dict[str, list[str]] = {}
        for block, each in free:
            by_block.setdefault(block, []).append(each)
        for block, mine in by_block.items():
            yield ChainPlan(
                name=name,
                transport="tls" if wanted else "any",
                server_names=mine if wanted else [],
                kind="tcp",
                destinations=to,
                port=port,
                to=[block] if block else [],
            )

    def _rules(self, service: MeshService, port: int) -> Iterator[_Rule]:
        """The `tcp` rules for a port up to the first one that takes every address."""
        for item in self._written_for(service):
            for number, rule in enumerate(item.spec.tcp):
                fitting = [each for each in rule.match if applies_in_mesh(each, self.scope, item.namespace, port)]
                if rule.match and not fitting:
                    continue
                subnets = [subnet for each in fitting for subnet in each.destination_subnets]
                everywhere = not fitting or any(not each.destination_subnets for each in fitting)
                name = f"{item.namespace}/{item.name} tcp[{number}]"
                to = destinations(self.routes, rule.route, item.namespace, port)
                yield _Rule(name, to, subnets, everywhere)
                if everywhere:
                    return

    def _written_for(self, service: MeshService) -> Iterator[Resource[VirtualService]]:
        for item in self.written:
            if any(_governs(fqdn(host, item.namespace), service.host) for host in item.spec.hosts):
                yield item

    def _whole(self, service: MeshService, port: int) -> list[DestinationPlan]:
        name, exists = self.clusters.use(service.host, port, "")
        return [DestinationPlan(cluster=name, weight=1, missing=not exists)]


@dataclass(slots=True, frozen=True)
class _Rule:
    name: str
    to: list[DestinationPlan]
    subnets: list[str]
    everywhere: bool


def _governs(host: str, service: str) -> bool:
    return host == service or (is_wildcard(host) and covers(host, service))


def blocks_of(service: MeshService) -> list[str]:
    """The addresses that a service is known by, as blocks; those of its endpoints where it has none of its own but is
    reached by them."""
    spec = service.written.spec
    if isinstance(spec, ServiceEntry):
        return list(dict.fromkeys(_block(address) for address in spec.addresses))
    if service.headless:
        return list(dict.fromkeys(_block(each.address) for each in service.instances if is_address(each.address)))
    return [_block(address) for address in service.addresses]


def _block(address: str) -> str:
    return str(ipaddress.ip_network(address, strict=False))


def _within(address: str, subnets: Iterable[str]) -> bool:
    try:
        own = ipaddress.ip_address(address)
    except ValueError:
        return False  # a socket of the file system
    networks = (ipaddress.ip_network(subnet, strict=False) for subnet in subnets)
    return any(own.version == network.version and own in network for network in networks)
