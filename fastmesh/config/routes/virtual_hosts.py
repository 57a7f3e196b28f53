"""The mesh listener: which VirtualService, or which service, answers for a host and port.

One VirtualService owns a host: the older one, and for a registry service the most specific one. What no VirtualService
governs keeps the default route of its service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from fastmesh.config.gateway_names import MESH, gateway_name
from fastmesh.config.hosts import DOMAIN, HostIndex, as_domain, covers, fqdn, is_wildcard
from fastmesh.config.origins import origin
from fastmesh.config.plan import DomainPlan, Origin, RulePlan, VirtualHostPlan
from fastmesh.config.resource import Resource
from fastmesh.config.routes.gateway_api import HTTPRoutes
from fastmesh.config.routes.limits import Limits
from fastmesh.config.routes.matches import Scope, catch_all_last
from fastmesh.config.routes.virtual_service import Routes
from fastmesh.config.services.service import MeshService, Services
from fastmesh.model.virtual_service import VirtualService

HTTP_PORT = 80
ANY_PORT = 0


def binds(written: Resource[VirtualService], gateways: frozenset[str]) -> bool:
    """Whether a VirtualService is meant for one of these gateways; none written means the mesh."""
    names = written.spec.gateways or [MESH]
    return any(gateway_name(name, written.namespace) in gateways for name in names)


@dataclass(slots=True)
class Governed:
    """What a VirtualService owns on the mesh."""

    services: list[MeshService] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)  # names that are not in the registry

    def ports(self) -> dict[int, list[MeshService]]:
        """The services by HTTP port; with none of them, port 80 for the other hosts alone."""
        found: dict[int, list[MeshService]] = {}
        for service in self.services:
            for port in service.http_ports:
                found.setdefault(port.number, []).append(service)
        return found or {HTTP_PORT: []}


class VirtualHosts:
    """Collects virtual hosts and the domains that lead to them; the first taker of a domain keeps it."""

    def __init__(self, plans: list[VirtualHostPlan]) -> None:
        self.plans = plans  # of all listeners
        self.domains: dict[tuple[str, int], int] = {}
        self._shared: dict[tuple[object, ...], int] = {}

    def add(self, domains: Iterable[str], port: int, plan: VirtualHostPlan) -> None:
        free = [domain for domain in domains if (domain, port) not in self.domains]
        if free:
            self.plans.append(plan)
            self.domains.update(((domain, port), len(self.plans) - 1) for domain in free)

    def share(self, domain: str, port: int, plan: VirtualHostPlan) -> None:
        """Hosts with the same rules share one virtual host: ten thousand names cost ten thousand words, not rules."""
        if (domain, port) in self.domains:
            return
        key = (port, tuple(map(id, plan.rules)), tuple(plan.limits))
        index = self._shared.get(key)
        if index is None:
            index = self._shared[key] = len(self.plans)
            self.plans.append(plan)
        self.domains[domain, port] = index

    def add_portless(self) -> None:
        """A Host without a port means port 80, else the first port at which the name is served."""
        for (domain, port), index in list(self.domains.items()):
            if port == HTTP_PORT:
                self.domains[domain, ANY_PORT] = index
            else:
                self.domains.setdefault((domain, ANY_PORT), index)

    def listed(self) -> list[DomainPlan]:
        return [DomainPlan(domain=domain, port=port, vhost=index) for (domain, port), index in self.domains.items()]

    def by_name(self) -> list[DomainPlan]:
        """For a listener of one port: what Host says of a port is not looked at."""
        return [DomainPlan(domain=domain, port=ANY_PORT, vhost=index) for (domain, _), index in self.domains.items()]


class MeshHosts:
    """Adds to `hosts` what one egress listener serves: its services and VirtualServices, on the ports that are its."""

    def __init__(
        self,
        hosts: VirtualHosts,
        services: Services,
        routes: Routes,
        http_routes: HTTPRoutes,
        limits: Limits,
        virtual_services: list[Resource[VirtualService]],
        scope: Scope,
        serves: Callable[[int], bool] = lambda port: True,
        *,
        merges: bool = False,
    ) -> None:
        self.hosts = hosts
        self._serves = serves
        self._registry = services
        self._routes = routes
        self._http_routes = http_routes
        self._limits = limits
        self._scope = scope
        self._written = virtual_services
        self._taken: set[tuple[str, int]] = set()
        self._naming: dict[str, list[Resource[VirtualService]]] = {}  # who names a host, when all have a say
        for written in virtual_services if merges else ():
            for host in _hosts(written):
                self._naming.setdefault(host, []).append(written)

    def build(self) -> None:
        for written, governed in self._govern():
            for port, services in governed.ports().items():
                if self._serves(port):
                    self._add_virtual_service(written, port, services, governed.hosts)
        for service in self._registry.rule_owners():
            self._add_defaults(service)

    def _govern(self) -> Iterator[tuple[Resource[VirtualService], Governed]]:
        """Each VirtualService with the services and the other hosts that are its own.

        Several may name a service exactly: the first with rules for a port takes it. A wildcard takes only services
        whose most specific VirtualService it is.
        """
        owners: HostIndex[Resource[VirtualService]] = HostIndex()
        for written in self._written:
            for host in _hosts(written):
                owners.put(host, written)
        by_owner: dict[int, list[MeshService]] = {}
        matched: set[str] = set()
        for service in self._registry.rule_owners():
            owner = owners.most_specific(service.host)
            if owner is not None:
                by_owner.setdefault(id(owner), []).append(service)
            matched.update(_wildcards_over(service.host, owners))
        for written in self._written:
            yield written, self._governed(written, matched, by_owner.get(id(written), []))

    def _governed(self, written: Resource[VirtualService], matched: set[str], owned: list[MeshService]) -> Governed:
        services = {service.host: service for service in owned}
        hosts = []
        for host in _hosts(written):
            service = self._registry.rule_owner(host)
            if service is not None:
                services[host] = service
            elif host not in matched:
                hosts.append(host)
        return Governed(list(services.values()), hosts)

    def _add_virtual_service(
        self, written: Resource[VirtualService], port: int, services: list[MeshService], hosts: list[str]
    ) -> None:
        rules = self._routes.of_virtual_service(written, self._scope.at(port))
        if not rules:
            return
        rules = self._limits.on_rules(rules, written, self._scope.at(port))
        for host in hosts:
            limits = self._limits.of_virtual_service(written, self._scope.at(port))
            merged = self._merged(host, port, rules)
            plan = VirtualHostPlan(name=f"{host}:{port}", rules=merged, origin=origin(written), limits=limits)
            self.hosts.share(as_domain(host), port, plan)
        for service in services:
            self._taken.add((service.host, port))
            self._add_service(service, port, self._merged(service.host, port, rules), origin(written), written)

    def _merged(self, host: str, port: int, rules: list[RulePlan]) -> list[RulePlan]:
        """The rules of all that name the host, the older first; what fits always moves behind, as on a gateway."""
        naming = self._naming.get(host, ())
        if len(naming) < 2:
            return rules
        scope = self._scope.at(port)
        found: list[RulePlan] = []
        for number, written in enumerate(naming):
            own = self._limits.on_rules(self._routes.of_virtual_service(written, scope), written, scope)
            # The first one's limits are the virtual host's
            found += own if number == 0 else self._limits.on_all_rules(own, written, scope)
        return catch_all_last(found)

    def _add_defaults(self, service: MeshService) -> None:
        for port in service.http_ports:
            if (service.host, port.number) in self._taken or not self._serves(port.number):
                continue
            place = origin(service.written, "default")
            rules = self._http_routes.of_service(service, port.number)
            if not rules:
                rules = [self._routes.default(service.host, port.number, place)]
            self._add_service(service, port.number, rules, rules[0].origin, None)

    def _add_service(
        self,
        service: MeshService,
        port: int,
        rules: list[RulePlan],
        place: Origin,
        written: Resource[VirtualService] | None,
    ) -> None:
        limits = self._limits.of_service(service, written, self._scope.at(port))
        plan = VirtualHostPlan(name=f"{service.host}:{port}", rules=rules, origin=place, limits=limits)
        self.hosts.add(self._domains(service, port), port, plan)

    def _domains(self, service: MeshService, port: int) -> list[str]:
        """A service's names: in full, shorter ones that are no other service's full name, and its virtual IPs."""
        domains = []
        for host in (service.host, *self._registry.aliases.get(service.host, ())):
            domains.append(host)
            for short in short_names(host, self._registry.namespace):
                other = self._registry.get(short)
                if other is None or other.port(port) is None:
                    domains.append(short)
        if service.headless:
            domains += ["*." + domain for domain in domains]
        return domains + [as_domain(address.lower()) for address in service.addresses]

    def add_any(self) -> None:
        """A VirtualService for `*` (Istio refuses it on the mesh) takes what nobody else has."""
        for written in self._written:
            if "*" in written.spec.hosts:
                scope = self._scope.at(HTTP_PORT)
                rules = self._routes.of_virtual_service(written, scope)
                if rules:
                    rules = self._limits.on_rules(rules, written, scope)
                    limits = self._limits.of_virtual_service(written, scope)
                    plan = VirtualHostPlan(name="*", rules=rules, origin=origin(written), limits=limits)
                    self.hosts.add(["*"], ANY_PORT, plan)


def short_names(host: str, namespace: str) -> list[str]:
    """`n.ns.svc`, `n.ns`, and `n` alone for clients of the same namespace; only names inside the cluster have them."""
    inside, svc, _ = host.partition(f".svc.{DOMAIN}")
    if not svc or host != f"{inside}.svc.{DOMAIN}":
        return []
    name, dot, owner = inside.rpartition(".")
    if not dot:
        return []
    return [f"{inside}.svc", inside, *([name] if owner == namespace else [])]


def _hosts(written: Resource[VirtualService]) -> list[str]:
    """The hosts in full, but for `*`, which `add_any` serves."""
    return [fqdn(host, written.namespace) for host in written.spec.hosts if host != "*"]


def _wildcards_over(host: str, owners: HostIndex[Resource[VirtualService]]) -> Iterator[str]:
    """The wildcard hosts of VirtualServices that overlap with this service."""
    if is_wildcard(host):
        for suffix in owners.wildcards:
            if covers("*" + suffix, host) or covers(host, "*" + suffix):
                yield "*" + suffix
    else:
        yield from owners.covering(host)
