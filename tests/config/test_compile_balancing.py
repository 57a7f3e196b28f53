"""loadBalancer and retryBudget of a DestinationRule in the plan, by the rows of Istio's tests and more."""

from __future__ import annotations

import pytest

from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.plan import ClusterPlan, HashPlan, UtilizationPlan
from fastmesh.config.services import clusters
from tests.config.asking import config_of, plan_of
from tests.config.test_compile_destinations import HOST, ROUTES, SERVICE, cluster, rule


def balanced(written: str, more: str = "") -> ClusterPlan:
    return cluster(rule("a", f"{{host: api, trafficPolicy: {{loadBalancer: {written}{more}}}}}"))


@pytest.mark.parametrize(
    ("written", "plan"),
    [
        # TestApplyRingHashLoadBalancer
        ("{consistentHash: {}}", HashPlan()),
        ("{consistentHash: {minimumRingSize: 10}}", HashPlan(size=10)),
        ("{consistentHash: {maglev: {tableSize: 65537}}}", HashPlan(table="maglev", size=65537)),
        ("{consistentHash: {maglev: {tableSize: 11}}}", HashPlan(table="maglev", size=11)),
        ("{consistentHash: {ringHash: {}}}", HashPlan(size=1024)),
        ("{consistentHash: {ringHash: {minimumRingSize: 10}}}", HashPlan(size=10)),
        # and what is hashed
        ("{consistentHash: {httpHeaderName: X-User}}", HashPlan(source="header", name="X-User")),
        ("{consistentHash: {httpQueryParameterName: u}}", HashPlan(source="query", name="u")),
        ("{consistentHash: {useSourceIp: true}}", HashPlan(source="source_ip")),
        ("{consistentHash: {useSourceIp: false}}", HashPlan()),
        ("{consistentHash: {httpCookie: {name: c}}}", HashPlan(source="cookie", name="c")),
        (
            "{consistentHash: {httpCookie: {name: c, ttl: 90s, path: /p, attributes: [{name: SameSite, value: Lax}]}}}",
            HashPlan(source="cookie", name="c", cookie="; Max-Age=90; Path=/p; SameSite=Lax; HttpOnly"),
        ),
        (
            "{consistentHash: {httpCookie: {name: c, ttl: 0s, attributes: [{name: Secure}]}}}",
            HashPlan(source="cookie", name="c", cookie="; Secure; HttpOnly"),
        ),
        ("{simple: ROUND_ROBIN}", None),
    ],
)
def test_consistent_hash(written: str, plan: HashPlan | None) -> None:
    assert balanced(written).hash == plan


def cookie(name: str, more: str = "") -> str:
    return f"loadBalancer: {{consistentHash: {{httpCookie: {{name: {name}{more}}}}}}}"


def of_port(number: int, name: str) -> str:
    return f"portLevelSettings: [{{port: {{number: {number}}}, {cookie(name)}}}]"


ATTRIBUTES = (
    ", attributes: [{name: SameSite, value: Strict}, {name: Secure, value: 'true'}, {name: HttpOnly, value: 'true'}]"
)
OTHER = f"subsets: [{{name: v1, trafficPolicy: {{{cookie('other-cookie')}}}}}]"
WITH_PORTS = f"subsets: [{{name: v1, trafficPolicy: {{{of_port(8080, 'port-level-settings-cookie')}}}}}]"
WHOLE = f"trafficPolicy: {{{cookie('hash-cookie')}}}"
ON_8080 = f"trafficPolicy: {{{of_port(8080, 'hash-cookie')}}}"

