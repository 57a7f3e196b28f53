"""Tables of others for connections: overlapping addresses of ServiceEntries, and TCPRoutes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fastmesh.config.plan import Plan, encode, iterate
from fastmesh.core.proxy.explain_tcp import explain_connection
from tests.config.asking import plan_of

TABLE = yaml.safe_load(Path(__file__).with_name("connections.yaml").read_text())
API = "gateway.networking.k8s.io"


def ask(plan: Plan, listener: str, address: str = "", port: int = 0, sni: str | None = None) -> dict[str, Any]:
    return explain_connection(iterate(encode(plan)), listener, address, port, sni)


def thing(version: str, kind: str, name: str, spec: dict[str, Any], namespace: str = "default") -> dict[str, Any]:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def mesh(case: dict[str, Any]) -> str:
    found = []
    for number, addresses in enumerate(case["entries"], 1):
        port = {"number": 9999, "name": "port-9999", "protocol": case["protocol"]}
        spec = {"hosts": [f"blah{number}.somedomain"], "addresses": addresses, "ports": [port]}
        found.append(thing("networking.istio.io/v1", "ServiceEntry", f"se{number}", spec))
    if case.get("rule"):
        host = "blah1.somedomain"
        rule = {
            "match": [{"port": 9999, "sniHosts": [host]}],
            "route": [{"destination": {"host": host, "port": {"number": 9999}}}],
        }
        found.append(thing("networking.istio.io/v1", "VirtualService", "vs1", {"hosts": [host], "tls": [rule]}))
    return yaml.safe_dump_all(found)


@pytest.mark.parametrize("case", TABLE["mesh"], ids=[case["name"] for case in TABLE["mesh"]])
def test_service_entries(case: dict[str, Any]) -> None:
    plan = plan_of(mesh(case), intercepts=True)
    for call in case["calls"]:
        answer = ask(plan, "mesh", call["address"], 9999, call.get("sni"))
        cluster = call["cluster"]
        whole = cluster if cluster == "PassthroughCluster" else f"outbound|9999||{cluster}.somedomain"
        assert answer["shares"] == {whole: 1.0}, call["name"]


def gateway(case: dict[str, Any]) -> Iterator[dict[str, Any]]:
    listeners = [
        {"name": name, "port": port, "protocol": case.get("protocol", "TCP")}
        for name, port in case["listeners"].items()
    ]
    yield thing(f"{API}/v1", "Gateway", "gw", {"gatewayClassName": "istio", "listeners": listeners}, "infra")
    for name, namespace in (("one", "infra"), ("two", "infra"), ("three", "infra"), ("elsewhere", "web")):
        yield thing("v1", "Service", name, {"ports": [{"name": "tcp", "port": 3000}]}, namespace)
    if case.get("grant"):
        grant = {
            "from": [{"group": API, "kind": "TCPRoute", "namespace": "infra"}],
            "to": [{"group": "", "kind": "Service", "name": "elsewhere"}],
        }
        yield thing(f"{API}/v1beta1", "ReferenceGrant", "grant", grant, "web")
    for number, route in enumerate(case["routes"]):
        spec = {
            "parentRefs": [{"name": "gw", **parent} for parent in route["parents"]],
            "rules": [{"backendRefs": [{"port": 3000, **backend} for backend in route["to"]]}],
        }
        version = "v1" if number % 2 else "v1alpha2"
        yield thing(f"{API}/{version}", "TCPRoute", f"route-{number}", spec, "infra")


@pytest.mark.parametrize("case", TABLE["gateway"], ids=[case["name"] for case in TABLE["gateway"]])
def test_tcp_routes(case: dict[str, Any]) -> None:
    plan = plan_of(yaml.safe_dump_all(gateway(case)), kind="gateway", namespace="infra")
    for call in case["calls"]:
        answer = ask(plan, f"0.0.0.0_{call['port']}")
        assert answer["kind"] == call.get("kind", "tcp")
        if call.get("missing"):
            assert answer["missing"] == list(answer["shares"])
        else:
            shares = {f"outbound|3000||{name}.svc.cluster.local": each for name, each in call.get("shares", {}).items()}
            assert answer["shares"] == pytest.approx(shares)
            assert answer["missing"] == []
