"""HealthCheck: what is refused, what it becomes, and which destinations it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.plan import ClusterPlan
from fastmesh.config.store import read
from tests.traffic import destination_rule, replicas_of, thing, to, virtual_service


def check(name: str = "app", namespace: str = "default", **spec: Any) -> str:
    return thing("HealthCheck", name, {"host": "app", **spec}, "fastmesh.io/v1alpha1", namespace=namespace)


def clusters(tmp_path: Path, yaml: str) -> dict[str, ClusterPlan]:
    file = tmp_path / "mesh.yaml"
    split = [{**to("app", "v1")[0], "weight": 50}, {**to("app")[0], "weight": 50}]
    file.write_text(replicas_of("app", 1, 2) + virtual_service("app", {"route": split}) + yaml)
    result = read([str(file)])
    assert not result.errors, result.errors
    plan, _ = compile_plan(result.resources, Role())
    return {f"{cluster.port}/{cluster.subset}": cluster for cluster in plan.clusters}


def test_defaults(tmp_path: Path) -> None:
    found = clusters(tmp_path, destination_rule("app", {}, "v1") + check(http={}))
    health = found["80/"].health
    assert health is not None
    assert (health.kind, health.interval, health.jitter, health.timeout) == ("http", 5000, 500, 1000)
    assert (health.unhealthy, health.healthy, health.path, health.method) == (3, 2, "/", "GET")
    assert health.statuses == [(200, 299)]
    assert health.authority == "app.default.svc.cluster.local"
    assert (health.origin.kind, health.origin.name) == ("HealthCheck", "app")
    assert found["80/v1"].health == health
    assert clusters(tmp_path, destination_rule("app", {}, "v1"))["80/"].health is None


def test_the_more_it_says_of_a_destination_the_better_it_fits(tmp_path: Path) -> None:
    yaml = destination_rule("app", {}, "v1") + check("all", tcp={})
    yaml += check("port", port=80, http={"path": "/port"}) + check("subset", subset="v1", http={"path": "/v1"})
    found = clusters(tmp_path, yaml + check("elsewhere", port=81, http={"path": "/81"}))
    assert [found[key].health.path for key in ("80/", "80/v1")] == ["/port", "/v1"]  # type: ignore[union-attr]


def test_minimum_health_is_the_destination_rules_unless_it_says_its_own(tmp_path: Path) -> None:
    rule = destination_rule("app", {"outlierDetection": {"minHealthPercent": 40}}, "v1")
    for own, least in (({}, 40), ({"minHealthPercent": 0}, 0), ({"minHealthPercent": 70}, 70)):
        health = clusters(tmp_path, rule + check(tcp={}, **own))["80/"].health
        assert health is not None
        assert health.min_health_percent == least


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({}, "spec", "exactly one of http, tcp and grpc"),
        ({"http": {}, "tcp": {}}, "spec", "exactly one of http, tcp and grpc"),
        ({"host": "", "tcp": {}}, "spec.host", "is empty"),
        ({"host": "*.com", "tcp": {}}, "spec.host", "wildcard"),
        ({"tcp": {}, "interval": "0s"}, "spec.interval", "too short"),
        ({"tcp": {}, "unhealthyThreshold": 0}, "spec.unhealthyThreshold", "1 or more"),
        ({"tcp": {}, "minHealthPercent": 101}, "spec.minHealthPercent", "0 to 100"),
        ({"http": {"path": "x"}}, "spec.http.path", "/healthz"),
        ({"http": {"path": "/a b"}}, "spec.http.path", "/healthz"),
        ({"http": {"expectedStatuses": []}}, "spec.http.expectedStatuses", "empty"),
        ({"http": {"expectedStatuses": ["200-"]}}, "spec.http.expectedStatuses[0]", "no status"),
        ({"http": {"expectedStatuses": [99]}}, "spec.http.expectedStatuses[0]", "no status"),
        ({"grpc": {"service": "x" * 121}}, "spec.grpc.service", "no name"),
    ],
)
def test_what_is_refused(tmp_path: Path, spec: dict[str, Any], field: str, message: str) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(replicas_of("app", 1) + check(**spec))
    (error,) = read([str(file)]).errors
    assert error.field == field
    assert message in error.message


def test_a_host_that_is_not_there_is_told(tmp_path: Path) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(check(tcp={}))
    (warning,) = read([str(file)]).warnings
    assert "no Service or ServiceEntry has the host app.default.svc.cluster.local" in warning.message