# The hash policies of Istio's TestBuildHTTPRoutes: a rule of the root namespace, and what a port and subset hash by.
HASH_POLICIES = [
    ("ring hash", f"trafficPolicy: {{{cookie('hash-cookie', ', ttl: 100s')}}}", 80, "", "hash-cookie"),
    ("query", "trafficPolicy: {loadBalancer: {consistentHash: {httpQueryParameterName: query}}}", 80, "", "query"),
    ("subsets", OTHER, 80, "v1", "other-cookie"),
    ("subsets with port level settings", f"{ON_8080}, {WITH_PORTS}", 8080, "v1", "port-level-settings-cookie"),
    ("matching service port", f"trafficPolicy: {{{of_port(8080, 'matching')}}}", 8080, "", "matching"),
    ("mismatched port", f"trafficPolicy: {{{of_port(443, 'mismatched')}}}", 8080, "", None),
    ("attributes", f"trafficPolicy: {{{cookie('with', ', ttl: 1s, path: /api' + ATTRIBUTES)}}}", 80, "", "with"),
    ("subsets and top level policy", f"{WHOLE}, {OTHER}", 80, "v1", "other-cookie"),
    ("port selector", ON_8080, 8080, "", "hash-cookie"),
    ("no virtual service", WHOLE, 80, "", "hash-cookie"),
    ("no virtual service, port level", f"trafficPolicy: {{{cookie('hash-cookie')}, {of_port(8080, 'hash-cookie-1')}}}",
     8080, "", "hash-cookie-1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "spec", "port", "subset", "wanted"), HASH_POLICIES, ids=[row[0] for row in HASH_POLICIES]
)
def test_hash_policies(name: str, spec: str, port: int, subset: str, wanted: str | None) -> None:
    text = rule("acme", f"{{host: '*.shop.svc.cluster.local', {spec}}}", "istio-system")
    plan = plan_of(SERVICE + ("" if name.startswith("no virtual") else ROUTES) + text)
    found = next(item for item in plan.clusters if item.name == f"outbound|{port}|{subset}|{HOST}").hash
    assert (found.name if found is not None else None) == wanted
    if name == "attributes":
        assert found is not None
        assert found.cookie == "; Max-Age=1; Path=/api; SameSite=Strict; Secure=true; HttpOnly=true; HttpOnly"


WARM = "warmup: {duration: 60s, minimumPercent: 2, aggression: 5.5}"


@pytest.mark.parametrize(
    ("written", "plan"),
    [
        # TestWarmup
        (f"{{simple: ROUND_ROBIN, {WARM}}}", (60_000, 0.02, 5.5)),
        (f"{{simple: LEAST_REQUEST, {WARM}}}", (60_000, 0.02, 5.5)),
        (f"{{simple: PASSTHROUGH, {WARM}}}", None),
        ("{simple: ROUND_ROBIN}", None),
        ("{simple: LEAST_REQUEST}", None),
        (f"{{{WARM}}}", (60_000, 0.02, 5.5)),
        ("{simple: ROUND_ROBIN, warmup: {duration: 60s}}", (60_000, 0.1, 1.0)),
        ("{simple: LEAST_REQUEST, warmup: {duration: 60s}}", (60_000, 0.1, 1.0)),
        ("{warmup: {duration: 60s}}", (60_000, 0.1, 1.0)),
        # TestSlowStartConfig
        ("{simple: ROUND_ROBIN, warmupDurationSecs: 15s}", (15_000, 0.1, 1.0)),
        ("{simple: LEAST_REQUEST, warmupDurationSecs: 15s}", (15_000, 0.1, 1.0)),
        ("{simple: PASSTHROUGH, warmupDurationSecs: 15s}", None),
        ("{warmupDurationSecs: 15s}", (15_000, 0.1, 1.0)),
        # and the others
        (f"{{simple: RANDOM, {WARM}}}", None),
        (f"{{consistentHash: {{useSourceIp: true}}, {WARM}}}", None),
        ("{warmup: {duration: 60s}, warmupDurationSecs: 15s}", (60_000, 0.1, 1.0)),
    ],
)
def test_warmup(written: str, plan: tuple[int, float, float] | None) -> None:
    assert balanced(written).warmup == plan


@pytest.mark.parametrize(
    ("written", "plan"),
    [
        ("{}", (0.2, 3, 0)),
        ("{percent: 50, minRetryConcurrency: 7, budgetInterval: 10s}", (0.5, 7, 10_000)),
        ("{percent: 0, minRetryConcurrency: 0}", (0.0, 3, 0)),
    ],
)
def test_retry_budget(written: str, plan: tuple[float, int, int]) -> None:
    policy = f"{{connectionPool: {{http: {{maxRetries: 9}}}}, retryBudget: {written}}}"
    assert cluster(rule("a", f"{{host: api, trafficPolicy: {policy}}}")).retry_budget == plan
    assert cluster("").retry_budget is None


def test_a_retry_budget_holds_for_ports_with_settings_and_for_subsets() -> None:
    """It is not one of the four blocks that a port's settings replace."""
    settings = "portLevelSettings: [{port: {number: 8080}, tls: {mode: DISABLE}}]"
    policy = f"{{retryBudget: {{percent: 10}}, {settings}}}"
    subsets = "[{name: v1, labels: {version: v1}}, {name: v2, trafficPolicy: {retryBudget: {percent: 30}}}]"
    text = rule("a", f"{{host: api, trafficPolicy: {policy}, subsets: {subsets}}}")
    assert cluster(text, 8080).retry_budget == (0.1, 3, 0)
    assert cluster(text, 80, "v1").retry_budget == (0.1, 3, 0)


ENTRY = """
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: api, namespace: shop}
spec: {address: 10.0.0.9, labels: {app: api}, serviceAccount: api}
"""


def test_passthrough_knows_endpoints_and_picks_none() -> None:
    """Istio: an ORIGINAL_DST cluster. What is known of endpoints goes with the one that the client chooses."""
    text = ENTRY + rule("a", "{host: api, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}, outlierDetection: {}}}")
    service = SERVICE.replace("spec: {ports", "spec: {clusterIP: 10.1.2.3, selector: {app: api}, ports")
    plan = plan_of(service + text)
    found = next(each for each in plan.clusters if each.port == 80)
    assert (found.kind, found.balancer, found.addresses) == ("passthrough", "PASSTHROUGH", ["10.1.2.3"])
    assert [each.address for each in found.endpoints] == ["10.0.0.9"]


@pytest.mark.parametrize(
    ("role", "told"), [({}, True), ({"intercepts": True}, False), ({"proxy_protocol": True}, False)]
)
def test_passthrough_where_nobody_says_addresses(role: dict[str, bool], told: bool) -> None:
    text = SERVICE + rule("a", "{host: api, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}")
    problems = compile_plan(config_of(text), Role(**role))[1]  # type: ignore[arg-type]
    assert [problem.code for problem in problems if "PASSTHROUGH" in problem.message] == (["advice"] if told else [])


@pytest.mark.parametrize(
    ("written", "plan"),
    [
        ("{}", UtilizationPlan(update=1000, stabilization=10_000, expiration=180_000, penalty=1.0)),
        (
            "{weightUpdatePeriod: 2s, weightStabilizationPeriod: 0s, weightExpirationPeriod: 1m, "
            "errorUtilizationPenaltyPercent: 50, metricNamesForComputingUtilization: [named_metrics.q]}",
            UtilizationPlan(update=2000, stabilization=0, expiration=60_000, penalty=0.5, metrics=["named_metrics.q"]),
        ),
    ],
)
def test_backend_utilization(written: str, plan: UtilizationPlan) -> None:
    found = balanced(f"{{backendUtilization: {written}, {WARM}}}")
    assert (found.utilization, found.warmup) == (plan, None)
    assert balanced("{}").utilization is None


def test_more_endpoints_than_a_hash_tells_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    text = SERVICE.replace("spec: {ports", "spec: {selector: {app: api}, ports")
    text += ENTRY + ENTRY.replace("name: api", "name: other").replace("10.0.0.9", "10.0.0.8")
    text += rule("a", "{host: api, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}}")
    for most, told in ((2, []), (1, ["error", "error"])):  # two ports
        monkeypatch.setattr(clusters, "HASHED_MAX", most)
        problems = compile_plan(config_of(text), Role(namespace="shop"))[1]
        assert [each.severity for each in problems if "tells" in each.message] == told


def test_zero_local_failures_are_the_default() -> None:
    outlier = "{splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 0}"
    found = cluster(rule("a", f"{{host: api, trafficPolicy: {{outlierDetection: {outlier}}}}}")).outlier
    assert found is not None
    assert found.consecutive_local == 5
