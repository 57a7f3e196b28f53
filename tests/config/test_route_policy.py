"""RoutePolicy and MeshPolicy: what is refused, what leads nowhere, which policy counts, and what explain says."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastmesh.config.store import ReadResult, read
from tests.config.asking import plan_of, rule_for, vhost_for
from tests.conformance.explaining import ask

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: backup}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: app}
spec:
  hosts: [app]
  http:
  - name: split
    route: [{destination: {host: app}, weight: 50}, {destination: {host: backup}, weight: 50}]
"""


def policy(spec: str, kind: str = "RoutePolicy", name: str = "one", namespace: str = "default") -> str:
    head = f"---\napiVersion: fastmesh.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
    return f"{head}spec: {{{spec}}}\n"


def given(tmp_path: Path, yaml: str) -> ReadResult:
    (tmp_path / "mesh.yaml").write_text(SERVICES + yaml)
    return read([str(tmp_path)])


@pytest.mark.parametrize(
    ("spec", "field", "part"),
    [
        ("targetRef: {kind: VirtualService, name: ''}", "targetRef.name", "name the object"),
        ("fallback: {}", "fallback", "exactly one of"),
        ("fallback: {destination: {host: app}, response: {}}", "fallback", "exactly one of"),
        ("fallback: {on: [], response: {}}", "fallback.on", "is empty"),
        ("fallback: {on: [XX], response: {}}", "fallback.on[0]", "XX"),
        ("fallback: {destination: {host: '*'}}", "fallback.destination.host", "is not a destination"),
        ("refusals: [{response: {status: 99}}]", "refusals[0].response.status", "99"),
        ("refusals: [{response: {status: 204, body: x}}]", "refusals[0].response.body", "no body"),
        ("refusals: [{response: {headers: {'a b': c}}}]", 'refusals[0].response.headers["a b"]', "name of a header"),
        ("refusals: [{response: {headers: {a: '%REQ(b)%'}}}]", "refusals[0].response.headers.a", "as it is written"),
        ("refusals: [{response: {}}, {response: {}}]", "refusals[1]", "never used"),
        ("hedge: {after: 0s}", "hedge.after", "too short"),
        ("resendMethods: [FETCH]", "resendMethods[0]", "FETCH"),
        ("sticky: {httpCookie: {name: ''}}", "sticky.httpCookie.name", "name the cookie"),
        ("sticky: {useSourceIp: true, ringHash: {minimumRingSize: 9}}", "sticky.ringHash", "leave it out"),
    ],
)
def test_what_is_refused(tmp_path: Path, spec: str, field: str, part: str) -> None:
    errors = given(tmp_path, policy(spec)).errors
    assert [(error.field, part in error.message) for error in errors] == [(f"spec.{field}", True)]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("targetRef: {kind: VirtualService, name: ap}", "targetRef.name"),
        ("targetRef: {kind: VirtualService, name: app, sectionName: splits}", "targetRef.sectionName"),
        ("fallback: {destination: {host: nobody}}", "fallback.destination.host"),
    ],
)
def test_what_leads_nowhere(tmp_path: Path, spec: str, field: str) -> None:
    result = given(tmp_path, policy(spec))
    assert (result.ok, [warning.field for warning in result.warnings]) == (True, [f"spec.{field}"])


def of_rule(yaml: str) -> tuple[int | None, list[str] | None, int]:
    """Time-out, methods that may go out again, and the hedge of the split."""
    vhost = vhost_for(plan_of(SERVICES + yaml), "app.default.svc.cluster.local")
    assert vhost is not None
    rule = rule_for(vhost)
    assert rule is not None
    if rule.policy is None:
        return rule.timeout, None, 0
    return rule.timeout, rule.policy.resend, rule.policy.hedge


@pytest.mark.parametrize("field", ["retryBudget", "proxyRetryBudget"])
def test_a_budget_is_a_percentage(tmp_path: Path, field: str) -> None:
    errors = given(tmp_path, policy(f"{field}: {{percent: 120}}", "MeshPolicy", namespace="istio-system")).errors
    assert [error.field for error in errors] == [f"spec.{field}.percent"]


RULES = """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: app}
spec: {host: app, trafficPolicy: {%s}}
"""


@pytest.mark.parametrize(
    ("own", "budget", "most"),
    [
        ("retryBudget: {percent: 50}", (0.5, 3, 0), 0),
        ("connectionPool: {http: {maxRetries: 7}}", None, 7),
        ("connectionPool: {http: {http2MaxRequests: 7}}", (0.1, 4, 2000), 0),
    ],
)
def test_the_meshs_retry_budget_is_for_those_without(own: str, budget: object, most: int) -> None:
    text = "retryBudget: {percent: 10, minRetryConcurrency: 4, budgetInterval: 2s}, proxyRetryBudget: {percent: 5}"
    plan = plan_of(SERVICES + RULES % own + policy(text, "MeshPolicy", namespace="istio-system"))
    app, backup = (
        next(each for each in plan.clusters if each.host.startswith(f"{name}.")) for name in ("app", "backup")
    )
    assert (app.retry_budget, app.max_retries) == (budget, most)
    assert backup.retry_budget == (0.1, 4, 2000)
    assert plan.mesh.retry_budget == (0.05, 3)
    assert plan_of(SERVICES).mesh.retry_budget is None


