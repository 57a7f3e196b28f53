"""Istio's table of which VirtualService wins for a host and port of the mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fastmesh.config.plan import Plan
from tests.config.asking import clusters, plan_of, route, rule_for, vhost_for

TABLE = yaml.safe_load(Path(__file__).with_name("mesh_routes.yaml").read_text())

EXTERNAL_NAME = """
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: default}
spec: {type: ExternalName, externalName: concrete.default.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: concrete, namespace: default}
spec:
  clusterIP: 1.2.3.4
  ports: [{name: http, port: 80}, {name: auto, port: 81}, {name: tcp, port: 82}, {name: tls, port: 83}]
"""
ALIAS_RULE = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: alias}
spec:
  hosts: [alias.default.svc.cluster.local]
  http:
  - name: route1
    match: [{uri: {prefix: /one}}]
    route: [{destination: {host: concrete.default.svc.cluster.local}}]
"""
CONCRETE = "concrete.default.svc.cluster.local"


def documents(case: dict[str, Any], *, api: bool = False) -> str:
    """`api`: the rules as HTTPRoutes."""
    text = TABLE["services"]
    for number, rule in enumerate(case["rules"]):
        text += "\n---\n" + yaml.safe_dump((http_route if api else virtual_service)(rule, f"rule-{number}"))
    if "imports" in case:
        text += "\n---\n" + yaml.safe_dump({
            "apiVersion": "networking.istio.io/v1", "kind": "Sidecar",
            "metadata": {"name": "sidecar", "namespace": case["client"]},
            "spec": {"egress": [{"hosts": case["imports"]}]},
        })  # fmt: skip
    return text


def virtual_service(rule: dict[str, Any], name: str) -> dict[str, Any]:
    destination = {"host": rule["to"]} | ({"port": {"number": rule["port"]}} if "port" in rule else {})
    http: dict[str, Any] = {"route": [{"destination": destination}]}
    if "match_port" in rule:
        http["match"] = [{"port": rule["match_port"]}]
    return {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": name, "namespace": rule["namespace"]},
        "spec": {"hosts": rule.get("hosts") or [rule["host"]], "http": [http]},
    }  # fmt: skip


def http_route(rule: dict[str, Any], name: str) -> dict[str, Any]:
    parents = []
    for host in rule.get("hosts") or [rule["host"]]:
        service, namespace = host.split(".")[:2]
        parents.append({"group": "", "kind": "Service", "name": service, "namespace": namespace})
        if "match_port" in rule:
            parents[-1]["port"] = rule["match_port"]
    backend = {"kind": "Hostname", "group": "networking.istio.io", "name": rule["to"], "port": rule.get("port", 80)}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": rule["namespace"]},
        "spec": {"parentRefs": parents, "rules": [{"backendRefs": [backend]}]},
    }  # fmt: skip


def check(case: dict[str, Any], expect: dict[str, str | None], *, api: bool = False) -> None:
    plan = plan_of(documents(case, api=api), namespace=case["client"])
    domains = {domain.domain: domain.vhost for domain in plan.listeners[0].domains if domain.port == case["port"]}
    for host, wanted in expect.items():
        found = clusters(rule_for(plan.vhosts[domains[host]])) if host in domains else None
        assert found == (None if wanted is None else [wanted]), host


@pytest.mark.parametrize("case", TABLE["cases"], ids=[case["name"] for case in TABLE["cases"]])
def test_mesh_routes(case: dict[str, Any]) -> None:
    check(case, case["expect"])


@pytest.mark.parametrize("name", TABLE["http_routes"])
def test_mesh_routes_of_the_gateway_api(name: str) -> None:
    (case,) = (case for case in TABLE["cases"] if case["name"] == name)
    check(case, case["expect"] | TABLE["http_routes"][name], api=True)


@pytest.mark.parametrize(
    ("host", "port"), [("alias.default.svc.cluster.local", 80), ("alias.default", 81), ("alias", 80)]
)
def test_an_alias_reaches_the_concrete_service(host: str, port: int) -> None:
    assert route(plan_of(EXTERNAL_NAME), host, port) == [f"outbound|{port}||{CONCRETE}"]


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [
        ("alias.default.svc.cluster.local", 80, "route1"),
        ("alias.default", 80, "default"),
        (CONCRETE, 80, "default"),
        ("alias.default.svc.cluster.local", 81, "default"),
        (CONCRETE, 81, "default"),
    ],
)
def test_a_rule_for_an_alias_holds_for_that_name_alone(host: str, port: int, name: str) -> None:
    plan = plan_of(EXTERNAL_NAME + ALIAS_RULE)
    rule = _rule(plan, host, port)
    assert (rule.origin.route, clusters(rule)) == (name, [f"outbound|{port}||{CONCRETE}"])


def test_headless_services_have_names_of_their_pods() -> None:
    text = """
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: default}
spec: {clusterIP: None, ports: [{name: http, port: 80}, {name: auto, port: 81}, {name: tcp, port: 82}]}
"""
    plan = plan_of(text)
    for host in ("headless.default.svc.cluster.local", "headless.default", "pod-0.headless.default", "pod-0.headless"):
        assert route(plan, host, 80) == ["outbound|80||headless.default.svc.cluster.local"], host
        assert route(plan, host, 81) == ["outbound|81||headless.default.svc.cluster.local"], host
        assert route(plan, host, 82) is None, host


def _rule(plan: Plan, host: str, port: int) -> Any:
    vhost = vhost_for(plan, host, port)
    assert vhost is not None
    return rule_for(vhost, "/one")
