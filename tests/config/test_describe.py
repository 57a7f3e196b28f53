"""`fastmesh describe`: everything that touches an object or a host, and what no request can reach."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fastmesh.cli.describe import describe
from fastmesh.config.describe.shadow import covers
from fastmesh.config.plan import MatchPlan, NamedMatchPlan, StringMatchPlan

MESH = """\
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {selector: {app: reviews}, ports: [{port: 80, name: http, targetPort: web}, {port: 81, name: http-b}]}
---
apiVersion: v1
kind: Pod
metadata: {name: r1, namespace: shop, labels: {app: reviews, version: v1}}
spec: {containers: [{name: a, ports: [{name: web, containerPort: 9080}]}]}
status: {podIP: 10.0.0.1, phase: Running}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec: {selector: {matchLabels: {app: reviews}}, mtls: {mode: STRICT}, portLevelMtls: {"81": {mode: DISABLE}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews
  trafficPolicy: {connectionPool: {tcp: {maxConnections: 5}}, outlierDetection: {consecutive5xxErrors: 3}}
  subsets: [{name: v1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews, shop.example]
  gateways: [mesh, edge]
  http:
  - name: a
    match: [{uri: {prefix: /a}}, {uri: {exact: /b}, method: {exact: GET}}]
    route: [{destination: {host: reviews, subset: v1, port: {number: 80}}}]
  - match: [{uri: {prefix: /abc}}, {uri: {exact: /c}}]
    route: [{destination: {host: reviews, port: {number: 80}}}]
  - route: [{destination: {host: reviews, port: {number: 81}}}]
  - match: [{uri: {exact: /z}}]
    route: [{destination: {host: reviews, port: {number: 81}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: late, namespace: shop}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews, port: {number: 80}}}]}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example]}]
