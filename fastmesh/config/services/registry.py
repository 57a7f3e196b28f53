"""The services that a proxy can see, with their ports and the addresses behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastmesh.config import protocols
from fastmesh.config.hosts import ROOT_NAMESPACE, TRUST_DOMAIN, fqdn, is_address
from fastmesh.config.mesh import Visibility
from fastmesh.config.resource import Resource
from fastmesh.config.services.instances import Instance, Instances
from fastmesh.config.services.networks import Networks
from fastmesh.config.services.scope import Egress, Imports, imports_of
from fastmesh.config.services.service import Lazy, MeshService, Port, Services
from fastmesh.config.services.workloads import WorkloadTable
from fastmesh.config.store import ConfigSet
from fastmesh.model.kubernetes import Service, ServicePort
from fastmesh.model.service_entry import ServiceEntry
from fastmesh.model.virtual_service import VirtualService

__all__ = ["MeshService", "Port", "Registry"]

EVERYWHERE = Visibility()
EXPORT_TO = "networking.istio.io/exportTo"


class Registry(Services):
    """What the proxy may call: `known` are the services that are exported to it, in the order of their age; of those
    the imported ones are here by host. `view` has those of one egress listener."""

    def __init__(
        self,
        config: ConfigSet,
        namespace: str,
        resolve: Mapping[str, Sequence[str]],
        trust_domain: str = TRUST_DOMAIN,
        believed: Sequence[str] = (),
        imports: Imports | None = None,
        visible: Visibility = EVERYWHERE,
        sends: Iterable[tuple[Resource[VirtualService], list[str]]] = (),
        root: str = ROOT_NAMESPACE,
    ) -> None:
        super().__init__(namespace)
        self.trust_domain = trust_domain
        self.client_domains = list(dict.fromkeys((trust_domain, *believed)))  # of clients in mutual TLS
        self.workloads = WorkloadTable(trust_domain)
        self.networks = Networks(config, root, resolve)
        self._instances = Instances(config, self.workloads, resolve, self.networks)
        self._visible = visible
        self.known: list[MeshService] = []
        self._by_key: dict[tuple[str, str], MeshService] = {}
        for service in config.services:
            self._add_kubernetes(service)
        for entry in config.service_entries:
            self._add_entry(entry)
        imports = imports or imports_of([], namespace, {}, "")
        for found in self._imported(imports.egress):
            self.put(found)
        if imports.sidecar is not None:
            self._follow(imports, sends)
        self.index_aliases()

    def view(self, *egress: Egress) -> Services:
        """The services of these egress listeners together."""
        return Services(self.namespace, self._imported(egress))

    def _imported(self, egress: Iterable[Egress]) -> Iterable[MeshService]:
        for each in egress:
            for service in self.known:
                if each.service(service.host, service.namespace):
                    yield service

    def _follow(self, imports: Imports, sends: Iterable[tuple[Resource[VirtualService], list[str]]]) -> None:
        """Where imported VirtualServices send: that host of the own namespace, else Kubernetes', else the oldest."""
        every = Services(self.namespace, self.known)
        for written, hosts in sends:
            if any(egress.virtual_service(written) for egress in imports.egress):
                for host in hosts:
                    found = every.get(host)
                    if found is not None and host not in self.services:
                        self.put(found)

    def _put(self, service: MeshService) -> None:
        """A second object for the same host and namespace adds workloads to the first; an entry of one sort, ports."""
        service.http_ports = [port for port in service.ports if port.is_http]
        older = self._by_key.setdefault((service.host, service.namespace), service)
        if older is service:
            self.known.append(service)
        else:
            if _of_one_sort(older.written, service.written):
                _merge(older, service)
            else:
                older.find.add(service.find)

    def _add_kubernetes(self, written: Resource[Service]) -> None:
        spec = written.spec
        visible = [name.strip() for name in written.annotations.get(EXPORT_TO, "").split(",") if name.strip()]
        if not self._visible.seen(visible, written.namespace, self.namespace):
            return
        addresses = spec.cluster_ips or [spec.cluster_ip]
        alias = (spec.external_name or "").lower().rstrip(".") if spec.type == "ExternalName" else ""
        if alias:
            find = Lazy(lambda: self._instances.of_names([alias], written))
        else:
            find = Lazy(lambda: self._instances.of_service(written))
        self._put(
            MeshService(
                host=fqdn(written.name, written.namespace),
                name=written.name,
                namespace=written.namespace,
                written=written,
                find=find,
                ports=[_kubernetes_port(port) for port in spec.ports if port.protocol == "TCP"],
                addresses=[address for address in addresses if address and address != "None"],
                headless=spec.cluster_ip == "None",
                alias=alias,
            )
        )

    def _add_entry(self, written: Resource[ServiceEntry]) -> None:
        spec = written.spec
        if not self._visible.seen(spec.export_to, written.namespace, self.namespace):
            return
        ports = [
            Port(port.number, port.name, protocols.declared(port.protocol), port.target_port or port.number)
            for port in spec.ports
        ]
        for written_host in spec.hosts:
            host = written_host.lower()
            self._put(
                MeshService(
                    host=host,
                    name=host,
                    namespace=written.namespace,
                    written=written,
                    find=self._behind(written, host),
                    ports=ports,
                    addresses=[address for address in spec.addresses if "/" not in address and is_address(address)],
                    destination="original_dst" if spec.resolution in ("NONE", "DYNAMIC_DNS") else "endpoints",
                    external=spec.location == "MESH_EXTERNAL",
                    alt_names=spec.subject_alt_names,
                )
            )

    def _behind(self, written: Resource[ServiceEntry], host: str) -> Lazy:
        """DNS_ROUND_ROBIN is one logical host: the first answer, for each new connection."""

        def find() -> list[Instance]:
            found = self._instances.of_entry(written)
            if found is None:
                found = [] if host.startswith("*") else self._instances.of_names([host], written)
            return found[:1] if written.spec.resolution == "DNS_ROUND_ROBIN" else found

        return Lazy(find)


