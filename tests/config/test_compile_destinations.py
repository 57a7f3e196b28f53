"""DestinationRules: which one counts for a client, how several merge, and what they say for a port and subset."""

from __future__ import annotations

from typing import Any

import pytest

from fastmesh.config.plan import ClusterPlan, OutlierPlan
from tests.config.asking import plan_of

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec: {ports: [{name: http, port: 80}, {name: http-b, port: 8080}]}
"""
ROUTES = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: api, namespace: shop}
spec:
  hosts: [api]
  http:
  - match: [{uri: {prefix: /v1}}]
    route: [{destination: {host: api, subset: v1}}]
  - route: [{destination: {host: api}}]
"""
HOST = "api.shop.svc.cluster.local"


def rule(name: str, spec: str, namespace: str = "shop") -> str:
    head = f"metadata: {{name: {name}, namespace: {namespace}}}"
    return f"\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\n{head}\nspec: {spec}\n"


def connections(text: str, port: int = 80, subset: str = "", **role: Any) -> int:
    return cluster(text, port, subset, **role).max_connections


def cluster(text: str, port: int = 80, subset: str = "", **role: Any) -> ClusterPlan:
    plan = plan_of(SERVICE + ROUTES + text, **role)
    return next(item for item in plan.clusters if item.name == f"outbound|{port}|{subset}|{HOST}")


def pool(number: int) -> str:
    return f"trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {number}}}}}}}"


CLIENT = rule("c", f"{{host: {HOST}, {pool(1)}}}", "client")
SERVER = rule("s", f"{{host: api, {pool(2)}}}")
ROOT = rule("r", f"{{host: '*.local', {pool(3)}}}", "istio-system")


@pytest.mark.parametrize(
    ("rules", "namespace", "wanted"),
    [
        (CLIENT + SERVER + ROOT, "client", 1),
        (SERVER + ROOT, "client", 2),
        (ROOT, "client", 3),
        (CLIENT + SERVER + ROOT, "shop", 2),
        (CLIENT + SERVER + ROOT, "third", 2),
        (CLIENT, "third", 0),
        # In the root namespace only its private rules come first, so that its rules for all do not hide the service's.
        (SERVER + ROOT, "istio-system", 2),
        (SERVER + rule("p", f"{{host: '*.local', exportTo: ['.'], {pool(4)}}}", "istio-system"), "istio-system", 4),
        (SERVER.replace("host: api", "host: api, exportTo: ['.']") + ROOT, "client", 3),
        (rule("x", f"{{host: api, exportTo: [client], {pool(5)}}}") + ROOT, "client", 5),
        (rule("x", f"{{host: api, exportTo: [client], {pool(5)}}}") + ROOT, "third", 3),
    ],
)
def test_the_client_looks_at_home_then_at_the_service_then_in_the_root(rules: str, namespace: str, wanted: int) -> None:
    assert connections(rules, namespace=namespace) == wanted


def test_the_most_specific_host_of_a_namespace_counts_alone() -> None:
    wide = rule("wide", "{host: '*.shop.svc.cluster.local', trafficPolicy: {loadBalancer: {simple: RANDOM}}}")
    wider = rule("wider", f"{{host: '*.local', {pool(9)}}}")
    found = cluster(wider + wide, subset="")
    assert (found.balancer, found.max_connections) == ("RANDOM", 0)
    exact = rule("exact", "{host: api, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}")
    assert cluster(wide + exact).balancer == "ROUND_ROBIN"


def test_rules_of_one_host_merge_the_oldest_first() -> None:
    first = rule("a", "{host: api, subsets: [{name: v1, labels: {version: v1}}]}")
    second = rule("b", f"{{host: {HOST}, {pool(2)}, subsets: [{{name: v1}}, {{name: v2}}]}}")
    third = rule("c", f"{{host: api, {pool(3)}}}")
    found = cluster(first + second + third, subset="v1")
    assert found.max_connections == 2
    assert found.origin is not None
    assert found.origin.name == "b"


def test_a_rule_that_selects_the_client_beats_one_for_all() -> None:
    everyone = rule("all", f"{{host: {HOST}, {pool(1)}}}", "client")
    mine = rule("mine", f"{{host: {HOST}, workloadSelector: {{matchLabels: {{app: web}}}}, {pool(2)}}}", "client")
    assert connections(everyone + mine, namespace="client", labels={"app": "web"}) == 2
    assert connections(everyone + mine, namespace="client", labels={"app": "job"}) == 1
    assert connections(mine + SERVER, namespace="client", labels={"app": "job"}) == 0  # a find, for others
    elsewhere = rule("mine", f"{{host: api, workloadSelector: {{matchLabels: {{app: web}}}}, {pool(2)}}}")
    assert connections(elsewhere + ROOT, namespace="client", labels={"app": "web"}) == 3


