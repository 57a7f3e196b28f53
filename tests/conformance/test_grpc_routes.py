"""GRPCRoutes: the conformance objects of the Gateway API, the order of matches, and HTTPRoutes beside them."""

from __future__ import annotations

import pytest

from fastmesh.config.compile import Role, compile_plan
from tests.config.asking import config_of
from tests.conformance.routes_of_gateway_api import ask, plan_of
from tests.conformance.test_http_routes import GATEWAY, INFRA, OBJECTS, TO_B, http_route, version

pytest.importorskip("fastmesh.core.proxy.explain")

ECHO = "gateway_api_conformance.echo_basic.grpcecho.GrpcEcho"


def grpc_route(name: str, spec: str, namespace: str = "edge") -> str:
    return http_route(name, "parentRefs: [{name: gw, namespace: edge}], " + spec, namespace).replace(
        "HTTPRoute", "GRPCRoute"
    )


def backend(number: int, match: str = "") -> str:
    """A rule to a port of its own, so that an answer says which rule decided."""
    matches = f"matches: [{match}], " if match else ""
    return f"{{{matches}backendRefs: [{{name: b, port: {number}}}]}}"


@pytest.mark.parametrize(("path", "found"), [("Echo", "v1"), ("EchoTwo", "v2"), ("EchoThree", 404)])
def test_conformance_objects(path: str, found: str | int) -> None:
    objects = (OBJECTS / "grpcroute-exact-method-matching.yaml").read_text()
    text = (OBJECTS / "base-manifests.yaml").read_text() + "\n---\n" + objects
    plan = plan_of(text.replace("{GATEWAY_CLASS_NAME}", "istio"), kind="gateway", namespace=INFRA)
    answer = ask(plan, f"{INFRA}/same-namespace", "any.example", f"/{ECHO}/{path}", "POST")
    assert (version(answer["cluster"]) if answer["cluster"] else answer["status"]) == found


@pytest.mark.parametrize(
    ("path", "port"),
    [
        ("/p.S/M", 81),
        ("/p.S/N", 80),
        ("/q.S/M", 82),
        ("/q.S/Get1", 83),
        ("/q.S/N", None),
        ("/p.S/M/x", 80),
        ("/M", None),
    ],
)
def test_the_longer_service_goes_first_then_the_longer_method(path: str, port: int | None) -> None:
    service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: b, namespace: edge}\nspec: {ports: [%s]}\n"
    ports = ", ".join(f"{{name: p{number}, port: {number}}}" for number in range(80, 84))
    rules = [
        backend(80, "{method: {service: p.S}}"),
        backend(81, "{method: {service: p.S, method: M}}"),
        backend(82, "{method: {method: M}}"),
        backend(83, "{method: {type: RegularExpression, service: '[a-z].S', method: 'Get\\d'}}"),
    ]
    text = (
        GATEWAY.partition("---\napiVersion: v1")[0] + service % ports + grpc_route("g", f"rules: [{', '.join(rules)}]")
    )
    answer = ask(plan_of(text, kind="gateway"), "edge/gw", "x.org", path, "POST")
    assert answer["cluster"] == (f"outbound|{port}||b.edge.svc.cluster.local" if port else None)


def test_headers_match_too_and_a_backend_that_is_not_there_is_unavailable() -> None:
    rules = backend(81, "{headers: [{name: X, value: a}]}") + ", " + backend(80)
    text = GATEWAY + grpc_route("g", f"rules: [{rules}]")
    plan = plan_of(text, kind="gateway")
    assert ask(plan, "edge/gw", "x.org", "/s/m", "POST", [("x", "a")])["cluster"].startswith("outbound|81|")
    assert ask(plan, "edge/gw", "x.org", "/s/m", "POST")["cluster"].startswith("outbound|80|")
    for rule in ("rules: [{backendRefs: [{name: nobody, port: 80}]}]", "rules: [{}]"):
        answer = ask(plan_of(GATEWAY + grpc_route("g", rule), kind="gateway"), "edge/gw", "x.org", "/s/m", "POST")
        assert answer["status"] == 503


def test_of_routes_of_both_kinds_on_one_host_the_older_is_accepted() -> None:
    grpc, http = grpc_route("g", "hostnames: [a.org], " + TO_B), "parentRefs: [{name: gw}], hostnames: [%s], " + TO_B
    for text, kinds, told in (
        (grpc + http_route("h", http % "'*.org'"), ["GRPCRoute"], "HTTPRoute/h: spec.hostnames: an older route"),
        (http_route("h", http % "a.org") + grpc, ["HTTPRoute"], "GRPCRoute/g: spec.hostnames: an older route"),
        (grpc + http_route("h", http % "b.org"), ["GRPCRoute", "HTTPRoute"], ""),
    ):
        plan, problems = compile_plan(config_of(GATEWAY + text), Role(kind="gateway"))
        found = {rule.origin.kind for vhost in plan.vhosts for rule in vhost.rules}
        assert sorted(found) == kinds
        assert [told in str(problem) for problem in problems] == ([True] if told else [])


def test_a_listener_may_want_one_kind_alone() -> None:
    only = GATEWAY.replace("{namespaces: {from: All}}", "{kinds: [{kind: GRPCRoute}], namespaces: {from: All}}")
    text = only + grpc_route("g", TO_B) + http_route("h", "parentRefs: [{name: gw, sectionName: any}], " + TO_B)
    plan = plan_of(text, kind="gateway")
    assert {rule.origin.kind for vhost in plan.vhosts for rule in vhost.rules} == {"GRPCRoute"}


def test_methods_of_a_service_of_the_mesh() -> None:
    route = http_route(
        "g", f"parentRefs: [{{group: '', kind: Service, name: b}}], rules: [{backend(81, '{method: {service: s}}')}]"
    )
    plan = plan_of(GATEWAY + route.replace("HTTPRoute", "GRPCRoute"), namespace="edge")
    assert ask(plan, "", "b", "/s/m", "POST")["cluster"].startswith("outbound|81|")
    assert ask(plan, "", "b", "/t/m", "POST")["status"] == 404
