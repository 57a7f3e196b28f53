"""`fastmesh capacity`: the arithmetic, files, a running proxy, and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastmesh.cli.capacity import capacity
from fastmesh.cli.capacity_model import parallel, series
from tests.ports import free_port
from tests.traffic import Story, replicas, replicas_of

HEAD = "apiVersion: fastmesh.io/v1alpha1\nkind: CapacityModel\nmetadata: {name: shop}\nspec:\n"
CHAIN = """  services:
  - {name: front, rate: 1000, calls: [{service: middle}]}
  - {name: middle, rate: 1500, calls: [{service: back}]}
  - {name: back, rate: 2000}
"""
DIAMOND = """  requestsPerSecond: 100
  services:
  - {name: front, rates: [200, 300], calls: [{service: a}, {service: b, times: 0.5}]}
  - {name: a, rate: 150, replicas: 2, calls: [{service: store, times: 2}]}
  - {name: b, rate: 100, calls: [{service: store}]}
  - {name: store, rate: 240}
"""


def run(tmp_path: Path, yaml: str, *arguments: str) -> Result:
    file = tmp_path / "model.yaml"
    file.write_text(HEAD + yaml)
    return CliRunner().invoke(capacity, ["-f", str(file), *arguments], standalone_mode=False)


def test_the_article_in_numbers() -> None:
    """Its text prints 1.45 for the series; the formula beside it gives 461.5."""
    assert series([1000, 1500, 2000]) == pytest.approx(461.538, abs=0.001)
    assert parallel([1000, 1500, 2000]) == 4500
    assert series([parallel([500, 500]), 1500, parallel([1000] * 2)]) == pytest.approx(461.538, abs=0.001)
    assert series([]) == 0


def test_a_chain(tmp_path: Path) -> None:
    said = run(tmp_path, CHAIN)
    assert said.return_value == 0
    assert "one request at a time through all of them: 461.5 a second" in said.output
    assert "front is overloaded first, above 1000 requests a second" in said.output


def test_visits_of_a_graph_decide_who_gives_way(tmp_path: Path) -> None:
    found = json.loads(run(tmp_path, DIAMOND, "-o", "json").output)["capacities"][0]
    visits = {each["name"]: each["visits"] for each in found["services"]}
    assert visits == {"front": 1, "a": 1, "b": 0.5, "store": 2.5}
    assert (found["bottleneck"], found["limit"]) == ("store", 96)  # 240 / 2.5
    assert found["overloaded"] == ["store"]
    assert found["series"] == pytest.approx(1 / (1 / 500 + 1 / 300 + 0.5 / 100 + 2.5 / 240))


@pytest.mark.parametrize(("rate", "code"), [("95", 0), ("97", 79)])
def test_too_much_is_exit_79(tmp_path: Path, rate: str, code: int) -> None:
    assert run(tmp_path, DIAMOND, "--rate", rate).return_value == code


@pytest.mark.parametrize(
    ("yaml", "field", "message"),
    [
        ("  services: []\n", "spec.services", "is empty"),
        ("  services: [{name: a}]\n", "spec.services[0]", "one of rate and rates"),
        ("  services: [{name: a, rate: 0}]\n", "spec.services[0].rate", "more than 0"),
        ("  services: [{name: a, rate: 1}, {name: a, rate: 1}]\n", "spec.services[1].name", "twice"),
        ("  services: [{name: a, rate: 1, calls: [{service: b}]}]\n", "calls[0].service", "none of the services"),
        ("  services: [{name: a, rate: 1}, {name: b, rate: 1}]\n", "spec.entry", "a, b are called by nobody"),
        (
            "  entry: a\n  services: [{name: a, rate: 1, calls: [{service: b}]}, {name: b, rate: 1, "
            "calls: [{service: a}]}]\n",
            "spec.services",
            "a -> b -> a",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, yaml: str, field: str, message: str) -> None:
    said = run(tmp_path, yaml)
    assert getattr(said.exception, "exit_code", 0) == 65
    assert field in str(said.exception)
    assert message in str(said.exception)
    assert "model.yaml:" in str(said.exception)


def test_usage_and_a_proxy_that_is_not_there(tmp_path: Path) -> None:
    for arguments in ([], ["-f", "x", "--live", "http://127.0.0.1:1"]):
        assert CliRunner().invoke(capacity, arguments).exit_code == 2  # 64 behind the group: see test_main
    said = CliRunner().invoke(capacity, ["--live", f"http://127.0.0.1:{free_port()}", "--interval", "0"])
    assert getattr(said.exception, "exit_code", 0) == 69


def test_live_counts_requests_instances_and_time(tmp_path: Path) -> None:
    with replicas("a", "b") as made, Story(tmp_path, replicas_of("app", *(each.port for each in made))) as story:
        arguments = ["--live", f"http://127.0.0.1:{story.proxy.admin}", "--interval", "0", "-o", "json"]
        said = CliRunner().invoke(capacity, arguments, standalone_mode=False)
        assert getattr(said.exception, "exit_code", 0) == 65  # nobody asked
        for _ in range(20):
            story.ask()
        host = "app.default.svc.cluster.local"
        said = CliRunner().invoke(capacity, [*arguments, "--entry", host], standalone_mode=False)
        found = json.loads(said.output)["capacities"][0]
        (service,) = found["services"]
        assert (service["name"], service["visits"], len(service["rates"])) == (host, 1, 2)
        assert service["capacity"] == pytest.approx(sum(service["rates"]))
        assert found["rate"] > 0
        said = CliRunner().invoke(capacity, [*arguments, "--rate", "1000000000"], standalone_mode=False)
        assert said.return_value == 79
