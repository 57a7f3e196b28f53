"""loadBalancer and retryBudget of a DestinationRule in the plan, by the rows of Istio's tests and more."""

from __future__ import annotations

import pytest

from fastmesh.config.plan import ClusterPlan, HashPlan
from tests.config.test_compile_destinations import cluster, rule


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


def test_zero_local_failures_are_the_default() -> None:
    outlier = "{splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 0}"
    found = cluster(rule("a", f"{{host: api, trafficPolicy: {{outlierDetection: {outlier}}}}}")).outlier
    assert found is not None
    assert found.consecutive_local == 5
