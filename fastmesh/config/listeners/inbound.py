"""The side of a sidecar that faces the mesh: a listener for each port of the application behind it.

What a connection may be is the workload's PeerAuthentication: STRICT takes the mesh's TLS alone; DISABLE takes what
comes and opens nothing; PERMISSIVE opens the mesh's TLS, known by its ALPN, and passes other TLS to the application.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fastmesh.config import protocols
from fastmesh.config.credentials.names import Credentials
from fastmesh.config.credentials.server_tls import server_tls
from fastmesh.config.gateway_names import MESH
from fastmesh.config.listeners.ingress import UNIX, Door
from fastmesh.config.mesh import Mesh
from fastmesh.config.origins import origin
from fastmesh.config.plan import (
    ChainPlan,
    ClusterPlan,
    DestinationPlan,
    DomainPlan,
    EndpointPlan,
    ListenerPlan,
    Origin,
    RulePlan,
    ServerTLSPlan,
    VirtualHostPlan,
)
from fastmesh.config.routes.limits import Limits
from fastmesh.config.routes.matches import Scope
from fastmesh.config.routes.retries import inbound_retry
from fastmesh.config.services.clusters import pool_fields
from fastmesh.config.services.destinations import DestinationRules, policy_for
from fastmesh.config.services.peer_authentications import Mode, PeerAuthentications
from fastmesh.config.services.registry import MeshService, Port, Registry
from fastmesh.config.services.role import Own
from fastmesh.config.services.upstream_tls import http_version
from fastmesh.config.services.workloads import port_named
from fastmesh.errors import Problem
from fastmesh.model.destination_rule import ConnectionPool

ALPN = ["h2", "http/1.1"]


class Inbound:
    """`clusters` grows with the listeners that are asked for."""

    def __init__(
        self,
        registry: Registry,
        limits: Limits,
        policies: PeerAuthentications,
        credentials: Credentials,
        own: Own,
        rules: DestinationRules,
        mesh: Mesh,
    ) -> None:
        self._mesh = mesh
        self.problems: list[Problem] = []
        self._rules = rules
        self._registry = registry
        self._limits = limits
        self._policies = policies
        self._credentials = credentials
        self._own = own
        self._clusters: dict[str, ClusterPlan] = {}
        self.ports: dict[str, int] = {}  # of the service, by cluster
        self._names: set[str] = set()

    @property
    def clusters(self) -> list[ClusterPlan]:
        return list(self._clusters.values())

    def listener(self, door: Door, vhosts: list[VirtualHostPlan]) -> ListenerPlan:
        """The listener of one door; its virtual host joins `vhosts`."""
        number, outside = door.number, door.outside
        service, port = self._served(number, outside)
        if door.protocol:
            port = _as_written(door, port)
        cluster = self._cluster(door, service, port)
        place = origin(service.written, "default") if service is not None else self._origin()
        destination = DestinationPlan(cluster=cluster.name, weight=1)
        grpc = port is not None and port.protocol.startswith("GRPC")
        rule = RulePlan(
            origin=place, destinations=[destination], retry=None if grpc else inbound_retry(self._mesh.inbound_retry)
        )
        limits = self._limited(service, port, number)
        # By the service's port as in Istio: EnvoyFilters name it.
        known = outside if door.sidecar is not None else port.number if port is not None else number
        vhosts.append(VirtualHostPlan(name=f"inbound|http|{known}", rules=[rule], origin=place, limits=limits))
        mode, _ = self._policies.mode(self._own.namespace, self._own.workload.labels, number, outside)
        is_http = port is None or port.is_http
        return ListenerPlan(
            name=self._name(door.listen, outside),
            role="inbound",
            port=number,
            address=door.listen,
            domains=[DomainPlan(domain="*", port=0, vhost=len(vhosts) - 1)],
            chains=self._own_tls(door, is_http or door.protocol.upper() == "HTTPS", destination, mode)
            or self._chains(mode, is_http, destination),
        )

    def _name(self, listen: str, outside: int) -> str:
        """By port as in Istio; a port at a second address is known by that as well."""
        name = f"inbound_{outside}"
        if name in self._names:
            name = f"inbound_{listen}"
        self._names.add(name)
        return name

    def _own_tls(self, door: Door, is_http: bool, destination: DestinationPlan, mode: Mode) -> list[ChainPlan]:
        """TLS of an ingress listener, for clients outside of the mesh: only where the mesh's own is switched off."""
        if door.tls is None or door.sidecar is None:
            return []
        path = (*door.path, "tls")
        is_http = is_http or door.protocol.upper() == "HTTPS"  # what HTTPS is inside of
        if mode != "DISABLE":
            message = f"has an effect only where PeerAuthentication is DISABLE for port {door.number}, it is {mode}"
            self.problems.append(door.sidecar.problem(path, message, "warning", "reference"))
            return []
        tls = server_tls(door.tls, door.sidecar, path, self._credentials, self._registry.client_domains, http=is_http)
        inside: Mapping[str, object] = {"kind": "http"} if is_http else {"kind": "tcp", "destinations": [destination]}
        return [ChainPlan(name="tls", transport="tls", tls=tls, **inside)]  # type: ignore[arg-type]

    def _chains(self, mode: Mode, is_http: bool, destination: DestinationPlan) -> list[ChainPlan]:
        inside: Mapping[str, object] = {"kind": "http"} if is_http else {"kind": "tcp", "destinations": [destination]}
        plaintext = ChainPlan(name="plaintext", transport="plaintext", **inside)  # type: ignore[arg-type]
        opaque = ChainPlan(name="opaque", transport="tls", kind="tcp", destinations=[destination])
        if mode == "DISABLE":
            return [opaque, plaintext]
        tls = ServerTLSPlan(
            credentials=[self._credentials.mesh()],
            client="required",
            mesh=True,
            trust_domains=self._registry.client_domains,
            alpn=ALPN if is_http else [],
        )
        strict = mode == "STRICT"
        mesh = ChainPlan(name="mesh", transport="tls", mesh_alpn=not strict, tls=tls, **inside)  # type: ignore[arg-type]
        return [mesh] if strict else [mesh, opaque, plaintext]

    def _cluster(self, door: Door, service: MeshService | None, port: Port | None) -> ClusterPlan:
        """The Sidecar's limits, else those of the service's DestinationRule; nothing else of that is for this side."""
        number = door.number
        name = f"inbound|{number}||"
        if name not in self._clusters:
            self.ports[name] = port.number if port is not None else number
            workload = self._registry.workloads.put(self._own.workload, self._own.namespace)
            pool = door.pool or (self._pool_of(service, port) if service is not None and port is not None else None)
            socket = door.address.startswith(UNIX)
            self._clusters[name] = ClusterPlan(
                name=name,
                host=service.host if service is not None else "",
                port=number,
                service_name=service.name if service is not None else "unknown",
                service_namespace=service.namespace if service is not None else "unknown",
                endpoints=[EndpointPlan(address=door.address, port=0 if socket else number, workload=workload)],
                http=http_version(port or UNDECLARED, False, False, False),  # type: ignore[arg-type]
                **pool_fields(pool, self._mesh),  # type: ignore[arg-type]
            )
        return self._clusters[name]

    def _pool_of(self, service: MeshService, port: Port) -> ConnectionPool | None:
        rule = self._rules.find_for_all(service.host, service.namespace)
        return policy_for(rule, port.number, None).connection_pool if rule is not None else None

    def _served(self, number: int, outside: int) -> tuple[MeshService | None, Port | None]:
        """The oldest service, and its port, that leads to this port of the workload."""
        for service in self._registry.known:
            if service.namespace == self._own.namespace and service.leads_to(self._own.workload.labels):
                for port in service.ports:
                    if self._leads(service, port, number, outside):
                        return service, port
        return None, None

    def _leads(self, service: MeshService, port: Port, number: int, outside: int) -> bool:
        """To the application's port itself, or to the one on which this sidecar stands before it."""
        if port.target == number:
            return True
        if isinstance(port.target, str) and self._own.containers is not None:
            return port_named(self._own.containers, port.target) == number
        labels = self._own.workload.labels
        return any(
            instance.labels == labels and instance.port_for(port.name, port.target) in (number, outside)
            for instance in service.instances
        )

    def _limited(self, service: MeshService | None, port: Port | None, number: int) -> list[int]:
        scope = Scope(
            port=port.number if port is not None else number,
            gateways=frozenset({MESH}),
            namespace=self._own.namespace,
            labels=self._own.workload.labels,
        )
        if service is None:
            return self._limits.of_namespace(self._own.namespace, scope)
        return self._limits.of_service(service, None, scope)

    def _origin(self) -> Origin:
        return Origin(kind="Workload", namespace=self._own.namespace, name=self._own.workload.name, route="default")


UNDECLARED = Port(number=0, name="", protocol=protocols.SNIFF, target=0)


def _as_written(door: Door, port: Port | None) -> Port:
    """The port of the service, speaking what the ingress listener says."""
    known = port or Port(number=door.outside, name="", protocol="", target=door.number)
    return replace(known, protocol=protocols.declared(door.protocol))
