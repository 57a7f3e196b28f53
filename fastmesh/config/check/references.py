"""Objects among each other: names that lead nowhere. Warnings all of them, since Istio would run it and answer 503."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from fastmesh.config.check.report import At
from fastmesh.config.check.virtual_service import MESH
from fastmesh.config.hosts import DOMAIN, covers, fqdn, is_wildcard
from fastmesh.config.read.shape import closest
from fastmesh.config.resource import AnyResource, Resource
from fastmesh.errors import Problem
from fastmesh.model.destination_rule import DestinationRule
from fastmesh.model.rate_limit import RateLimit
from fastmesh.model.virtual_service import (
    Destination,
    HTTPMatchRequest,
    HTTPRoute,
    HTTPRouteDestination,
    L4MatchAttributes,
    RouteDestination,
    TCPRoute,
    TLSMatchAttributes,
    TLSRoute,
    VirtualService,
)

if TYPE_CHECKING:
    from fastmesh.config.store import ConfigSet


def check_references(config: ConfigSet, problems: list[Problem]) -> None:
    """Append a warning for every host, subset, gateway and target that does not exist."""
    known = _Known(config)
    for service in config.virtual_services:
        _virtual_service(service, known, At(service, problems))
    for rule in config.destination_rules:
        host = fqdn(rule.spec.host, rule.namespace)
        if not known.has_host(host):
            At(rule, problems)["host"].missing(f"{_unknown(rule.spec.host, host, known)} and the rule has no effect")
    for limit in config.rate_limits:
        _target(limit, config, At(limit, problems))


class _Known:
    """The hosts, subsets and gateways of a configuration."""

    def __init__(self, config: ConfigSet) -> None:
        services = (f"{each.name}.{each.namespace}.svc.{DOMAIN}" for each in config.services)
        entries = (host.lower() for each in config.service_entries for host in each.spec.hosts)
        self.hosts = {*services, *entries}
        self.wildcards = [host for host in self.hosts if is_wildcard(host)]
        self.gateways = {f"{each.namespace}/{each.name}" for each in config.gateways}
        self._subsets: dict[str, set[str]] = {}
        self._wild_rules: list[Resource[DestinationRule]] = []
        for rule in config.destination_rules:
            host = fqdn(rule.spec.host, rule.namespace)
            self._subsets.setdefault(host, set()).update(subset.name for subset in rule.spec.subsets)
            if is_wildcard(host):
                self._wild_rules.append(rule)

    def has_host(self, host: str) -> bool:
        if host in self.hosts or any(covers(wildcard, host) for wildcard in self.wildcards):
            return True
        return is_wildcard(host) and any(covers(host, known) for known in self.hosts)

    def subsets(self, host: str) -> set[str]:
        """Of every rule for the host, whoever would see it."""
        names = set(self._subsets.get(host, ()))
        for rule in self._wild_rules:
            if covers(rule.spec.host.lower(), host):
                names.update(subset.name for subset in rule.spec.subsets)
        return names


def _unknown(written: str, host: str, known: _Known) -> str:
    """What to say of a host that is not there."""
    name, dot, namespace = written.partition(".")
    meant = f"{name}.{namespace}.svc.{DOMAIN}"
    if dot and "." not in namespace and meant in known.hosts:
        return f"{written} is taken as a whole name, the service is {meant}; write that,"
    first, _, rest = host.partition(".")
    guess = closest(first, (each.partition(".")[0] for each in known.hosts if each.partition(".")[2] == rest))
    return f"no Service or ServiceEntry has the host {host}{guess}{'' if guess else ','}"


def _virtual_service(service: Resource[VirtualService], known: _Known, at: At) -> None:
    spec = service.spec
    for place, gateway in _gateways(spec, at):
        key = gateway if "/" in gateway else _legacy(gateway, service.namespace)
        if gateway != MESH and key not in known.gateways:
            place.missing(f"there is no Gateway {key}, so these rules listen nowhere")
    for place, destination in _destinations(spec, at):
        host = fqdn(destination.host, service.namespace)
        if not known.has_host(host):
            place["host"].missing(f"{_unknown(destination.host, host, known)} requests would get 503")
        elif destination.subset and destination.subset not in known.subsets(host):
            names = ", ".join(sorted(known.subsets(host)))
            right = f"its subsets are {names}" if names else "add it to one"
            message = f"no DestinationRule of {host} has a subset {destination.subset}, {right}; requests would get 503"
            place["subset"].missing(message)


def _legacy(gateway: str, namespace: str) -> str:
    """`name`, or the old form `name.namespace`."""
    name, dot, rest = gateway.partition(".")
    return f"{rest.partition('.')[0]}/{name}" if dot else f"{namespace}/{name}"


def _gateways(spec: VirtualService, at: At) -> Iterator[tuple[At, str]]:
    for index, name in enumerate(spec.gateways):
        yield at["gateways"][index], name
    for place, rule in _rules(spec, at):
        matches: Sequence[HTTPMatchRequest | TLSMatchAttributes | L4MatchAttributes] = rule.match
        for number, match in enumerate(matches):
            for position, name in enumerate(match.gateways):
                yield place["match"][number]["gateways"][position], name


def _rules(spec: VirtualService, at: At) -> Iterator[tuple[At, HTTPRoute | TLSRoute | TCPRoute]]:
    yield from ((at["http"][index], http) for index, http in enumerate(spec.http))
    yield from ((at["tls"][index], tls) for index, tls in enumerate(spec.tls))
    yield from ((at["tcp"][index], tcp) for index, tcp in enumerate(spec.tcp))


def _destinations(spec: VirtualService, at: At) -> Iterator[tuple[At, Destination]]:
    for place, rule in _rules(spec, at):
        routes: Sequence[HTTPRouteDestination | RouteDestination] = rule.route
        for number, route in enumerate(routes):
            yield place["route"][number]["destination"], route.destination
    for index, http in enumerate(spec.http):
        if http.mirror is not None:
            yield at["http"][index]["mirror"], http.mirror
        for number, mirror in enumerate(http.mirrors):
            yield at["http"][index]["mirrors"][number]["destination"], mirror.destination


def _target(limit: Resource[RateLimit], config: ConfigSet, at: At) -> None:
    target = limit.spec.target_ref
    if target is None:
        return
    found = config.get(target.kind, target.namespace or limit.namespace, target.name)
    place = at["targetRef"]
    if found is None:
        names = _names(config, target.kind, limit.namespace)
        guess = closest(target.name, names) or ","
        place["name"].missing(f"there is no {target.kind}/{target.name} in {limit.namespace}{guess} nothing is limited")
    elif target.section_name and isinstance(found.spec, VirtualService):
        routes = [rule.name for rule in found.spec.http if rule.name]
        if target.section_name not in routes:
            guess = closest(target.section_name, routes) or ","
            message = f"{target.name} has no route named {target.section_name}{guess} nothing is limited"
            place["sectionName"].missing(message)


def _names(config: Iterable[AnyResource], kind: str, namespace: str) -> list[str]:
    return [each.name for each in config if each.kind == kind and each.namespace == namespace]
