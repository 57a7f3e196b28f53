"""`fastmesh validate` from outside: exit codes, where the lines go, and the JSON form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastmesh.cli.validate import validate
from fastmesh.config.store import read

GOOD = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80, name: http}]}\n"
BAD = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  namespace: shop
spec:
  hosts: [reviews]
  http:
  - timout: 1s
    route:
    - destination: {host: a}
      weight: -5
"""
DEVIANT = "apiVersion: istio.io/v1alpha3\nkind: DestinationRule\nmetadata: {name: a}\nspec: {host: a}\n"


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(validate, list(arguments), input=stdin)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("good", GOOD), ("bad", BAD), ("deviant", DEVIANT)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def test_a_right_file(folder: Path) -> None:
    result = run("-f", str(folder / "good.yaml"))
    assert result.exit_code == 0
    assert result.stdout == "valid: 1 objects in 1 files\n"
    assert result.stderr == ""


def test_errors_go_to_standard_error_and_end_with_65(folder: Path) -> None:
    result = run("-f", str(folder / "bad.yaml"))
    assert result.exit_code == 65
    assert result.stdout == ""
    first = f"{folder}/bad.yaml:9: VirtualService/reviews: spec.http[0].timout: unknown field, did you mean timeout?"
    assert result.stderr.splitlines()[0] == first


def test_several_paths_and_both_ways_to_give_them(folder: Path) -> None:
    good, bad = str(folder / "good.yaml"), str(folder / "bad.yaml")
    assert run("-f", good, "-f", bad).exit_code == 65
    assert run("-f", good, bad).exit_code == 65
    assert run("-f", str(folder)).exit_code == 65
    assert run("-f", "-", stdin=GOOD).exit_code == 0


def test_strict_refuses_deviations(folder: Path) -> None:
    arguments = ("-f", str(folder / "good.yaml"), "-f", str(folder / "deviant.yaml"))
    assert run(*arguments).exit_code == 0
    assert "1: warning: DestinationRule/a: apiVersion: " in run(*arguments).stderr
    assert run(*arguments, "--strict").exit_code == 65


def test_json(folder: Path) -> None:
    result = run("-f", str(folder / "bad.yaml"), "-f", str(folder / "deviant.yaml"), "-o", "json")
    assert result.exit_code == 65
    verdict = json.loads(result.stdout)
    assert set(verdict) == {"valid", "errors", "warnings", "left_out"}
    assert verdict["valid"] is False
    assert verdict["errors"] == [
        {
            "file": str(folder / "bad.yaml"), "line": 9,
            "kind": "VirtualService", "namespace": "shop", "name": "reviews",
            "field": "spec.http[0].timout", "message": "unknown field, did you mean timeout?",
        }
    ]  # fmt: skip
    assert {entry["field"] for entry in verdict["warnings"]} == {"apiVersion", "spec.host"}
    assert json.loads(run("-f", str(folder / "good.yaml"), "-o", "json").stdout) == {
        "valid": True, "errors": [], "warnings": [], "left_out": [],
    }  # fmt: skip


def test_nothing_to_check_is_a_mistake_of_use() -> None:
    assert run().exit_code == 2  # the group turns click's 2 into 64
    assert run("-f", "/no/such/file.yaml").exit_code == 65


def test_per_object_says_what_would_be_served(folder: Path) -> None:
    result = run("-f", str(folder / "good.yaml"), str(folder / "bad.yaml"), "--per-object")
    assert result.exit_code == 65
    assert "1 objects would be served, 1 left out" in result.stderr
    verdict = json.loads(run(str(folder), "--per-object", "-o", "json").stdout)
    assert verdict["left_out"] == [
        {"file": f"{folder}/bad.yaml", "line": 1, "kind": "VirtualService", "namespace": "shop", "name": "reviews"}
    ]


def test_strict_and_per_object_exclude_each_other(folder: Path) -> None:
    assert run(str(folder), "--per-object", "--strict").exit_code == 2


def test_settings_of_the_mesh_are_never_left_out(folder: Path) -> None:
    broken = folder / "mesh.conf"
    broken.write_text("a: [\n")
    result = read([str(folder / "good.yaml")], per_object=True, mesh_config=str(broken))
    assert not result.ok
    assert result.left_out == []
