"""RateLimit, fastmesh's own kind."""

from __future__ import annotations

import re

from fastmesh.config.check.http_route import check_match
from fastmesh.config.check.report import At
from fastmesh.config.check.shared import check_answer_headers, say
from fastmesh.config.read import syntax
from fastmesh.config.resource import AnyResource
from fastmesh.model.rate_limit import GlobalCounts, Limit, LimitKey, RateLimit

_ADDRESS = re.compile(r"(rediss?://)?(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?(/\d{0,4})?\Z|unix:///[^\s?#]+\Z")
_DOMAIN = re.compile(r"[A-Za-z0-9._/-]{0,100}\Z")

_KEYS = {
    "header": "header", "queryParam": "query_param", "path": "path", "method": "method",
    "clientAddress": "client_address", "sourcePrincipal": "source_principal",
}  # fmt: skip


def check_rate_limit(resource: AnyResource, spec: RateLimit, at: At) -> None:
    if not spec.limits:
        at["limits"].error("is empty, add a limit such as {requests: 100, per: second}")
    for index, limit in enumerate(spec.limits):
        _check_limit(limit, at["limits"][index])
    if spec.global_ is not None:
        _check_global(spec, spec.global_, at)
    target = spec.target_ref
    if target is not None:
        if not target.name:
            at["targetRef"]["name"].error("is empty, name the object that is limited")
        if target.namespace and target.namespace != resource.namespace:
            message = f"{target.namespace} is another namespace, put the RateLimit there or leave it out"
            at["targetRef"]["namespace"].error(message)
        if target.section_name and target.kind != "VirtualService":
            at["targetRef"]["sectionName"].error(f"names a route, and a {target.kind} has none; remove it")
    response = spec.response
    if response is not None:
        if not 200 <= response.status <= 599:
            at["response"]["status"].error(f"{response.status} is not a status to answer with, write 429")
        check_answer_headers(response.headers or {}, at["response"]["headers"])


def _check_global(spec: RateLimit, counts: GlobalCounts, at: At) -> None:
    if counts.redis:
        say(at["global"]["redis"], _wrong_address(counts.redis))
    if not _DOMAIN.match(counts.domain):
        message = f"{counts.domain} is not a domain, use letters, digits, ., -, _ and / (at most 100)"
        at["global"]["domain"].error(message)
    for index, limit in enumerate(spec.limits):
        if limit.burst is not None and limit.burst != limit.requests:
            message = "has no meaning with global: its counts begin anew with each period; remove it"
            at["limits"][index]["burst"].error(message)


def _wrong_address(text: str) -> str | None:
    if "@" in text:
        return "has a user or password in it, use --redis with --redis-password-file"
    if not _ADDRESS.match(text):
        return f"{text} is not an address of a Redis, write HOST:PORT, redis://HOST:PORT/0 or unix:///PATH"
    return None


def _check_limit(limit: Limit, at: At) -> None:
    if limit.requests < 1:
        at["requests"].error("0 lets nothing through, write 1 or more")
    if limit.burst is not None and limit.burst < 1:
        at["burst"].error("0 lets nothing through, write 1 or more or leave it out")
    for index, match in enumerate(limit.match):
        check_match(match, at["match"][index])
    for index, key in enumerate(limit.keys):
        _check_key(key, at["keys"][index])


def _check_key(key: LimitKey, at: At) -> None:
    given = [name for name, attribute in _KEYS.items() if getattr(key, attribute)]
    if len(given) != 1:
        at.error(f"needs exactly one of {', '.join(_KEYS)}, for several keys write several items")
    if key.header:
        say(at["header"], syntax.header_name(key.header))
