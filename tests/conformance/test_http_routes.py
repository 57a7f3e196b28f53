"""HTTPRoutes of the Gateway API: its own conformance objects, Bookinfo's samples, attachment and isolation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conformance.routes_of_gateway_api import ask, plan_of
from tests.corpora import corpora_dir

pytest.importorskip("fastmesh.core.proxy.explain")

TABLE = yaml.safe_load(Path(__file__).with_name("http_routes.yaml").read_text())
OBJECTS = corpora_dir() / "gateway-api"
BOOKINFO = corpora_dir() / "istio/samples/bookinfo"
INFRA = "gateway-conformance-infra"
ASKED = ("url", "host", "method", "headers", "answered", "mirrored")  # the last two: see tests/story/test_tables.py


def version(cluster: str) -> str:
    return cluster.split("|")[3].split(".")[0].rpartition("-")[2]


@pytest.mark.parametrize("name", TABLE)
def test_conformance_objects(name: str) -> None:
    text = (OBJECTS / "base-manifests.yaml").read_text() + "\n---\n" + (OBJECTS / f"{name}.yaml").read_text()
    plan = plan_of(text.replace("{GATEWAY_CLASS_NAME}", "istio"), kind="gateway", namespace=INFRA)
    for row in TABLE[name]:
        headers = [(key, value) for key, value in row.get("headers", {}).items()]
        host = row.get("host", "gateway.example")
        answer = ask(plan, f"{INFRA}/same-namespace", host, row["url"], row.get("method", "GET"), headers)
        for key, wanted in row.items():
            if key not in ASKED:
                assert found(answer, key, wanted) == wanted, (row, key)


def found(answer: Any, key: str, wanted: Any) -> Any:
    if key == "to":
        return version(answer["cluster"]) if answer["cluster"] else answer["status"]
    if key == "sent":
        return {name: answer["request_headers"].get(name) for name in wanted}
    if key == "weights":
        return {version(name): pytest.approx(share) for name, share in answer["weights"].items()}
    return answer[key]


SERVICES = "".join(
    f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {app}-{number}}}
spec: {{ports: [{{name: http, port: 9080}}]}}
"""
    for app in ("reviews", "productpage", "ratings", "details")
    for number in ("v1", "v2", "v3")
)


@pytest.mark.parametrize(
    ("file", "app", "shares"),
    [
        ("route-all-v1", "reviews", {"v1": 1}),
        ("route-all-v1", "details", {"v1": 1}),
        ("route-reviews-v1", "reviews", {"v1": 1}),
        ("route-reviews-v3", "reviews", {"v3": 1}),
        ("route-reviews-50-v3", "reviews", {"v1": 0.5, "v3": 0.5}),
        ("route-reviews-90-10", "reviews", {"v1": 0.9, "v2": 0.1}),
    ],
)
def test_bookinfo_on_the_mesh(file: str, app: str, shares: dict[str, float]) -> None:
    text = (BOOKINFO / "platform/kube/bookinfo.yaml").read_text() + SERVICES + "\n---\n"
    answer = ask(plan_of(text + (BOOKINFO / f"gateway-api/{file}.yaml").read_text()), "", app, "/x", port=9080)
    weights = answer["weights"] or {answer["cluster"]: 1.0}
    assert {version(name): share for name, share in weights.items()} == pytest.approx(shares)
    assert (answer["rule"]["kind"], answer["rule"]["name"]) == ("HTTPRoute", app)


def test_bookinfos_gateway() -> None:
    text = (BOOKINFO / "platform/kube/bookinfo.yaml").read_text() + "\n---\n"
    plan = plan_of(text + (BOOKINFO / "gateway-api/bookinfo-gateway.yaml").read_text(), kind="gateway")
    paths = {
        "/productpage": 1,
        "/static/x": 1,
        "/staticx": 0,
        "/login": 1,
        "/logout": 1,
        "/api/v1/products/1": 1,
        "/": 0,
    }
    for path, routed in paths.items():
        answer = ask(plan, "default/bookinfo-gateway", "any.example", path)
        cluster = "outbound|9080||productpage.default.svc.cluster.local" if routed else None
        assert (path, answer["cluster"]) == (path, cluster)


GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: edge}
spec:
  gatewayClassName: istio
  listeners:
  - {name: any, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}
  - {name: wild, port: 80, protocol: HTTP, hostname: "*.foo.com", allowedRoutes: {namespaces: {from: Same}}}
  - {name: exact, port: 80, protocol: HTTP, hostname: a.foo.com}
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: edge}
spec: {ports: [{name: http, port: 80}, {name: other, port: 81}]}
"""


def http_route(name: str, spec: str, namespace: str = "edge") -> str:
    head = f"metadata: {{name: {name}, namespace: {namespace}}}"
    return f"\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n{head}\nspec: {{{spec}}}\n"


def domains(*routes: str) -> dict[str, list[str]]:
    """Hosts of port 80 and the routes that serve them."""
    plan = plan_of(GATEWAY + "".join(routes), kind="gateway", namespace="edge")
    (listener,) = plan.listeners
    return {item.domain: [rule.origin.name for rule in plan.vhosts[item.vhost].rules] for item in listener.domains}


TO_B = "rules: [{backendRefs: [{name: b, port: 80}]}]"
PARENT = "parentRefs: [{name: gw, namespace: edge}], "


def test_a_more_specific_listener_keeps_its_hosts_to_itself() -> None:
    section = "parentRefs: [{name: gw, sectionName: any}], "
    assert domains(http_route("r", section + TO_B)) == {"*": ["r"], "*.foo.com": [], "a.foo.com": []}


def test_a_route_without_hostnames_serves_every_listener_that_it_names() -> None:
    assert domains(http_route("r", PARENT + TO_B)) == {"*": ["r"], "*.foo.com": ["r"], "a.foo.com": ["r"]}
    other = http_route("r", PARENT + TO_B, "other")
    assert domains(other) == {"*": ["r"], "*.foo.com": [], "a.foo.com": []}


def test_hostnames_meet_listeners() -> None:
    found = domains(http_route("r", PARENT + "hostnames: [b.foo.com, bar.com], " + TO_B))
    assert found == {"*": [], "*.foo.com": [], "a.foo.com": [], "b.foo.com": ["r"], "bar.com": ["r"]}


def test_rules_of_the_more_specific_hostname_go_first() -> None:
    wide = http_route("wide", PARENT + "hostnames: ['*.bar.com'], rules: [{matches: [{path: {value: /long}}]}]")
    exact = http_route("exact", PARENT + "hostnames: [x.bar.com], " + TO_B)
    assert domains(wide, exact)["x.bar.com"] == ["exact", "wide"]


def test_a_gateway_of_another_class_is_not_ours() -> None:
    assert plan_of(GATEWAY.replace("Name: istio", "Name: nginx"), kind="gateway").listeners == []


def test_consumer_routes_beat_producer_routes_and_stay_at_home() -> None:
    parent = "parentRefs: [{group: '', kind: Service, name: b, namespace: edge, port: 80}], "
    text = GATEWAY + http_route("producer", parent + TO_B) + http_route("consumer", parent + TO_B, "shop")
    for namespace, name in (("edge", "producer"), ("shop", "consumer"), ("third", "producer")):
        answer = ask(plan_of(text, namespace=namespace), "", "b.edge", "/")
        assert (namespace, answer["rule"]["name"]) == (namespace, name)
    assert ask(plan_of(text), "", "b.edge", "/", port=81)["rule"]["kind"] == "Service"


def test_backends_that_are_not_there_answer_500() -> None:
    plan = plan_of(
        GATEWAY + http_route("r", PARENT + "rules: [{backendRefs: [{name: nobody, port: 80}]}]"), kind="gateway"
    )
    (destination,) = plan.vhosts[0].rules[0].destinations
    assert (destination.missing, destination.missing_status) == (True, 500)
    unknown = "rules: [{filters: [{type: ExtensionRef, extensionRef: {}}], backendRefs: [{name: b, port: 80}]}]"
    plan = plan_of(GATEWAY + http_route("r", PARENT + unknown), kind="gateway")
    assert plan.vhosts[0].rules[0].direct is not None
    assert plan.vhosts[0].rules[0].direct.status == 500


def test_retries_and_timeouts() -> None:
    spec = """rules: [{timeouts: {request: 1m30s, backendRequest: 10s}, retry: {codes: [500, 503], attempts: 1},
  backendRefs: [{name: b, port: 80}]}]"""
    plan = plan_of(GATEWAY + http_route("r", PARENT + spec), kind="gateway")
    rule = plan.vhosts[0].rules[0]
    assert rule.timeout == 90_000
    assert rule.retry is not None
    assert (rule.retry.attempts, rule.retry.status_codes, rule.retry.per_try_timeout) == (1, [500, 503], 10_000)


def test_two_gateways_with_equal_listeners_have_the_routes_of_both() -> None:
    """They share a port of this proxy; the routes of the second one were lost."""
    text = "---\napiVersion: v1\nkind: Service\nmetadata: {name: b, namespace: edge}\n"
    text += "spec: {ports: [{name: http, port: 80}]}\n"
    for name in ("one", "two"):
        listeners = "[{name: http, port: 80, protocol: HTTP}]"
        text += "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n"
        text += f"metadata: {{name: {name}, namespace: edge}}\n"
        text += f"spec: {{gatewayClassName: istio, listeners: {listeners}}}\n"
        parents = f"parentRefs: [{{name: {name}}}], hostnames: [{name}.example]"
        text += http_route(name, f"{parents}, rules: [{{backendRefs: [{{name: b, port: 80}}]}}]")
    plan = plan_of(text, kind="gateway")
    for name in ("one", "two"):
        answer = ask(plan, "edge/one", f"{name}.example", "/")
        assert answer["rule"]["name"] == name
