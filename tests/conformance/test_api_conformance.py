"""The Gateway API's conformance tests as data, and what of the API this proxy says that it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from fastmesh.config.plan import Plan, encode, iterate
from fastmesh.config.services.role import Role
from fastmesh.config.status.document import statuses
from fastmesh.config.status.features import SUPPORTED
from tests.config.asking import config_of, plan_of
from tests.config.test_status import PAIR, facts, thing

explaining = pytest.importorskip("fastmesh.core.proxy.explain")

HERE = Path(__file__).parent
TABLE = yaml.safe_load((HERE / "api_conformance.yaml").read_text())
FEATURES = yaml.safe_load((HERE / "api_features.yaml").read_text())
API = "gateway.networking.k8s.io/v1"
HTTP = [{"name": "http", "port": 80, "protocol": "HTTP"}]
PORTS = {"ports": [{"name": "http", "port": 8080}]}
CALL = ("url", "host", "method", "headers", "port", "scheme", "gateway", "client")


def documents(case: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pair", "namespace": "infra"}, "data": PAIR}
    for name, namespace in (("v1", "infra"), ("v2", "infra"), ("v3", "infra"), ("web", "web")):
        yield thing("Service", name, PORTS, namespace, "v1")
    yield from case.get("objects", ())
    if case.get("mesh"):
        ports = [{"name": "http", "port": 80}, {"name": "http-more", "port": 8080}]
        yield thing("Service", "echo", {"ports": ports}, "infra", "v1")
    for name, listeners in case.get("gateways", {"gw": case.get("listeners", HTTP)}).items():
        yield thing("Gateway", name, {"gatewayClassName": "istio", "listeners": listeners}, "infra")
    for number, grant in enumerate(case.get("grants", ())):
        given = {"group": "" if grant["to"]["kind"] in ("Service", "Secret") else "gateway.networking.k8s.io"}
        spec = {"from": [{"group": "gateway.networking.k8s.io", **grant["from"]}], "to": [given | grant["to"]]}
        yield thing("ReferenceGrant", f"grant-{number}", spec, grant["namespace"])
    for route in case.get("routes", ()):
        parent = {"group": "", "kind": "Service", "name": "echo"} if case.get("mesh") else {"name": "gw"}
        spec = {"parentRefs": route.get("parents", [parent]), "rules": [*map(rule, route["rules"])]}
        if "hostnames" in route:
            spec["hostnames"] = route["hostnames"]
        yield thing(route.get("kind", "HTTPRoute"), route["name"], spec, route.get("namespace", "infra"))


def rule(row: dict[str, Any]) -> dict[str, Any]:
    made = {key: value for key, value in row.items() if key not in ("prefix", "exact", "to")}
    for key, kind in (("prefix", "PathPrefix"), ("exact", "Exact")):
        if key in row:
            made["matches"] = [{"path": {"type": kind, "value": row[key]}}]
    if "to" in row:
        made["backendRefs"] = [{"name": row["to"], "port": 8080}]
    return made


@pytest.mark.parametrize("case", TABLE, ids=[case["test"] for case in TABLE])
def test_calls_and_conditions(case: dict[str, Any]) -> None:
    text = yaml.safe_dump_all(documents(case))
    plans: dict[str, Plan] = {}
    for call in case.get("calls", ()):
        who = call.get("client", "client") if case.get("mesh") else call.get("gateway", "gw")
        if who not in plans:
            plans[who] = plan_of(text, **_role(case, who))
        answer = ask(plans[who], call, mesh=bool(case.get("mesh")))
        for key, wanted in call.items():
            if key not in CALL:
                assert found(answer, key, wanted) == wanted, (call, key)
    if "conditions" in case:
        told = facts(statuses(config_of(text), Role(kind="gateway")))
        for key, wanted in case["conditions"].items():
            if isinstance(wanted, dict):
                assert {name: told[key].get(name) for name in wanted} == wanted, key
            else:
                assert told[key] == wanted, key


def _role(case: dict[str, Any], who: str) -> dict[str, Any]:
    if case.get("mesh"):
        return {"namespace": who}
    return {"kind": "gateway", "namespace": "infra", "labels": {"gateway.networking.k8s.io/gateway-name": who}}


def ask(plan: Plan, call: dict[str, Any], *, mesh: bool) -> Mapping[str, Any]:
    port = call.get("port", 80)
    listener = plan.listeners[0] if mesh else next(item for item in plan.listeners if item.port == port)
    headers = [*call.get("headers", {}).items()]
    host, scheme = call.get("host", "gateway.example"), call.get("scheme", "http")
    answer: Mapping[str, Any] = explaining.explain(
        iterate(encode(plan)), listener.name, call.get("method", "GET"), scheme, host, call["url"], headers, port, mesh
    )
    return answer


def version(cluster: str) -> str:
    return cluster.split("|")[3].split(".")[0]


def found(answer: Mapping[str, Any], key: str, wanted: Any) -> Any:
    if key == "to":
        if isinstance(wanted, int):
            return answer["status"]
        if not answer["cluster"]:
            return answer["status"] or answer["action"]
        return version(answer["cluster"]) if "|" in answer["cluster"] else "passthrough"
    if key == "sent":
        return {name: answer["request_headers"].get(name) for name in wanted}
    if key == "weights":
        return {version(name): pytest.approx(share) for name, share in answer["weights"].items()}
    if key == "rule":
        return answer["rule"]["route"]
    if key == "mirrors":
        steps = [step for step in answer["steps"] if step["step"] == "mirror"]
        return {version(step["decision"]): float(step["why"].split()[4]) for step in steps}
    return answer.get(key)


def test_what_is_claimed_is_shown() -> None:
    """Each feature by the API's name, with the conformance tests that it stands for and where they are here."""
    assert sorted(FEATURES["claimed"]) == SUPPORTED
    assert not set(FEATURES["claimed"]) & set(FEATURES["not claimed"])
    documented = (HERE.parents[1] / "docs/configuration.md").read_text().replace("|", ",")
    assert {name for name in SUPPORTED if f" {name}," not in documented.replace(" ,", ",")} == set()
    known = {case["test"] for case in TABLE}
    for name, places in FEATURES["claimed"].items():
        assert places, name
        for place in places:
            file, _, test = place.partition("::")
            if file == "api_conformance.yaml":
                assert test in known, (name, test)
            else:
                assert (HERE.parents[1] / file).is_file(), (name, file)
                assert not test or f"def {test}(" in (HERE.parents[1] / file).read_text(), (name, test)
