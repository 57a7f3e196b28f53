"""One http rule of a VirtualService: what may stand beside what, matches, answers, faults, retries, rewrites.

https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPRoute
"""

from __future__ import annotations

import base64
import binascii
from http import HTTPStatus

from fastmesh.config.check.fault import check_fault
from fastmesh.config.check.report import At
from fastmesh.config.check.shared import (
    check_destination,
    check_duration,
    check_headers,
    check_labels,
    check_port_number,
    check_string_match,
    check_weights,
    say,
)
from fastmesh.config.read import syntax
from fastmesh.config.read.claims import claim_names
from fastmesh.config.read.shape import closest
from fastmesh.model.base import StringMatch
from fastmesh.model.virtual_service import (
    CorsPolicy,
    HTTPDirectResponse,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRetry,
    HTTPRewrite,
    HTTPRoute,
)

RETRY_POLICIES = frozenset((
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "retriable-4xx", "refused-stream",
    "retriable-status-codes", "retriable-headers", "envoy-ratelimited", "http3-post-connect-failure",
    "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
))  # fmt: skip
_STATUSES = frozenset(int(status) for status in HTTPStatus)
CORS_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"))
_REDIRECTS = (301, 302, 303, 307, 308)
_BODY_LIMIT = 1024 * 1024  # bytes of a direct response
_BODY_ADVICE = 100 * 1024


def check_http_route(rule: HTTPRoute, at: At, *, delegate: bool) -> None:
    """`delegate`: the VirtualService has no hosts, so another one includes it."""
    _check_answers(rule, at, delegate)
    for index, match in enumerate(rule.match):
        check_match(match, at["match"][index])
    for index, route in enumerate(rule.route):
        check_destination(route.destination, at["route"][index]["destination"])
        check_headers(route.headers, at["route"][index]["headers"])
    check_weights((route.weight for route in rule.route), at["route"])
    check_headers(rule.headers, at["headers"])
    _check_authority(rule, at)
    if rule.redirect is not None:
        _check_redirect(rule.redirect, rule.match, at["redirect"])
    if rule.direct_response is not None:
        _check_direct_response(rule.direct_response, at["directResponse"])
    if rule.rewrite is not None:
        _check_rewrite(rule.rewrite, at["rewrite"])
    if rule.fault is not None:
        check_fault(rule.fault, at["fault"])
    if rule.retries is not None:
        check_retries(rule.retries, at["retries"])
    if rule.cors_policy is not None:
        _check_cors(rule.cors_policy, at["corsPolicy"])
    _check_mirrors(rule, at)
    check_duration(rule.timeout, at["timeout"])


def _check_answers(rule: HTTPRoute, at: At, delegate: bool) -> None:
    """A rule has exactly one answer: route, redirect, directResponse or delegate."""
    if rule.delegate is not None:
        if delegate:
            at["delegate"].error("without hosts this is a delegate itself and cannot delegate, write a route")
        for name in ("redirect", "route"):
            if getattr(rule, name):
                at[name].error(f"a rule that delegates has no {name}, move it to the delegate")
        return
    if rule.mirror is not None and rule.mirrors:
        at["mirrors"].error("mirror and mirrors exclude each other, keep mirrors")
    answers = [("redirect", rule.redirect), ("directResponse", rule.direct_response)]
    given = [name for name, value in answers if value is not None]
    if not given:
        if not rule.route:
            at.error("has nothing to answer with, add one of route, redirect, directResponse")
        return
    first = given[0]
    if len(given) > 1:
        at[given[1]].error(f"a rule has one answer, remove {first} or {given[1]}")
    for name in ("route", "fault", "rewrite"):
        if getattr(rule, name):
            at[name].error(f"{name} has no place beside {first}, remove one of them")


