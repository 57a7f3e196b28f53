"""Gateway, routes and policies of the Gateway API: what its own validation refuses and a proxy would trip over.

https://gateway-api.sigs.k8s.io/reference/spec/
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fastmesh.config.check.http_route import CORS_METHODS
from fastmesh.config.check.report import At
from fastmesh.config.check.shared import check_port_number, say
from fastmesh.config.read import syntax
from fastmesh.config.resource import AnyResource
from fastmesh.model.gateway_api import (
    Filter,
    Gateway,
    GRPCMatch,
    GRPCMethod,
    GRPCRoute,
    GRPCRouteRule,
    HTTPCORSFilter,
    HTTPRoute,
    HTTPRouteRule,
    Listener,
    RequestMirror,
    RouteMatch,
    TCPRoute,
    TLSRoute,
    ValueMatch,
)
from fastmesh.model.gateway_api_tls import BackendTLSPolicy, CARef, SecretRef

_PLAIN = ("HTTP", "TCP", "UDP")
_SECURE = ("HTTPS", "TLS")
SYSTEM = "System"
_ORIGIN = re.compile(r"https?://[*\w.\[\]:-]+")


def check_api_gateway(resource: AnyResource, spec: Gateway, at: At) -> None:
    if not spec.listeners:
        at["listeners"].error("is empty, add a listener with name, port and protocol")
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


def _check_listener(listener: Listener, at: At) -> None:
    check_port_number(listener.port, at["port"])
    if listener.hostname:
        _check_hostname(listener.hostname, at["hostname"])
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
    elif tls.mode == "Terminate" and not tls.certificate_refs:
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
            at["caCertificateRefs"][index]["kind"].error(
                "holds no roots here, name a ConfigMap or a Secret with ca.crt"
            )


def _check_hostname(host: str, at: At) -> None:
    if syntax.is_address(host):
        at.error(f"{host} is an address, which has no place here; write a host name")
    elif not say(at, syntax.wildcard_domain(host)) and host.startswith("*") and not host.startswith("*."):
        at.error(f"{host} is a wildcard of a part of a label, write *.{host.lstrip('*-.').partition('.')[2]}")


def check_api_route(resource: AnyResource, spec: HTTPRoute | GRPCRoute | TLSRoute, at: At) -> None:
    """Hostnames, and expressions that have to be RE2's."""
    for index, host in enumerate(spec.hostnames):
        _check_hostname(host, at["hostnames"][index])
    if isinstance(spec, TLSRoute):
        if not spec.hostnames:
            at["hostnames"].error("is empty, a TLSRoute goes by server name; name at least one host")
        return
    for number, rule in enumerate[HTTPRouteRule | GRPCRouteRule](spec.rules):
        for index, item in enumerate(rule.filters):
            _check_filter(item, at["rules"][number]["filters"][index])
    for (number, index), match in _matches(spec).items():
        place = at["rules"][number]["matches"][index]
        _check_values(match.headers, place["headers"])
        if isinstance(match, RouteMatch):
            _check_path(match, place)
        else:
            _check_method(match.method, place)


def check_tcp_route(resource: AnyResource, spec: TCPRoute, at: At) -> None:
    if len(spec.rules) != 1:
        at["rules"].error(f"has {len(spec.rules)} rules, bytes tell nothing by which to choose; write one")
    for number, rule in enumerate(spec.rules):
        if not rule.backend_refs:
            at["rules"][number]["backendRefs"].error("is empty, name at least one Service")


def _check_filter(item: Filter, at: At) -> None:
    if item.type == "CORS":
        _check_cors(item.cors, at["cors"])
    elif item.type == "RequestMirror":
        _check_mirror(item.request_mirror, at["requestMirror"])


def _check_mirror(mirror: RequestMirror | None, at: At) -> None:
    if mirror is None:
        at.error("is required with type RequestMirror and missing, add it")
        return
    if mirror.percent is not None and mirror.fraction is not None:
        at["fraction"].error("percent and fraction exclude each other, keep one of them")
    if mirror.percent is not None and not 0 <= mirror.percent <= 100:
        at["percent"].error(f"{mirror.percent} is not a percentage, write 0 to 100")
    fraction = mirror.fraction
    if fraction is not None and not 0 <= fraction.numerator <= fraction.denominator:
        at["fraction"].error("is more than all or less than nothing, write a numerator from 0 to the denominator")
    elif fraction is not None and fraction.denominator < 1:
        at["fraction"]["denominator"].error("is 0, write at least 1")