POLICY = """
spec:
  host: api
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 10, connectTimeout: 2s}}
    loadBalancer: {simple: ROUND_ROBIN}
    portLevelSettings:
    - {port: {number: 8080}, loadBalancer: {simple: RANDOM}}
  subsets:
  - name: v1
    trafficPolicy:
      connectionPool: {http: {http1MaxPendingRequests: 7}}
      portLevelSettings:
      - {port: {number: 8080}, connectionPool: {tcp: {maxConnections: 20}}}
"""


def test_blocks_are_inherited_whole_and_ports_replace_all_of_them() -> None:
    text = (
        "\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a, namespace: shop}"
        + POLICY
    )
    top, port = cluster(text), cluster(text, 8080)
    assert (top.max_connections, top.connect_timeout, top.balancer) == (10, 2000, "ROUND_ROBIN")
    assert (port.max_connections, port.connect_timeout, port.balancer) == (0, 10_000, "RANDOM")
    subset, both = cluster(text, subset="v1"), cluster(text, 8080, "v1")
    assert (subset.max_connections, subset.max_pending, subset.balancer) == (0, 7, "ROUND_ROBIN")
    assert (both.max_connections, both.max_pending, both.balancer) == (20, 0, "LEAST_REQUEST")


def test_pool_settings() -> None:
    found = cluster(
        rule(
            "a",
            """
  host: api
  trafficPolicy:
    connectionPool:
      tcp:
        maxConnections: 1
        maxConnectionDuration: 1m
        idleTimeout: 3s
        tcpKeepalive: {probes: 3, time: 7200s, interval: 75s}
      http: {http2MaxRequests: 2, maxRetries: 3, maxRequestsPerConnection: 4, idleTimeout: 5s}
""",
        )
    )
    assert (found.max_connections, found.max_requests, found.max_retries) == (1, 2, 3)
    assert (found.max_requests_per_connection, found.idle_timeout, found.max_connection_duration) == (4, 5000, 60_000)
    assert found.keepalive == (3, 7200, 75)


def test_the_tcp_idle_timeout_stands_in_for_the_http_one() -> None:
    text = "{host: api, trafficPolicy: {connectionPool: {tcp: {idleTimeout: 3s}, http: {maxRetries: 1}}}}"
    assert cluster(rule("a", text)).idle_timeout == 3000
    assert cluster("").idle_timeout is None


@pytest.mark.parametrize(
    ("written", "plan"),
    [
        ("{}", OutlierPlan()),
        (
            "{consecutive5xxErrors: 0, consecutiveGatewayErrors: 3}",
            OutlierPlan(consecutive_5xx=0, consecutive_gateway=3),
        ),
        (
            "{interval: 5m, baseEjectionTime: 15m, maxEjectionPercent: 100, minHealthPercent: 20}",
            OutlierPlan(interval=300_000, base=900_000, max_percent=100, min_health_percent=20),
        ),
        (
            "{splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2}",
            OutlierPlan(split_local=True, consecutive_local=2),
        ),
    ],
)
def test_outlier_detection(written: str, plan: OutlierPlan) -> None:
    assert cluster(rule("a", f"{{host: api, trafficPolicy: {{outlierDetection: {written}}}}}")).outlier == plan


def test_no_outlier_detection_unless_it_is_written() -> None:
    assert cluster("").outlier is None


@pytest.mark.parametrize(
    ("written", "balancer"),
    [
        ("{simple: LEAST_CONN}", "LEAST_REQUEST"),
        ("{simple: UNSPECIFIED}", "LEAST_REQUEST"),
        ("{simple: ROUND_ROBIN}", "ROUND_ROBIN"),
        ("{simple: RANDOM}", "RANDOM"),
    ],
)
def test_balancers(written: str, balancer: str) -> None:
    assert cluster(rule("a", f"{{host: api, trafficPolicy: {{loadBalancer: {written}}}}}")).balancer == balancer


def test_missing_clusters_are_named_but_not_made() -> None:
    plan = plan_of(SERVICE + ROUTES + SERVER, namespace="client")
    destination = plan.vhosts[0].rules[0].destinations[0]
    assert (destination.cluster, destination.missing) == (f"outbound|80|v1|{HOST}", True)
    assert destination.cluster not in [item.name for item in plan.clusters]