---
apiVersion: fastmesh.io/v1alpha1
kind: RateLimit
metadata: {name: l, namespace: shop}
spec: {targetRef: {kind: Service, name: reviews}, limits: [{requests: 10, per: second}]}
"""
HOST = "reviews.shop.svc.cluster.local"


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    (tmp_path / "mesh.yaml").write_text(MESH)
    return tmp_path / "mesh.yaml"


def run(target: str, mesh: Path, *flags: str) -> Result:
    return CliRunner().invoke(describe, [target, "-f", str(mesh), *flags], standalone_mode=False)


def told(target: str, mesh: Path, *flags: str) -> dict[str, Any]:
    result = run(target, mesh, "-o", "json", *flags)
    assert result.return_value == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_virtual_service_is_shown_where_it_serves(mesh: Path) -> None:
    found = told("VirtualService/reviews.shop", mesh)
    assert [view["view"] for view in found["views"]] == [
        "mesh, as a client of shop sees it", "gateway istio=ingressgateway",
    ]  # fmt: skip
    hosts = [host["hosts"] for host in found["views"][0]["hosts"]]
    assert [f"{HOST}:80", f"{HOST}:81"] in hosts
    rules = found["views"][1]["hosts"][0]["rules"]
    assert [rule["from"] for rule in rules] == [
        f"VirtualService shop/reviews route a ({mesh}:32)",
        f"VirtualService shop/reviews ({mesh}:35)",
        f"VirtualService shop/reviews ({mesh}:37)",
    ]
    assert rules[0]["clauses"] == [{"when": "path prefix /a"}, {"when": "path exact /b, method exact GET"}]
    assert rules[0]["does"] == f"goes to outbound|80|v1|{HOST}"


FILTERS = """\
---
apiVersion: fastmesh.io/v1alpha1
kind: Filter
metadata: {name: key, namespace: shop}
spec: {function: "shop_filters:key", match: [{uri: {prefix: /a}}], targetRefs: [{kind: VirtualService, name: reviews}]}
---
apiVersion: fastmesh.io/v1alpha1
kind: Filter
metadata: {name: audit, namespace: shop}
spec: {function: "shop_filters:audit", targetRefs: [{kind: Gateway, name: edge}], failureMode: open}
"""


def test_filters_stand_at_their_rules_and_listeners(mesh: Path) -> None:
    mesh.write_text(MESH + FILTERS)
    key = "filter shop/key sees requests of path prefix /a: shop_filters:key, fails closed (Filter shop/key"
    audit = "filter shop/audit sees requests: shop_filters:audit, fails open (Filter shop/audit"
    for target in ("Filter/key.shop", "vs/reviews.shop"):
        for view in told(target, mesh)["views"]:
            rules = [rule for host in view["hosts"] for rule in host["rules"]]
            assert all(any(line.startswith(key) for line in rule["also"]) for rule in rules)
    (view,) = told("Filter/audit.shop", mesh)["views"]
    assert view["listeners"][0]["filters"][0].startswith(audit)
    assert f"requests that no rule takes: {audit}" in run("Filter/audit.shop", mesh).stdout


def test_what_no_request_reaches(mesh: Path) -> None:
    found = told("vs/reviews.shop", mesh)
    clauses = found["views"][1]["hosts"][0]["rules"][1]["clauses"]
    assert clauses == [{"when": "path prefix /abc", "never": "rule 1 takes these requests"}, {"when": "path exact /c"}]
    assert [line.split(": ")[3] for line in found["unreachable"]] == ["spec.http[1].match[0]", "spec.http[3]"]
    assert [(each["name"], each["why"]) for each in told(HOST, mesh)["unused"]] == [
        ("late", f"VirtualService shop/reviews is older and has the host {HOST}")
    ]


def test_a_host_has_destinations_with_their_policy_and_endpoints(mesh: Path) -> None:
    clusters = {each["cluster"]: each for each in told("reviews", mesh, "-n", "shop")["views"][0]["clusters"]}
    subset = clusters[f"outbound|80|v1|{HOST}"]
    assert subset["from"] == f"DestinationRule shop/reviews ({mesh}:17)"
    assert "max connections 5" in subset["policy"]
    assert any(line.startswith("ejects endpoints: consecutive_5xx 3") for line in subset["policy"])
    assert [each["address"] for each in subset["endpoints"]] == ["10.0.0.1:9080"]
    assert subset["endpoints"][0]["version"] == "v1"


@pytest.mark.parametrize("target", ["svc/reviews.shop", "Pod/r1.shop", "PeerAuthentication/strict.shop"])
def test_what_ports_of_workloads_accept(mesh: Path, target: str) -> None:
    """By the port of the workload: 9080 is what `targetPort: web` means."""
    found = told(target, mesh)
    assert [(each["workload"], each["port"], each["mode"]) for each in found["peers"]] == [
        ("Pod shop/r1", "9080", "STRICT"), ("Pod shop/r1", "81", "DISABLE"),
    ]  # fmt: skip
    assert found["peers"][0]["from"] == f"PeerAuthentication shop/strict ({mesh}:12)"


def test_a_limit_is_shown_at_its_hosts(mesh: Path) -> None:
    hosts = told("RateLimit/l.shop", mesh)["views"][0]["hosts"]
    assert [host["limits"] for host in hosts] == [["10 requests each 1000 ms, at most 10 at once, then 429"]]


def test_a_gateway_is_shown_with_the_hosts_it_serves(mesh: Path) -> None:
    (view,) = told("gw/edge.shop", mesh)["views"]
    assert view["listeners"][0]["hosts"] == ["shop.example"]
    assert [host["hosts"] for host in view["hosts"]] == [["shop.example:80"]]


TCP = """\
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, clusterIP: 10.1.1.1, ports: [{port: 9000, name: tcp}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo}
spec: {hosts: [echo], tcp: [{match: [{port: 9000}], route: [{destination: {host: echo, port: {number: 9000}}}]}]}
"""


@pytest.mark.parametrize("target", ["echo", "VirtualService/echo"])
def test_rules_for_bytes_are_shown_as_connections(mesh: Path, target: str) -> None:
    mesh.write_text(TCP)
    found = told(target, mesh)
    (connection,) = found["views"][0]["connections"]
    assert connection["does"] == "go to outbound|9000||echo.default.svc.cluster.local"
    assert (connection["port"], connection["addresses"]) == (9000, ["10.1.1.1/32"])
    assert found["unused"] == []


def test_the_text_says_the_same(mesh: Path) -> None:
    text = run("vs/reviews.shop", mesh).stdout
    for part in (
        f"VirtualService shop/reviews ({mesh}:25)",
        "when path prefix /abc [never: rule 1 takes these requests]",
        f"destination outbound|80|v1|{HOST} shaped by DestinationRule shop/reviews ({mesh}:17)",
        "endpoint 10.0.0.1:9080 r1 v1",
        "never reached, as it is written",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("vs/revews.shop", "did you mean reviews.shop?"),
        ("Nothing/x", "its kinds are DestinationRule, Gateway"),
        ("other.example", "no object of these files"),
    ],
)
def test_a_target_that_is_not_there(mesh: Path, target: str, said: str) -> None:
    result = run(target, mesh)
    assert result.return_value == 1
    assert said in result.stderr


# ---- shadows


def is_(kind: Any, value: str = "", ignore_case: bool = False) -> StringMatchPlan:
    return StringMatchPlan(kind=kind, value=value, ignore_case=ignore_case)


def path(kind: Any, value: str, *, segments: bool = False, any_case: bool = False, **rest: Any) -> MatchPlan:
    return MatchPlan(path=is_(kind, value, any_case), path_segments=segments, **rest)


def header(name: str, match: StringMatchPlan, invert: bool = False) -> NamedMatchPlan:
    return NamedMatchPlan(name=name, match=match, invert=invert)


GET = is_("exact", "GET")
ONE, TWO = header("x", is_("exact", "1")), header("x", is_("exact", "2"))
TABLE = [
    (MatchPlan(), path("exact", "/a"), True),
    (path("prefix", "/"), MatchPlan(), True),
    (path("prefix", "/a"), path("prefix", "/ab"), True),
    (path("prefix", "/a"), path("exact", "/a"), True),
    (path("prefix", "/ab"), path("prefix", "/a"), False),
    (path("exact", "/a"), path("prefix", "/a"), False),
    (path("prefix", "/a", segments=True), path("prefix", "/ab"), False),
    (path("prefix", "/a", segments=True), path("prefix", "/a/b"), True),
    (path("prefix", "/a", segments=True), path("exact", "/a"), True),
    (path("prefix", "/a", segments=True), path("prefix", "/a"), False),
    (path("prefix", "/a"), path("prefix", "/A", any_case=True), False),
    (path("prefix", "/A", any_case=True), path("exact", "/ab"), True),
    (path("regex", "/a.*"), path("exact", "/abc"), True),
    (path("regex", "/a.*"), path("prefix", "/abc"), False),
    (path("regex", ".*"), path("prefix", "/abc"), True),
    (path("prefix", "/a", method=GET), path("prefix", "/ab"), False),
    (path("prefix", "/a"), path("prefix", "/ab", method=GET), True),
    (MatchPlan(headers=[ONE]), MatchPlan(headers=[ONE, header("y", is_("present"))]), True),
    (MatchPlan(headers=[ONE]), MatchPlan(headers=[TWO]), False),
    (MatchPlan(headers=[header("x", is_("present"))]), MatchPlan(headers=[TWO]), True),
    (MatchPlan(headers=[header("x", is_("exact", "1"), True)]), MatchPlan(headers=[TWO]), False),
    (MatchPlan(headers=[header("x", is_("prefix", "1"), True)]), MatchPlan(headers=[ONE]), False),
    (MatchPlan(query=[ONE]), MatchPlan(headers=[ONE]), False),
]  # fmt: skip


@pytest.mark.parametrize(("wider", "clause", "covered"), TABLE)
def test_when_an_earlier_clause_takes_all_requests_of_a_later_one(
    wider: MatchPlan, clause: MatchPlan, covered: bool
) -> None:
    assert covers(wider, clause) is covered
