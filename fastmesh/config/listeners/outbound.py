"""The side of a proxy that its workload calls others by: the mesh listener, and the egress listeners of a Sidecar that
listen by themselves.

Clients speak to the proxy, so the mesh listener routes by Host and by the port in it. An egress listener without a
`bind` has its routes there, for its port alone. One with a `bind` (or `captureMode: NONE`) is a socket of its own, on
which a client cannot mean another port; with protocol HTTP_PROXY it is a mesh listener for all ports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fastmesh.config import protocols
from fastmesh.config.listeners.addresses import is_loopback, split, with_port
from fastmesh.config.listeners.mesh_chains import MeshChains
from fastmesh.config.listeners.mesh_places import MeshPlaces
from fastmesh.config.mesh import Unknown
from fastmesh.config.origins import origin
from fastmesh.config.plan import ChainPlan, DestinationPlan, ListenerPlan, Origin, RulePlan, VirtualHostPlan
from fastmesh.config.resource import Resource
from fastmesh.config.routes.gateway_api import HTTPRoutes
from fastmesh.config.routes.limits import Limits
from fastmesh.config.routes.matches import Scope
from fastmesh.config.routes.virtual_hosts import ANY_PORT, HTTP_PORT, MeshHosts, VirtualHosts
from fastmesh.config.routes.virtual_service import Routes
from fastmesh.config.services.clusters import Clusters
from fastmesh.config.services.registry import Registry
from fastmesh.config.services.scope import Egress, Imports
from fastmesh.config.services.service import MeshService, Port, Services
from fastmesh.errors import Problem
from fastmesh.model.virtual_service import (
    L4MatchAttributes,
    TCPRoute,
    TLSMatchAttributes,
    TLSRoute,
    VirtualService,
)


@dataclass(slots=True)
class Outbound:
    registry: Registry
    clusters: Clusters
    routes: Routes
    http_routes: HTTPRoutes
    limits: Limits
    imports: Imports
    written: list[Resource[VirtualService]]  # those for the mesh
    scope: Scope
    merges: bool  # VirtualServices for the same host: see MeshPolicy
    unknown: Unknown
    proxy_protocol: bool  # of the mesh listener
    intercepts: bool
    problems: list[Problem]

    def listeners(self, address: str, vhosts: list[VirtualHostPlan]) -> Iterator[ListenerPlan]:
        """Their virtual hosts join `vhosts`. An empty address: the workload calls nobody through the mesh listener."""
        shared = self.imports.shared()
        if address:
            yield self._mesh(address, shared, vhosts)
            yield from self._own_addresses(shared)
        for egress in self.imports.apart():
            yield self._apart(egress, vhosts)

    def _mesh(self, address: str, shared: list[Egress], vhosts: list[VirtualHostPlan]) -> ListenerPlan:
        hosts = VirtualHosts(vhosts)
        taken = {each.port for each in shared if each.port}
        parts = []
        for egress in shared:
            parts.append(
                self._hosts(hosts, egress, _only(egress.port) if egress.port else lambda port: port not in taken)
            )
        hosts.add_portless()
        for part in parts:
            part.add_any()
        self._add_proxy(hosts)
        written = self._written_of(shared)
        view = self.registry.view(*shared)
        chains = self._chains(view, written)
        if self.intercepts or self.proxy_protocol:
            chains += self._places(view, written).build(self.unknown)
        else:
            self._tell_of_subnets(written)
        return ListenerPlan(
            name="mesh",
            role="mesh",
            port=0,
            address=address,
            domains=hosts.listed(),
            unknown="blackhole" if self.unknown == "blackhole" else "passthrough",
            chains=chains,
            proxy_protocol=self.proxy_protocol,
        )

    def _written_of(self, shared: list[Egress]) -> list[Resource[VirtualService]]:
        return [item for item in self.written if any(each.virtual_service(item) for each in shared)]

    def _places(self, view: Services, written: list[Resource[VirtualService]]) -> MeshPlaces:
        return MeshPlaces(view, self.clusters, self.routes, self.scope, written)

    def _own_addresses(self, shared: list[Egress]) -> Iterator[ListenerPlan]:
        """A socket for each port of a service for bytes whose address is of this machine alone. The others need
        somebody who brings their connections here, and are told."""
        view, written = self.registry.view(*shared), self._written_of(shared)
        places = self._places(view, written)
        taken: set[tuple[str, int]] = set()
        for service in view.rule_owners():
            for port in service.ports:
                if port.protocol not in protocols.TCP:
                    continue
                own = [each for each in service.addresses if is_loopback(each)]
                if not own and not (self.intercepts or self.proxy_protocol):
                    self._tell(service, port)
                for address in own:
                    if (address, port.number) not in taken and self._stands_free(service, port, address):
                        taken.add((address, port.number))
                        yield ListenerPlan(
                            name=f"{address}_{port.number}",
                            role="egress",
                            port=port.number,
                            address=with_port(address, port.number),
                            unknown="blackhole" if self.unknown == "blackhole" else "passthrough",
                            chains=[
                                ChainPlan(
                                    name=service.host,
                                    kind="tcp",
                                    destinations=places.leads(service, port.number, address),
                                )
                            ],
                        )

    def _stands_free(self, service: MeshService, port: Port, address: str) -> bool:
        """Not where an endpoint of the service itself listens."""
        here = (address, port.number)
        if all((each.address, each.port_for(port.name, port.target)) != here for each in service.instances):
            return True
        message = f"an endpoint listens on {address}:{port.number} itself, so clients reach it without this proxy"
        self.problems.append(service.written.problem(("spec",), message, "warning", "advice"))
        return False

    def _tell_of_subnets(self, written: list[Resource[VirtualService]]) -> None:
        for item in written:
            for kind, rules in (("tls", item.spec.tls), ("tcp", item.spec.tcp)):
                for number, rule in enumerate[TLSRoute | TCPRoute](rules):
                    for index, match in enumerate[TLSMatchAttributes | L4MatchAttributes](rule.match):
                        if match.destination_subnets:
                            path = ("spec", kind, number, "match", index, "destinationSubnets")
                            message = (
                                "needs the address that clients wanted to reach: redirect connections to this proxy"
                            )
                            whole = f"{message} (--interception-mode)"
                            self.problems.append(item.problem(path, whole, "warning", "unserved"))

    def _tell(self, service: MeshService, port: Port) -> None:
        index = service.ports.index(port)
        if any(each.port == port.number for each in self.imports.apart()):
            return
        message = (
            f"bytes do not say that they are for {service.host}, so its clients do not come through this proxy: give "
            "it an egress listener with a bind in a Sidecar, or an address in 127.0.0.0/8, or redirect connections "
            "(--interception-mode)"
        )
        self.problems.append(service.written.problem(("spec", "ports", index), message, "warning", "unserved"))

    def _apart(self, egress: Egress, vhosts: list[VirtualHostPlan]) -> ListenerPlan:
        hosts = VirtualHosts(vhosts)
        own = egress.port
        view = self.registry.view(egress)
        written = [item for item in self.written if egress.virtual_service(item)]
        if protocols.is_http(egress.protocol):
            part = self._hosts(hosts, egress, _only(own) if own else lambda port: True)
            if not own:
                hosts.add_portless()
            part.add_any()
            self._add_proxy(hosts)
        chains: list[ChainPlan] = []
        if egress.protocol in protocols.TLS or egress.protocol == protocols.SNIFF:
            chains = self._chains(view, written)
        elif egress.protocol not in protocols.HTTP:
            chains = self._opaque(view, own, egress.address, written)
        return ListenerPlan(
            name=egress.address.replace(":", "_") if not egress.address.startswith("unix:") else egress.address,
            role="egress" if own else "mesh",
            port=own,
            address=egress.address,
            domains=hosts.listed() if not own else hosts.by_name(),
            unknown="blackhole" if self.unknown == "blackhole" else "passthrough",
            chains=chains,
        )

    def _hosts(self, hosts: VirtualHosts, egress: Egress, serves: Callable[[int], bool]) -> MeshHosts:
        written = [item for item in self.written if egress.virtual_service(item)]
        part = MeshHosts(
            hosts,
            self.registry.view(egress),
            self.routes,
            self.http_routes,
            self.limits,
            written,
            self.scope,
            serves,
            merges=self.merges,
        )
        part.build()
        return part

    def _add_proxy(self, hosts: VirtualHosts) -> None:
        """The egressProxy of a Sidecar takes what nobody else has; else, with ALLOW_ANY, the address of its host."""
        sidecar = self.imports.sidecar
        policy = sidecar.spec.outbound_traffic_policy if sidecar is not None else None
        if sidecar is None or policy is None or policy.egress_proxy is None:
            if self.unknown == "outside":
                self._add_outside(hosts)
            return
        place = origin(sidecar, path=("spec", "outboundTrafficPolicy", "egressProxy"))
        name, exists = self.routes.cluster(policy.egress_proxy, sidecar.namespace, HTTP_PORT)
        to = DestinationPlan(cluster=name, weight=1, missing=not exists)
        rule = RulePlan(origin=place, destinations=[to], retry=self.routes.default_retry)
        hosts.add(["*"], ANY_PORT, VirtualHostPlan(name="egressProxy", rules=[rule], origin=place))

    def _add_outside(self, hosts: VirtualHosts) -> None:
        place = Origin(kind="MeshConfig", namespace="", name="outboundTrafficPolicy", route="allow_any")
        to = DestinationPlan(cluster=self.clusters.use_outside(), weight=1)
        rule = RulePlan(origin=place, destinations=[to], retry=self.routes.default_retry)
        hosts.add(["*"], ANY_PORT, VirtualHostPlan(name="allow_any", rules=[rule], origin=place))

    def _chains(self, view: Services, written: list[Resource[VirtualService]]) -> list[ChainPlan]:
        return MeshChains(view, self.clusters, self.routes, self.scope).build(written)

    def _opaque(
        self, view: Services, port: int, listen: str, written: list[Resource[VirtualService]]
    ) -> list[ChainPlan]:
        """Bytes do not say whom they are for: the first imported service with this port takes them."""
        for service in view.rule_owners():
            if service.port(port) is not None:
                to = self._places(view, written).leads(service, port, split(listen)[0])
                return [ChainPlan(name=service.host, kind="tcp", destinations=to)]
        return []


def _only(own: int) -> Callable[[int], bool]:
    return lambda port: port == own
