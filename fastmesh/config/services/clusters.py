"""Clusters: service + port + subset, made when a rule first asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec

from fastmesh.config.mesh import Mesh
from fastmesh.config.origins import origin
from fastmesh.config.plan import ClusterPlan, EndpointPlan, OutlierPlan, ZonesPlan
from fastmesh.config.selectors import selects
from fastmesh.config.services.balancing import balancer, hash_plan, retry_budget, utilization, warmup
from fastmesh.config.services.destinations import DestinationRules, MergedRule
from fastmesh.config.services.instances import Instance
from fastmesh.config.services.localities import HOSTNAME, ByRegion, Setting, Site, locality_of, setting_of, topology
from fastmesh.config.services.networks import NETWORK, Gateway
from fastmesh.config.services.registry import MeshService, Port, Registry
from fastmesh.config.services.role import about_flag
from fastmesh.config.services.upstream_tls import Target, UpstreamTLS, http_version, mesh_sni
from fastmesh.config.services.zones import Zones
from fastmesh.errors import Problem
from fastmesh.model.destination_rule import ConnectionPool, HTTPSettings, OutlierDetection, TcpKeepalive, Tunnel

DISTRIBUTION = "networking.istio.io/traffic-distribution"  # the annotation that is older than the field


@dataclass(frozen=True, slots=True)
class Member:
    """An endpoint, and where it stands."""

    plan: EndpointPlan
    site: Site
    labels: Mapping[str, str]  # as written: what subsets select by


OUTSIDE = "PassthroughCluster"
HASHED_MAX = 65_535  # endpoints that a table of consistent hashing tells apart, in 16 bits


class Clusters:
    def __init__(
        self,
        registry: Registry,
        rules: DestinationRules,
        tls: UpstreamTLS,
        mesh: Mesh,
        *,
        own: Site,
        gateway: bool,
        zones: Zones,
        network: str = "",
        aims: bool = False,
    ) -> None:
        """`network`: where this proxy stands. `aims`: it is known where the connections of clients were meant to go."""
        self.problems: list[Problem] = []
        self._aims = aims
        self._zones = zones
        self._network = network
        self._told: set[str] = set()
        self._own = own
        self._mesh = mesh
        self.registry = registry
        self.plans: list[ClusterPlan] = []
        self._rules = rules
        self._tls = tls
        self._gateway = gateway
        self._found: dict[str, MergedRule | None] = {}
        self._made: dict[str, bool] = {}
        self._endpoints: dict[tuple[str, int], list[Member]] = {}

    def use(self, host: str, port: int, subset: str) -> tuple[str, bool]:
        """The name of a cluster and whether it exists."""
        service = self.registry.concrete(host)
        name = f"outbound|{port}|{subset}|{service.host if service is not None else host}"
        exists = self._made.get(name)
        if exists is None:
            exists = self._made[name] = service is not None and self._make(name, service, port, subset)
        return name, exists

    def use_outside(self) -> str:
        """The cluster for hosts that nobody configured: their addresses are asked of DNS when requests come."""
        if OUTSIDE not in self._made:
            self._made[OUTSIDE] = True
            pool = pool_fields(None, self._mesh)
            self.plans.append(ClusterPlan(name=OUTSIDE, kind="original_dst", service_name=OUTSIDE, **pool))  # type: ignore[arg-type]
        return OUTSIDE

    def use_opaque(self, service: MeshService, port: Port, subset: str) -> str:
        """The cluster behind an AUTO_PASSTHROUGH server: the clients' own mutual TLS goes through, so only endpoints
        that end it are there."""
        name = mesh_sni(service.host, port.number, subset)
        if name not in self._made:
            target = self._target(service, port.number, subset)
            self._made[name] = target is not None
            if target is not None:
                self.plans.append(self._plan(name, target, only_mesh=True))
        return name

    def subsets(self, service: MeshService) -> list[str]:
        """The subsets of a service as this proxy sees them; "" is the whole of it."""
        rule = self._rule(service)
        return ["", *(rule.subsets if rule is not None else ())]

    def _rule(self, service: MeshService) -> MergedRule | None:
        if service.host not in self._found:
            self._found[service.host] = self._rules.find(service.host, service.namespace)
        return self._found[service.host]

    def _make(self, name: str, service: MeshService, number: int, subset: str) -> bool:
        target = self._target(service, number, subset)
        if target is None:
            return False
        self.plans.append(self._plan(name, target))
        return True

    def _target(self, service: MeshService, number: int, subset_name: str) -> Target | None:
        port = service.port(number)
        rule = self._rule(service)
        subset = rule.subsets.get(subset_name) if rule is not None else None
        if port is None or (subset_name and subset is None):
            return None
        policy = self._rules.policy(rule, number, subset)
        http = _http(policy.connection_pool, port, self._gateway, self._mesh.upgrade)
        return Target(service, port, subset, http, policy, rule)

    def _select(self, target: Target) -> list[Member]:
        if target.service.destination == "original_dst":
            return []
        labels = target.subset.labels if target.subset is not None else {}
        return [member for member in self._endpoints_of(target.service, target.port) if selects(labels, member.labels)]

    def _endpoints_of(self, service: MeshService, port: Port) -> list[Member]:
        key = (service.host, port.number)
        found = self._endpoints.get(key)
        if found is None:
            by_address: dict[tuple[str, int], Member] = {}
            node = self._node_for(service)
            for instance in service.instances:
                if node and instance.node != node:
                    continue
                number = instance.port_for(port.name, port.target)
                if number is None:
                    continue
                member = self._member(service, port, instance, number)
                # Those that have no address of their own are several all the same
                by_address.setdefault((member.plan.address or f"#{len(by_address)}", member.plan.port), member)
            found = self._endpoints[key] = list(by_address.values())
        return found

    def _node_for(self, service: MeshService) -> str:
        """internalTrafficPolicy Local: only endpoints of this node serve; "": all do."""
        if getattr(service.written.spec, "internal_traffic_policy", "") != "Local":
            return ""
        node = self._own.labels.get(HOSTNAME, "")
        if not node and HOSTNAME not in self._told:
            self._told.add(HOSTNAME)
            message = (
                f"on which node this proxy runs is not known, so that internalTrafficPolicy: Local of "
                f"{service.host} keeps to none; write {HOSTNAME}=NODE"
            )
            self.problems.append(about_flag("--labels", message, "warning"))
        return node

    def _member(self, service: MeshService, port: Port, instance: Instance, number: int) -> Member:
        locality = locality_of(instance.labels, instance.locality)
        labels = topology(instance.labels, locality, instance.network, instance.node)
        plan = EndpointPlan(
            address=instance.address,
            port=0 if instance.address.startswith("unix:") else number,
            weight=instance.weight,
            locality=locality,
            workload=instance.workload,
            mesh_tls=self._tls.speaks(service, port, instance, number),
        )
        return Member(plan, Site(locality, labels, max(1, instance.weight)), instance.labels)

    def _plan(self, name: str, target: Target, *, only_mesh: bool = False) -> ClusterPlan:
        """`only_mesh`: bytes go to sidecars as they are, in the clients' own TLS."""
        service, policy, rule = target.service, target.policy, target.rule
        original = service.destination == "original_dst"
        chosen = not original and balancer(policy.load_balancer) == "PASSTHROUGH"
        if chosen and not self._aims:
            self._aimless(target)
        members = self._across(target, self._select(target))
        members = [member for member in members if member.plan.mesh_tls or not only_mesh]
        endpoints, localities = ([each.plan for each in members], []) if chosen else self._arranged(target, members)
        hashed = None if original else hash_plan(policy.load_balancer)
        if hashed is not None and len(endpoints) > HASHED_MAX:
            self._too_many(target, len(endpoints))
        return ClusterPlan(
            name=name,
            kind="original_dst" if original else "passthrough" if chosen else "endpoints",
            addresses=service.addresses if chosen else [],
            host=service.host,
            port=target.port.number,
            subset=target.subset_name,
            service_name=service.name,
            service_namespace=service.namespace,
            endpoints=endpoints,
            localities=localities,
            zones=self._zoned(target) if endpoints and not chosen else None,
            balancer="PASSTHROUGH" if original else balancer(policy.load_balancer),
            hash=hashed,
            utilization=None if original or chosen else utilization(policy.load_balancer),
            warmup=None if original else warmup(policy.load_balancer),
            retry_budget=retry_budget(policy.retry_budget),
            tls=None if only_mesh else self._tls.plan(target, endpoints),
            http=target.http,  # type: ignore[arg-type]
            outlier=_outlier(policy.outlier_detection),
            proxy_protocol=0 if policy.proxy_protocol is None else 1 if policy.proxy_protocol.version == "V1" else 2,
            tunnel=_tunnel(policy.tunnel),
            origin=origin(rule.policy_from) if rule is not None else None,
            **pool_fields(policy.connection_pool, self._mesh),  # type: ignore[arg-type]
        )

    def _across(self, target: Target, members: list[Member]) -> list[Member]:
        """Members of other networks give way to their networks' gateways, which take mutual TLS alone."""
        networks = self.registry.networks
        if not networks.gateways:
            return [member for member in members if member.plan.address]
        found: list[Member] = []
        through: dict[tuple[str, str, Gateway], int] = {}
        mutual = self._tls.is_mutual(target.policy)
        for member in members:
            network, weight = member.site.labels.get(NETWORK, ""), member.site.weight * networks.scale
            gateways = networks.way(self._network, network)
            if not gateways:
                if member.plan.address:
                    plan = msgspec.structs.replace(member.plan, weight=weight)
                    found.append(replace(member, plan=plan, site=replace(member.site, weight=weight)))
            elif not member.plan.mesh_tls or not mutual:
                self._out_of_reach(target.service, member.plan.address, network, mutual)
            else:
                for gateway in gateways:
                    key = member.site.locality, network, gateway
                    through[key] = through.get(key, 0) + weight // len(gateways)
        for (locality, network, (address, port)), weight in through.items():
            plan = EndpointPlan(address=address, port=port, weight=weight, locality=locality, mesh_tls=True)
            found.append(Member(plan, Site(locality, topology({}, locality, network), weight), {}))
        return found

    def _out_of_reach(self, service: MeshService, address: str, network: str, mutual: bool) -> None:
        """Once for a service and network."""
        key = f"{service.host} {network}"
        if key not in self._told:
            self._told.add(key)
            why = f"{address or 'an endpoint'} does not speak it" if mutual else "this proxy does not speak it to there"
            message = (
                f"{service.host} has endpoints in network {network} that get nothing: "
                f"the gateways of that network take mutual TLS alone, and {why}"
            )
            self.problems.append(service.written.problem(("spec",), message, "warning", "advice"))

    def _zoned(self, target: Target) -> ZonesPlan | None:
        """A hash chooses among all zones alike, as in Envoy."""
        balancer = target.policy.load_balancer
        setting = self._setting(target)
        if not isinstance(setting, ByRegion) or setting.written.enabled is False or hash_plan(balancer) is not None:
            return None
        return self._zones.plan(setting.written.min_cluster_size)

    def _setting(self, target: Target) -> Setting | None:
        written = target.service.written
        distribution = getattr(written.spec, "traffic_distribution", "") or written.annotations.get(DISTRIBUTION, "")
        return setting_of(self._mesh, target.policy.load_balancer, distribution)

    def _too_many(self, target: Target, count: int) -> None:
        rule = target.rule
        if rule is not None:
            message = (
                f"{target.service.host} has {count} endpoints, and a consistent hash tells {HASHED_MAX} apart: "
                "choose subsets, or another balancer"
            )
            self.problems.append(rule.policy_from.problem(("spec", "trafficPolicy"), message))

    def _aimless(self, target: Target) -> None:
        """Once for a service: nothing tells this proxy where a client's connection was meant to go."""
        rule, service = target.rule, target.service
        if rule is None or service.host in self._told:
            return
        self._told.add(service.host)
        message = (
            f"PASSTHROUGH sends requests for {service.host} where their connections were meant to go, and nobody "
            "redirects connections to this proxy: all but those with an address of the service in Host get 503 (UH); "
            "choose a balancer, or see --interception-mode"
        )
        self.problems.append(rule.policy_from.problem(("spec", "trafficPolicy"), message, "warning", "advice"))

    def _arranged(self, target: Target, members: list[Member]) -> tuple[list[EndpointPlan], list[tuple[int, str, int]]]:
        """Endpoints with their priorities, without those that get nothing, and the shares of localities."""
        policy, setting = target.policy, self._setting(target)
        if setting is None or not members:
            return [member.plan for member in members], []
        sites = [member.site for member in members]
        found = setting.arrange(self._own, sites, policy.outlier_detection is not None)
        endpoints = [
            msgspec.structs.replace(member.plan, priority=priority) if priority else member.plan
            for member, priority in zip(members, found.priorities, strict=True)
            if priority is not None
        ]
        return endpoints, found.localities


