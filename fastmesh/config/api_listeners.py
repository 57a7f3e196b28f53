"""Listeners of Gateways of the Gateway API by port, and which of them give way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fastmesh.config.hosts import intersection
from fastmesh.config.place import Path
from fastmesh.config.resource import Resource
from fastmesh.config.selectors import selects
from fastmesh.errors import Problem
from fastmesh.model.gateway_api import (
    GROUP,
    Gateway,
    GatewayClass,
    LabelExpression,
    Listener,
    NamespaceSelector,
    ParentRef,
)

GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"  # the label of a Gateway's own workload
CLASSES = frozenset({"istio", "fastmesh"})  # what they are called when no GatewayClass says it
CONTROLLERS = frozenset({"fastmesh.io/gateway-controller", "istio.io/gateway-controller"})
SERVED = frozenset({"HTTP", "HTTPS", "TLS", "TCP"})


@dataclass(frozen=True, slots=True)
class Place:
    """One listener of a Gateway."""

    gateway: Resource[Gateway]
    index: int

    @property
    def listener(self) -> Listener:
        return self.gateway.spec.listeners[self.index]

    @property
    def name(self) -> str:
        return f"{self.gateway.namespace}/{self.gateway.name}"

    @property
    def host(self) -> str:
        return self.listener.hostname.lower() or "*"

    @property
    def path(self) -> Path:
        return ("spec", "listeners", self.index)

    @property
    def at(self) -> str:
        return f"{self.gateway.source.file}:{self.gateway.line(self.path)}"

    @property
    def is_tls(self) -> bool:
        return self.listener.protocol in ("HTTPS", "TLS")

    @property
    def is_tcp(self) -> bool:
        """Bytes in plaintext."""
        return self.listener.protocol == "TCP"

    @property
    def reads_requests(self) -> bool:
        return self.listener.protocol in ("HTTP", "HTTPS")

    @property
    def passes(self) -> bool:
        return self.listener.tls is not None and self.listener.tls.mode == "Passthrough"


def own_classes(classes: Iterable[Resource[GatewayClass]]) -> frozenset[str]:
    """Those whose controller this proxy is, and those of the usual names that nobody has taken."""
    written = {item.name: item.spec.controller_name in CONTROLLERS for item in classes}
    return frozenset(name for name in {*CLASSES, *written} if written.get(name, True))


def own_gateways(
    gateways: Iterable[Resource[Gateway]], labels: Mapping[str, str], classes: Iterable[Resource[GatewayClass]] = ()
) -> list[Resource[Gateway]]:
    """Gateways of our classes; a workload with labels is that of one of them."""
    ours = own_classes(classes)
    return [
        gateway
        for gateway in gateways
        if gateway.spec.gateway_class_name in ours and (not labels or labels.get(GATEWAY_NAME) == gateway.name)
    ]


def api_places(gateways: Iterable[Resource[Gateway]], problems: list[Problem]) -> dict[int, list[Place]]:
    """Listeners of our Gateways by port. Of two that cannot stand together the older one is kept."""
    found: dict[int, list[Place]] = {}
    for gateway in gateways:
        for index, listener in enumerate(gateway.spec.listeners):
            if listener.protocol not in SERVED:
                continue  # reported when it was read
            place, others = Place(gateway, index), found.setdefault(listener.port, [])
            clash = conflict(place, others)
            if clash is None:
                others.append(place)
            else:
                message = f"{clash[1]}; this listener is left out"
                problems.append(gateway.problem(place.path, message, "warning", "advice"))
    return found


def conflict(place: Place, others: Iterable[Place]) -> tuple[str, str] | None:
    """The API's reason and what is to be said, of a listener beside older ones of its port."""
    port, protocol = place.listener.port, place.listener.protocol
    for other in others:
        if other.is_tls != place.is_tls:
            message = f"{protocol} cannot share port {port} with {other.listener.protocol} at {other.at}"
            return "ProtocolConflict", message
        if place.is_tcp or other.is_tcp:
            message = f"{protocol} cannot share port {port} with {other.listener.protocol} at {other.at}"
            return "ProtocolConflict", f"{message}: nothing tells their connections apart"
        if other.is_tls and other.host == place.host:
            return "HostnameConflict", f'"{place.host}" on port {port} is the listener at {other.at} already'
    return None


def overlaps(place: Place, other: Place) -> bool:
    """Whether two listeners of a port have hosts in common."""
    return place.listener.port == other.listener.port and intersection(place.host, other.host) is not None


class Attachment:
    """Which routes belong to which listeners."""

    def __init__(self, namespaces: Mapping[str, Mapping[str, str]]) -> None:
        self._namespaces = namespaces  # their labels

    def holds(self, place: Place, kind: str, namespace: str, parents: Iterable[ParentRef]) -> bool:
        return self.names(place, namespace, parents) and self.allows(place, kind, namespace)

    def names(self, place: Place, namespace: str, parents: Iterable[ParentRef]) -> bool:
        return any(_names_listener(parent, namespace, place) for parent in parents)

    def allows(self, place: Place, kind: str, namespace: str) -> bool:
        allowed = place.listener.allowed_routes
        if allowed.kinds and not any(item.kind == kind and item.group == GROUP for item in allowed.kinds):
            return False
        wanted = allowed.namespaces
        if wanted.from_ == "Same":
            return namespace == place.gateway.namespace
        if wanted.from_ == "Selector":
            return wanted.selector is not None and _selected(wanted.selector, namespace, self._namespaces)
        return wanted.from_ == "All"


def _names_listener(parent: ParentRef, namespace: str, place: Place) -> bool:
    return (
        parent.kind == "Gateway"
        and parent.group == GROUP
        and f"{parent.namespace or namespace}/{parent.name}" == place.name
        and parent.section_name in ("", place.listener.name)
        and parent.port in (0, place.listener.port)
    )


def _selected(selector: NamespaceSelector, namespace: str, namespaces: Mapping[str, Mapping[str, str]]) -> bool:
    labels = {"kubernetes.io/metadata.name": namespace, **namespaces.get(namespace, {})}
    return selects(selector.match_labels, labels) and all(_holds(item, labels) for item in selector.match_expressions)


def _holds(expression: LabelExpression, labels: Mapping[str, str]) -> bool:
    value = labels.get(expression.key)
    if expression.operator == "In":
        return value in expression.values
    if expression.operator == "NotIn":
        return value not in expression.values
    return (value is not None) == (expression.operator == "Exists")
