# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""MeshConfig: what holds for the whole mesh, as it stands under `mesh` in the ConfigMap `istio`.

Parts that this release does not act on are read as they are written.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from fastmesh.model.base import Duration, Int32, Spec
from fastmesh.model.destination_rule import (
    ConnectionPool,
    LocalityLoadBalancer,
    OutlierDetection,
    TcpKeepalive,
    ZoneAwareLoadBalancer,
)
from fastmesh.model.proxy_config import ProxyImage
from fastmesh.model.virtual_service import HTTPRetry

Written = dict[str, Any]
Normalization = Literal["DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"]


class TrafficPolicy(Spec, frozen=True):
    """The zero value of the mode is REGISTRY_ONLY."""

    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY", "ALLOW_ANY_DYNAMIC_DNS"] = "REGISTRY_ONLY"
    tls: Written | None = None


class InboundPolicy(Spec, frozen=True):
    mode: Literal["PASSTHROUGH", "LOCALHOST"] = "PASSTHROUGH"


class PathNormalization(Spec, frozen=True):
    normalization: Normalization = "DEFAULT"


class DefaultPolicy(Spec, frozen=True):
    """What destinations have whose DestinationRules say nothing."""

    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None


class TLSSettings(Spec, frozen=True):
    min_protocol_version: Literal["TLS_AUTO", "TLSV1_2", "TLSV1_3"] = "TLS_AUTO"
    ecdh_curves: list[str] = []
    cipher_suites: list[str] = []


class GatewayTopology(Spec, frozen=True):
    """What stands before gateways. `proxy_protocol`: it sends PROXY headers."""

    num_trusted_proxies: Int32 = 0
    forward_client_cert_details: str = ""
    proxy_protocol: Written | None = None


class DefaultProxy(Spec, frozen=True):
    """The bigger ProxyConfig, of `defaultConfig`: only what means something for a proxy that is started by hand."""

    concurrency: Int32 | None = None
    image: ProxyImage | None = None
    drain_duration: Duration | None = None
    termination_drain_duration: Duration | None = None
    discovery_address: str = ""
    config_path: str = ""
    binary_path: str = ""
    service_cluster: str = ""
    tracing_service_name: str = ""
    discovery_refresh_delay: Written | str | None = None
    zipkin_address: str = ""
    statsd_udp_address: str = ""
    envoy_metrics_service_address: str = ""
    proxy_admin_port: Int32 = 0
    availability_zone: str = ""
    control_plane_auth_policy: str = ""
    custom_config_file: str = ""
    stat_name_length: Int32 = 0
    proxy_bootstrap_template_path: str = ""
    interception_mode: str = ""
    tracing: Written | None = None
    sds: Written | None = None
    envoy_access_log_service: Written | None = None
    envoy_metrics_service: Written | None = None
    proxy_metadata: dict[str, str] = {}
    runtime_values: dict[str, str] = {}
    status_port: Int32 = 0
    extra_stat_tags: list[str] = []
    gateway_topology: GatewayTopology | None = None
    mesh_id: str = ""
    readiness_probe: Written | None = None
    proxy_stats_matcher: Written | None = None
    hold_application_until_proxy_starts: bool | None = None
    ca_certificates_pem: list[str] = []
    private_key_provider: Written | None = None
    proxy_headers: Written | None = None
    file_flush_interval: Written | str | None = None
    file_flush_min_size_kb: Int32 = 0
    stats_compression: bool | None = None
    connection_settings: Written | None = None


class MeshConfig(Spec, frozen=True):
    outbound_traffic_policy: TrafficPolicy | None = None
    connect_timeout: Duration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    default_http_retry_policy: HTTPRetry | None = None
    default_inbound_http_retry_policy: HTTPRetry | None = None
    default_traffic_policy: DefaultPolicy | None = None
    h2_upgrade_policy: Literal["DO_NOT_UPGRADE", "UPGRADE"] = "DO_NOT_UPGRADE"
    enable_auto_mtls: bool | None = None
    root_namespace: str = ""
    trust_domain: str = ""
    trust_domain_aliases: list[str] = []
    default_service_export_to: list[str] = []
    default_virtual_service_export_to: list[str] = []
    default_destination_rule_export_to: list[str] = []
    locality_lb_setting: LocalityLoadBalancer | None = None
    path_normalization: PathNormalization | None = None
    access_log_file: str = ""
    access_log_format: str = ""
    access_log_encoding: Literal["TEXT", "JSON"] = "TEXT"
    default_config: DefaultProxy | None = None
    protocol_detection_timeout: Duration | None = None
    mesh_mtls: TLSSettings | None = msgspec.field(default=None, name="meshMTLS")
    tls_defaults: TLSSettings | None = None
    inbound_traffic_policy: InboundPolicy | None = None
    proxy_listen_port: Int32 = 0
    proxy_inbound_listen_port: Int32 = 0
    proxy_http_port: Int32 = 0
    hbone_idle_timeout: Duration | None = None
    ingress_class: str = ""
    ingress_service: str = ""
    ingress_controller_mode: Literal["UNSPECIFIED", "OFF", "DEFAULT", "STRICT"] = "UNSPECIFIED"
    ingress_selector: str = ""
    enable_tracing: bool | None = None
    enable_envoy_access_log_service: bool | None = None
    disable_envoy_listener_log: bool | None = None
    config_sources: list[Written] = []
    ca_certificates: list[Written] = []
    zone_aware_lb_setting: ZoneAwareLoadBalancer | None = None
    dns_refresh_rate: Duration | None = None
    inbound_cluster_stat_name: str = ""
    outbound_cluster_stat_name: str = ""
    certificates: list[Written] = []
    service_settings: list[Written] = []
    service_scope_configs: list[Written] = []
    enable_prometheus_merge: bool | None = None
    verify_certificate_at_client: bool | None = None
    ca: Written | None = None
    extension_providers: list[Written] = []
    default_providers: Written | None = None
    discovery_selectors: list[Written] = []
    service_entry_visibility: Written | None = None
