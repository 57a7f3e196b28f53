"""Istio's table of what a plain HTTP gateway answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.config.asking import clusters, plan_of, rule_for, vhost_for

TABLE = yaml.safe_load(Path(__file__).with_name("gateway_routes.yaml").read_text())


def documents(case: dict[str, Any]) -> str:
    found: list[dict[str, Any]] = []
    for gateway in case["gateways"]:
        port = {"number": 80, "name": "http", "protocol": gateway.get("protocol", "HTTP")}
        server: dict[str, Any] = {"port": port, "hosts": gateway["hosts"]}
        if gateway.get("redirect"):
            server["tls"] = {"httpsRedirect": True}
        spec = {"selector": {"istio": "ingressgateway"}, "servers": [server]}
        found.append(_object("Gateway", gateway, spec))
    for rule in case.get("rules", []):
        destination = {"host": rule["to"]} | ({"port": {"number": rule["port"]}} if "port" in rule else {})
        http = {"match": [{"uri": rule["match"]}], "route": [{"destination": destination}]}
        spec = {"hosts": rule["hosts"], "gateways": rule.get("gateways", ["gateway"]), "http": [http]}
        found.append(_object("VirtualService", rule, spec))
    return yaml.safe_dump_all(found)


def _object(kind: str, row: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": row["name"], "namespace": row.get("namespace", "default")}
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("case", TABLE, ids=[case["name"] for case in TABLE])
def test_gateway_routes(case: dict[str, Any]) -> None:
    plan = plan_of(documents(case), kind="gateway", labels={"istio": "ingressgateway"})
    for call in case["calls"]:
        listener = next((listener for listener in plan.listeners if listener.port == call["listener"]), None)
        if call["result"] == "no listener":
            assert listener is None
            continue
        assert listener is not None
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
