"""Routes and their parents: attached or why not, and whether their backends are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from fastmesh.config.api_listeners import Attachment, Place
from fastmesh.config.credentials.grants import Grants
from fastmesh.config.hosts import intersection
from fastmesh.config.resource import AnyResource
from fastmesh.config.routes.http_route import OF_BACKENDS, SERVED, is_hostname
from fastmesh.config.status.conditions import CONTROLLER, Condition, ParentStatus, Status, false, true
from fastmesh.config.status.gateways import kinds_of
from fastmesh.config.store import ConfigSet
from fastmesh.model.gateway_api import GROUP, BackendRef, HTTPRouteRule, MirrorRef, ParentRef
from fastmesh.model.gateway_api_tls import TLSBackendRef

Reference = BackendRef | MirrorRef | TLSBackendRef
CORE = ("", "core")


class Routes:
    """`routes` are the oldest first; those that the request side reads are HTTPRoutes, of whatever kind they were."""

    def __init__(self, config: ConfigSet, places: list[Place], routes: list[AnyResource], *, mesh: bool) -> None:
        self._config = config
        self._grants = Grants(config.reference_grants)
        self._attachment = Attachment({item.name: item.labels for item in config.namespaces})
        self._by_gateway: dict[str, list[Place]] = {}
        for place in places:
            self._by_gateway.setdefault(place.name, []).append(place)
        self._mesh = mesh
        self._hosts: dict[tuple[str, str], list[tuple[str, list[str]]]] = {}  # of the routes that a listener has
        self.attached: dict[tuple[str, str], int] = {}
        self.used: dict[tuple[str, str], list[str]] = {}  # Service -> Gateways that have routes to it
        self.statuses = [(route, self._status(route)) for route in routes]

    def _status(self, route: AnyResource) -> Status:
        found = []
        held: set[tuple[str, str]] = set()
        for parent in route.spec.parent_refs:
            accepted = self._accepted(route, parent, held)
            if accepted is not None:
                if accepted.status == "True" and parent.kind == "Gateway":
                    self._use(route, f"{parent.namespace or route.namespace}/{parent.name}")
                good = true("ResolvedRefs", "ResolvedRefs", "All references resolved")
                resolved = next(self._unresolved(route, granted=parent.kind == "Service"), good)
                found.append(
                    ParentStatus(
                        parent_ref=_as_written(parent), conditions=[accepted, resolved], controller_name=CONTROLLER
                    )
                )
        for key in held:
            self.attached[key] = self.attached.get(key, 0) + 1
        return Status(parents=found)

    def _use(self, route: AnyResource, gateway: str) -> None:
        for reference in _references(route):
            if reference.kind == "Service":
                known = self.used.setdefault((reference.namespace or route.namespace, reference.name), [])
                if gateway not in known:
                    known.append(gateway)

    def _accepted(self, route: AnyResource, parent: ParentRef, held: set[tuple[str, str]]) -> Condition | None:
        """None: the parent is somebody else's."""
        if (parent.kind, parent.group) == ("Gateway", GROUP):
            places = self._by_gateway.get(f"{parent.namespace or route.namespace}/{parent.name}")
            return None if places is None else self._by_listeners(route, parent, places, held)
        if parent.kind == "Service" and parent.group in CORE and self._mesh:
            return self._by_service(route, parent)
        return None

    def _by_service(self, route: AnyResource, parent: ParentRef) -> Condition:
        namespace = parent.namespace or route.namespace
        service = self._config.get("Service", namespace, parent.name)
        if service is None:
            return false("Accepted", "NoMatchingParent", f"there is no Service {namespace}/{parent.name}")
        ports = [
            port
            for port in service.spec.ports
            if parent.port in (0, port.port) and parent.section_name in ("", port.name)
        ]
        if not ports:
            return false("Accepted", "NoMatchingParent", f"Service {namespace}/{parent.name} has no such port")
        return _unsupported(route) or true("Accepted", "Accepted", "Route was valid")

    def _by_listeners(
        self, route: AnyResource, parent: ParentRef, places: list[Place], held: set[tuple[str, str]]
    ) -> Condition:
        named = [place for place in places if self._attachment.names(place, route.namespace, [parent])]
        if not named:
            return false("Accepted", "NoMatchingParent", f"no listener of {parent.name} has this name and port")
        fitting = [place for place in named if _common(route, place)]
        if not fitting:
            message = "no hostname of the route fits a hostname of a listener"
            return false("Accepted", "NoMatchingListenerHostname", message)
        kind = route.kind
        allowed = [
            place
            for place in fitting
            if kind in kinds_of(place.listener) and self._attachment.allows(place, kind, route.namespace)
        ]
        if not allowed:
            message = f"no listener allows {kind}s of namespace {route.namespace}"
            return false("Accepted", "NotAllowedByListeners", message)
        wrong = _unsupported(route)
        if wrong is not None:
            return wrong
        free = [place for place in allowed if self._takes(place, route)]
        if not free:
            return false("Accepted", "Conflicted", "an older route of the other kind (HTTP, gRPC) has its hosts")
        held.update((place.name, place.listener.name) for place in free)
        return true("Accepted", "Accepted", "Route was valid")

    def _takes(self, place: Place, route: AnyResource) -> bool:
        """Hosts of HTTPRoutes and GRPCRoutes must not overlap on one listener: the older route stays."""
        hosts = _common(route, place)
        known = self._hosts.setdefault((place.name, place.listener.name), [])
        if any(kind != route.kind and _overlap(hosts, others) for kind, others in known):
            return False
        known.append((route.kind, hosts))
        return True

    # ---- backends

    def _unresolved(self, route: AnyResource, *, granted: bool) -> Iterator[Condition]:
        """`granted`: inside the mesh nobody needs a ReferenceGrant, as with Istio."""
        for reference in _references(route):
            namespace = reference.namespace or route.namespace
            if is_hostname(reference):
                continue
            if reference.group not in CORE or reference.kind != "Service":
                yield false("ResolvedRefs", "InvalidKind", f"{reference.kind} {reference.name} is no backend here")
            elif not granted and not self._grants.permit(
                route, reference.group, reference.kind, namespace, reference.name
            ):
                yield false("ResolvedRefs", "RefNotPermitted", f"Service {namespace}/{reference.name} is not granted")
            elif (service := self._config.get("Service", namespace, reference.name)) is None:
                yield false("ResolvedRefs", "BackendNotFound", f"there is no Service {namespace}/{reference.name}")
            elif not any(port.port == reference.port for port in service.spec.ports):
                message = f"Service {namespace}/{reference.name} has no port {reference.port}"
                yield false("ResolvedRefs", "BackendNotFound", message)


