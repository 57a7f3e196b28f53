"""Services and the workloads behind them: ports whose protocol is guessed, and services that contradict each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastmesh.config import protocols
from fastmesh.config.analysis.workloads import Workloads
from fastmesh.config.check.report import At
from fastmesh.config.place import Path
from fastmesh.config.resource import AnyResource, Resource
from fastmesh.config.selectors import selects
from fastmesh.config.store import ConfigSet
from fastmesh.errors import Problem
from fastmesh.model.kubernetes import Service, ServicePort

_SYSTEM = ("kube-system", "kube-public", "kube-node-lease", "local-path-storage")
_MANAGED = "gateway.istio.io/managed"  # made by a controller, whose business its names are
_INJECT = "sidecar.istio.io/inject"
_PROXY_USER = 1337
_OWN = ("istio-proxy", "istio-operator")


def analyze_services(config: ConfigSet, workloads: Workloads, problems: list[Problem]) -> None:
    for service in config.services:
        if not _of_the_system(service) and _MANAGED not in service.labels:
            for index, port in enumerate(service.spec.ports):
                _port_name(service, port, At(service, problems)["ports"][index])
    deployments: list[AnyResource] = [*config.deployments, *config.stateful_sets]
    for deployment in deployments:
        template = deployment.spec.template.metadata
        if {**template.annotations, **template.labels}.get(_INJECT) == "false":
            continue  # it is not in the mesh
        labels = deployment.spec.template.metadata.labels
        behind = [
            service
            for service in config.services
            if service.namespace == deployment.namespace and service.spec.selector
            and selects(service.spec.selector, labels)
        ]  # fmt: skip
        _contradictions(behind, At(deployment, problems, ("metadata", "name")))
        _user(deployment, ("spec", "template", "spec"), problems)
    for pod in config.pods:
        _user(pod, ("spec",), problems)


def _of_the_system(resource: AnyResource) -> bool:
    labels = resource.labels
    return resource.namespace in _SYSTEM or "istio" in labels or labels.get("release") == "istio"


def _port_name(service: Resource[Service], port: ServicePort, at: At) -> None:
    spoken = protocols.of_service_port(port.port, port.name, port.protocol, port.app_protocol)
    external = service.spec.type == "ExternalName"
    if spoken != protocols.SNIFF and not (external and port.name == "tcp"):
        return
    shown = f'"{port.name}"' if port.name else "no name"
    if external:
        message = f"{shown} does not say the protocol of an ExternalName, write http-{port.name or 'web'} or such"
        at.found("IST0150", message)
    else:
        at.found("IST0118", f"{shown} does not say the protocol, so it is guessed; write http-{port.name or 'web'}")


# ---- two services of one workload


def _contradictions(services: list[Resource[Service]], at: At) -> None:
    transports: dict[int, dict[str, set[str]]] = {}
    targets: dict[str, dict[int, str]] = {}
    for service in services:
        for port in service.spec.ports:
            transports.setdefault(port.port, {}).setdefault(port.protocol, set()).add(service.name)
            targets.setdefault(str(port.target_port or port.port), {})[port.port] = service.name
    for number, found in transports.items():
        if len(found) > 1:
            names = ", ".join(sorted(set().union(*found.values())))
            at.found("IST0116", f"port {number} is {' and '.join(sorted(found))} in the services {names}")
    for target, ports in targets.items():
        if len(ports) > 1:
            shown = ", ".join(f"{name}:{number}" for number, name in sorted(ports.items()))
            at.found("IST0137", f"the port {target} of its pods is {shown}; one of them has to go")


# ---- the user of the proxy


def _user(resource: AnyResource, path: Path, problems: list[Problem]) -> None:
    """Traffic of this user is not intercepted, since it is the proxy's own."""
    if _of_the_system(resource):
        return
    for place, context in _contexts(resource.source.root, path):
        if context.get("runAsUser") == _PROXY_USER:
            message = f"{_PROXY_USER} is the user of the proxy, whose traffic is not intercepted; choose another"
            At(resource, problems, (*place, "securityContext", "runAsUser")).found("IST0144", message)
            return


def _contexts(root: Any, path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    pod = root
    for step in path:
        pod = pod.get(step) if isinstance(pod, dict) else None
    if not isinstance(pod, dict):
        return
    yield path, _mapping(pod.get("securityContext"))
    containers: Iterable[Any] = pod.get("containers") or ()
    for index, container in enumerate(containers):
        if isinstance(container, dict) and container.get("name") not in _OWN:
            yield (*path, "containers", index), _mapping(container.get("securityContext"))


def _mapping(written: Any) -> dict[str, Any]:
    return written if isinstance(written, dict) else {}
