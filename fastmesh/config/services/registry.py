"""The services that a proxy can see, with their ports and the addresses behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fastmesh.config import protocols
from fastmesh.config.hosts import TRUST_DOMAIN, exported, fqdn, is_address
from fastmesh.config.resource import Resource
from fastmesh.config.services.instances import Instance, Instances
from fastmesh.config.services.workloads import WorkloadTable
from fastmesh.config.store import ConfigSet
from fastmesh.model.kubernetes import Service
from fastmesh.model.service_entry import ServiceEntry

EXPORT_TO = "networking.istio.io/exportTo"


@dataclass(slots=True, frozen=True)
class Port:
    number: int
    name: str
    protocol: str
    target: int | str  # the port of the workload; a text names a container port

    @property
    def is_http(self) -> bool:
        return protocols.is_http(self.protocol)


@dataclass(slots=True)
class MeshService:
    """One host of the registry."""

    host: str
    name: str  # as metrics show it: the Service's name, the host of a ServiceEntry
    namespace: str
    written: Resource[Any]
    ports: list[Port] = field(default_factory=list)
    http_ports: list[Port] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)  # virtual IPs
    headless: bool = False
    alias: str = ""  # the host that an ExternalName service stands for
    destination: Literal["endpoints", "original_dst"] = "endpoints"
    instances: list[Instance] = field(default_factory=list)
    external: bool = False  # outside the mesh: nobody there speaks its TLS
    alt_names: list[str] = field(default_factory=list)  # what its certificates name, by the ServiceEntry

    def port(self, number: int) -> Port | None:
        return next((port for port in self.ports if port.number == number), None)


class Registry:
    """Services by host; of several with one host the client's own namespace wins, then the older one."""

    def __init__(
        self,
        config: ConfigSet,
        namespace: str,
        resolve: Mapping[str, Sequence[str]],
        trust_domain: str = TRUST_DOMAIN,
        believed: Sequence[str] = (),
    ) -> None:
        self.namespace = namespace
        self.trust_domain = trust_domain
        self.client_domains = list(dict.fromkeys((trust_domain, *believed)))  # of clients in mutual TLS
        self.workloads = WorkloadTable(trust_domain)
        self.services: dict[str, MeshService] = {}
        self._instances = Instances(config, self.workloads, resolve)
        for service in config.services:
            self._add_kubernetes(service)
        for entry in config.service_entries:
            self._add_entry(entry)
        self.aliases: dict[str, list[str]] = {}  # other names of a service, by its host
        for host, found in self.services.items():
            if found.alias in self.services:
                self.aliases.setdefault(found.alias, []).append(host)

    def get(self, host: str) -> MeshService | None:
        return self.services.get(host)

    def concrete(self, host: str) -> MeshService | None:
        """The service behind a host, an alias followed once."""
        service = self.services.get(host)
        if service is not None and service.alias:
            return self.services.get(service.alias, service)
        return service

    def rule_owner(self, host: str) -> MeshService | None:
        """The service that rules for a host govern; an alias is none: it is only another name."""
        service = self.services.get(host)
        return None if service is None or service.alias in self.services else service

    def rule_owners(self) -> Iterable[MeshService]:
        return (service for service in self.services.values() if service.alias not in self.services)

    def _put(self, service: MeshService) -> None:
        service.http_ports = [port for port in service.ports if port.is_http]
        older = self.services.get(service.host)
        if older is None:
            self.services[service.host] = service
        elif older.written.kind == "Service" or older.namespace == service.namespace:
            # A ServiceEntry for a host that is there already only adds workloads, and only in the same namespace.
            if older.namespace == service.namespace:
                older.instances.extend(service.instances)
        elif service.namespace == self.namespace:
            self.services[service.host] = service

    def _add_kubernetes(self, written: Resource[Service]) -> None:
        spec = written.spec
        visible = [name.strip() for name in written.annotations.get(EXPORT_TO, "").split(",") if name.strip()]
        if not exported(visible, written.namespace, self.namespace):
            return
        addresses = spec.cluster_ips or [spec.cluster_ip]
        service = MeshService(
            host=fqdn(written.name, written.namespace),
            name=written.name,
            namespace=written.namespace,
            written=written,
            ports=[_kubernetes_port(port) for port in spec.ports if port.protocol == "TCP"],
            addresses=[address for address in addresses if address and address != "None"],
            headless=spec.cluster_ip == "None",
        )
        if spec.type == "ExternalName" and spec.external_name:
            service.alias = spec.external_name.lower().rstrip(".")
            service.instances = self._instances.of_names([service.alias], written)
        else:
            service.instances = self._instances.of_service(written)
        self._put(service)

    def _add_entry(self, written: Resource[ServiceEntry]) -> None:
        spec = written.spec
        if not exported(spec.export_to, written.namespace, self.namespace):
            return
        ports = [
            Port(port.number, port.name, protocols.declared(port.protocol), port.target_port or port.number)
            for port in spec.ports
        ]
        by_workload = self._instances.of_entry(written)
        for written_host in spec.hosts:
            host = written_host.lower()
            instances = by_workload
            if instances is None:
                instances = [] if host.startswith("*") else self._instances.of_names([host], written)
            if spec.resolution == "DNS_ROUND_ROBIN":
                instances = instances[:1]
            self._put(
                MeshService(
                    host=host,
                    name=host,
                    namespace=written.namespace,
                    written=written,
                    ports=ports,
                    addresses=[address for address in spec.addresses if "/" not in address and is_address(address)],
                    destination="original_dst" if spec.resolution in ("NONE", "DYNAMIC_DNS") else "endpoints",
                    instances=list(instances),
                    external=spec.location == "MESH_EXTERNAL",
                    alt_names=spec.subject_alt_names,
                )
            )


def _kubernetes_port(port: Any) -> Port:
    protocol = protocols.of_service_port(port.port, port.name, port.protocol, port.app_protocol)
    return Port(port.port, port.name, protocol, port.target_port or port.port)
