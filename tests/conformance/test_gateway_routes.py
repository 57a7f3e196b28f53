"""Istio's tables of what a gateway answers, which of two servers has a port, and which port it binds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.plan import ListenerPlan, Plan, encode, iterate
from tests.config.asking import clusters, config_of, rule_for, vhost_for

explain_tcp = pytest.importorskip("fastmesh.core.proxy.explain_tcp")

TABLE = yaml.safe_load(Path(__file__).with_name("gateway_routes.yaml").read_text())
LABELS = {"istio": "ingressgateway"}
LEFT_ALONE = {"experimental.istio.io/disable-gateway-port-translation": "true"}


def documents(case: dict[str, Any]) -> str:
    found = [_object("Gateway", row, {"selector": LABELS, "servers": [_server(row)]}) for row in case["gateways"]]
    found += [_virtual_service(row) for row in case.get("rules", [])]
    for row in case.get("services", []):
        ports = [{"name": f"p{port}", "port": port, "targetPort": to} for port, to in row["ports"].items()]
        service = _object("Service", {"namespace": "istio-system", **row}, {"selector": LABELS, "ports": ports}, "v1")
        service["metadata"]["labels"] = {} if row.get("translates", True) else LEFT_ALONE
        found.append(service)
    if "containers" in case:
        ports = [{"name": name, "containerPort": port} for name, port in case["containers"].items()]
        template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "proxy", "ports": ports}]}}
        found.append(
            _object("Deployment", {"name": "gw", "namespace": "istio-system"}, {"template": template}, "apps/v1")
        )
    return yaml.safe_dump_all(found)


def _server(row: dict[str, Any]) -> dict[str, Any]:
    number, protocol = row.get("port", 80), row.get("protocol", "HTTP")
    server: dict[str, Any] = {"port": {"number": number, "name": f"p{number}", "protocol": protocol}}
    server["hosts"] = row["hosts"]
    if row.get("redirect"):
        server["tls"] = {"httpsRedirect": True}
    if "tls" in row:
        server["tls"] = {"mode": row["tls"]} | ({"credentialName": "pair"} if row["tls"] == "SIMPLE" else {})
    return server


def _virtual_service(row: dict[str, Any]) -> dict[str, Any]:
    destination = {"host": row["to"]} | ({"port": {"number": row["port"]}} if "port" in row else {})
    route: dict[str, Any] = {"route": [{"destination": destination}]}
    if "match" in row:
        route["match"] = [{"uri": row["match"]}]
    if "sni" in row:
        route["match"] = [{"sniHosts": row["sni"]}]
    kind = "tcp" if row.get("tcp") else "tls" if "sni" in row else "http"
    spec = {"hosts": row["hosts"], "gateways": row.get("gateways", ["gateway"]), kind: [route]}
    return _object("VirtualService", row, spec)


def _object(kind: str, row: dict[str, Any], spec: Any, version: str = "networking.istio.io/v1") -> dict[str, Any]:
    metadata = {"name": row["name"], "namespace": row.get("namespace", "default")}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("case", TABLE, ids=[case["name"] for case in TABLE])
def test_gateway_routes(case: dict[str, Any]) -> None:
    role = Role(kind="gateway", namespace="istio-system", labels=LABELS, ports=case.get("map", {}))
    plan, problems = compile_plan(config_of(documents(case)), role)
    if "told" in case:
        assert any(case["told"] in str(problem) for problem in problems)
    for call in case["calls"]:
        bound = {int(listener.address.rpartition(":")[2]): listener for listener in plan.listeners}
        assert len(bound) == len(plan.listeners)
        listener = bound.get(call["listener"])
        if call["result"] == "no listener":
            assert listener is None
            continue
        assert listener is not None
        if "bytes" in call or "sni" in call:
            _check_bytes(plan, listener, call)
        else:
            _check_request(plan, listener, call)


def _check_bytes(plan: Plan, listener: ListenerPlan, call: dict[str, Any]) -> None:
    answer = explain_tcp.explain_connection(iterate(encode(plan)), listener.name, "", 0, call.get("sni"))
    assert answer["kind"] in ("tcp", "")
    wanted = [] if call["result"] == "closed" else [call["result"] + ".svc.cluster.local"]
    assert list(answer["shares"]) == wanted


def _check_request(plan: Plan, listener: ListenerPlan, call: dict[str, Any]) -> None:
    vhost = vhost_for(plan, call["host"], listener=listener)
    if "vhost" in call:
        assert (vhost and vhost.name) == call["vhost"]
    rule = rule_for(vhost, call.get("path", "/")) if vhost is not None else None
    if call["result"] == "redirect":
        assert call["host"] in listener.https_redirect
    elif call["result"] == 404:
        assert rule is None
        assert listener.unknown == "404"
    else:
        assert clusters(rule) == [call["result"] + ".svc.cluster.local"]
