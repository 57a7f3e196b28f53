"""Gateways and their listeners: accepted, in conflict, their references, and how many routes they have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fastmesh.config.api_listeners import SERVED, Place, conflict, overlaps
from fastmesh.config.credentials.grants import Grants
from fastmesh.config.status.conditions import Condition, ListenerStatus, RouteKindStatus, Status, false, true
from fastmesh.config.store import ConfigSet
from fastmesh.model.gateway_api import GROUP, Listener
from fastmesh.model.gateway_api_tls import CARef, ClientValidation, SecretRef

_OK = "No errors found"
_REQUESTS = ("HTTPRoute", "GRPCRoute")


def kinds_of(listener: Listener) -> tuple[str, ...]:
    """The kinds of route that a listener can have."""
    if listener.protocol in ("HTTP", "HTTPS"):
        return _REQUESTS
    if listener.protocol == "TLS":
        ends = listener.tls is not None and listener.tls.mode == "Terminate"
        return ("TLSRoute", "TCPRoute") if ends else ("TLSRoute",)
    return ("TCPRoute",) if listener.protocol == "TCP" else ()


class Gateways:
    """Listeners of all Gateways of one proxy: they share its ports, so they are looked at together."""

    def __init__(self, config: ConfigSet, places: list[Place], attached: Mapping[tuple[str, str], int]) -> None:
        self._config = config
        self._grants = Grants(config.reference_grants)
        self._places = places
        self._attached = attached  # (Gateway, listener) -> routes

    def status(self, places: list[Place]) -> Status:
        """Of the Gateway that has these listeners."""
        listeners = [self._listener(place) for place in places]
        good = [each for each in listeners if all(_is_good(condition) for condition in each.conditions)]
        accepted = true("Accepted", "Accepted", "Resource accepted")
        wrong = self._parameters(places)
        if wrong is not None:
            accepted = wrong
        elif not good:
            accepted = false("Accepted", "ListenersNotValid", "None of the Gateway's listeners are valid")
        elif len(good) < len(listeners):
            accepted = true("Accepted", "ListenersNotValid", "Some of the Gateway's listeners are not valid")
        programmed = true("Programmed", "Programmed", "Listeners are served")
        if not good:
            programmed = false("Programmed", "Invalid", "No listener can be served")
        return Status(conditions=[accepted, programmed], listeners=listeners)

    def _parameters(self, places: list[Place]) -> Condition | None:
        """Parameters have to be a ConfigMap of the namespace. (What it says is Kubernetes' business.)"""
        infrastructure = places[0].gateway.spec.infrastructure if places else None
        ref = infrastructure.get("parametersRef") if isinstance(infrastructure, dict) else None
        if not isinstance(ref, dict):
            return None
        name, namespace = str(ref.get("name", "")), places[0].gateway.namespace
        if ref.get("kind") == "ConfigMap" and self._config.get("ConfigMap", namespace, name) is not None:
            return None
        return false("Accepted", "InvalidParameters", f"there is no ConfigMap {namespace}/{name}")

    def _listener(self, place: Place) -> ListenerStatus:
        allowed, resolved = self._kinds(place.listener)
        clash, roots = self._conflict(place), self._roots(place)
        accepted = true("Accepted", "Accepted", _OK)
        if place.listener.protocol not in SERVED:
            message = f"protocol {place.listener.protocol} is not served"
            accepted = false("Accepted", "UnsupportedProtocol", message)
        elif roots is not None:
            accepted = false("Accepted", "NoValidCACertificate", roots.message)
        elif clash is not None:
            accepted = false("Accepted", clash.reason, clash.message)
        resolved = resolved or roots or self._pairs(place) or true("ResolvedRefs", "ResolvedRefs", _OK)
        programmed = true("Programmed", "Programmed", _OK)
        if accepted.status == "False" or resolved.reason not in ("ResolvedRefs", "InvalidRouteKinds"):
            programmed = false(
                "Programmed", "Invalid", accepted.message if resolved.status == "True" else resolved.message
            )
        conditions = [accepted, clash or false("Conflicted", "NoConflicts", _OK), programmed, resolved]
        conditions += self._overlapping(place)
        return ListenerStatus(
            name=place.listener.name,
            supported_kinds=[RouteKindStatus(group=GROUP, kind=kind) for kind in allowed],
            conditions=conditions,
            attached_routes=self._attached.get((place.name, place.listener.name), 0),
        )

    def _kinds(self, listener: Listener) -> tuple[list[str], Condition | None]:
        """The kinds of route that may attach, and what is wrong with those that are written."""
        possible = kinds_of(listener)
        written = listener.allowed_routes.kinds
        if not written:
            return list(possible), None
        allowed = [item.kind for item in written if item.group == GROUP and item.kind in possible]
        wrong = [item.kind for item in written if item.group != GROUP or item.kind not in possible]
        if not wrong:
            return allowed, None
        message = f"{', '.join(wrong)} cannot attach to a listener with protocol {listener.protocol}"
        return allowed, false("ResolvedRefs", "InvalidRouteKinds", message)

    def _conflict(self, place: Place) -> Condition | None:
        """With an older listener of the port, which stays."""
        older: list[Place] = []
        for other in self._places:
            if other is place:
                break
            if other.listener.port == place.listener.port and other.listener.protocol in SERVED:
                older.append(other)
        found = conflict(place, older)
        if found is None:
            return None
        return true("Conflicted", found[0], found[1])

    def _overlapping(self, place: Place) -> Iterator[Condition]:
        """Told of HTTPS: a client may use one connection for hosts of two listeners, and is answered 421."""
        if place.listener.protocol != "HTTPS":
            return
        for other in self._places:
            if other is not place and other.listener.protocol == "HTTPS" and overlaps(place, other):
                message = f"hostname overlaps with listener {other.listener.name} of {other.name}"
                yield true("OverlappingTLSConfig", "OverlappingHostnames", message)
                return

    def _pairs(self, place: Place) -> Condition | None:
        """What is wrong with the certificates of a listener."""
        tls = place.listener.tls
        found = (self._secret(place, ref) for ref in (tls.certificate_refs if tls is not None else ()))
        return next((each for each in found if each is not None), None)

    def _roots(self, place: Place) -> Condition | None:
        found = (self._root(place, root) for root in _roots(place))
        return next((each for each in found if each is not None), None)

    def _secret(self, place: Place, ref: SecretRef) -> Condition | None:
        namespace = ref.namespace or place.gateway.namespace
        if (ref.group, ref.kind) != ("", "Secret"):
            return false("ResolvedRefs", "InvalidCertificateRef", f"{ref.kind} {ref.name} holds no certificate here")
        if not self._grants.permit(place.gateway, ref.group, ref.kind, namespace, ref.name):
            return false("ResolvedRefs", "RefNotPermitted", f"Secret {namespace}/{ref.name} is not granted")
        if self._config.get("Secret", namespace, ref.name) is None:
            return false("ResolvedRefs", "InvalidCertificateRef", f"Secret {namespace}/{ref.name} is not there")
        return None

    def _root(self, place: Place, ref: CARef) -> Condition | None:
        namespace = ref.namespace or place.gateway.namespace
        if ref.group or ref.kind not in ("ConfigMap", "Secret"):
            return false("ResolvedRefs", "InvalidCACertificateKind", f"{ref.kind} {ref.name} holds no roots here")
        if not self._grants.permit(place.gateway, ref.group, ref.kind, namespace, ref.name):
            return false("ResolvedRefs", "RefNotPermitted", f"{ref.kind} {namespace}/{ref.name} is not granted")
        if self._config.get(ref.kind, namespace, ref.name) is None:
            return false("ResolvedRefs", "InvalidCACertificateRef", f"{ref.kind} {namespace}/{ref.name} is not there")
        return None


def _is_good(condition: Condition) -> bool:
    """Kinds of route that are not known are no fault of the listener: it serves the rest."""
    if condition.type in ("Conflicted", "OverlappingTLSConfig"):
        return condition.type == "OverlappingTLSConfig" or condition.status == "False"
    return condition.status == "True" or condition.reason == "InvalidRouteKinds"


def _roots(place: Place) -> list[CARef]:
    """What clients of an HTTPS listener are checked against."""
    if place.listener.protocol != "HTTPS":
        return []
    found: ClientValidation | None = place.listener.tls.frontend_validation if place.listener.tls is not None else None
    frontend = place.gateway.spec.tls.frontend if place.gateway.spec.tls is not None else None
    if found is None and frontend is not None:
        found = frontend.default.validation
        for port in frontend.per_port:
            if port.port == place.listener.port:
                found = port.tls.validation
    return found.ca_certificate_refs if found is not None else []
