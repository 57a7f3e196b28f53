"""Resilience: what is refused, and what explain says of the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.store import read
from tests.traffic import destination_rule, replicas_of, thing


def resilience(**spec: Any) -> str:
    return thing("Resilience", "app", {"host": "app", **spec}, "fastmesh.io/v1alpha1")


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({}, "spec", "asks for nothing"),
        ({"healthWeighted": {"floorPercent": 0}}, "spec.healthWeighted.floorPercent", "1 to 100"),
        ({"breaker": {"errorPercent": 0}}, "spec.breaker.errorPercent", "more than 0"),
        ({"breaker": {"errorPercent": 5, "probes": 0}}, "spec.breaker.probes", "1 or more"),
        ({"breaker": {"errorPercent": 5, "backup": {"host": "*"}}}, "spec.breaker.backup.host", "name the host"),
        ({"breaker": {"errorPercent": 5, "backup": {"host": "b"}, "answer": {}}}, "spec.breaker", "keep one"),
        ({"concurrency": {}}, "spec.concurrency", "one of limit and adaptive"),
        ({"concurrency": {"limit": 1, "adaptive": {}}}, "spec.concurrency", "one of limit and adaptive"),
        ({"concurrency": {"adaptive": {"maxConcurrency": 2}}}, "spec.concurrency.adaptive.maxConcurrency", "3 or more"),
        (
            {"concurrency": {"limit": 1, "priorities": [{"name": "a"}, {"name": "a"}]}},
            "spec.concurrency.priorities[1].name",
            "name of its own",
        ),
        ({"concurrency": {"limit": 1, "answer": {"status": 99}}}, "spec.concurrency.answer.status", "503"),
        ({"queue": {"maxWait": "0s"}}, "spec.queue.maxWait", "too short"),
        (
            {"concurrency": {"limit": 1, "answer": {"headers": {"a": "%REQ(b)%"}}}},
            "spec.concurrency.answer.headers.a",
            "as it is written",
        ),
        ({"ejection": {}}, "spec.ejection", "one of latency and halfOpen"),
        ({"ejection": {"latency": {}}}, "spec.ejection.latency", "above or timesPeers"),
        ({"ejection": {"latency": {"timesPeers": 1}}}, "spec.ejection.latency.timesPeers", "more than 1"),
        ({"ejection": {"latency": {"above": "0s"}}}, "spec.ejection.latency.above", "too short"),
        (
            {"ejection": {"latency": {"above": "1s", "percentile": 101}}},
            "spec.ejection.latency.percentile",
            "1 to 100",
        ),
        ({"ejection": {"halfOpen": {"requests": 9}}}, "spec.ejection.halfOpen.requests", "1 to 8"),
        ({"ejection": {"halfOpen": {"successes": 0}}}, "spec.ejection.halfOpen.successes", "1 or more"),
        ({"ejection": {"halfOpen": {}, "maxEjectionPercent": 0}}, "spec.ejection.maxEjectionPercent", "1 to 100"),
    ],
)
def test_what_is_refused(tmp_path: Path, spec: dict[str, Any], field: str, message: str) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(replicas_of("app", 1) + resilience(**spec))
    (error,) = read([str(file)]).errors
    assert error.field == field
    assert message in error.message


def test_shares_and_the_backups_cluster_are_filled_in(tmp_path: Path) -> None:
    priorities = [{"name": "a", "match": [{"uri": {"prefix": "/a"}}]}, {"name": "b"}]
    file = tmp_path / "mesh.yaml"
    spec = {"breaker": {"errorPercent": 5, "backup": {"host": "spare"}}, "concurrency": {"limit": 9}}
    spec["concurrency"]["priorities"] = priorities
    file.write_text(replicas_of("app", 1) + replicas_of("spare", 2) + resilience(**spec))
    plan, _ = compile_plan(read([str(file)]).require(), Role())
    clusters = {cluster.name: cluster for cluster in plan.clusters}
    made = clusters["outbound|80||app.default.svc.cluster.local"].resilience
    assert made is not None
    assert made.breaker is not None
    assert made.concurrency is not None
    assert made.breaker.backup in clusters
    assert [priority.share for priority in made.concurrency.priorities] == [100, 50]
    assert made.concurrency.answer.headers == [("retry-after", "1")]
    assert clusters[made.breaker.backup].resilience is None


@pytest.mark.parametrize(
    ("ejection", "more", "fields"),
    [
        ({"halfOpen": {}}, "", ["spec.ejection.halfOpen"]),
        ({"halfOpen": {}}, destination_rule("app", {"outlierDetection": {}}), []),
        ({"halfOpen": {}, "latency": {"above": "1s"}}, "", []),
        ({"halfOpen": {"by": "checks"}, "latency": {"above": "1s"}}, "", ["spec.ejection.halfOpen.by"]),
    ],
)
def test_what_has_no_effect_is_told(tmp_path: Path, ejection: dict[str, Any], more: str, fields: list[str]) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(replicas_of("app", 1) + resilience(ejection=ejection) + more)
    _, problems = compile_plan(read([str(file)]).require(), Role())
    assert [problem.field for problem in problems if problem.kind == "Resilience"] == fields
