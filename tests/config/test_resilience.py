"""Resilience: what is refused, and what explain says of the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from fastmesh.cli.describe import describe
from fastmesh.cli.explain import explain
from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.plan import Plan
from fastmesh.config.store import read
from tests.traffic import destination_rule, prefix, replicas_of, thing, to, virtual_service

OWN = "fastmesh.io/v1alpha1"


def resilience(**spec: Any) -> str:
    return thing("Resilience", "app", {"host": "app", **spec}, OWN)


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
        ({"side": "both", "queue": {"maxWait": "1s"}}, "spec.side", "client"),
        ({"side": "server", "subset": "v1", "queue": {"maxWait": "1s"}}, "spec.subset", "what clients choose"),
        ({"side": "server", "healthWeighted": {}}, "spec.healthWeighted", "a sidecar has one"),
        (
            {"side": "server", "breaker": {"errorPercent": 5, "backup": {"host": "b"}}},
            "spec.breaker.backup",
            "write an answer",
        ),
        (
            {
                "side": "server",
                "concurrency": {
                    "limit": 1,
                    "priorities": [{"name": "a", "match": [{"sourceLabels": {"app": "x"}}]}, {"name": "b"}],
                },
            },
            "spec.concurrency.priorities[0].match[0].sourceLabels",
            "match a header",
        ),
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


def compiled(tmp_path: Path, text: str, **role: Any) -> tuple[Plan, list[str]]:
    file = tmp_path / "mesh.yaml"
    file.write_text(text)
    plan, problems = compile_plan(read([str(file)]).require(), Role(**role))
    return plan, [f"{problem.severity} {problem.name}: {problem.message}" for problem in problems]


def backed(name: str, backup: dict[str, Any], **spec: Any) -> str:
    breaker = {"errorPercent": 50, "backup": backup}
    return thing("Resilience", f"{name}-{spec.get('subset', 'all')}", {"host": name, "breaker": breaker, **spec}, OWN)


def test_a_chain_of_backups_is_followed(tmp_path: Path) -> None:
    text = replicas_of("a", 1) + replicas_of("b", 2) + replicas_of("c", 3)
    plan, problems = compiled(tmp_path, text + backed("a", {"host": "b"}) + backed("b", {"host": "c"}))
    assert problems == []
    assert {cluster.host.partition(".")[0]: cluster.resilience is not None for cluster in plan.clusters} == {
        "a": True, "b": True, "c": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("chain", "circle"),
    [
        ([("a", "a")], ["a", "a"]),
        ([("a", "b"), ("b", "a")], ["a", "b", "a"]),
        ([("a", "b"), ("b", "c"), ("c", "b")], ["b", "c", "b"]),
    ],
)
def test_a_circle_of_backups_is_refused(tmp_path: Path, chain: list[tuple[str, str]], circle: list[str]) -> None:
    text = "".join(replicas_of(name, number) for number, name in enumerate("abc", 1))
    _, problems = compiled(tmp_path, text + "".join(backed(name, {"host": backup}) for name, backup in chain))
    shown = " -> ".join(f"outbound|80||{name}.default.svc.cluster.local" for name in circle)
    (problem,) = problems
    assert problem == (
        f"error {circle[0]}-all: leads back to where it began, so nobody would serve: {shown}; end it with an answer"
    )


def test_one_subset_may_stand_for_another(tmp_path: Path) -> None:
    text = replicas_of("a", 1, 2, versions=("v1", "v2")) + destination_rule("a", None, "v1", "v2")
    text += virtual_service("a", {"route": to("a", "v1")}) + backed("a", {"host": "a", "subset": "v2"}, subset="v1")
    assert compiled(tmp_path, text)[1] == []


def test_the_side_of_the_server(tmp_path: Path) -> None:
    """It is for the sidecars of those who serve the host, and for nobody else; `port` is the service's."""
    spec = {"side": "server", "port": 80, "concurrency": {"limit": 5, "priorities": [{"name": "all"}]}}
    text = replicas_of("app", 8000) + resilience(**spec)
    pair = ("127.0.0.1:15006", "127.0.0.1:8000")
    plan, _ = compiled(tmp_path, text, kind="sidecar", name="app-0", inbound=(pair,), identity=True)
    found = {cluster.name: cluster.resilience for cluster in plan.clusters}
    assert found["outbound|80||app.default.svc.cluster.local"] is None
    own = found["inbound|8000||"]
    assert own is not None
    assert own.concurrency is not None
    assert own.concurrency.limit == 5
    plan, _ = compiled(tmp_path, text.replace('"port": 80, "conc', '"port": 81, "conc'), kind="sidecar", name="app-0",
                       inbound=(pair,), identity=True)  # fmt: skip
    assert [cluster.resilience for cluster in plan.clusters if cluster.name == "inbound|8000||"] == [None]


