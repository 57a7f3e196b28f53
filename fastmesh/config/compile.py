"""From valid objects to a Plan for one proxy: the mesh listener, or the listeners of a gateway.

objects -> registry (services, endpoints) -> clusters (with DestinationRules) -> rules -> virtual hosts -> listeners
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from fastmesh.config.api_listeners import api_places, own_gateways
from fastmesh.config.credentials.api_material import Material
from fastmesh.config.credentials.grants import Grants
from fastmesh.config.credentials.names import Credentials
from fastmesh.config.findings import findings
from fastmesh.config.gateway_names import MESH
from fastmesh.config.listeners.addresses import with_port
from fastmesh.config.listeners.api_chains import ApiChains
from fastmesh.config.listeners.gateway_chains import GatewayChains
from fastmesh.config.listeners.gateway_places import chosen, places
from fastmesh.config.listeners.gateway_ports import target_ports
from fastmesh.config.listeners.gateways import GatewayHosts
from fastmesh.config.listeners.inbound import Inbound
from fastmesh.config.listeners.ingress import doors, loops
from fastmesh.config.listeners.outbound import Outbound
from fastmesh.config.mesh import mesh_of
from fastmesh.config.plan import ListenerPlan, MeshPlan, Plan, VirtualHostPlan, encode
from fastmesh.config.routes.delegates import Delegates
from fastmesh.config.routes.envoy_filters import EnvoyFilters
from fastmesh.config.routes.filters import Filters
from fastmesh.config.routes.gateway_api import HTTPRoutes
from fastmesh.config.routes.http_route import Backends
from fastmesh.config.routes.limits import Limits
from fastmesh.config.routes.matches import Scope
from fastmesh.config.routes.own_kinds import OwnKinds
from fastmesh.config.routes.policies import Policies
from fastmesh.config.routes.retries import default_retry
from fastmesh.config.routes.virtual_hosts import binds
from fastmesh.config.routes.virtual_service import Routes
from fastmesh.config.services.backend_tls import BackendPolicies
from fastmesh.config.services.clusters import Clusters
from fastmesh.config.services.destinations import DestinationRules
from fastmesh.config.services.instances import dns_names
from fastmesh.config.services.localities import own_network, own_site
from fastmesh.config.services.peer_authentications import PeerAuthentications
from fastmesh.config.services.registry import Registry
from fastmesh.config.services.role import Role, about_flag, stand_for
from fastmesh.config.services.scope import imports_of, unknown_hosts
from fastmesh.config.services.upstream_tls import UpstreamTLS
from fastmesh.config.services.zones import Zones
from fastmesh.config.store import ConfigSet
from fastmesh.errors import Problem

__all__ = ["Role", "compile_plan", "dns_names"]


def compile_plan(
    config: ConfigSet, role: Role, *, resolve: Mapping[str, Sequence[str]] | None = None
) -> tuple[Plan, list[Problem]]:
    """The plan of one proxy, and what this proxy cannot honour. `resolve` answers `dns_names(config)`."""
    collecting = gc.isenabled()
    gc.disable()  # everything made here stays alive: collecting meanwhile costs half of the time
    try:
        return _Compiler(config, role, resolve or {}).run()
    finally:
        if collecting:
            gc.enable()


class _Compiler:
    def __init__(self, config: ConfigSet, role: Role, resolve: Mapping[str, Sequence[str]]) -> None:
        self.config = config
        self.mesh = mesh_of(config.mesh_config)
        self.role, self.own, self.problems = stand_for(config, role, self.mesh)
        role = self.role
        self.gateway = role.kind == "gateway"
        self.api_gateways = own_gateways(config.api_gateways, role.labels, config.gateway_classes)
        seen = self.mesh.virtual_services.seen
        self.virtual_services = [
            item for item in config.virtual_services if seen(item.spec.export_to, item.namespace, role.namespace)
        ]
        delegates = Delegates(config.virtual_services, self.mesh.virtual_services)
        self.problems += delegates.problems
        sidecars = [] if self.gateway else config.sidecars
        self.imports = imports_of(sidecars, role.namespace, role.labels, self.mesh.root)
        self.registry = Registry(
            config,
            role.namespace,
            resolve,
            role.trust_domain,
            (*self.mesh.aliases, *role.believed),
            self.imports,
            self.mesh.services,
            ((item, delegates.hosts_of(item)) for item in self.virtual_services),
            self.mesh.root,
        )
        self.credentials = Credentials(config, role.namespace, identity=role.identity)
        self.grants = Grants(config.reference_grants)
        self.material = Material(self.credentials, self.grants)
        self.policies = PeerAuthentications(config.peer_authentications, self.mesh.root)
        self.tls = UpstreamTLS(
            self.credentials,
            self.policies,
            role.trust_domain,
            identity=role.identity,
            auto=self.mesh.auto_mtls,
            aliases=self.mesh.aliases,
            gateway=self.gateway,
            backends=self._backend_policies() if self.gateway else None,
        )
        rules = DestinationRules(config.destination_rules, role.namespace, role.labels, self.mesh)
        self.clusters = self._clusters(rules)
        self.routes = Routes(self.clusters, delegates, default_retry(self.mesh.retry))
        self.limits = Limits(config.rate_limits)
        self.backends = Backends(
            self.clusters, self.grants, self.problems, self.routes.default_retry, mesh=not self.gateway
        )
        self.inbound = Inbound(self.registry, self.limits, self.policies, self.credentials, self.own, rules, self.mesh)
        self.route_policies = Policies(config.route_policies, config.mesh_policies, self.mesh.root, self.routes)

    def _clusters(self, rules: DestinationRules) -> Clusters:
        """With what is known of where the proxy stands: its network, node, zone and replicas."""
        role, own = self.role, self.own
        network = own_network(self.config, role, self.registry.networks, own.address)
        node = own.containers.node_name if own.containers is not None else ""
        stands = own_site(self.config, role, network, node)
        self.zones = Zones(self.registry, role, stands)
        return Clusters(
            self.registry,
            rules,
            self.tls,
            self.mesh,
            own=stands,
            gateway=self.gateway,
            zones=self.zones,
            network=network,
            aims=role.intercepts or role.proxy_protocol or (self.gateway and self.mesh.proxy_protocol),
        )

    def _backend_policies(self) -> BackendPolicies:
        policies = self.config.backend_tls_policies
        return BackendPolicies(policies, self.api_gateways, self.material, self.credentials, self.problems)

    def run(self) -> tuple[Plan, list[Problem]]:
        listeners, vhosts = self._gateway() if self.gateway else self._mesh()
        EnvoyFilters(
            self.config,
            self.role.namespace,
            self.role.labels,
            self.mesh.root,
            self.limits,
            self.problems,
            gateway=self.gateway,
        ).apply(listeners, vhosts)
        vhosts = self.route_policies.apply(vhosts)
        filters = Filters(self.config, self.role, self.registry, self.mesh.root)
        vhosts, listeners = filters.attach(vhosts, listeners), filters.on_listeners(listeners)
        scope = self._scope(frozenset())
        root = self.limits.of_namespace(self.mesh.root, scope)
        mesh_policy = self.route_policies
        own = OwnKinds(self.config, self.clusters, self._scope(frozenset({MESH})), mesh_policy.retry_budget)
        shaped = own.shape()
        vhosts = own.guard(vhosts)
        plan = Plan(
            mesh=MeshPlan(
                version="",
                workload=self.role.workload,
                trust_domain=self.role.trust_domain,
                trust_domain_aliases=list(self.mesh.aliases),
                path_normalization=self.mesh.normalization,
                refusals=mesh_policy.refusals,
                namespace_limits=root,
                retry_budget=mesh_policy.proxy_retry_budget,
            ),
            workloads=self.registry.workloads.plans,
            limits=self.limits.plans,
            filters=filters.plans,
            clusters=shaped + own.shape_inbound(self.inbound.clusters, self.inbound.ports),
            vhosts=vhosts,
            listeners=listeners,
            sources=self.credentials.sources,
        )
        version = hashlib.blake2b(encode(plan), digest_size=8).hexdigest()
        plan = msgspec.structs.replace(plan, mesh=msgspec.structs.replace(plan.mesh, version=version))
        found = [
            *findings(self.config, self.role),
            *self.credentials.problems,
            *self.tls.problems,
            *self.clusters.problems,
            *self.zones.problems,
            *self.registry.networks.problems,
            *self.route_policies.problems,
            *own.problems,
        ]
        return plan, self.problems + found

    def _scope(self, gateways: frozenset[str]) -> Scope:
        return Scope(port=0, gateways=gateways, namespace=self.role.namespace, labels=self.role.labels)

    def _mesh(self) -> tuple[list[ListenerPlan], list[VirtualHostPlan]]:
        scope = self._scope(frozenset({MESH}))
        outbound = Outbound(
            registry=self.registry,
            clusters=self.clusters,
            routes=self.routes,
            http_routes=HTTPRoutes(self.config, self.backends, scope, self.problems),
            limits=self.limits,
            imports=self.imports,
            written=[item for item in self.virtual_services if binds(item, scope.gateways)],
            scope=scope,
            merges=self.route_policies.merges,
            unknown=unknown_hosts(self.imports, self.mesh.unknown),
            proxy_protocol=self.role.proxy_protocol,
            intercepts=self.role.intercepts,
            problems=self.problems,
        )
        vhosts: list[VirtualHostPlan] = []
        listeners = list(outbound.listeners(self.role.listen, vhosts))
        return [*listeners, *self._inbound(vhosts)], vhosts

    def _inbound(self, vhosts: list[VirtualHostPlan]) -> list[ListenerPlan]:
        """The listeners of a sidecar that face the mesh; a door that would lead back into the proxy is refused."""
        role = self.role
        if role.kind != "sidecar":
            return []
        found = doors(role, self.imports.sidecar, self.own.address, self.problems)
        for door, own in loops(role.listen, found):
            written = dict(role.inbound).get(door.listen, door.target)
            message = f"forwards to {own}, where this proxy itself listens; name the port of the application"
            if door.sidecar is not None and door.path:
                self.problems.append(door.sidecar.problem(door.path, f"{written} {message}"))
            else:
                self.problems.append(about_flag(f"--inbound {door.listen}={written}", message))
        if found and not role.identity:
            message = "this sidecar has no identity, so mutual TLS with it fails; start it with --certs DIR"
            self.problems.append(about_flag("--inbound", message, "warning"))
        listeners = [self.inbound.listener(door, vhosts) for door in found]
        self.problems += self.inbound.problems
        return listeners

    def _gateway(self) -> tuple[list[ListenerPlan], list[VirtualHostPlan]]:
        scope = self._scope(frozenset())
        http_routes = HTTPRoutes(self.config, self.backends, scope, self.problems)
        written = self.virtual_services
        hosts = GatewayHosts(
            self.registry,
            self.routes,
            http_routes,
            self.limits,
            written,
            scope,
            GatewayChains(self.registry, self.clusters, self.routes, self.credentials, written, self.problems),
            api_places(self.api_gateways, self.problems),
            ApiChains(self.config, self.material, self.credentials, self.backends, self.problems),
            self.role.proxy_protocol or self.mesh.proxy_protocol,
        )
        mapped = self.role.ports
        translated = target_ports(self.config, self.own, self.role.labels)
        targets = {port: target for port, target in translated.items() if port not in mapped}
        own = places(chosen(self.config.gateways, self.role.labels), self.problems, targets)
        listeners = []
        for bind, port in hosts.ports(own):
            address = bind if not port else with_port(bind or self.role.bind, mapped.get(port, port))
            listeners.append(hosts.listener(bind, port, own.get((bind, port), []), address))
        return listeners, hosts.vhosts