def check_match(match: HTTPMatchRequest, at: At) -> None:
    """Also the matches of a RateLimit."""
    if match.uri is not None:
        check_string_match(match.uri, at["uri"], empty_prefix=True)
    for name in ("scheme", "method", "authority"):
        value: StringMatch | None = getattr(match, name)
        if value is not None:
            check_string_match(value, at[name])
    for name, headers in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
        for header, value in headers.items():
            if not claim_names(header):
                say(at[name][header], syntax.header_name(header))
            check_string_match(value, at[name][header], presence=True)
    for parameter, value in match.query_params.items():
        check_string_match(value, at["queryParams"][parameter], presence=True)
    if match.ignore_uri_case and match.uri is not None and match.uri.regex is not None:
        at["ignoreUriCase"].advice("has no effect on a regex, write (?i) in front of it")
    if match.port:
        check_port_number(match.port, at["port"])
    check_labels(match.source_labels, at["sourceLabels"])
    check_gateway_names(match.gateways, at["gateways"])
    if match.source_namespace:
        say(at["sourceNamespace"], syntax.label(match.source_namespace, "namespace"))


def check_gateway_names(names: list[str], at: At) -> None:
    """`name`, `namespace/name`, or `mesh`; the form `name.namespace` is old."""
    for index, name in enumerate(names):
        namespace, slash, gateway = name.partition("/")
        if not slash:
            if not say(at[index], syntax.fqdn(name)) and "." in name:
                parts = name.split(".")
                at[index].advice(f"{name} is an old form, write {parts[1]}/{parts[0]}")
        elif not namespace or not gateway:
            at[index].error(f'"{name}" lacks a part, write namespace/name')
        else:
            say(at[index], syntax.label(namespace, "namespace") or syntax.label(gateway, "gateway"))


def _check_authority(rule: HTTPRoute, at: At) -> None:
    """The authority may be written in one place only."""
    places = [at["rewrite"]["authority"]] if rule.rewrite is not None and rule.rewrite.authority else []
    operations = rule.headers.request if rule.headers is not None else None
    if operations is not None:
        for verb, values in (("set", operations.set), ("add", operations.add)):
            places += [at["headers"]["request"][verb][name] for name in values if syntax.is_authority(name)]
    for place in places[1:]:
        place.error("the authority is set in another place of this rule too, keep one")


def _check_redirect(redirect: HTTPRedirect, matches: list[HTTPMatchRequest], at: At) -> None:
    if redirect.uri and redirect.prefix_rewrite:
        at["prefixRewrite"].error("uri and prefixRewrite exclude each other, keep one")
    if redirect.prefix_rewrite and any(match.uri is not None and match.uri.prefix is None for match in matches):
        at["prefixRewrite"].error("needs uri matches by prefix, write uri: {prefix: ...} in every match of this rule")
    if redirect.port is not None and redirect.derive_port is not None:
        at["derivePort"].error("port and derivePort exclude each other, keep one")
    goals = (redirect.uri, redirect.prefix_rewrite, redirect.authority, redirect.scheme, redirect.port,
             redirect.derive_port)  # fmt: skip
    if not any(goal not in ("", None) for goal in goals):
        at.error("leads nowhere, add one of uri, prefixRewrite, authority, scheme, port")
    code = redirect.redirect_code
    if code and not 300 <= code <= 399:
        at["redirectCode"].error(f"{code} is not a redirect, write 301, 302, 303, 307 or 308")
    elif code and code not in _REDIRECTS:
        at["redirectCode"].advice(f"{code} cannot be sent and the rule is dropped, write 301, 302, 303, 307 or 308")
    if redirect.scheme not in ("", "http", "https"):
        at["scheme"].error(f"{redirect.scheme} is not a scheme to redirect to, write http or https")
    if redirect.port is not None:
        check_port_number(redirect.port, at["port"])


def _check_direct_response(direct: HTTPDirectResponse, at: At) -> None:
    if not 200 <= direct.status <= 600:
        at["status"].error(f"{direct.status} is not a status to answer with, write 200 to 599")
    body = direct.body
    if body is None:
        return
    if body.string is not None and body.bytes is not None:
        at["body"].error("has string and bytes, keep one of them")
    size = len((body.string or "").encode())
    if body.bytes is not None:
        try:
            size = len(base64.b64decode(body.bytes, validate=True))
        except (binascii.Error, ValueError):
            at["body"]["bytes"].error("is not base64, encode the bytes or write string")
    if size > _BODY_LIMIT:
        at["body"].error(f"has {size} bytes, at most {_BODY_LIMIT} are allowed; serve it from an upstream")
    elif size > _BODY_ADVICE:
        at["body"].advice(f"has {size} bytes, which every proxy keeps in memory; serve it from an upstream")