def test_explain_and_describe_show_it(tmp_path: Path) -> None:
    classes = [
        {"name": "high", "match": [{"headers": {"x-priority": {"exact": "high"}}}]},
        {"name": "low", "share": 40},
    ]
    text = replicas_of("app", 8000) + resilience(concurrency={"limit": 5, "priorities": classes})
    text += thing("Resilience", "own", {"host": "app", "side": "server", "concurrency": {"limit": 7}}, OWN)
    file = tmp_path / "mesh.yaml"
    file.write_text(text)

    def run(command: click.Command, *args: str) -> str:
        result = CliRunner().invoke(command, ["-f", str(file), *args], standalone_mode=False)
        assert result.exception is None, result.output
        return result.stdout

    told = run(explain, "GET", "http://app/")
    assert (
        "guard          Resilience default/app (concurrency: at most 5 requests at a time (high 100 %, low 40 %)"
        in told
    )
    assert "overload       class low (a proxy under pressure refuses it 40 % of the way" in told
    assert "overload       class high" in run(explain, "GET", "http://app/", "-H", "x-priority: high")
    told = run(explain, "--sidecar", "app-0.default", "--port", "8000", "GET", "http://app/")
    assert "cluster    inbound|8000||" in told
    assert "guard          Resilience default/own (concurrency: at most 7" in told
    told = run(describe, "Resilience/app")
    assert "Resilience default/app" in told
    assert "5 requests at a time (high 100 %, low 40 %)" in told
    assert "Resilience default/own selects app-0" in run(describe, "app")


RULES = {"kind": "VirtualService", "name": "app"}


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"host": "app"}, "spec.host", "keep one of them"),
        ({"breaker": {"errorPercent": 5}}, "spec.breaker", "concurrency alone"),
        ({"queue": {"maxWait": "1s"}}, "spec.queue", "concurrency alone"),
        ({"port": 80}, "spec.port", "concurrency alone"),
        ({"side": "server"}, "spec.side", "leave it out"),
        ({"targetRef": {"kind": "VirtualService", "name": ""}}, "spec.targetRef.name", "is empty"),
        ({"targetRef": {"kind": "Service", "name": "app"}}, "spec.targetRef.kind", "VirtualService"),
    ],
)
def test_what_is_refused_for_rules(tmp_path: Path, spec: dict[str, Any], field: str, message: str) -> None:
    file = tmp_path / "mesh.yaml"
    whole = {"targetRef": RULES, "concurrency": {"limit": 1}, **spec}
    file.write_text(replicas_of("app", 1) + virtual_service("app", {}) + thing("Resilience", "app", whole, OWN))
    (error,) = read([str(file)]).errors
    assert error.field == field
    assert message in error.message


def test_rules_have_the_most_specific_one(tmp_path: Path) -> None:
    text = replicas_of("app", 1) + virtual_service("app", {"name": "a", "match": prefix("/a")}, {"name": "b"})
    text += thing("Resilience", "all", {"targetRef": RULES, "concurrency": {"limit": 5}}, OWN)
    one = {**RULES, "sectionName": "a"}
    text += thing("Resilience", "one", {"targetRef": one, "concurrency": {"limit": 2}}, OWN)
    lost = {**RULES, "name": "gone"}
    text += thing("Resilience", "lost", {"targetRef": lost, "concurrency": {"limit": 2}}, OWN)
    file = tmp_path / "mesh.yaml"
    file.write_text(text)
    (warning,) = read([str(file)]).warnings
    assert "there is no VirtualService/gone" in warning.message
    plan, _ = compiled(tmp_path, text)
    rules = {rule.origin.route: rule.guard for vhost in plan.vhosts for rule in vhost.rules}
    assert {name: guard and guard.origin.name for name, guard in rules.items()} == {"a": "one", "b": "all"}
    assert all(cluster.resilience is None for cluster in plan.clusters)
    for command, args in ((explain, ("GET", "http://app/a")), (describe, ("Resilience/one",))):
        result = CliRunner().invoke(command, ["-f", str(file), *args], standalone_mode=False)
        assert result.exception is None, result.output
        assert "Resilience default/one" in result.stdout
        assert "2 requests at a time" in result.stdout
