"""Gateway, grants and policies of the Gateway API: what its own validation refuses and a proxy would trip over.

https://gateway-api.sigs.k8s.io/reference/spec/
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any

from fastmesh.config.check.api_route import check_api_hostname
from fastmesh.config.check.report import At
from fastmesh.config.check.shared import check_port_number, say
from fastmesh.config.read import syntax
from fastmesh.config.resource import AnyResource
from fastmesh.model.gateway_api import Gateway, GatewayClass, Listener
from fastmesh.model.gateway_api_tls import BackendTLSPolicy, CARef, ReferenceGrant, SecretRef

_PLAIN = ("HTTP", "TCP", "UDP")
_SECURE = ("HTTPS", "TLS")
SYSTEM = "System"
_OF_IMPLEMENTATIONS = re.compile(
    r"System\Z|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+\Z"
)
_URI = re.compile(r"[^:/?#]+://[^?#]*(\?[^#]*)?(#.*)?\Z")
MAX_LISTENERS = 64
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_CONTROLLER = re.compile(
    r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+\Z"
)
_HOST = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")


def check_api_gateway(resource: AnyResource, spec: Gateway, at: At) -> None:
    if not spec.listeners:
        at["listeners"].error("is empty, add a listener with name, port and protocol")
    if len(spec.listeners) > MAX_LISTENERS:
        at["listeners"].error(f"has {len(spec.listeners)} entries, at most {MAX_LISTENERS} are allowed")
    _check_addresses(spec.addresses, at["addresses"])
    names: set[str] = set()
    places: set[tuple[int, str, str]] = set()
    for index, listener in enumerate(spec.listeners):
        place = at["listeners"][index]
        if listener.name in names:
            place["name"].error(f"{listener.name} is the name of an earlier listener, give each its own")
        names.add(listener.name)
        key = (listener.port, listener.protocol, listener.hostname.lower())
        if key in places:
            place.error("has port, protocol and hostname of an earlier listener, keep one of them")
        places.add(key)
        _check_listener(listener, place)
    if spec.tls is None:
        return
    frontend = spec.tls.frontend
    if frontend is not None:
        where = at["tls"]["frontend"]
        if frontend.default.validation is not None:
            _check_roots(frontend.default.validation.ca_certificate_refs, where["default"]["validation"])
        for index, port in enumerate(frontend.per_port):
            check_port_number(port.port, where["perPort"][index]["port"])
            if port.tls.validation is not None:
                _check_roots(port.tls.validation.ca_certificate_refs, where["perPort"][index]["tls"]["validation"])
    backend = spec.tls.backend
    if backend is not None and backend.client_certificate_ref is not None:
        _check_secret(backend.client_certificate_ref, at["tls"]["backend"]["clientCertificateRef"])


def _check_addresses(addresses: Any, at: At) -> None:
    seen: set[tuple[str, str]] = set()
    for index, each in enumerate(addresses if isinstance(addresses, list) else ()):
        kind, value = (each.get("type", "IPAddress"), each.get("value", "")) if isinstance(each, dict) else ("", "")
        if (kind, value) in seen and value:
            at[index].error(f"{value} is there twice, keep one")
        seen.add((kind, value))
        if kind == "IPAddress" and value and not _is_ip(str(value)):
            at[index]["value"].error(f'"{value}" is not an IP address, write one, or type: Hostname')
        elif kind == "Hostname" and value and not _HOST.match(str(value)):
            at[index]["value"].error(f'"{value}" is not a host name, write one without port and wildcard')


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _check_listener(listener: Listener, at: At) -> None:
    check_port_number(listener.port, at["port"])
    if not _NAME.match(listener.name) or len(listener.name) > 253:
        at["name"].error(f'"{listener.name}" is not a name, use lower case letters, digits, - and .')
    if listener.hostname and listener.protocol in ("TCP", "UDP"):
        at["hostname"].error(f"has no place with protocol {listener.protocol}, which says no host; remove it")
    elif listener.hostname:
        check_api_hostname(listener.hostname, at["hostname"])
    if listener.protocol not in (*_PLAIN, *_SECURE) and "/" not in listener.protocol:
        at["protocol"].error(f"{listener.protocol} is not a protocol, write HTTP, HTTPS, TLS, TCP or UDP")
    tls = listener.tls
    if tls is None:
        if listener.protocol in _SECURE:
            at.error(
                f"tls is required with protocol {listener.protocol} and missing, add tls: {{certificateRefs: ...}}"
            )
        return
    if listener.protocol in _PLAIN:
        at["tls"].error(f"tls has no place with protocol {listener.protocol}, write HTTPS or TLS, or remove it")
    elif listener.protocol == "HTTPS" and tls.mode == "Passthrough":
        at["tls"]["mode"].error("Passthrough has no place with protocol HTTPS, write protocol: TLS")
    elif tls.mode == "Terminate" and not tls.certificate_refs and not tls.options:
        at["tls"]["certificateRefs"].error("is empty, name a Secret, or write mode: Passthrough")
    for index, ref in enumerate(tls.certificate_refs):
        _check_secret(ref, at["tls"]["certificateRefs"][index])
    if tls.frontend_validation is not None:
        _check_roots(tls.frontend_validation.ca_certificate_refs, at["tls"]["frontendValidation"])


def _check_secret(ref: SecretRef, at: At) -> None:
    if (ref.group, ref.kind) != ("", "Secret"):
        at["kind"].error(f'{ref.kind} of "{ref.group}" holds no certificate here, name a Secret')


def _check_roots(refs: Iterable[CARef], at: At) -> None:
    found = list(refs)
    if not found:
        at["caCertificateRefs"].error("is empty, name a ConfigMap with ca.crt")
    for index, ref in enumerate(found):
        if ref.group or ref.kind not in ("ConfigMap", "Secret"):
            message = "holds no roots here, name a ConfigMap or a Secret with ca.crt; until then handshakes fail"
            at["caCertificateRefs"][index]["kind"].missing(message)


def check_gateway_class(resource: AnyResource, spec: GatewayClass, at: At) -> None:
    if not _CONTROLLER.match(spec.controller_name) or len(spec.controller_name) > 253:
        name = spec.controller_name
        at["controllerName"].error(
            f'"{name}" is not the name of a controller, write one such as example.com/controller'
        )


def check_reference_grant(resource: AnyResource, spec: ReferenceGrant, at: At) -> None:
    for name, items in (("from", spec.from_), ("to", spec.to)):
        if not items:
            at[name].error("is empty and grants nothing, add an entry")
    for index, each in enumerate(spec.from_):
        say(at["from"][index]["namespace"], syntax.label(each.namespace, "namespace"))


def check_backend_tls_policy(resource: AnyResource, spec: BackendTLSPolicy, at: At) -> None:
    if not spec.target_refs:
        at["targetRefs"].error("is empty, name a Service of this namespace")
    seen: dict[tuple[str, str, str], list[str]] = {}
    for index, target in enumerate(spec.target_refs):
        others = seen.setdefault((target.group, target.kind, target.name), [])
        if target.section_name in others or (others and "" in (*others, target.section_name)):
            at["targetRefs"][index].error(f"{target.name} is there already, give each a sectionName of its own")
        others.append(target.section_name)
        if target.group not in ("", "core") or target.kind != "Service":
            at["targetRefs"][index]["kind"].missing(f"{target.kind} is not a target here, name a Service")
    validation, place = spec.validation, at["validation"]
    say(place["hostname"], syntax.fqdn(validation.hostname))
    if validation.well_known_ca_certificates:
        if validation.ca_certificate_refs:
            place["wellKnownCACertificates"].error("excludes caCertificateRefs, keep one of them")
        if not _OF_IMPLEMENTATIONS.match(validation.well_known_ca_certificates):
            place["wellKnownCACertificates"].error(
                f"{validation.well_known_ca_certificates} is not known, write System"
            )
        elif validation.well_known_ca_certificates != SYSTEM:
            message = f"{validation.well_known_ca_certificates} is not known here, write System; handshakes fail"
            place["wellKnownCACertificates"].missing(message)
    else:
        _check_roots(validation.ca_certificate_refs, place)
    for index, name in enumerate(validation.subject_alt_names):
        needed, other = ("hostname", "uri") if name.type == "Hostname" else ("uri", "hostname")
        if not getattr(name, needed):
            place["subjectAltNames"][index].error(f"{needed} is required with type {name.type} and missing, add it")
        if getattr(name, other):
            place["subjectAltNames"][index][other].error(f"has no place with type {name.type}, remove it")
        if name.uri and not _URI.match(name.uri):
            message = f'"{name.uri}" is not a URI, write one such as spiffe://trust/ns/a/sa/b'
            place["subjectAltNames"][index]["uri"].error(message)