class TestWhichCounts:
    MESH = policy("timeout: 9s, resendMethods: [GET]", "MeshPolicy", namespace="istio-system")
    NAMESPACE = policy("timeout: 5s, hedge: {after: 7ms}", name="all")
    OBJECT = policy("targetRef: {kind: VirtualService, name: app}, timeout: 3s", name="object")
    RULE = policy("targetRef: {kind: VirtualService, name: app, sectionName: split}, hedge: {after: 1ms}", name="rule")

    @pytest.mark.parametrize(
        ("yaml", "expected"),
        [
            ("", (None, None, 0)),
            (MESH, (9000, ["GET"], 0)),
            (MESH + NAMESPACE, (5000, ["GET"], 7)),
            (MESH + NAMESPACE + OBJECT, (3000, ["GET"], 7)),
            (RULE + MESH + NAMESPACE + OBJECT, (3000, ["GET"], 1)),
            (policy("timeout: 5s", "MeshPolicy", namespace="other"), (None, None, 0)),
            (policy("timeout: 5s", namespace="other"), (None, None, 0)),
            (OBJECT + policy("targetRef: {kind: VirtualService, name: app}, timeout: 1s", name="two"), (3000, None, 0)),
        ],
    )
    def test_the_most_specific_that_says_something(
        self, yaml: str, expected: tuple[int | None, list[str] | None, int]
    ) -> None:
        assert of_rule(yaml) == expected


class TestMerging:
    MORE = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: app-two}
spec:
  hosts: [app]
  http:
  - name: special
    match: [{uri: {prefix: /special}}]
    route: [{destination: {host: backup}}]
  - name: second
    route: [{destination: {host: backup}}]
"""
    LIMIT = """---
apiVersion: fastmesh.io/v1alpha1
kind: RateLimit
metadata: {name: two}
spec: {targetRef: {kind: VirtualService, name: app-two}, limits: [{requests: 5}]}
"""
    MERGE = policy("mergeVirtualServices: true", "MeshPolicy", namespace="istio-system")

    def names(self, yaml: str) -> list[tuple[str, list[int]]]:
        vhost = vhost_for(plan_of(SERVICES + yaml), "app.default.svc.cluster.local")
        assert vhost is not None
        return [(rule.origin.route, rule.limits) for rule in vhost.rules]

    def test_the_oldest_alone_without_it(self) -> None:
        assert self.names(self.MORE + self.LIMIT) == [("split", [])]

    def test_all_with_it_and_what_fits_always_last(self) -> None:
        assert self.names(self.MORE + self.LIMIT + self.MERGE) == [("special", [0]), ("split", []), ("second", [0])]

    def test_one_alone_is_as_before(self) -> None:
        assert self.names(self.MERGE) == self.names("")


class TestExplain:
    def told(self, tmp_path: Path, spec: str, *request: str) -> dict[str, str]:
        (tmp_path / "mesh.yaml").write_text(SERVICES + policy(spec))
        answer = ask([tmp_path], "GET", "http://app/", *request)
        return {step["step"]: step["decision"] for step in answer["steps"]}

    def test_a_sticky_split(self, tmp_path: Path) -> None:
        users = {
            user: self.told(tmp_path, "sticky: {httpHeaderName: x-user}", "-H", f"x-user: {user}")["choose_cluster"]
            for user in ("ann", "bob", "eve", "joe", "sue", "tom")
        }
        assert len(set(users.values())) == 2
        again = self.told(tmp_path, "sticky: {httpHeaderName: x-user}", "-H", "x-user: ann")
        assert again["choose_cluster"] == users["ann"]

    def test_budgets(self, tmp_path: Path) -> None:
        spec = "retryBudget: {percent: 20}, proxyRetryBudget: {percent: 10, minRetryConcurrency: 5}"
        text = SERVICES + policy("hedge: {after: 50ms}") + policy(spec, "MeshPolicy", namespace="istio-system")
        (tmp_path / "mesh.yaml").write_text(text)
        steps = ask([tmp_path], "GET", "http://app/")["steps"]
        assert [step["decision"] for step in steps if step["step"] == "retry budget"] == [
            "20 % of its requests under way, or 3", "10 % of all requests under way, or 5",
        ]  # fmt: skip

    def test_hedge_and_fallback(self, tmp_path: Path) -> None:
        told = self.told(tmp_path, "hedge: {after: 50ms}, fallback: {destination: {host: backup}}")
        assert told["hedge"] == "a second attempt after 50 ms"
        assert told["fallback"] == "outbound|80||backup.default.svc.cluster.local"
