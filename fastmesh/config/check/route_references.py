"""Routes of the Gateway API among the other objects: parents and backends that are not there.

In a cluster their status says it (NoMatchingParent, BackendNotFound); files have to be told of it as they are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from fastmesh.config.check.report import At
from fastmesh.config.read.shape import closest
from fastmesh.config.resource import Resource
from fastmesh.errors import Problem
from fastmesh.model.gateway_api import (
    GROUP,
    BackendRef,
    GRPCRoute,
    GRPCRouteRule,
    HTTPRoute,
    HTTPRouteRule,
    ParentRef,
    TCPRoute,
    TCPRouteRule,
    TLSRoute,
    TLSRouteRule,
)
from fastmesh.model.gateway_api_tls import TLSBackendRef

if TYPE_CHECKING:
    from fastmesh.config.store import ConfigSet

_CORE = ("", "core")
_Spec = HTTPRoute | GRPCRoute | TLSRoute | TCPRoute


class _Reference(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def port(self) -> int: ...


def check_routes(config: ConfigSet, problems: list[Problem]) -> None:
    """Append a warning for every Gateway, listener, Service and port that a route names and nobody has."""
    routes: list[Resource[Any]] = [*config.http_routes, *config.grpc_routes, *config.tls_routes, *config.tcp_routes]
    if not routes:
        return
    known = _Known(config)
    for route in routes:
        at = At(route, problems)
        for index, parent in enumerate(route.spec.parent_refs):
            _parent(parent, route.namespace, known, at["parentRefs"][index])
        for place, backend, loss in _backends(route.spec, at):
            _service(backend, route.namespace, known, place, loss)


class _Known:
    """Services with their ports, Gateways with their listeners."""

    def __init__(self, config: ConfigSet) -> None:
        self.services = {
            (each.namespace, each.name): {port.port for port in each.spec.ports} for each in config.services
        }
        self.gateways = {
            (each.namespace, each.name): {listener.name for listener in each.spec.listeners}
            for each in config.api_gateways
        }
        self.istio = {(each.namespace, each.name) for each in config.gateways}


def _parent(parent: ParentRef, own: str, known: _Known, at: At) -> None:
    key = (parent.namespace or own, parent.name)
    shown = "/".join(key)
    if (parent.group, parent.kind) == (GROUP, "Gateway"):
        listeners = known.gateways.get(key)
        if listeners is None and key in known.istio:
            message = f"{shown} is a Gateway of Istio's, which takes VirtualServices; this route is not served there"
            at["name"].missing(message, "FM0004")
        elif listeners is None:
            loss = "this route is not served there"
            at["name"].missing(f"there is no Gateway {shown}{_guess(key, known.gateways)} {loss}")
        elif parent.section_name and parent.section_name not in listeners:
            right = f"its listeners are {', '.join(sorted(listeners))}"
            at["sectionName"].missing(f"{shown} has no listener {parent.section_name}, {right}")
    elif parent.group in _CORE and parent.kind == "Service":
        _service(parent, own, known, at, "the route has no effect")


def _service(reference: _Reference, own: str, known: _Known, at: At, loss: str) -> None:
    """Of another kind it is told elsewhere."""
    if reference.group not in _CORE or reference.kind != "Service":
        return
    key = (reference.namespace or own, reference.name)
    ports = known.services.get(key)
    if ports is None:
        at["name"].missing(f"there is no Service {'/'.join(key)}{_guess(key, known.services)} {loss}")
    elif reference.port and reference.port not in ports:
        right = f"its ports are {', '.join(map(str, sorted(ports))) or 'none'}"
        at["port"].missing(f"{'/'.join(key)} has no port {reference.port}, {right}; {loss}")


def _guess(key: tuple[str, str], known: dict[tuple[str, str], set[int]] | dict[tuple[str, str], set[str]]) -> str:
    return closest(key[1], (name for namespace, name in known if namespace == key[0])) or ","


def _backends(spec: _Spec, at: At) -> Iterator[tuple[At, _Reference, str]]:
    """With what becomes of traffic for it."""
    loss = "connections would be closed"
    if isinstance(spec, HTTPRoute | GRPCRoute):
        loss = "requests would get " + ("500" if isinstance(spec, HTTPRoute) else "UNAVAILABLE")
    rules: Sequence[HTTPRouteRule | GRPCRouteRule | TLSRouteRule | TCPRouteRule] = spec.rules
    for number, rule in enumerate(rules):
        backends: Sequence[BackendRef | TLSBackendRef] = rule.backend_refs
        for index, backend in enumerate(backends):
            yield at["rules"][number]["backendRefs"][index], backend, loss
    asked: Sequence[HTTPRouteRule | GRPCRouteRule] = spec.rules if isinstance(spec, HTTPRoute | GRPCRoute) else ()
    for number, request_rule in enumerate(asked):
        for index, item in enumerate(request_rule.filters):
            if item.request_mirror is not None:
                where = at["rules"][number]["filters"][index]["requestMirror"]["backendRef"]
                yield where, item.request_mirror.backend_ref, "there would be no copies"