def _tunnel(block: Tunnel | None) -> str:
    """What asks a proxy for a tunnel (RFC 9110 section 9.3.6), or begins one in the bodies of a POST, as Envoy does."""
    if block is None:
        return ""
    host = f"[{block.target_host}]" if ":" in block.target_host else block.target_host
    place = f"{host}:{block.target_port}"
    if block.protocol == "POST":
        return f"POST / HTTP/1.1\r\nHost: {place}\r\nTransfer-Encoding: chunked\r\n\r\n"
    return f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n"


def _http(block: ConnectionPool | None, port: Port, gateway: bool, upgrade: bool) -> str:
    http = block.http if block is not None and block.http is not None else HTTPSettings()
    wanted = "UPGRADE" if http.h2_upgrade_policy == "DEFAULT" and upgrade else http.h2_upgrade_policy
    return http_version(port, http.use_client_protocol, wanted == "UPGRADE", gateway)


def pool_fields(block: ConnectionPool | None, mesh: Mesh) -> dict[str, object]:
    """Fields of ClusterPlan; zero means "not set" as in Istio, but for idle timeouts, where it means "never"."""
    found: dict[str, object] = {"connect_timeout": mesh.connect_timeout, "keepalive": _keepalive(mesh.keepalive)}
    if block is None:
        return found
    if block.tcp is not None:
        found["max_connections"] = block.tcp.max_connections
        found["connect_timeout"] = int(block.tcp.connect_timeout or mesh.connect_timeout)
        found["idle_timeout"] = found["tcp_idle"] = _milliseconds(block.tcp.idle_timeout)
        found["max_connection_duration"] = _milliseconds(block.tcp.max_connection_duration) or None
        found["keepalive"] = _keepalive(block.tcp.tcp_keepalive or mesh.keepalive)
    if block.http is not None:
        found["max_pending"] = block.http.http1_max_pending_requests
        found["max_requests"] = block.http.http2_max_requests
        found["max_retries"] = block.http.max_retries
        found["max_requests_per_connection"] = block.http.max_requests_per_connection
        found["max_streams"] = block.http.max_concurrent_streams
        if block.http.idle_timeout is not None:
            found["idle_timeout"] = _milliseconds(block.http.idle_timeout)
        ping = block.http.http2_keep_alive
        if ping is not None:
            found["h2_ping"] = (int(ping.interval or 0), int(ping.timeout or 0))
    return found


def _keepalive(block: TcpKeepalive | None) -> tuple[int, int, int] | None:
    if block is None:
        return None
    return block.probes, (block.time or 0) // 1000, (block.interval or 0) // 1000


def _milliseconds(written: int | None) -> int | None:
    return None if written is None else int(written)


def _outlier(block: OutlierDetection | None) -> OutlierPlan | None:
    if block is None:
        return None
    errors = block.consecutive_5xx_errors
    return OutlierPlan(
        consecutive_5xx=5 if errors is None else errors,
        consecutive_gateway=block.consecutive_gateway_errors or 0,
        split_local=block.split_external_local_origin_errors,
        consecutive_local=block.consecutive_local_origin_failures or 5,  # 0 is not "off": Istio does not pass it on
        interval=int(block.interval or 10_000),
        base=int(block.base_ejection_time or 30_000),
        max_percent=block.max_ejection_percent or 10,
        min_health_percent=block.min_health_percent,
        codes=list(block.outlier_detection_http_error_codes),
    )
