"""Filters of HTTPRoutes and GRPCRoutes: one member that fits the type, what may stand once only, header operations.

https://gateway-api.sigs.k8s.io/reference/spec/#httproutefilter
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from fastmesh.config.check.http_route import CORS_METHODS
from fastmesh.config.check.report import At
from fastmesh.config.check.shared import check_port_number, say
from fastmesh.config.read import syntax
from fastmesh.config.read.shape import closest
from fastmesh.model.gateway_api import (
    Filter,
    Header,
    HeaderModifier,
    HTTPCORSFilter,
    PathModifier,
    RequestMirror,
    RouteMatch,
)

# Type: its member, and the attribute of that.
_MEMBERS = {
    "RequestHeaderModifier": ("requestHeaderModifier", "request_header_modifier"),
    "ResponseHeaderModifier": ("responseHeaderModifier", "response_header_modifier"),
    "RequestRedirect": ("requestRedirect", "request_redirect"),
    "URLRewrite": ("urlRewrite", "url_rewrite"),
    "RequestMirror": ("requestMirror", "request_mirror"),
    "CORS": ("cors", "cors"),
    "ExternalAuth": ("externalAuth", "external_auth"),
    "ExtensionRef": ("extensionRef", "extension_ref"),
}
_OF_GRPC = ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef")
_REPEATED = ("RequestMirror", "ExtensionRef")
_LABEL = r"[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?"
_ORIGIN = re.compile(rf"https?://(\*|(\*\.)?{_LABEL}(\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(:\d{{1,5}})?")
_PATH = re.compile(r"([-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+\Z")
_VALUE = re.compile(r"[!-~\x80-\U0010ffff]([\t -~\x80-\U0010ffff]*[!-~\x80-\U0010ffff])?\Z")  # RFC 9110 5.5


def check_filters(filters: Sequence[Filter], matches: Sequence[RouteMatch], at: At, *, grpc: bool) -> None:
    """`matches` are those of the rule: what a prefix is replaced in."""
    types = [item.type for item in filters]
    for index, item in enumerate(filters):
        place = at[index]
        if item.type not in (_OF_GRPC if grpc else _MEMBERS):
            known = _OF_GRPC if grpc else tuple(_MEMBERS)
            guess = closest(item.type, known) or f", the filters here are {', '.join(known)}"
            place["type"].error(f"{item.type} is not a filter{guess}")
            continue
        if item.type in types[:index] and item.type not in _REPEATED:
            place["type"].error(f"{item.type} filter cannot be repeated, put both into one")
        _check_member(item, place)
        _check_content(item, matches, place)
    if "RequestRedirect" in types and "URLRewrite" in types:
        at.advice("RequestRedirect and URLRewrite exclude each other and the route is not accepted, keep one")


def _check_member(item: Filter, at: At) -> None:
    """Exactly the member that the type names."""
    for kind, (name, attribute) in _MEMBERS.items():
        there = getattr(item, attribute) is not None
        if kind == item.type and not there:
            at[name].error(f"is required with type {kind} and missing, add it")
        elif kind != item.type and there:
            at[name].error(f"has no place with type {item.type}, write type: {kind} or remove it")


def _check_content(item: Filter, matches: Sequence[RouteMatch], at: At) -> None:
    for name, modifier in (
        ("requestHeaderModifier", item.request_header_modifier),
        ("responseHeaderModifier", item.response_header_modifier),
    ):  # fmt: skip
        if modifier is not None:
            _check_modifier(modifier, at[name])
    redirect, rewrite = item.request_redirect, item.url_rewrite
    if redirect is not None:
        place = at["requestRedirect"]
        _check_host(redirect.hostname, place["hostname"])
        _check_path(redirect.path, matches, place["path"])
        if redirect.port:
            check_port_number(redirect.port, place["port"])
    if rewrite is not None:
        _check_host(rewrite.hostname, at["urlRewrite"]["hostname"])
        _check_path(rewrite.path, matches, at["urlRewrite"]["path"])
    if item.request_mirror is not None:
        _check_mirror(item.request_mirror, at["requestMirror"])
    if item.cors is not None:
        _check_cors(item.cors, at["cors"])
    if item.external_auth is not None:
        _check_external_auth(item.external_auth, at["externalAuth"])


def _check_external_auth(written: Any, at: At) -> None:
    """It is not served, but what the API refuses is refused."""
    whole = written if isinstance(written, dict) else {}
    http = whole.get("http")
    path = http.get("path") if isinstance(http, dict) else None
    if whole.get("protocol") not in ("HTTP", "GRPC"):
        at["protocol"].error("is required, write HTTP or GRPC")
    if path and not _PATH.match(str(path)):
        at["http"]["path"].error(f'"{path}" is not a path, write its special characters in percent form')


def _check_host(host: str, at: At) -> None:
    if "*" in host:
        at.error(f"{host} is a wildcard, write a whole name")
    elif host:
        say(at, syntax.fqdn(host))


def _check_path(path: PathModifier | None, matches: Sequence[RouteMatch], at: At) -> None:
    if path is None:
        return
    members = {"ReplaceFullPath": ("replaceFullPath", path.replace_full_path),
               "ReplacePrefixMatch": ("replacePrefixMatch", path.replace_prefix_match)}  # fmt: skip
    for kind, (name, value) in members.items():
        if kind == path.type and value is None:
            at[name].error(f"is required with type {kind} and missing, add it")
        elif kind != path.type and value is not None:
            at[name].error(f"has no place with type {path.type}, remove it")
    kinds = [match.path.type if match.path is not None else "PathPrefix" for match in matches]
    if path.type == "ReplacePrefixMatch" and kinds not in ([], ["PathPrefix"]):
        at["type"].error("replaces the prefix of exactly one PathPrefix match, put other matches into another rule")


def _check_modifier(modifier: HeaderModifier, at: At) -> None:
    for name, headers in (("set", modifier.set), ("add", modifier.add)):
        _check_headers(headers, at[name])
    _check_unique(modifier.remove, at["remove"])


def _check_headers(headers: Sequence[Header], at: At) -> None:
    _check_unique([header.name for header in headers], at)
    for index, header in enumerate(headers):
        say(at[index]["name"], syntax.header_name(header.name))
        if not _VALUE.match(header.value):
            at[index]["value"].error("is not the value of a header, use visible text without blanks around it")


def _check_unique(names: Sequence[str], at: At) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            at[index].error(f"{name} is there twice, keep one")


def _check_mirror(mirror: RequestMirror, at: At) -> None:
    if not mirror.backend_ref.port and (mirror.backend_ref.group, mirror.backend_ref.kind) == ("", "Service"):
        at["backendRef"].error("port is required for a Service and missing, add port: ...")
    if mirror.percent is not None and mirror.fraction is not None:
        at["fraction"].error("percent and fraction exclude each other, keep one of them")
    if mirror.percent is not None and not 0 <= mirror.percent <= 100:
        at["percent"].error(f"{mirror.percent} is not a percentage, write 0 to 100")
    fraction = mirror.fraction
    if fraction is not None and not 0 <= fraction.numerator <= fraction.denominator:
        at["fraction"].error("is more than all or less than nothing, write a numerator from 0 to the denominator")
    elif fraction is not None and fraction.denominator < 1:
        at["fraction"]["denominator"].error("is 0, write at least 1")


def _check_cors(cors: HTTPCORSFilter, place: At) -> None:
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
    for field, values in (
        ("allowOrigins", cors.allow_origins),
        ("allowMethods", cors.allow_methods),
        ("allowHeaders", cors.allow_headers),
    ):  # fmt: skip
        _check_star(values, place[field])
    if cors.max_age < 1:
        place["maxAge"].error(f"{cors.max_age} is too short, write at least 1 second")


def _check_star(values: Iterable[str], at: At) -> None:
    found = list(values)
    if "*" in found and len(found) > 1:
        at.error("* means all and cannot stand beside others, keep it alone")
