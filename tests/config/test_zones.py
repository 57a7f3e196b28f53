"""zoneAwareLbSetting: where the replicas of this proxy are known, the own zone goes first; else why not is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.plan import ClusterPlan, ZonesPlan
from fastmesh.errors import Problem
from tests.config.asking import config_of
from tests.conformance.explaining import ask
from tests.traffic import destination_rule, thing

HERE = "r1/z1"


def workloads(name: str, *localities: str, **labels: str) -> str:
    """A service, and a replica of it in each locality."""
    spec = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80}]}
    text = thing("Service", name, spec, "v1")
    for number, locality in enumerate(localities):
        entry = {"address": f"10.{len(name)}.0.{number}", "locality": locality, "labels": {"app": name, **labels}}
        text += thing("WorkloadEntry", f"{name}-{number}", entry)
    return text


API = workloads("api", "r1/z1", "r1/z1", "r1/z2", "r2/z1")
CART = workloads("cart", HERE, HERE, "r1/z2", "r2/z1")


def compiled(
    text: str, setting: dict[str, Any] | None, more: dict[str, Any] | None = None, **role: Any
) -> tuple[ClusterPlan, list[Problem]]:
    balancer = {"zoneAwareLbSetting": setting, **(more or {})} if setting is not None else {"simple": "RANDOM"}
    plan, problems = compile_plan(config_of(text + destination_rule("api", {"loadBalancer": balancer})), Role(**role))
    cluster = next(each for each in plan.clusters if each.service_name == "api")
    return cluster, [problem for problem in problems if "zone" in problem.message]


def test_replicas_of_the_own_workload_count_in_the_own_region() -> None:
    cluster, problems = compiled(API + CART, {"enabled": True}, name="cart-0")
    assert cluster.zones == ZonesPlan(own=HERE, callers=[("r1/z1", 2), ("r1/z2", 1)], least=6)
    assert [endpoint.priority for endpoint in cluster.endpoints] == [0, 0, 0, 1]
    assert cluster.localities == []
    assert problems == []


def test_another_version_is_another_workload() -> None:
    text = workloads("cart", HERE, version="v1") + "\n" + "".join(
        thing("WorkloadEntry", f"other-{number}", {
            "address": f"10.9.0.{number}", "locality": "r1/z2", "labels": {"app": "cart", "version": "v2"},
        })
        for number in range(3)
    )  # fmt: skip
    assert compiled(API + text, {}, name="cart-0")[0].zones is None  # all its replicas stand in one zone


def test_the_least_size() -> None:
    zones = compiled(API + CART, {"minClusterSize": 2}, name="cart-0")[0].zones
    assert zones is not None
    assert zones.least == 2


@pytest.mark.parametrize(
    ("setting", "more"),
    [
        (None, {}),
        ({"enabled": False}, {}),
        ({}, {"consistentHash": {"useSourceIp": True}}),
        ({}, {"simple": "PASSTHROUGH"}),
    ],
)
def test_where_zones_mean_nothing(setting: dict[str, Any] | None, more: dict[str, Any]) -> None:
    cluster, problems = compiled(API + CART, setting, more, name="cart-0")
    assert cluster.zones is None
    assert problems == []


@pytest.mark.parametrize(
    ("role", "flag", "why"),
    [
        ({"locality": HERE}, "--workload", "no service of these files"),
        ({"name": "cart-0", "locality": "r1/z9"}, "--workload", "in its own zone"),
        ({}, "--locality", "is not known"),
    ],
)
def test_what_is_not_known_is_said(role: dict[str, str], flag: str, why: str) -> None:
    cluster, problems = compiled(API + CART, {}, **role)
    assert cluster.zones is None
    ((found,)) = [(problem.severity, problem.file) for problem in problems]
    assert found == ("warning", flag)
    assert why in problems[0].message


def test_explain_tells_the_shares(tmp_path: Path) -> None:
    """Two thirds of the callers are here, and half of the endpoints: three quarters stay."""
    file = tmp_path / "mesh.yaml"
    api = workloads("api", "r1/z1", "r1/z1", "r1/z2", "r1/z2", "r2/z1")
    setting = {"loadBalancer": {"zoneAwareLbSetting": {"minClusterSize": 3}}}
    file.write_text(api + CART + destination_rule("api", setting))
    flags = ("GET", "http://api/", "--labels", "app=cart", "--locality", HERE)
    told = [step["decision"] for step in ask([file], *flags)["steps"] if step["step"] == "locality"]
    assert told == ["priority 0: r1/z1 75 %, r1/z2 25 %", "priority 1: 10.3.0.4:80 (r2/z1)"]
    file.write_text(api + CART + destination_rule("api", {"loadBalancer": {"zoneAwareLbSetting": {}}}))
    told = [step["decision"] for step in ask([file], *flags)["steps"] if step["step"] == "locality"]
    assert "10.3.0.0:80 (r1/z1), " in told[0], "four are too few"
