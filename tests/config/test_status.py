"""Conditions of Gateways, listeners and routes, by the rows of status_rows.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fastmesh.config.compile import Role
from fastmesh.config.status.conditions import Condition, ObjectStatus
from fastmesh.config.status.document import statuses
from tests.config.asking import config_of

API = "gateway.networking.k8s.io/v1"
TABLE = yaml.safe_load(Path(__file__).with_name("status_rows.yaml").read_text())
PAIR = {"tls.crt": "eA==", "tls.key": "eA=="}


def thing(
    kind: str, name: str, spec: Any, namespace: str = "default", version: str = API, **more: Any
) -> dict[str, Any]:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, **more},
        "spec": spec,
    }


def listener(row: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {key: row[key] for key in ("name", "port", "protocol", "hostname") if key in row}
    allowed: dict[str, Any] = {"namespaces": {"from": row.get("from", "Same")}}
    if "selector" in row:
        allowed["namespaces"]["selector"] = row["selector"]
    if "kinds" in row:
        allowed["kinds"] = [{"kind": kind} for kind in row["kinds"]]
    made["allowedRoutes"] = allowed
    if "cert" in row:
        made["tls"] = {"certificateRefs": [row["cert"]]}
    if "mode" in row:
        made["tls"] = {**made.get("tls", {}), "mode": row["mode"]}
    if "roots" in row:
        made["tls"]["frontendValidation"] = {"caCertificateRefs": [row["roots"]]}
    return made


def documents(case: dict[str, Any]) -> str:
    found = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "group", "labels": {"part": "group"}}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pair", "namespace": "edge"}, "data": PAIR},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pair", "namespace": "other"}, "data": PAIR},
    ]
    for name, data in (("roots", {"ca.crt": "x"}), ("empty", {})):
        found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
    for name, namespace in (("httpbin", "default"), ("svc", "granted"), ("svc", "refused")):
        found.append(thing("Service", name, {"ports": [{"name": "http", "port": 80}]}, namespace, "v1"))
    if "gateway" in case:
        spec = {"gatewayClassName": "istio", "listeners": [listener(row) for row in case["gateway"]]}
        if "infrastructure" in case:
            spec["infrastructure"] = case["infrastructure"]
        found.append(thing("Gateway", "gw", spec, "edge"))
    for grant in case.get("grants", ()):
        spec = {"from": [{"group": "gateway.networking.k8s.io", **grant["from"]}], "to": [grant["to"]]}
        found.append(thing("ReferenceGrant", "grant", spec, grant["namespace"], "gateway.networking.k8s.io/v1beta1"))
    for route in case.get("routes", ()):
        parents = [
            {"namespace": "edge", **parent} if parent.get("kind", "Gateway") == "Gateway" else parent
            for parent in route["parents"]
        ]
        rule = {
            key: route[name] for key, name in (("backendRefs", "backends"), ("filters", "filters")) if name in route
        }
        spec = {"parentRefs": parents, "rules": [rule]}
        if "hostnames" in route:
            spec["hostnames"] = route["hostnames"]
        found.append(thing(route.get("kind", "HTTPRoute"), route["name"], spec, route.get("namespace", "default")))
    for policy in case.get("policies", ()):
        validation = {"hostname": "auth.example", **policy.get("checks", {})}
        if not policy.get("checks"):
            validation["caCertificateRefs"] = [{"group": "", "kind": "ConfigMap", "name": "roots"}]
        targets = [{"group": "", "kind": "Service", **target} for target in policy["targets"]]
        found.append(thing("BackendTLSPolicy", policy["name"], {"targetRefs": targets, "validation": validation}))
    return yaml.safe_dump_all(found)


def words(conditions: list[Condition]) -> dict[str, str]:
    assert all(each.observed_generation == 1 for each in conditions)
    return {each.type: f"{each.status} {each.reason}" for each in conditions}


def facts(found: list[ObjectStatus]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for item in found:
        name = item.metadata.name
        if item.status.conditions:
            told[name] = words(item.status.conditions)
        for each in item.status.listeners:
            told[f"{name}/{each.name}"] = words(each.conditions)
            told[f"{name}/{each.name}/kinds"] = [kind.kind for kind in each.supported_kinds]
            told[f"{name}/{each.name}/attached"] = each.attached_routes
        told.update({f"{name}/{index}": words(each.conditions) for index, each in enumerate(item.status.parents)})
        told.update({f"{name}/{each.ancestor_ref['name']}": words(each.conditions) for each in item.status.ancestors})
    return told


@pytest.mark.parametrize("case", TABLE, ids=[case["name"] for case in TABLE])
def test_conditions(case: dict[str, Any]) -> None:
    kind: Any = "mesh" if case.get("mesh") else "gateway"
    told = facts(statuses(config_of(documents(case)), Role(kind=kind)))
    for key, wanted in case["wanted"].items():
        if wanted is None:
            assert not any(name.split("/")[0] == key for name in told)
        elif isinstance(wanted, dict):
            assert {name: told[key].get(name) for name in wanted} == wanted, key
        else:
            assert told[key] == wanted, key


CLASSES = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: ours}
spec: {controllerName: fastmesh.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio}
spec: {controllerName: somebody.else/controller}
"""


def test_classes() -> None:
    """Ours by its controller, whatever its name; a usual name that somebody else has taken is not."""
    text = CLASSES
    for name in ("ours", "istio", "fastmesh", "unknown"):
        listeners = "[{name: a, port: 80, protocol: HTTP}]"
        text += f"---\napiVersion: {API}\nkind: Gateway\nmetadata: {{name: of-{name}}}\n"
        text += f"spec: {{gatewayClassName: {name}, listeners: {listeners}}}\n"
    found = statuses(config_of(text), Role(kind="gateway"))
    assert [(item.kind, item.metadata.name) for item in found] == [
        ("GatewayClass", "ours"), ("Gateway", "of-ours"), ("Gateway", "of-fastmesh"),
    ]  # fmt: skip
    assert words(found[0].status.conditions)["Accepted"] == "True Accepted"
    features = [feature.name for feature in found[0].status.supported_features]
    assert features == sorted(features)
    assert {"HTTPRoute", "Mesh", "HTTPRouteCORS"} <= set(features)
