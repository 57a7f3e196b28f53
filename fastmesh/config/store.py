"""Reading a configuration: files to typed objects sorted by kind, with everything that is to be said about them."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastmesh.config.check.by_kind import check_object
from fastmesh.config.check.mesh_config import check_mesh_config
from fastmesh.config.check.mesh_networks import check_mesh_networks
from fastmesh.config.check.references import check_references
from fastmesh.config.check.report import At, strictly
from fastmesh.config.check.route_references import check_routes
from fastmesh.config.check.unserved import note_unserved
from fastmesh.config.place import Source
from fastmesh.config.read.decode import decode
from fastmesh.config.read.load import STDIN, Loaded, load
from fastmesh.config.read.mesh_config import has_networks, is_mesh_map, networks_of_map, of_map, of_own
from fastmesh.config.resource import AnyResource, Resource, written_kind
from fastmesh.errors import ConfigError, Problem
from fastmesh.model import gateway_api, gateway_api_tls
from fastmesh.model.authorization_policy import AuthorizationPolicy
from fastmesh.model.capacity_model import CapacityModel
from fastmesh.model.destination_rule import DestinationRule
from fastmesh.model.envoy_filter import EnvoyFilter
from fastmesh.model.filter import Filter
from fastmesh.model.gateway import Gateway
from fastmesh.model.health_check import HealthCheck
from fastmesh.model.kubernetes import (
    ConfigMap,
    Deployment,
    Endpoints,
    EndpointSlice,
    Namespace,
    Pod,
    Secret,
    Service,
    ServiceAccount,
    StatefulSet,
)
from fastmesh.model.mesh_config import MeshConfig
from fastmesh.model.mesh_networks import MeshNetworks
from fastmesh.model.proxy_config import ProxyConfig
from fastmesh.model.rate_limit import RateLimit
from fastmesh.model.request_authentication import RequestAuthentication
from fastmesh.model.resilience import Resilience
from fastmesh.model.route_policy import MeshPolicy, RoutePolicy
from fastmesh.model.security import PeerAuthentication
from fastmesh.model.service_entry import ServiceEntry, WorkloadEntry, WorkloadGroup
from fastmesh.model.sidecar import Sidecar
from fastmesh.model.telemetry import Telemetry
from fastmesh.model.virtual_service import VirtualService

__all__ = ["ConfigSet", "ReadResult", "Resource", "read"]


@dataclass(slots=True)
class ConfigSet:
    """Valid objects by kind. The order is the order of creation: files and documents as they were given."""

    services: list[Resource[Service]] = field(default_factory=list)
    endpoints: list[Resource[Endpoints]] = field(default_factory=list)
    endpoint_slices: list[Resource[EndpointSlice]] = field(default_factory=list)
    deployments: list[Resource[Deployment]] = field(default_factory=list)
    stateful_sets: list[Resource[StatefulSet]] = field(default_factory=list)
    pods: list[Resource[Pod]] = field(default_factory=list)
    namespaces: list[Resource[Namespace]] = field(default_factory=list)
    service_accounts: list[Resource[ServiceAccount]] = field(default_factory=list)
    secrets: list[Resource[Secret]] = field(default_factory=list)
    config_maps: list[Resource[ConfigMap]] = field(default_factory=list)
    service_entries: list[Resource[ServiceEntry]] = field(default_factory=list)
    workload_entries: list[Resource[WorkloadEntry]] = field(default_factory=list)
    workload_groups: list[Resource[WorkloadGroup]] = field(default_factory=list)
    virtual_services: list[Resource[VirtualService]] = field(default_factory=list)
    destination_rules: list[Resource[DestinationRule]] = field(default_factory=list)
    gateways: list[Resource[Gateway]] = field(default_factory=list)
    http_routes: list[Resource[gateway_api.HTTPRoute]] = field(default_factory=list)
    grpc_routes: list[Resource[gateway_api.GRPCRoute]] = field(default_factory=list)
    tls_routes: list[Resource[gateway_api.TLSRoute]] = field(default_factory=list)
    tcp_routes: list[Resource[gateway_api.TCPRoute]] = field(default_factory=list)
    api_gateways: list[Resource[gateway_api.Gateway]] = field(default_factory=list)
    gateway_classes: list[Resource[gateway_api.GatewayClass]] = field(default_factory=list)
    reference_grants: list[Resource[gateway_api_tls.ReferenceGrant]] = field(default_factory=list)
    backend_tls_policies: list[Resource[gateway_api_tls.BackendTLSPolicy]] = field(default_factory=list)
    sidecars: list[Resource[Sidecar]] = field(default_factory=list)
    filters: list[Resource[Filter]] = field(default_factory=list)
    rate_limits: list[Resource[RateLimit]] = field(default_factory=list)
    resiliences: list[Resource[Resilience]] = field(default_factory=list)
    health_checks: list[Resource[HealthCheck]] = field(default_factory=list)
    envoy_filters: list[Resource[EnvoyFilter]] = field(default_factory=list)
    route_policies: list[Resource[RoutePolicy]] = field(default_factory=list)
    mesh_policies: list[Resource[MeshPolicy]] = field(default_factory=list)
    capacity_models: list[Resource[CapacityModel]] = field(default_factory=list)
    peer_authentications: list[Resource[PeerAuthentication]] = field(default_factory=list)
    authorization_policies: list[Resource[AuthorizationPolicy]] = field(default_factory=list)
    request_authentications: list[Resource[RequestAuthentication]] = field(default_factory=list)
    telemetries: list[Resource[Telemetry]] = field(default_factory=list)
    mesh_configs: list[Resource[MeshConfig]] = field(default_factory=list)
    mesh_networks: list[Resource[MeshNetworks]] = field(default_factory=list)
    proxy_configs: list[Resource[ProxyConfig]] = field(default_factory=list)
    by_key: dict[tuple[str, str, str], AnyResource] = field(default_factory=dict)  # kind, namespace, name

    def get(self, kind: str, namespace: str, name: str) -> AnyResource | None:
        return self.by_key.get((kind, namespace, name))

    def add(self, resource: AnyResource) -> AnyResource | None:
        """Take an object in, in the place and age of an older one of the same key, which is the answer."""
        objects: list[Any] = getattr(self, _LISTS[resource.kind])
        older = self.by_key.get(resource.key)
        self.by_key[resource.key] = resource
        if older is None:
            objects.append(resource)
        else:
            objects[next(index for index, each in enumerate(objects) if each is older)] = resource
        return older

    @property
    def mesh_config(self) -> MeshConfig | None:
        return self.mesh_configs[-1].spec if self.mesh_configs else None

    def __iter__(self) -> Iterator[AnyResource]:
        return iter(self.by_key.values())

    def __len__(self) -> int:
        return len(self.by_key)


_LISTS = {
    "Service": "services", "Endpoints": "endpoints", "EndpointSlice": "endpoint_slices", "Deployment": "deployments",
    "StatefulSet": "stateful_sets", "Pod": "pods", "Namespace": "namespaces", "ServiceAccount": "service_accounts",
    "Secret": "secrets", "ConfigMap": "config_maps",
    "ServiceEntry": "service_entries", "WorkloadEntry": "workload_entries", "WorkloadGroup": "workload_groups",
    "VirtualService": "virtual_services", "DestinationRule": "destination_rules", "Gateway": "gateways",
    "HTTPRoute": "http_routes", "APIGateway": "api_gateways", "GatewayClass": "gateway_classes",
    "Sidecar": "sidecars", "RateLimit": "rate_limits", "EnvoyFilter": "envoy_filters",
    "PeerAuthentication": "peer_authentications", "GRPCRoute": "grpc_routes", "TLSRoute": "tls_routes",
    "TCPRoute": "tcp_routes", "CapacityModel": "capacity_models", "HealthCheck": "health_checks",
    "RoutePolicy": "route_policies", "MeshPolicy": "mesh_policies",
    "Resilience": "resiliences",
    "Filter": "filters",
    "ReferenceGrant": "reference_grants", "BackendTLSPolicy": "backend_tls_policies",
    "AuthorizationPolicy": "authorization_policies", "RequestAuthentication": "request_authentications",
    "Telemetry": "telemetries", "ProxyConfig": "proxy_configs", "MeshConfig": "mesh_configs",
    "MeshNetworks": "mesh_networks",
}  # fmt: skip


@dataclass(slots=True, frozen=True)
class LeftOut:
    """An object that was refused alone: the rest is served without it. What has no YAML has no kind and no name."""

    file: str
    line: int
    kind: str
    namespace: str
    name: str
    problems: list[Problem]


@dataclass(slots=True)
class ReadResult:
    """`ok` says that nothing was refused but for what was left out; only then may `resources` be served."""

    resources: ConfigSet
    problems: list[Problem]
    files: list[str]  # that were read, for a watcher
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return len(self.errors) == sum(_is_error(problem) for each in self.left_out for problem in each.problems)

    def without(self, errors: Sequence[Problem]) -> ReadResult | None:
        """The rest, when each of these errors, found later, is about one object; None when one is not, or is about the
        settings of the mesh, which hold for all."""
        wrong: dict[tuple[str, str, str], list[Problem]] = {}
        for problem in errors:
            wrong.setdefault((problem.kind, problem.namespace, problem.name), []).append(problem)
        resources, left_out = ConfigSet(), list(self.left_out)
        for resource in self.resources:
            key = written_kind(resource.kind), resource.namespace, resource.name
            own = None if resource.kind in ("MeshConfig", "MeshNetworks") else wrong.pop(key, None)
            if own is None:
                resources.add(resource)
            else:
                source = resource.source
                left_out.append(LeftOut(source.file, source.line(), own[0].kind, own[0].namespace, own[0].name, own))
        return None if wrong else ReadResult(resources, [*self.problems, *errors], self.files, left_out)

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if _is_error(problem)]

    @property
    def warnings(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.severity == "warning"]

    def require(self) -> ConfigSet:
        """The objects; ConfigError with every problem when something was refused."""
        if not self.ok:
            raise ConfigError(self.problems)
        return self.resources


def _is_error(problem: Problem) -> bool:
    return problem.severity == "error"


def read(
    paths: Iterable[str],
    *,
    strict: bool = False,
    allow_unenforced: bool = False,
    per_object: bool = False,
    mesh_config: str = "",
) -> ReadResult:
    """Load, decode and check everything under `paths`. Reports all problems at once and raises for none.

    `strict` turns every warning into an error; `allow_unenforced` accepts security objects that nothing enforces yet,
    with a warning; `per_object` leaves out an object that is wrong. Without it one wrong object refuses the whole set.
    `mesh_config` is a file with the mesh's settings, in place of the ConfigMap `istio`.
    """
    collecting = gc.isenabled()
    gc.disable()  # a large configuration is all live objects: collecting meanwhile doubles the time
    try:
        loaded = load(paths)
        mesh = load([mesh_config]) if mesh_config else Loaded([], [], [])
        loaded.problems += mesh.problems
        return read_documents(
            loaded, strict=strict, allow_unenforced=allow_unenforced, per_object=per_object, mesh=mesh.documents
        )
    finally:
        if collecting:
            gc.enable()


def read_documents(
    loaded: Loaded,
    *,
    strict: bool = False,
    allow_unenforced: bool = False,
    per_object: bool = False,
    mesh: Sequence[Source] = (),
) -> ReadResult:
    """The same for documents that were loaded already, such as those of `load.load_text`."""
    resources, problems = ConfigSet(), loaded.problems
    left_out = _unread(problems, loaded.files) if per_object else []
    _take_mesh(loaded.documents, mesh, resources, problems)
    for document in loaded.documents:
        before = len(problems)
        resource = decode(document, problems)
        if resource is not None:
            check_object(resource, problems)
            note_unserved(resource, problems, allow_unenforced=allow_unenforced)
        own = problems[before:]
        if per_object and _may_be_left_out(own):
            left_out.append(_left_out(document, own))
        elif resource is not None:
            _take(resource, resources, problems)
    check_references(resources, problems)
    check_routes(resources, problems)
    files = [*loaded.files, *dict.fromkeys(document.file for document in mesh)]
    order = {file: index for index, file in enumerate(files)}
    problems.sort(key=lambda problem: (order.get(problem.file, -1), problem.line))
    return ReadResult(resources, strictly(problems) if strict else problems, files, left_out)


def _take_mesh(
    documents: Sequence[Source], own: Sequence[Source], resources: ConfigSet, problems: list[Problem]
) -> None:
    """The mesh's settings: the first document of a file of their own, else the ConfigMap `istio`. A mistake in them
    refuses the whole set, also where objects are taken one by one: they hold for every object."""
    maps = [document for document in documents if is_mesh_map(document.root)]
    for document in own or maps[-1:]:
        found = (of_map if is_mesh_map(document.root) else of_own)(document, problems)
        if found is not None:
            check_mesh_config(found, found.spec, At(found, problems, ()))
            resources.add(found)
            break
    for document in [document for document in documents if has_networks(document.root)][-1:]:
        networks = networks_of_map(document, problems)
        if networks is not None:
            check_mesh_networks(networks.spec, At(networks, problems, ()))
            resources.add(networks)


def _take(resource: AnyResource, resources: ConfigSet, problems: list[Problem]) -> None:
    older = resources.add(resource)
    if older is not None:
        place = f"{older.source.file}:{older.line()}"
        message = f"is defined a second time and replaces the one at {place}, delete one of the two"
        problems.append(resource.problem((), message, "warning", "advice", "FM0005"))


def _may_be_left_out(problems: list[Problem]) -> bool:
    """Not a security object that is right and that nothing enforces: without it what it protects would be open."""
    return any(_is_error(problem) and problem.code != "unenforced" for problem in problems)


def _left_out(document: Source, problems: list[Problem]) -> LeftOut:
    said = next(problem for problem in problems if _is_error(problem))
    return LeftOut(document.file, document.line(), said.kind, said.namespace, said.name, problems)


def _unread(problems: Iterable[Problem], files: Iterable[str]) -> list[LeftOut]:
    """What is no YAML in files of objects. A file that is not there (line 0) may hold anything, and refuses the whole;
    so does a file with the mesh's settings."""
    names = {"<stdin>" if file == STDIN else file for file in files}
    return [
        LeftOut(problem.file, problem.line, "", "", "", [problem])
        for problem in problems
        if _is_error(problem) and problem.line and problem.file in names
    ]