def _check_cors(cors: HTTPCORSFilter | None, place: At) -> None:
    if cors is None:
        place.error("is required with type CORS and missing, add it")
        return
    for index, origin in enumerate(cors.allow_origins):
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            place["allowOrigins"][index].error(f"{origin} is no origin, write one such as https://example.com, or *")
    for index, method in enumerate(cors.allow_methods):
        if method not in CORS_METHODS:
            place["allowMethods"][index].error(f"{method} is not a method, write one such as GET in capitals, or *")
    for field, names in (("allowHeaders", cors.allow_headers), ("exposeHeaders", cors.expose_headers)):
        for index, name in enumerate(names):
            if name != "*":
                say(place[field][index], syntax.header_name(name))
    if cors.max_age < 1:
        place["maxAge"].error(f"{cors.max_age} is too short, write at least 1 second")


def _matches(spec: HTTPRoute | GRPCRoute) -> dict[tuple[int, int], RouteMatch | GRPCMatch]:
    found: dict[tuple[int, int], RouteMatch | GRPCMatch] = {}
    if isinstance(spec, HTTPRoute):
        for number, rule in enumerate(spec.rules):
            found.update({(number, index): match for index, match in enumerate(rule.matches)})
    else:
        for number, grpc in enumerate(spec.rules):
            found.update({(number, index): match for index, match in enumerate(grpc.matches)})
    return found


def _check_path(match: RouteMatch, at: At) -> None:
    path = match.path
    _check_values(match.query_params, at["queryParams"])
    if path is None:
        return
    if path.type == "RegularExpression":
        say(at["path"]["value"], syntax.regex(path.value))
    elif not path.value.startswith("/"):
        at["path"]["value"].error(f'"{path.value}" is not a path, begin it with /')


def _check_method(method: GRPCMethod | None, at: At) -> None:
    if method is None:
        return
    if not method.service and not method.method:
        at["method"].error("is empty, name a service or a method")
    for name in ("service", "method"):
        text = getattr(method, name)
        if text and method.type == "RegularExpression":
            say(at["method"][name], syntax.regex(text))
        elif "/" in text:
            at["method"][name].error(f'"{text}" has a slash, write service and method apart')


def _check_values(values: Iterable[ValueMatch], at: At) -> None:
    for index, item in enumerate(values):
        if item.type == "RegularExpression":
            say(at[index]["value"], syntax.regex(item.value))


def check_backend_tls_policy(resource: AnyResource, spec: BackendTLSPolicy, at: At) -> None:
    if not spec.target_refs:
        at["targetRefs"].error("is empty, name a Service of this namespace")
    for index, target in enumerate(spec.target_refs):
        if target.group not in ("", "core") or target.kind != "Service":
            at["targetRefs"][index]["kind"].error(f"{target.kind} is not a target here, name a Service")
    validation, place = spec.validation, at["validation"]
    say(place["hostname"], syntax.fqdn(validation.hostname))
    if validation.well_known_ca_certificates:
        if validation.ca_certificate_refs:
            place["wellKnownCACertificates"].error("excludes caCertificateRefs, keep one of them")
        if validation.well_known_ca_certificates != SYSTEM:
            place["wellKnownCACertificates"].error(
                f"{validation.well_known_ca_certificates} is not known, write System"
            )
    else:
        _check_roots(validation.ca_certificate_refs, place)
    for index, name in enumerate(validation.subject_alt_names):
        needed, other = ("hostname", "uri") if name.type == "Hostname" else ("uri", "hostname")
        if not getattr(name, needed):
            place["subjectAltNames"][index].error(f"{needed} is required with type {name.type} and missing, add it")
        if getattr(name, other):
            place["subjectAltNames"][index][other].error(f"has no place with type {name.type}, remove it")
