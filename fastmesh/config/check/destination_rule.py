"""DestinationRule: subsets, and the blocks of a traffic policy.

https://istio.io/latest/docs/reference/config/networking/destination-rule/
"""

from __future__ import annotations

import math

from fastmesh.config.check.locality import check_locality, check_zone_aware
from fastmesh.config.check.report import At
from fastmesh.config.check.shared import (
    check_duration,
    check_export_to,
    check_labels,
    check_port_number,
    check_selector,
    check_share,
    say,
)
from fastmesh.config.read import syntax
from fastmesh.config.resource import AnyResource
from fastmesh.model.destination_rule import (
    BackendUtilization,
    ClientTLS,
    ConnectionPool,
    ConsistentHash,
    DestinationRule,
    HTTPSettings,
    LoadBalancer,
    OutlierDetection,
    PortTrafficPolicy,
    TCPSettings,
    TrafficPolicy,
    Tunnel,
)

_MAGLEV_LIMIT = 5_000_011  # Envoy's largest table
_METRICS = ("application_utilization", "cpu_utilization", "mem_utilization", "eps", "rps_fractional")
_METRIC_GROUPS = ("named_metrics", "utilization", "request_cost")
_BLOCKS = ("load_balancer", "connection_pool", "outlier_detection", "tls")


def check_destination_rule(resource: AnyResource, spec: DestinationRule, at: At) -> None:
    """Everything Istio refuses in a DestinationRule."""
    say(at["host"], syntax.wildcard_domain(spec.host))
    check_traffic_policy(spec.traffic_policy, at["trafficPolicy"])
    names: set[str] = set()
    for index, subset in enumerate(spec.subsets):
        place = at["subsets"][index]
        if subset.name in names:
            place["name"].error(f"{subset.name} is the name of an earlier subset, give each its own")
        names.add(subset.name)
        say(place["name"], syntax.label(subset.name, "subset"))
        check_labels(subset.labels, place["labels"])
        check_traffic_policy(subset.traffic_policy, place["trafficPolicy"])
    selector = spec.workload_selector
    if selector is not None:
        everything = "it selects all workloads of the namespace"
        check_selector(selector.match_labels, at["workloadSelector"]["matchLabels"], everything)
    check_export_to(spec.export_to, resource.namespace, at["exportTo"], own_only=selector is not None)


def check_traffic_policy(policy: TrafficPolicy | None, at: At) -> None:
    if policy is None:
        return
    if policy == TrafficPolicy():
        at.error("is empty, add one of loadBalancer, connectionPool, outlierDetection, tls or leave it out")
    if policy.tunnel is not None and policy.proxy_protocol is not None:
        at["proxyProtocol"].error("tunnel and proxyProtocol exclude each other, keep one")
    _check_blocks(policy, at)
    for index, port in enumerate(policy.port_level_settings):
        place = at["portLevelSettings"][index]
        if port.port is None:
            place.error("port is required and missing, add port: {number: ...}")
        else:
            check_port_number(port.port.number, place["port"]["number"])
        if all(getattr(port, block) is None for block in _BLOCKS):
            place.error("sets nothing, add one of loadBalancer, connectionPool, outlierDetection, tls")
        _check_blocks(port, place)
    if policy.tunnel is not None:
        _check_tunnel(policy.tunnel, at["tunnel"])
    if policy.retry_budget is not None:
        check_share(policy.retry_budget.percent, at["retryBudget"]["percent"])


def _check_blocks(policy: TrafficPolicy | PortTrafficPolicy, at: At) -> None:
    if policy.load_balancer is not None:
        _check_load_balancer(policy.load_balancer, policy.outlier_detection is not None, at["loadBalancer"])
    if policy.connection_pool is not None:
        check_connection_pool(policy.connection_pool, at["connectionPool"])
    if policy.outlier_detection is not None:
        check_outlier_detection(policy.outlier_detection, at["outlierDetection"])
    if policy.tls is not None:
        _check_tls(policy.tls, at["tls"])