def _check_rewrite(rewrite: HTTPRewrite, at: At) -> None:
    regex = rewrite.uri_regex_rewrite
    if rewrite.uri and regex is not None:
        at["uriRegexRewrite"].error("uri and uriRegexRewrite exclude each other, keep one")
    if not rewrite.uri and regex is None and not rewrite.authority:
        at.error("rewrites nothing, add one of uri, uriRegexRewrite, authority")
    if regex is None:
        return
    if not regex.match or not regex.rewrite:
        at["uriRegexRewrite"].error("needs both match and rewrite, add the missing one")
    if regex.match:
        say(at["uriRegexRewrite"]["match"], syntax.regex(regex.match))


def check_retries(retries: HTTPRetry, at: At) -> None:
    if retries.attempts < 0:
        at["attempts"].error(f"{retries.attempts} is negative, the number of retries is 0 or more")
    if retries.attempts == 0:
        for name, value in (
            ("perTryTimeout", retries.per_try_timeout),
            ("retryOn", retries.retry_on or None),
            ("retryRemoteLocalities", retries.retry_remote_localities),
        ):
            if value is not None:
                at[name].error("retries are switched off, since attempts is 0 or missing; write attempts: 1 or more")
    check_duration(retries.per_try_timeout, at["perTryTimeout"])
    check_duration(retries.backoff, at["backoff"])
    for policy in retries.retry_on.split(",") if retries.retry_on else []:
        name = policy.strip()
        if name != policy:
            at["retryOn"].error(f'"{policy}" has blanks, write {name} right after the comma')
        if name not in RETRY_POLICIES and not (name.isdecimal() and int(name) in _STATUSES):
            guess = closest(name, RETRY_POLICIES) or ", write a policy such as 5xx or a status such as 503"
            at["retryOn"].error(f'"{name}" is not a retry policy{guess}')


def _check_cors(cors: CorsPolicy, at: At) -> None:
    for index, origin in enumerate(cors.allow_origins):
        check_string_match(origin, at["allowOrigins"][index])
        if origin.exact == "":
            at["allowOrigins"][index]["exact"].error("is empty, write an origin such as https://example.com")
    for index, method in enumerate(cors.allow_methods):
        if method not in CORS_METHODS:
            at["allowMethods"][index].error(f"{method} is not a method, write one such as GET in capitals, or *")
    for field, names in (("allowHeaders", cors.allow_headers), ("exposeHeaders", cors.expose_headers)):
        for index, name in enumerate(names):
            if name != "*":
                say(at[field][index], syntax.header_name(name))
    check_duration(cors.max_age, at["maxAge"])
    if cors.max_age is not None and cors.max_age % 1000:
        at["maxAge"].error(f"{cors.max_age} is not whole seconds, write one such as 24h or 30s")


def _check_mirrors(rule: HTTPRoute, at: At) -> None:
    if rule.mirror_percent is not None:
        at["mirrorPercent"].advice(
            f"is deprecated, write mirrorPercentage: {{value: {rule.mirror_percent}}}", "IST0002"
        )
        if rule.mirror_percent > 100:
            at["mirrorPercent"].error(f"{rule.mirror_percent} is not a percentage, write 0 to 100")
    if rule.mirror is not None:
        check_destination(rule.mirror, at["mirror"])
    percentages = [(rule.mirror_percentage, at["mirrorPercentage"])]
    for index, mirror in enumerate(rule.mirrors):
        check_destination(mirror.destination, at["mirrors"][index]["destination"])
        percentages.append((mirror.percentage, at["mirrors"][index]["percentage"]))
    for percentage, place in percentages:
        if percentage is not None and not 0 <= percentage.value <= 100:
            place["value"].error(f"{percentage.value:g} is not a percentage, write 0 to 100")
