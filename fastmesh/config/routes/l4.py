"""Rules for bytes (`tls`, `tcp` of a VirtualService): where they send, and when they apply."""

from __future__ import annotations

from collections.abc import Sequence

from fastmesh.config.gateway_names import gateway_name
from fastmesh.config.plan import DestinationPlan
from fastmesh.config.routes.matches import Scope
from fastmesh.config.routes.virtual_service import Routes
from fastmesh.config.selectors import selects
from fastmesh.model.virtual_service import L4MatchAttributes, RouteDestination, TLSMatchAttributes


def destinations(routes: Routes, written: Sequence[RouteDestination], owner: str, port: int) -> list[DestinationPlan]:
    """By weight as for requests: one alone takes everything, of several those with weight 0 take nothing."""
    if len(written) > 1:
        written = [route for route in written if route.weight > 0]
    found = []
    for route in written:
        name, exists = routes.cluster(route.destination, owner, port)
        found.append(DestinationPlan(cluster=name, weight=route.weight or 1, missing=not exists))
    return found


def applies_on_gateway(match: TLSMatchAttributes | L4MatchAttributes, gateway: str, port: int, owner: str) -> bool:
    """On a gateway only the port and the gateways of a match count, as in Istio."""
    names = [gateway_name(name, owner) for name in match.gateways]
    return match.port in (0, port) and (not names or gateway in names)


def applies_in_mesh(match: TLSMatchAttributes | L4MatchAttributes, scope: Scope, owner: str, port: int = 0) -> bool:
    """Every condition has to hold; unlike those of requests, gateways do not switch the source's off. `port` 0: it is
    not known which one the client wanted."""
    names = [gateway_name(name, owner) for name in match.gateways]
    return (
        (not port or match.port in (0, port))
        and (not names or not scope.gateways.isdisjoint(names))
        and selects(match.source_labels, scope.labels)
        and match.source_namespace in ("", scope.namespace)
    )