def _check_load_balancer(balancer: LoadBalancer, ejects: bool, at: At) -> None:
    if balancer.simple is not None and balancer.consistent_hash is not None:
        at["consistentHash"].error("simple and consistentHash exclude each other, keep one")
    if balancer.consistent_hash is not None:
        check_hash(balancer.consistent_hash, at["consistentHash"])
    if balancer.backend_utilization is not None:
        for name, other in (("simple", balancer.simple), ("consistentHash", balancer.consistent_hash)):
            if other is not None:
                at["backendUtilization"].error(f"{name} and backendUtilization exclude each other, keep one")
        _check_utilization(balancer.backend_utilization, at["backendUtilization"])
    if balancer.locality_lb_setting is not None and balancer.zone_aware_lb_setting is not None:
        at["zoneAwareLbSetting"].error("localityLbSetting and zoneAwareLbSetting exclude each other, keep one")
    if balancer.locality_lb_setting is not None:
        check_locality(balancer.locality_lb_setting, ejects, at["localityLbSetting"])
    if balancer.zone_aware_lb_setting is not None:
        check_zone_aware(balancer.zone_aware_lb_setting, ejects, at["zoneAwareLbSetting"])
    check_duration(balancer.warmup_duration_secs, at["warmupDurationSecs"])
    warmup = balancer.warmup
    if warmup is not None:
        check_duration(warmup.duration, at["warmup"]["duration"])
        if warmup.minimum_percent is not None and not 0 <= warmup.minimum_percent <= 100:
            at["warmup"]["minimumPercent"].error(f"{warmup.minimum_percent:g} is not a percentage, write 0 to 100")
        if warmup.aggression is not None and not warmup.aggression > 0:
            at["warmup"]["aggression"].error(f"{warmup.aggression:g} is too small, write a number above 0")


def _check_utilization(written: BackendUtilization, at: At) -> None:
    check_duration(written.weight_update_period, at["weightUpdatePeriod"])
    check_duration(written.weight_stabilization_period, at["weightStabilizationPeriod"], zero=True)
    check_duration(written.weight_expiration_period, at["weightExpirationPeriod"])
    for index, name in enumerate(written.metric_names_for_computing_utilization):
        group, dot, rest = name.partition(".")
        if name not in _METRICS and not (dot and rest and group in _METRIC_GROUPS):
            message = (
                f'"{name}" is no metric of a load report, write one such as named_metrics.queue or cpu_utilization'
            )
            at["metricNamesForComputingUtilization"][index].error(message)


def check_hash(hashed: ConsistentHash, at: At) -> None:
    sources = [
        name for name, value in (
            ("httpHeaderName", hashed.http_header_name), ("httpCookie", hashed.http_cookie),
            ("useSourceIp", hashed.use_source_ip is not None),
            ("httpQueryParameterName", hashed.http_query_parameter_name),
        ) if value
    ]  # fmt: skip
    if len(sources) > 1:
        at[sources[1]].error(f"{' and '.join(sources)} exclude each other, keep one")
    cookie = hashed.http_cookie
    if cookie is not None:
        if not cookie.name:
            at["httpCookie"]["name"].error("is empty, name the cookie")
        seen: set[str] = set()
        for index, attribute in enumerate(cookie.attributes):
            place = at["httpCookie"]["attributes"][index]["name"]
            if not attribute.name:
                place.error("is empty, name the attribute")
            elif attribute.name in seen:
                place.error(f"{attribute.name} is there twice, keep one")
            seen.add(attribute.name)
    if hashed.minimum_ring_size:
        at["minimumRingSize"].advice(
            f"is deprecated, write ringHash: {{minimumRingSize: {hashed.minimum_ring_size}}}", "IST0002"
        )
        if hashed.ring_hash is not None or hashed.maglev is not None:
            at["minimumRingSize"].error("excludes ringHash and maglev, keep ringHash.minimumRingSize")
    if hashed.ring_hash is not None and hashed.maglev is not None:
        at["maglev"].error("ringHash and maglev exclude each other, keep one")
    if hashed.maglev is not None:
        size = hashed.maglev.table_size
        if not _is_prime(size) or size >= _MAGLEV_LIMIT:
            message = f"{size} is not a table size, write a prime number below {_MAGLEV_LIMIT} such as 65537"
            at["maglev"]["tableSize"].error(message)


def _is_prime(number: int) -> bool:
    if number < 2 or number >= _MAGLEV_LIMIT:
        return False
    return all(number % factor for factor in range(2, math.isqrt(number) + 1))


def check_connection_pool(pool: ConnectionPool, at: At) -> None:
    """Also the pools of a Sidecar."""
    if pool.tcp is None and pool.http is None:
        at.error("is empty, add tcp or http or leave it out")
    if pool.tcp is not None:
        _check_tcp(pool.tcp, at["tcp"])
    if pool.http is not None:
        _check_http(pool.http, at["http"])


def _not_negative(number: int, at: At) -> None:
    if number < 0:
        at.error(f"{number} is negative, write 0 (the default) or more")