def _references(route: AnyResource) -> Iterator[Reference]:
    for rule in route.spec.rules:
        yield from rule.backend_refs
        filters = [*getattr(rule, "filters", ())]
        for backend in rule.backend_refs:
            filters += getattr(backend, "filters", ())
        yield from (item.request_mirror.backend_ref for item in filters if item.request_mirror is not None)


def _unsupported(route: AnyResource) -> Condition | None:
    """Filters that must not be passed over and cannot be run."""
    for rule in route.spec.rules:
        if not isinstance(rule, HTTPRouteRule):
            continue
        types = [item.type for item in rule.filters if item.type not in SERVED]
        for backend in rule.backend_refs:
            types += [item.type for item in backend.filters if item.type not in OF_BACKENDS]
        if types:
            return false("Accepted", "UnsupportedValue", f"filter {types[0]} is not supported here")
        if {"RequestRedirect", "URLRewrite"} <= {item.type for item in rule.filters}:
            return false("Accepted", "IncompatibleFilters", "RequestRedirect and URLRewrite exclude each other")
    return None


def _common(route: AnyResource, place: Place) -> list[str]:
    hostnames: Iterable[str] = getattr(route.spec, "hostnames", ())
    if not hostnames:
        return [place.host]
    found = (intersection(place.host, host.lower()) for host in hostnames)
    return [host for host in found if host is not None]


def _overlap(left: list[str], right: list[str]) -> bool:
    return any(intersection(one, other) is not None for one in left for other in right)


def _as_written(parent: ParentRef) -> dict[str, str | int]:
    """With its kind, so that nobody has to know the defaults; what is empty stays away."""
    fields = msgspec.to_builtins(parent)
    return {"group": parent.group, "kind": parent.kind, **fields}
