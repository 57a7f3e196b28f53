"""What holds for the whole mesh, with Istio's defaults where MeshConfig says nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fastmesh.config.hosts import ROOT_NAMESPACE, exported
from fastmesh.model.destination_rule import (
    ConnectionPool,
    LocalityLoadBalancer,
    OutlierDetection,
    TcpKeepalive,
    ZoneAwareLoadBalancer,
)
from fastmesh.model.mesh_config import MeshConfig
from fastmesh.model.virtual_service import HTTPRetry

CONNECT_TIMEOUT = 10_000

# outside: somebody wrote ALLOW_ANY, so the hosts of requests are asked of DNS; passthrough: nobody said anything
Unknown = Literal["passthrough", "blackhole", "outside"]
Normalization = Literal["NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visibility:
    """Where objects of one kind are seen that do not say it themselves; empty = everywhere."""

    otherwise: tuple[str, ...] = ()

    def of(self, export_to: Iterable[str]) -> list[str]:
        return list(export_to) or list(self.otherwise) or ["*"]

    def seen(self, export_to: Iterable[str], owner: str, viewer: str) -> bool:
        return exported(list(export_to) or self.otherwise, owner, viewer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    root: str = ROOT_NAMESPACE
    unknown: Unknown = "passthrough"
    services: Visibility = Visibility()
    virtual_services: Visibility = Visibility()
    destination_rules: Visibility = Visibility()
    retry: HTTPRetry | None = None
    inbound_retry: HTTPRetry | None = None  # of a sidecar towards its own application
    connect_timeout: int = CONNECT_TIMEOUT
    keepalive: TcpKeepalive | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    locality: LocalityLoadBalancer | None = None  # None: on
    zone_aware: ZoneAwareLoadBalancer | None = None
    upgrade: bool = False  # HTTP/2 to endpoints whose port says HTTP
    auto_mtls: bool = True
    trust_domain: str = ""
    aliases: tuple[str, ...] = ()
    normalization: Normalization = "BASE"
    proxy_protocol: bool = False  # clients of gateways begin with a PROXY header


def unknown_by(mode: str) -> Unknown:
    return "blackhole" if mode == "REGISTRY_ONLY" else "outside"


def mesh_of(written: MeshConfig | None) -> Mesh:
    if written is None:
        return Mesh()
    policy, path, default = written.outbound_traffic_policy, written.path_normalization, written.default_traffic_policy
    topology = written.default_config.gateway_topology if written.default_config is not None else None
    normalization = path.normalization if path is not None else "DEFAULT"
    return Mesh(
        root=written.root_namespace or ROOT_NAMESPACE,
        unknown="passthrough" if policy is None else unknown_by(policy.mode),
        services=Visibility(otherwise=tuple(written.default_service_export_to)),
        virtual_services=Visibility(otherwise=tuple(written.default_virtual_service_export_to)),
        destination_rules=Visibility(otherwise=tuple(written.default_destination_rule_export_to)),
        retry=written.default_http_retry_policy,
        inbound_retry=written.default_inbound_http_retry_policy,
        connect_timeout=int(written.connect_timeout or CONNECT_TIMEOUT),
        keepalive=written.tcp_keepalive,
        connection_pool=default.connection_pool if default is not None else None,
        outlier_detection=default.outlier_detection if default is not None else None,
        locality=written.locality_lb_setting,
        zone_aware=written.zone_aware_lb_setting,
        upgrade=written.h2_upgrade_policy == "UPGRADE",
        auto_mtls=written.enable_auto_mtls is not False,
        trust_domain=written.trust_domain,
        aliases=tuple(written.trust_domain_aliases),
        proxy_protocol=topology is not None and topology.proxy_protocol is not None,
        normalization="BASE" if normalization == "DEFAULT" else normalization,
    )
