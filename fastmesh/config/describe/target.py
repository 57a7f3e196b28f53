"""What somebody asks about: an object, or a host."""

from __future__ import annotations

from dataclasses import dataclass

from fastmesh.config.analysis.workloads import Workload, Workloads
from fastmesh.config.hosts import fqdn
from fastmesh.config.read.shape import closest
from fastmesh.config.resource import DEFAULT_NAMESPACE, WRITTEN, AnyResource
from fastmesh.config.selectors import selects
from fastmesh.config.store import ConfigSet

_SHORT = {
    "vs": "VirtualService", "dr": "DestinationRule", "se": "ServiceEntry", "svc": "Service", "gw": "Gateway",
    "pa": "PeerAuthentication", "ap": "AuthorizationPolicy", "ra": "RequestAuthentication", "we": "WorkloadEntry",
    "po": "Pod", "deploy": "Deployment", "sts": "StatefulSet",
}  # fmt: skip

_SHAPING = ("Resilience", "HealthCheck")  # of our own kinds: those of one destination


class UnknownTargetError(ValueError):
    """Nothing is called so; the text says what is."""


@dataclass(frozen=True, slots=True)
class Target:
    """`hosts` are those that it is about; a host has no object of its own, a Gateway no hosts."""

    hosts: frozenset[str]
    objects: tuple[AnyResource, ...] = ()

    @property
    def namespace(self) -> str:
        return self.objects[0].namespace if self.objects else DEFAULT_NAMESPACE

    def is_of(self, kind: str, namespace: str, name: str) -> bool:
        return any((kind, namespace, name) == each.key for each in self.objects)


def find(config: ConfigSet, written: str, namespace: str | None) -> Target:
    """`KIND/NAME[.NAMESPACE]`, or a host: a short name is one of `namespace`."""
    kind, slash, name = written.partition("/")
    return _object(config, kind, name, namespace) if slash else _host(config, written, namespace)


def _object(config: ConfigSet, written: str, name: str, namespace: str | None) -> Target:
    kinds = {each.kind for each in config}
    by_lower = {WRITTEN.get(kind, kind).lower(): kind for kind in kinds} | {kind.lower(): kind for kind in kinds}
    kind = _SHORT.get(written.lower(), written)
    wanted = {known for known in kinds if known == by_lower.get(kind.lower()) or WRITTEN.get(known) == kind}
    if not wanted:
        shown = ", ".join(sorted({WRITTEN.get(each, each) for each in kinds})) or "none"
        raise UnknownTargetError(f"there is no {written} in these files; its kinds are {shown}")
    for split in _splits(name, namespace):
        found = [each for each in config if each.kind in wanted and (each.name, each.namespace) == split]
        if found:
            hosts = {host for each in found for host in (*_hosts_of(each), *_hosts_behind(config, each))}
            return Target(frozenset(hosts), (*found, *_shaped(config, found[0], hosts)))
    names = [text for each in config if each.kind in wanted for text in (each.name, f"{each.name}.{each.namespace}")]
    raise UnknownTargetError(f"there is no {written}/{name}{closest(name, names) or ', write KIND/NAME.NAMESPACE'}")


def _shaped(config: ConfigSet, shaping: AnyResource, hosts: set[str]) -> list[AnyResource]:
    """The services, or the rules, that one of our own kinds is for."""
    if shaping.kind not in _SHAPING:
        return []
    target = getattr(shaping.spec, "target_ref", None)
    aim = (target.kind, shaping.namespace, target.name) if target is not None else None
    return [each for each in config if hosts & set(_served(each)) or each.key == aim]


def _splits(name: str, namespace: str | None) -> list[tuple[str, str]]:
    """Names may have dots, and so has `NAME.NAMESPACE`."""
    own, dot, rest = name.rpartition(".")
    found = [(name, namespace or DEFAULT_NAMESPACE), (name, "")]
    return [*found, (own, rest)] if dot else found


def _hosts_of(resource: AnyResource) -> list[str]:
    if resource.kind in _SHAPING and resource.spec.host:
        return [fqdn(resource.spec.host, resource.namespace)]
    return _served(resource)


def _served(resource: AnyResource) -> list[str]:
    if resource.kind == "Service":
        return [fqdn(resource.name, resource.namespace)]
    if resource.kind == "ServiceEntry":
        return [host.lower() for host in resource.spec.hosts]
    return []


def _hosts_behind(config: ConfigSet, workload: AnyResource) -> list[str]:
    """The hosts of the services that a workload serves."""
    own = [each for each in Workloads(config).selected({}, workload.namespace) if each.source is workload]
    services: list[AnyResource] = [*config.services, *config.service_entries]
    return [
        host
        for each in own
        for service in services
        if service.namespace == each.namespace and _selects(service, each)
        for host in _served(service)
    ]


def _selects(service: AnyResource, workload: Workload) -> bool:
    if service.kind == "Service":
        labels = service.spec.selector
    else:
        labels = service.spec.workload_selector.labels if service.spec.workload_selector is not None else {}
    return bool(labels) and selects(labels, workload.labels)


def _host(config: ConfigSet, written: str, namespace: str | None) -> Target:
    host = fqdn(written, namespace or DEFAULT_NAMESPACE)
    objects = sorted((each for each in config if host in _hosts_of(each)), key=lambda each: each.kind in _SHAPING)
    return Target(frozenset((host,)), tuple(objects))
