"""Routes of the Gateway API: hostnames, parents, matches, backends, times.

https://gateway-api.sigs.k8s.io/reference/spec/#httproute
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from fastmesh.config.check.api_filter import check_filters
from fastmesh.config.check.report import At
from fastmesh.config.check.session import check_session
from fastmesh.config.check.shared import check_port_number, say
from fastmesh.config.read import syntax
from fastmesh.config.resource import AnyResource
from fastmesh.model.gateway_api import (
    BackendRef,
    GRPCMethod,
    GRPCRoute,
    GRPCRouteRule,
    HTTPRoute,
    HTTPRouteRule,
    ParentRef,
    RouteMatch,
    TCPRoute,
    TLSRoute,
    ValueMatch,
)
from fastmesh.model.gateway_api_tls import TLSBackendRef

MAX_HOSTS, MAX_RULES, MAX_MATCHES, MAX_ALL_MATCHES, MAX_FILTERS = 16, 16, 64, 128, 16
_MAX_WEIGHT = 1_000_000
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
_PCHARS = re.compile(r"([-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+\Z")  # RFC 3986 3.3
_NOT_INSIDE = ("//", "/./", "/../", "%2f", "%2F", "#")
_NOT_AT_END = ("/..", "/.")
_KIND = re.compile(r"[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?\Z")
_GROUP = re.compile(r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?\Z")
_SPAN = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}\Z")
_SERVICE = re.compile(r"\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*\Z", re.IGNORECASE)
_METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*\Z")


def check_api_hostname(host: str, at: At) -> None:
    if syntax.is_address(host):
        at.error(f"{host} is an address, which has no place here; write a host name")
    elif not say(at, syntax.wildcard_domain(host)) and host.startswith("*") and not host.startswith("*."):
        at.error(f"{host} is a wildcard of a part of a label, write *.{host.lstrip('*-.').partition('.')[2]}")


def check_api_route(resource: AnyResource, spec: HTTPRoute | GRPCRoute | TLSRoute, at: At) -> None:
    _check_length(spec.hostnames, MAX_HOSTS, at["hostnames"])
    for index, host in enumerate(spec.hostnames):
        check_api_hostname(host, at["hostnames"][index])
    _check_parents(spec.parent_refs, at["parentRefs"])
    if isinstance(spec, TLSRoute):
        if not spec.hostnames:
            at["hostnames"].error("is empty, a TLSRoute goes by server name; name at least one host")
        for number, each in enumerate(spec.rules):
            _check_backends(each.backend_refs, at["rules"][number]["backendRefs"])
        return
    _check_length(spec.rules, MAX_RULES, at["rules"])
    if sum(len(rule.matches) for rule in spec.rules) > MAX_ALL_MATCHES:
        at["rules"].error(f"have more than {MAX_ALL_MATCHES} matches together, make several routes")
    names: set[str] = set()
    for number, rule in enumerate[HTTPRouteRule | GRPCRouteRule](spec.rules):
        if rule.name and rule.name in names:
            at["rules"][number]["name"].error(f"{rule.name} is the name of an earlier rule, give each its own")
        names.add(rule.name)
        if rule.session_persistence is not None:
            check_session(rule.session_persistence, at["rules"][number]["sessionPersistence"])
        if isinstance(rule, HTTPRouteRule):
            _check_http(rule, at["rules"][number])
            _check_spans(resource.source.root, number, at["rules"][number])
        else:
            _check_grpc(rule, at["rules"][number])


def check_tcp_route(resource: AnyResource, spec: TCPRoute, at: At) -> None:
    _check_parents(spec.parent_refs, at["parentRefs"])
    if len(spec.rules) != 1:
        at["rules"].error(f"has {len(spec.rules)} rules, bytes tell nothing by which to choose; write one")
    for number, rule in enumerate(spec.rules):
        if not rule.backend_refs:
            at["rules"][number]["backendRefs"].error("is empty, name at least one Service")
        _check_backends(rule.backend_refs, at["rules"][number]["backendRefs"])


def _check_length(items: Sequence[object], most: int, at: At) -> None:
    if len(items) > most:
        at.error(f"has {len(items)} entries, at most {most} are allowed")


def _check_parents(parents: Sequence[ParentRef], at: At) -> None:
    """A parent that stands several times is told apart by the section or the port, each time another one."""
    seen: dict[tuple[str, str, str, str], list[tuple[str, int]]] = {}
    for index, parent in enumerate(parents):
        _check_object(parent.group, parent.kind, at[index])
        others = seen.setdefault((parent.group, parent.kind, parent.namespace, parent.name), [])
        section = (parent.section_name, parent.port)
        if section in others:
            at[index].error(f"{parent.name} is there already, give each reference a sectionName or port of its own")
        elif any(_said(section) != _said(other) for other in others):
            at[index].error(
                f"sectionName or port is required where {parent.name} is there several times, in each the same"
            )
        others.append(section)


def _said(section: tuple[str, int]) -> tuple[bool, bool]:
    return bool(section[0]), bool(section[1])


def _check_object(group: str, kind: str, at: At) -> None:
    if not _GROUP.match(group) or len(group) > 253:
        at["group"].error(f'"{group}" is not an API group, write one such as gateway.networking.k8s.io, or ""')
    if not _KIND.match(kind) or len(kind) > 63:
        at["kind"].error(f'"{kind}" is not a kind, write one such as Service')


def _check_http(rule: HTTPRouteRule, at: At) -> None:
    _check_length(rule.matches, MAX_MATCHES, at["matches"])
    _check_length(rule.filters, MAX_FILTERS, at["filters"])
    for index, match in enumerate(rule.matches):
        place = at["matches"][index]
        _check_path(match, place)
        _check_values(match.headers, place["headers"], header=True)
        _check_values(match.query_params, place["queryParams"], header=False)
        if match.method and match.method not in METHODS:
            place["method"].error(f"{match.method} is not a method, write one of {', '.join(METHODS)}")
    check_filters(rule.filters, rule.matches, at["filters"], grpc=False)
    _check_backends(rule.backend_refs, at["backendRefs"])
    for index, backend in enumerate(rule.backend_refs):
        check_filters(backend.filters, rule.matches, at["backendRefs"][index]["filters"], grpc=False)
    if rule.backend_refs and any(item.type == "RequestRedirect" for item in rule.filters):
        at["backendRefs"].error("have no place beside RequestRedirect, which answers itself; remove one of them")
    times = rule.timeouts
    if times is not None and times.request and times.backend_request and times.backend_request > times.request:
        at["timeouts"]["backendRequest"].error(f"is longer than request, which is {times.request}; make it shorter")
    if rule.retry is not None:
        for index, code in enumerate(rule.retry.codes):
            if not 400 <= code <= 599:
                at["retry"]["codes"][index].error(f"{code} is not a status to retry on, write 400 to 599")


def _check_spans(root: Any, number: int, at: At) -> None:
    """Time spans are written without a point here (GEP-2257); the type that they become has forgotten how."""
    rules = root["spec"].get("rules") or []
    for block, fields in (("timeouts", ("request", "backendRequest")), ("retry", ("backoff",))):
        written = rules[number].get(block)
        for name in fields if isinstance(written, dict) else ():
            text = written.get(name)
            if isinstance(text, str) and not _SPAN.match(text):
                at[block][name].error(f"{text} is not a time span here, write whole numbers such as 500ms or 1m30s")


def _check_grpc(rule: GRPCRouteRule, at: At) -> None:
    _check_length(rule.matches, MAX_MATCHES, at["matches"])
    _check_length(rule.filters, MAX_FILTERS, at["filters"])
    for index, match in enumerate(rule.matches):
        _check_method(match.method, at["matches"][index])
        _check_values(match.headers, at["matches"][index]["headers"], header=True)
    check_filters(rule.filters, [], at["filters"], grpc=True)
    _check_backends(rule.backend_refs, at["backendRefs"])
    for index, backend in enumerate(rule.backend_refs):
        check_filters(backend.filters, [], at["backendRefs"][index]["filters"], grpc=True)


def _check_backends(backends: Sequence[BackendRef | TLSBackendRef], at: At) -> None:
    for index, backend in enumerate(backends):
        place = at[index]
        _check_object(backend.group, backend.kind, place)
        if backend.port:
            check_port_number(backend.port, place["port"])
        elif (backend.group, backend.kind) == ("", "Service"):
            place.error("port is required for a Service and missing, add port: ...")
        if not 0 <= backend.weight <= _MAX_WEIGHT:
            place["weight"].error(f"{backend.weight} is not a weight, write 0 to {_MAX_WEIGHT}")


# ---- matches


def _check_path(match: RouteMatch, at: At) -> None:
    path = match.path
    if path is None:
        return
    place = at["path"]["value"]
    if path.type == "RegularExpression":
        say(place, syntax.regex(path.value))
        return
    if not path.value.startswith("/"):
        place.error(f'"{path.value}" is not a path, begin it with /')
    elif any(part in path.value for part in _NOT_INSIDE) or path.value.endswith(_NOT_AT_END):
        place.error(f'"{path.value}" is not in its normal form, write it without {" ".join(_NOT_INSIDE)} and dots')
    elif not _PCHARS.match(path.value):
        place.error(f'"{path.value}" has characters that no path has, write them as %XX')


def _check_method(method: GRPCMethod | None, at: At) -> None:
    if method is None:
        return
    if not method.service and not method.method:
        at["method"].error("is empty, name a service or a method")
    for name, rule, example in (("service", _SERVICE, "shop.Cart"), ("method", _METHOD, "Add")):
        text = getattr(method, name)
        if text and method.type == "RegularExpression":
            say(at["method"][name], syntax.regex(text))
        elif "/" in text:
            at["method"][name].error(f'"{text}" has a slash, write service and method apart')
        elif text and not rule.match(text):
            at["method"][name].error(f'"{text}" is not the name of a {name}, write one such as {example}')


def _check_values(values: Iterable[ValueMatch], at: At, *, header: bool) -> None:
    names: set[str] = set()
    for index, item in enumerate(values):
        place = at[index]
        if item.name in names:
            place["name"].error(f"{item.name} is there twice, keep one")
        names.add(item.name)
        say(place["name"], syntax.header_name(item.name) if header or not item.name else None)
        if not item.value:
            place["value"].error("is empty, write the value, or a RegularExpression such as .*")
        elif item.type == "RegularExpression":
            say(place["value"], syntax.regex(item.value))
