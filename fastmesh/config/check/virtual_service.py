"""VirtualService: hosts, gateways, tls and tcp rules, and rules that no request can reach.

https://istio.io/latest/docs/reference/config/networking/virtual-service/
"""

from __future__ import annotations

from collections.abc import Sequence

from fastmesh.config.check.http_route import check_gateway_names, check_http_route
from fastmesh.config.check.reachable import advise_unreachable
from fastmesh.config.check.report import At
from fastmesh.config.check.shared import (
    check_destination,
    check_export_to,
    check_labels,
    check_port_number,
    check_weights,
    say,
)
from fastmesh.config.gateway_names import MESH
from fastmesh.config.read import syntax
from fastmesh.config.read.claims import claim_names
from fastmesh.config.resource import AnyResource
from fastmesh.model.virtual_service import (
    HTTPRoute,
    L4MatchAttributes,
    RouteDestination,
    TLSMatchAttributes,
    VirtualService,
)


def check_virtual_service(resource: AnyResource, spec: VirtualService, at: At) -> None:
    """Everything Istio refuses in a VirtualService."""
    delegate = not spec.hosts
    on_gateway = any(name != MESH for name in spec.gateways)
    if delegate:
        for name in ("gateways", "tls", "tcp"):
            if getattr(spec, name):
                at[name].error(f"without hosts this is a delegate and has no {name}, add hosts or remove it")
    check_gateway_names(spec.gateways, at["gateways"])
    if "mesh-wildcard" not in resource.honoured:
        _check_hosts(spec, at["hosts"], on_gateway)
    if not spec.http and not spec.tls and not spec.tcp:
        at.error("has no rules, add one of http, tls, tcp")
    for index, rule in enumerate(spec.http):
        check_http_route(rule, at["http"][index], delegate=delegate)
        if not on_gateway and not delegate:
            _check_claims(rule, at["http"][index])
    for index, tls in enumerate(spec.tls):
        place = at["tls"][index]
        if not tls.match:
            place["match"].error("is empty, a tls rule needs a match with sniHosts")
        for number, match in enumerate(tls.match):
            _check_tls_match(match, spec, place["match"][number])
        _check_l4_routes(tls.route, place["route"])
    for index, tcp in enumerate(spec.tcp):
        place = at["tcp"][index]
        for number, l4 in enumerate(tcp.match):
            _check_l4_match(l4, place["match"][number])
        _check_l4_routes(tcp.route, place["route"])
    check_export_to(spec.export_to, resource.namespace, at["exportTo"])
    advise_unreachable(spec, at)


def _check_hosts(spec: VirtualService, at: At, on_gateway: bool) -> None:
    right = True
    for index, host in enumerate(spec.hosts):
        complaint = None if syntax.is_address(host) else syntax.wildcard_domain(host)
        if on_gateway and spec.tls and host.startswith("outbound_."):
            complaint = None  # the name that AUTO_PASSTHROUGH gateways see
        if complaint:
            at[index].error(complaint)
            right = False
        elif host == "*" and not on_gateway:
            at[index].error('"*" is for gateways, a rule of the mesh names its hosts; name them or add gateways')
            right = False
    if right:
        _check_overlaps(spec.hosts, at)


def _check_overlaps(hosts: list[str], at: At) -> None:
    """No name may be covered twice. Only wildcards are compared with everything: thousands of exact names are usual."""
    wildcards: list[str] = []
    exact: dict[str, str] = {}
    for index, host in enumerate(hosts):
        name = host.lower()
        others = [other for other in wildcards if _covers(other.lower(), name) or _covers(name, other.lower())]
        if name.startswith("*"):
            others += [exact[other] for other in exact if _covers(name, other)]
            wildcards.append(host)
        elif name in exact:
            others.append(exact[name])
        else:
            exact[name] = host
        for other in others:
            at[index].error(f"{host} and {other} cover the same names, keep one of them")


def _covers(wildcard: str, name: str) -> bool:
    return wildcard.startswith("*") and name.removeprefix("*").endswith(wildcard[1:])


def _check_claims(rule: HTTPRoute, at: At) -> None:
    for index, match in enumerate(rule.match):
        for name, headers in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
            for header in headers:
                if claim_names(header):
                    at["match"][index][name][header].error("claims can be matched on a gateway only, add gateways")


def _check_tls_match(match: TLSMatchAttributes, spec: VirtualService, at: At) -> None:
    if not match.sni_hosts:
        at["sniHosts"].error("is empty, name at least one host")
    for index, host in enumerate(match.sni_hosts):
        place = at["sniHosts"][index]
        if syntax.is_address(host):
            place.advice(f"{host} is an address, which clients do not send as a server name; write a host name")
        elif not say(place, _server_name(host, spec)) and not any(_within(host, owner) for owner in spec.hosts):
            place.error(f"{host} is not covered by the hosts {', '.join(spec.hosts)}, add it to spec.hosts")
    _check_l4(match.destination_subnets, match.port, match.source_labels, match.gateways, at)


def _server_name(host: str, spec: VirtualService) -> str | None:
    """A host, or on a gateway the name that AUTO_PASSTHROUGH sees."""
    inner = host.startswith("outbound_.") and any(name != MESH for name in spec.gateways)
    return None if inner else syntax.wildcard_domain(host)


def _within(host: str, owner: str) -> bool:
    if owner.startswith("*"):
        return host.lstrip("*").endswith(owner[1:])
    return host == owner


def _check_l4_match(match: L4MatchAttributes, at: At) -> None:
    _check_l4(match.destination_subnets, match.port, match.source_labels, match.gateways, at)


def _check_l4(subnets: list[str], port: int, labels: dict[str, str], gateways: list[str], at: At) -> None:
    for index, subnet in enumerate(subnets):
        say(at["destinationSubnets"][index], syntax.subnet(subnet))
    if port:
        check_port_number(port, at["port"])
    check_labels(labels, at["sourceLabels"])
    check_gateway_names(gateways, at["gateways"])


def _check_l4_routes(routes: Sequence[RouteDestination], at: At) -> None:
    if not routes:
        at.error("is empty, add a destination")
    for index, route in enumerate(routes):
        check_destination(route.destination, at[index]["destination"])
    check_weights((route.weight for route in routes), at)
