"""MeshConfig: what Istio refuses in it, and what of it this proxy does not act on.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/
"""

from __future__ import annotations

import msgspec

from fastmesh.config.check.destination_rule import check_connection_pool, check_outlier_detection
from fastmesh.config.check.http_route import check_retries
from fastmesh.config.check.locality import check_locality, check_zone_aware
from fastmesh.config.check.report import At
from fastmesh.config.check.shared import check_duration, check_export_to, say
from fastmesh.config.read import syntax
from fastmesh.config.resource import DEFAULT_NAMESPACE, AnyResource
from fastmesh.model.mesh_config import DefaultProxy, InboundPolicy, MeshConfig
from fastmesh.model.virtual_service import HTTPRetry

_EXPORTS = {
    "defaultServiceExportTo": "default_service_export_to",
    "defaultVirtualServiceExportTo": "default_virtual_service_export_to",
    "defaultDestinationRuleExportTo": "default_destination_rule_export_to",
}
# What somebody writes for a proxy that a control plane starts, or for parts of Istio that are not here: no effect, and
# nothing that a user of this proxy misses.
_ELSEWHERE = frozenset((
    "proxyListenPort", "proxyInboundListenPort", "proxyHttpPort", "hboneIdleTimeout", "ingressClass", "ingressService",
    "ingressControllerMode", "ingressSelector", "disableEnvoyListenerLog", "configSources", "inboundClusterStatName",
    "outboundClusterStatName", "certificates", "enablePrometheusMerge", "verifyCertificateAtClient", "ca",
    "defaultProviders", "extensionProviders", "serviceEntryVisibility", "enableTracing",
))  # fmt: skip
_ELSEWHERE_PROXY = frozenset((
    "image", "discoveryAddress", "configPath", "binaryPath", "serviceCluster", "tracingServiceName",
    "discoveryRefreshDelay", "statNameLength", "proxyBootstrapTemplatePath", "controlPlaneAuthPolicy",
    "customConfigFile", "proxyMetadata", "meshId", "readinessProbe", "holdApplicationUntilProxyStarts",
    "proxyAdminPort", "statusPort", "terminationDrainDuration", "drainDuration", "interceptionMode",
    "fileFlushInterval", "fileFlushMinSizeKb", "statsCompression", "availabilityZone", "sds",
))  # fmt: skip
_SERVED = frozenset((
    "outboundTrafficPolicy", "connectTimeout", "tcpKeepalive", "defaultHttpRetryPolicy",
    "defaultInboundHttpRetryPolicy", "defaultTrafficPolicy", "h2UpgradePolicy", "enableAutoMtls", "rootNamespace",
    "trustDomain", "trustDomainAliases", "pathNormalization", "accessLogFile", "accessLogEncoding", "defaultConfig",
    "localityLbSetting", "dnsRefreshRate", *_EXPORTS,
))  # fmt: skip
_SERVED_PROXY = frozenset(("concurrency", "gatewayTopology"))


def check_mesh_config(resource: AnyResource, spec: MeshConfig, at: At) -> None:
    check_duration(spec.connect_timeout, at["connectTimeout"])
    check_duration(spec.dns_refresh_rate, at["dnsRefreshRate"])
    if spec.protocol_detection_timeout is not None:
        check_duration(spec.protocol_detection_timeout, at["protocolDetectionTimeout"], zero=True)
    if spec.default_http_retry_policy is not None:
        check_retries(spec.default_http_retry_policy, at["defaultHttpRetryPolicy"])
    if spec.default_inbound_http_retry_policy is not None:
        _check_inbound_retries(spec.default_inbound_http_retry_policy, at["defaultInboundHttpRetryPolicy"])
    if spec.default_traffic_policy is not None:
        pool, outlier = spec.default_traffic_policy.connection_pool, spec.default_traffic_policy.outlier_detection
        if pool is not None:
            check_connection_pool(pool, at["defaultTrafficPolicy"]["connectionPool"])
        if outlier is not None:
            check_outlier_detection(outlier, at["defaultTrafficPolicy"]["outlierDetection"])
    for name, attribute in _EXPORTS.items():
        check_export_to(getattr(spec, attribute), DEFAULT_NAMESPACE, at[name])
    if spec.root_namespace:
        say(at["rootNamespace"], syntax.label(spec.root_namespace, "namespace"))
    if spec.locality_lb_setting is not None:
        check_locality(spec.locality_lb_setting, True, at["localityLbSetting"])
    if spec.zone_aware_lb_setting is not None:
        check_zone_aware(spec.zone_aware_lb_setting, True, at["zoneAwareLbSetting"])
    if spec.default_config is not None and (spec.default_config.concurrency or 0) < 0:
        at["defaultConfig"]["concurrency"].error("is negative, write 0 (a worker for each core) or more")
    _note(spec, at)


def _check_inbound_retries(written: HTTPRetry, at: At) -> None:
    check_retries(written, at)
    if written.attempts == 0 and written.backoff is not None:
        at["backoff"].error("retries are switched off, since attempts is 0 or missing; write attempts: 1 or more")
    for name, value in (
        ("perTryTimeout", written.per_try_timeout),
        ("retryRemoteLocalities", written.retry_remote_localities),
        ("retryIgnorePreviousHosts", written.retry_ignore_previous_hosts),
    ):
        if value is not None:
            at[name].advice("has no effect towards the application of the sidecar itself, there is one endpoint")


def _note(spec: MeshConfig, at: At) -> None:
    """Each field that is written and has no effect."""
    for name in _written(spec):
        if name in _SERVED or _as_if_absent(spec, name):
            continue
        if name in _ELSEWHERE:
            at[name].elsewhere()
        else:
            at[name].unserved(name)
    if spec.default_config is not None:
        for name in _written(spec.default_config):
            if name in _ELSEWHERE_PROXY:
                at["defaultConfig"][name].elsewhere()
            elif name not in _SERVED_PROXY:
                at["defaultConfig"][name].unserved(name)
    topology = spec.default_config.gateway_topology if spec.default_config is not None else None
    for name, written in (
        ("numTrustedProxies", topology is not None and topology.num_trusted_proxies),
        ("forwardClientCertDetails", topology is not None and topology.forward_client_cert_details),
    ):
        if written:
            at["defaultConfig"]["gatewayTopology"][name].unserved(name)
    if spec.outbound_traffic_policy is not None and spec.outbound_traffic_policy.tls is not None:
        at["outboundTrafficPolicy"]["tls"].unserved("tls to unknown hosts")


def _as_if_absent(spec: MeshConfig, name: str) -> bool:
    """Istio's own defaults, as its installation writes them down."""
    match name:
        case "protocolDetectionTimeout":
            return spec.protocol_detection_timeout == 0
        case "inboundTrafficPolicy":
            return spec.inbound_traffic_policy == InboundPolicy()
    return False


def _written(part: MeshConfig | DefaultProxy) -> list[str]:
    return [
        field.encode_name
        for field in msgspec.structs.fields(part)
        if getattr(part, field.name) not in (field.default, None, [], {})
    ]
