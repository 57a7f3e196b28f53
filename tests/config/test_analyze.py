"""`fastmesh analyze` from outside: groups, places, exit codes, and what is not told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastmesh.cli.analyze import analyze
from fastmesh.config.analysis.causes import CAUSES

RULES = """\
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{port: 80, name: web}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: a-1}
spec: {address: 127.0.0.1, labels: {app: a, version: v1}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: one}
spec:
  hosts: [a]
  http:
  - match: [{uri: {prefix: /a}}]
    route: [{destination: {host: a, subset: v3}}]
  - match: [{uri: {prefix: /ab}}]
    route: [{destination: {host: a}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: two}
spec: {hosts: [a], http: [{route: [{destination: {host: gone}}]}]}
"""
FOUND = [
    ("IST0101", "VirtualService/one", "spec.http[0].route[0].destination.subset"),
    ("IST0101", "VirtualService/two", "spec.http[0].route[0].destination.host"),
    ("IST0109", "VirtualService/one", "spec.hosts"),
    ("IST0109", "VirtualService/two", "spec.hosts"),
    ("IST0173", "DestinationRule/a", "spec.subsets[1]"),
    ("IST0118", "Service/a", "spec.ports[0]"),
    ("IST0131", "VirtualService/one", "spec.http[1].match[0]"),
]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(analyze, list(arguments))


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(RULES)
    return tmp_path / "rules.yaml"


def test_findings_are_grouped_by_their_cause_the_worst_first(rules: Path) -> None:
    result = run("-f", str(rules), "-o", "json")
    assert result.exit_code == 79
    verdict = json.loads(result.stdout)
    told = [
        (group["cause"], f"{issue['kind']}/{issue['name']}", issue["field"])
        for group in verdict["causes"]
        for issue in group["issues"]
    ]
    assert told == FOUND
    assert verdict["issues"] == len(FOUND)
    assert all(
        issue["line"] and issue["file"] == str(rules) for group in verdict["causes"] for issue in group["issues"]
    )


def test_the_text_has_places(rules: Path) -> None:
    text = run("-f", str(rules)).stdout.splitlines()
    assert text[0] == "IST0101 ReferencedResourceNotFound (error): 2"
    assert text[1].startswith(f"  {rules}:23: VirtualService/one: spec.http[0].route[0].destination.subset: ")


def test_nothing_found_is_0(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80, name: http}]}\n")
    result = run(str(file))
    assert (result.exit_code, result.stdout) == (0, "nothing found in 1 files\n")


def test_the_threshold_says_what_fails(tmp_path: Path) -> None:
    file = tmp_path / "note.yaml"
    file.write_text("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80, name: web}]}\n")
    assert run(str(file)).exit_code == 0
    assert run(str(file), "--failure-threshold", "note").exit_code == 79


def test_what_somebody_knows_is_not_told(rules: Path) -> None:
    arguments = ["-S", "IST0118=Service a.default", "-S", "IST0101=VirtualService *", "-S", "IST0109=VirtualService o*"]
    verdict = json.loads(run(str(rules), "-o", "json", *arguments).stdout)
    assert [(group["cause"], len(group["issues"])) for group in verdict["causes"]] == [
        ("IST0109", 1), ("IST0173", 1), ("IST0131", 1),
    ]  # fmt: skip
    assert run(str(rules), "-S", "IST9999=Service a").exit_code == 2


def test_an_object_says_what_is_not_told_of_it(rules: Path) -> None:
    mark = "galley.istio.io/analyze-suppress: "
    rules.write_text(
        RULES.replace("{name: one}", f"{{name: one, annotations: {{{mark}'IST0109, IST0131'}}}}").replace(
            "{name: two}", f"{{name: two, annotations: {{{mark}'*'}}}}"
        )
    )
    verdict = json.loads(run(str(rules), "-o", "json").stdout)
    assert [group["cause"] for group in verdict["causes"]] == ["IST0101", "IST0173", "IST0118"]


def test_what_cannot_be_read_is_told_too(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        RULES + "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s}\nspec: {x: 1}\n"
    )
    verdict = json.loads(run(str(file), "-o", "json").stdout)
    assert ("IST0106", 1) in [(group["cause"], len(group["issues"])) for group in verdict["causes"]]
    assert verdict["issues"] == len(FOUND) + 1


def test_numbers_of_istio_have_its_names() -> None:
    """A few that people know by heart."""
    names = {
        "IST0101": "ReferencedResourceNotFound",
        "IST0106": "SchemaValidationError",
        "IST0145": "ConflictingGateways",
    }
    assert {number: CAUSES[number].name for number in names} == names
