"""A service of the mesh as a proxy sees it, and a set of them by host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fastmesh.config import protocols
from fastmesh.config.resource import Resource
from fastmesh.config.selectors import selects
from fastmesh.config.services.instances import Instance
from fastmesh.model.kubernetes import Service
from fastmesh.model.service_entry import ServiceEntry

Destination = Literal["endpoints", "original_dst"]


@dataclass(slots=True, frozen=True)
class Port:
    number: int
    name: str
    protocol: str
    target: int | str  # the port of the workload; a text names a container port

    @property
    def is_http(self) -> bool:
        return protocols.is_http(self.protocol)


class Lazy:
    """The instances behind a service, found when somebody asks: most services of a large mesh nobody calls."""

    __slots__ = ("_find", "_found")

    def __init__(self, find: Callable[[], list[Instance]]) -> None:
        self._find: list[Callable[[], list[Instance]]] = [find]
        self._found: list[Instance] | None = None

    def __call__(self) -> list[Instance]:
        if self._found is None:
            self._found = [instance for find in self._find for instance in find()]
        return self._found

    def add(self, other: Lazy) -> None:
        self._find.append(other)
        self._found = None


@dataclass(slots=True)
class MeshService:
    """One host of the registry."""

    host: str
    name: str  # as metrics show it: the Service's name, the host of a ServiceEntry
    namespace: str
    written: Resource[Any]
    find: Lazy
    ports: list[Port] = field(default_factory=list)
    http_ports: list[Port] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)  # virtual IPs
    headless: bool = False
    alias: str = ""  # the host that an ExternalName service stands for
    destination: Destination = "endpoints"
    external: bool = False  # outside the mesh: nobody there speaks its TLS
    alt_names: list[str] = field(default_factory=list)  # what its certificates name, by the ServiceEntry

    @property
    def instances(self) -> list[Instance]:
        return self.find()

    @property
    def is_kubernetes(self) -> bool:
        return self.written.kind == "Service"

    def leads_to(self, labels: Mapping[str, str]) -> bool:
        """Whether a workload with these labels is behind it."""
        spec = self.written.spec
        if isinstance(spec, Service):
            return bool(spec.selector) and selects(spec.selector, labels)
        if isinstance(spec, ServiceEntry) and spec.workload_selector is not None:
            return selects(spec.workload_selector.labels, labels)
        return bool(labels) and any(instance.labels == labels for instance in self.instances)

    def port(self, number: int) -> Port | None:
        return next((port for port in self.ports if port.number == number), None)


class Services:
    """Services by host. Of several with one host the client's own namespace wins, then the older one; a Service of
    Kubernetes cannot lose its host to a ServiceEntry of another namespace."""

    def __init__(self, namespace: str, found: Iterable[MeshService] = ()) -> None:
        self.namespace = namespace
        self.services: dict[str, MeshService] = {}
        for service in found:
            self.put(service)
        self.aliases: dict[str, list[str]] = {}  # other names of a service, by its host
        self.index_aliases()

    def put(self, service: MeshService) -> None:
        older = self.services.get(service.host)
        if older is None or self._gives_way(older, service):
            self.services[service.host] = service

    def index_aliases(self) -> None:
        for host, found in self.services.items():
            if found.alias and found.alias in self.services:
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

    def _gives_way(self, older: MeshService, service: MeshService) -> bool:
        if older.namespace == service.namespace:
            return False
        if older.is_kubernetes != service.is_kubernetes:
            return service.is_kubernetes
        return service.namespace == self.namespace
