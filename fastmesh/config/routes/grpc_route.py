"""GRPCRoutes as HTTPRoutes: a method of gRPC is the path `/service/method` (https://grpc.io, PROTOCOL-HTTP2).

An exact path goes before a prefix and that before an expression, and of two prefixes the longer one goes first: that is
the order that GRPCRoutes want (characters of the service, characters of the method, number of headers).
"""

from __future__ import annotations

import re
from dataclasses import replace

from fastmesh.config.resource import Resource
from fastmesh.config.store import ConfigSet
from fastmesh.model.gateway_api import (
    GRPCMethod,
    GRPCRoute,
    GRPCRouteRule,
    HTTPRoute,
    HTTPRouteRule,
    PathMatch,
    RouteMatch,
)

KIND = "GRPCRoute"
_NAME = "[^/]+"


def request_routes(config: ConfigSet) -> list[Resource[HTTPRoute]]:
    """HTTPRoutes and GRPCRoutes in one form, the older ones first."""
    found: list[Resource[HTTPRoute]] = []
    if not config.grpc_routes:
        return config.http_routes
    for item in config:
        if isinstance(item.spec, HTTPRoute):
            found.append(item)
        elif isinstance(item.spec, GRPCRoute):
            found.append(replace(item, spec=_as_http(item.spec)))
    return found


def _as_http(route: GRPCRoute) -> HTTPRoute:
    return HTTPRoute(
        parent_refs=route.parent_refs, hostnames=route.hostnames, rules=[_rule(rule) for rule in route.rules]
    )


def _rule(rule: GRPCRouteRule) -> HTTPRouteRule:
    return HTTPRouteRule(
        name=rule.name,
        matches=[RouteMatch(path=_path(match.method), headers=match.headers) for match in rule.matches],
        filters=rule.filters,
        backend_refs=rule.backend_refs,
        session_persistence=rule.session_persistence,
    )


def _path(method: GRPCMethod | None) -> PathMatch | None:
    if method is None:
        return None
    if method.type == "Exact" and method.service and method.method:
        return PathMatch(type="Exact", value=f"/{method.service}/{method.method}")
    if method.type == "Exact" and method.service:
        return PathMatch(type="PathPrefix", value=f"/{method.service}")
    exact = method.type == "Exact"
    service = re.escape(method.service) if exact else method.service
    name = re.escape(method.method) if exact else method.method
    return PathMatch(type="RegularExpression", value=f"/(?:{service or _NAME})/(?:{name or _NAME})")
