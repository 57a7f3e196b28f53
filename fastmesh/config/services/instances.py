"""The addresses behind a service, from Endpoints, EndpointSlices, Pods, WorkloadEntries and DNS answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from fastmesh.config.hosts import is_address
from fastmesh.config.resource import Resource
from fastmesh.config.selectors import LabelIndex
from fastmesh.config.services.networks import Networks, gateway_names
from fastmesh.config.services.workloads import Templates, Workload, WorkloadTable, port_named
from fastmesh.config.store import ConfigSet
from fastmesh.model.kubernetes import Endpoints, EndpointSlice, Pod, PodSpec, Service
from fastmesh.model.service_entry import ServiceEntry, WorkloadEntry

SERVICE_NAME = "kubernetes.io/service-name"
TLS_MODE = "security.istio.io/tlsMode"


@dataclass(slots=True)
class Instance:
    """One address. `ports` maps the NAME of a service port to a number; a closed instance has no other ports."""

    address: str
    ports: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    weight: int = 1
    locality: str = ""
    workload: int = 0
    closed: bool = False
    containers: PodSpec | None = None
    named_ports: Mapping[str, int] = field(default_factory=dict)  # container ports that services name
    namespace: str = ""
    account: str = ""  # its service account, when somebody wrote it down
    sidecar: bool = False  # a proxy of the mesh stands before it
    network: str = ""
    node: str = ""

    def port_for(self, name: str, target: int | str) -> int | None:
        """Where this address serves a service port; None when it does not."""
        number = self.ports.get(name)
        if number or self.closed:
            return number
        if isinstance(target, int):
            return target
        if self.containers is not None:
            return port_named(self.containers, target)
        return self.ports.get(target) or self.named_ports.get(target)


class Instances:
    def __init__(
        self, config: ConfigSet, workloads: WorkloadTable, resolve: Mapping[str, Sequence[str]], networks: Networks
    ) -> None:
        self._networks = networks
        self._table = workloads
        self._resolve = resolve
        self._templates = Templates(chain(config.deployments, config.stateful_sets), config.pods)
        self._endpoints = {(item.namespace, item.name): item for item in config.endpoints}
        self._slices: dict[tuple[str, str], list[Resource[EndpointSlice]]] = {}
        for item in config.endpoint_slices:
            self._slices.setdefault((item.namespace, item.labels.get(SERVICE_NAME, "")), []).append(item)
        self._entries: LabelIndex[Resource[WorkloadEntry]] = LabelIndex()
        for entry in config.workload_entries:
            self._entries.add(entry.namespace, entry.spec.labels, entry)
        self._pods: LabelIndex[Resource[Pod]] = LabelIndex()
        for pod in self._templates.pods:
            self._pods.add(pod.namespace, pod.labels, pod)

    def of_service(self, service: Resource[Service]) -> list[Instance]:
        key = (service.namespace, service.name)
        found = [instance for item in self._slices.get(key, ()) for instance in self._of_slice(item, service)]
        endpoints = self._endpoints.get(key)
        if endpoints is not None:
            found.extend(self._of_endpoints(endpoints, service))
        listed = bool(found)
        selector = service.spec.selector
        if selector:
            if not listed:
                found.extend(self._of_pods(service.namespace, selector))
            named = self._named_ports(service)
            for entry in self._entries.select(service.namespace, selector):
                found.extend(self._of_workload(entry.spec, entry, entry.name, named))
        return found

    def of_entry(self, entry: Resource[ServiceEntry]) -> list[Instance] | None:
        """The workloads of a ServiceEntry; None when its hosts themselves are to be looked up in DNS."""
        spec = entry.spec
        if spec.resolution in ("NONE", "DYNAMIC_DNS"):
            return []
        if spec.workload_selector is not None:
            labels = spec.workload_selector.labels
            found = [
                instance
                for item in self._entries.select(entry.namespace, labels)
                for instance in self._of_workload(item.spec, item, item.name)
            ]
            return found + list(self._of_pods(entry.namespace, labels))
        if not spec.endpoints and spec.resolution != "STATIC":
            return None
        return [instance for endpoint in spec.endpoints for instance in self._of_workload(endpoint, entry, entry.name)]

    def of_names(self, names: Iterable[str], owner: Resource[Any]) -> list[Instance]:
        addresses = [address for name in names for address in self._addresses(name)]
        workload = self._table.put(Workload(owner.name, owner.labels), owner.namespace) if addresses else 0
        return [Instance(address, workload=workload) for address in addresses]

    def _addresses(self, name: str) -> Sequence[str]:
        if name.startswith("unix:") or is_address(name):
            return (name,)
        return self._resolve.get(name, ())

    def _of_workload(
        self, spec: WorkloadEntry, owner: Resource[Any], name: str, named: Mapping[str, int] | None = None
    ) -> Iterator[Instance]:
        # Without an address there is a network, whose gateway knows the way
        addresses = self._addresses(spec.address) if spec.address else ("",)
        known = Workload(name, spec.labels, spec.service_account)
        workload = self._table.put(known, owner.namespace) if addresses else 0
        for address in addresses:
            yield Instance(
                address,
                ports=spec.ports,
                labels=spec.labels,
                weight=spec.weight or 1,
                locality=spec.locality,
                workload=workload,
                named_ports=named or {},
                namespace=owner.namespace,
                account=spec.service_account,
                sidecar=_has_sidecar(spec),
                network=spec.network or self._networks.at(address),
            )

    def _of_pods(self, namespace: str, selector: Mapping[str, str]) -> Iterator[Instance]:
        for pod in self._pods.select(namespace, selector):
            if pod.spec.status.pod_ip and pod.spec.status.phase in ("", "Running"):
                spec = pod.spec.spec
                yield self._instance(pod.spec.status.pod_ip, pod.name, namespace, containers=spec, node=spec.node_name)

    def _of_slice(self, item: Resource[EndpointSlice], service: Resource[Service]) -> Iterator[Instance]:
        ports = {port.name: port.port for port in item.spec.ports if port.port}
        for endpoint in item.spec.endpoints:
            if endpoint.conditions.ready is False and not service.spec.publish_not_ready_addresses:
                continue
            pod_name = endpoint.target_ref.name if endpoint.target_ref is not None else ""
            locality = "/" + endpoint.zone if endpoint.zone else ""
            for name in endpoint.addresses:
                for address in self._addresses(name):
                    more = {"locality": locality, "node": endpoint.node_name}
                    yield self._instance(address, pod_name, item.namespace, ports=ports, closed=True, **more)

    def _of_endpoints(self, item: Resource[Endpoints], service: Resource[Service]) -> Iterator[Instance]:
        for subset in item.spec.subsets:
            ports = {port.name: port.port for port in subset.ports}
            addresses = list(subset.addresses)
            if service.spec.publish_not_ready_addresses:
                addresses += subset.not_ready_addresses
            for address in addresses:
                pod_name = address.target_ref.name if address.target_ref is not None else ""
                node = address.node_name
                yield self._instance(address.ip, pod_name, item.namespace, ports=ports, closed=True, node=node)

    def _instance(self, address: str, pod_name: str, namespace: str, **more: Any) -> Instance:
        """The pod of this name, or at this address, with what is known about it."""
        known = self._templates.behind(namespace, pod_name, address)
        return Instance(
            address,
            labels=known.labels,
            workload=self._table.put(known, namespace),
            namespace=namespace,
            account=known.account,
            sidecar=known.labels.get(TLS_MODE) == "istio",
            network=self._networks.of(known.labels, address),
            **more,
        )

    def _named_ports(self, service: Resource[Service]) -> dict[str, int]:
        """The numbers behind the container-port names that a Service's ports target."""
        found = {}
        for port in service.spec.ports:
            if isinstance(port.target_port, str):
                number = self._templates.named_port(service.namespace, service.spec.selector, port.target_port)
                if number is not None:
                    found[port.target_port] = number
        return found


def _has_sidecar(spec: WorkloadEntry) -> bool:
    """As Istio judges: the label says it, else a service account means a workload of the mesh."""
    return spec.labels.get(TLS_MODE, "istio" if spec.service_account else "") == "istio"


def dns_names(config: ConfigSet) -> set[str]:
    """The names whose addresses a compile of this configuration asks for."""
    names = gateway_names(config)
    for entry in config.service_entries:
        spec = entry.spec
        if not spec.resolution.startswith("DNS"):
            continue
        names.update(endpoint.address for endpoint in spec.endpoints)
        if not spec.endpoints and spec.workload_selector is None:
            names.update(host.lower() for host in spec.hosts if not host.startswith("*"))
    names.update(entry.spec.address for entry in config.workload_entries)
    names.update(
        service.spec.external_name.lower().rstrip(".")
        for service in config.services
        if service.spec.type == "ExternalName"
    )
    for item in config.endpoint_slices:
        if item.spec.address_type == "FQDN":
            names.update(address for endpoint in item.spec.endpoints for address in endpoint.addresses)
    return {name for name in names if name and not name.startswith("unix:") and not is_address(name)}