def _check_tcp(tcp: TCPSettings, at: At) -> None:
    _not_negative(tcp.max_connections, at["maxConnections"])
    check_duration(tcp.connect_timeout, at["connectTimeout"])
    check_duration(tcp.max_connection_duration, at["maxConnectionDuration"])
    check_duration(tcp.idle_timeout, at["idleTimeout"], zero=True)
    if tcp.tcp_keepalive is not None:
        check_duration(tcp.tcp_keepalive.time, at["tcpKeepalive"]["time"])
        check_duration(tcp.tcp_keepalive.interval, at["tcpKeepalive"]["interval"])


def _check_http(http: HTTPSettings, at: At) -> None:
    for name, number in (
        ("http1MaxPendingRequests", http.http1_max_pending_requests), ("http2MaxRequests", http.http2_max_requests),
        ("maxRequestsPerConnection", http.max_requests_per_connection), ("maxRetries", http.max_retries),
        ("maxConcurrentStreams", http.max_concurrent_streams),
    ):  # fmt: skip
        _not_negative(number, at[name])
    check_duration(http.idle_timeout, at["idleTimeout"])
    if http.h2_upgrade_policy == "UPGRADE" and http.use_client_protocol:
        at["useClientProtocol"].error("excludes h2UpgradePolicy: UPGRADE, keep one")
    alive = http.http2_keep_alive
    if alive is not None:
        for name, value in (("interval", alive.interval), ("timeout", alive.timeout)):
            if value is None:
                at["http2KeepAlive"].error(f"{name} is required and missing, add {name}: ...")
            check_duration(value, at["http2KeepAlive"][name])


def check_outlier_detection(outlier: OutlierDetection, at: At) -> None:
    if outlier.consecutive_errors:
        at["consecutiveErrors"].advice("is ignored, write consecutive5xxErrors or consecutiveGatewayErrors")
    if outlier.consecutive_local_origin_failures and not outlier.split_external_local_origin_errors:
        message = "has no effect unless local errors are split, add splitExternalLocalOriginErrors: true"
        at["consecutiveLocalOriginFailures"].error(message)
    check_duration(outlier.interval, at["interval"])
    check_duration(outlier.base_ejection_time, at["baseEjectionTime"])
    for name, percent in (
        ("maxEjectionPercent", outlier.max_ejection_percent), ("minHealthPercent", outlier.min_health_percent),
    ):  # fmt: skip
        if not 0 <= percent <= 100:
            at[name].error(f"{percent} is not a percentage, write 0 to 100")
    for index, status in enumerate(outlier.outlier_detection_http_error_codes):
        if not 100 <= status <= 599:
            at["outlierDetectionHttpErrorCodes"][index].error(f"{status} is not a status, write 100 to 599")


def _check_tls(tls: ClientTLS, at: At) -> None:
    certified = [
        name for name, value in (
            ("clientCertificate", tls.client_certificate), ("privateKey", tls.private_key),
            ("caCertificates", tls.ca_certificates), ("caCrl", tls.ca_crl),
        ) if value
    ]  # fmt: skip
    if tls.insecure_skip_verify and tls.mode in ("SIMPLE", "MUTUAL"):
        verified = {"caCertificates": tls.ca_certificates, "subjectAltNames": tls.subject_alt_names}
        if tls.mode == "SIMPLE":
            verified["credentialName"] = tls.credential_name
        for name, value in verified.items():
            if value:
                at[name].error("would not be verified with insecureSkipVerify: true, remove one of them")
    if tls.credential_name and tls.mode in ("SIMPLE", "MUTUAL"):
        for name in certified:
            at[name].error("excludes credentialName, keep one of them")
    elif tls.mode == "MUTUAL":
        for name in ("clientCertificate", "privateKey"):
            if name not in certified:
                at.error(f"{name} is required with mode MUTUAL and missing, add a path or credentialName")
    elif tls.mode == "ISTIO_MUTUAL":
        for name in certified:
            at[name].error("has no place with mode ISTIO_MUTUAL, the mesh brings its own certificates; remove it")


def _check_tunnel(tunnel: Tunnel, at: At) -> None:
    if tunnel.protocol not in ("", "CONNECT", "POST"):
        at["protocol"].error(f"{tunnel.protocol} is not a way to tunnel, write CONNECT or POST")
    if not syntax.is_address(tunnel.target_host):
        say(at["targetHost"], syntax.fqdn(tunnel.target_host))
    check_port_number(tunnel.target_port, at["targetPort"])