def _merge(older: MeshService, entry: MeshService) -> None:
    """Workloads of each serve the ports that it wrote. Ports go by their names there, so a name is one port's."""
    known = {port.number for port in older.ports} | {port.name for port in older.ports}
    more = [port for port in entry.ports if not known & {port.number, port.name}]
    if not more:
        older.find.add(entry.find)
        return
    older.find = _serving(older.find, older.ports)
    older.find.add(_serving(entry.find, entry.ports))
    older.ports = [*older.ports, *more]
    older.http_ports = [port for port in older.ports if port.is_http]


def _serving(find: Lazy, ports: list[Port]) -> Lazy:
    """The same instances for these ports alone."""

    def closed(instance: Instance) -> Instance:
        found = {port.name: instance.port_for(port.name, port.target) for port in ports}
        return replace(instance, closed=True, ports={name: number for name, number in found.items() if number})

    return Lazy(lambda: [closed(instance) for instance in find()])


def _of_one_sort(older: Resource[Any], entry: Resource[Any]) -> bool:
    """Istio merges ServiceEntries that resolve alike, select the same workloads and are exported alike."""
    if not (isinstance(older.spec, ServiceEntry) and isinstance(entry.spec, ServiceEntry)):
        return False
    same = older.spec.resolution == entry.spec.resolution
    same = same and older.spec.workload_selector == entry.spec.workload_selector
    return same and sorted(older.spec.export_to or ["*"]) == sorted(entry.spec.export_to or ["*"])


def _kubernetes_port(port: ServicePort) -> Port:
    protocol = protocols.of_service_port(port.port, port.name, port.protocol, port.app_protocol)
    return Port(port.port, port.name or "", protocol, port.target_port or port.port)
