"""Istio's own examples of objects that are right and wrong, each as its label says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastmesh.config.place import Source
from fastmesh.config.read import load
from fastmesh.config.store import read_documents
from tests.corpora import corpora_dir

LABEL = "_err"


def folder() -> Path:
    return corpora_dir() / "istio/pkg/config/validation/testdata/crds"


def documents(ending: str) -> list[pytest.param]:  # type: ignore[valid-type]
    found = []
    for file in sorted(folder().glob(f"*-{ending}.yaml")):
        for number, document in enumerate(load.load_text(file.read_text(), file.name, [])):
            name = f"{file.name}-{number}-{document.root['metadata']['name']}"
            found.append(pytest.param(document, id=name))
    return found


@pytest.mark.parametrize("document", documents("valid"))
def test_what_is_right_is_accepted(document: Source) -> None:
    result = read_documents(load.Loaded([document], [], [document.file]), allow_unenforced=True)
    assert result.errors == []
    assert len(result.resources) == 1


@pytest.mark.parametrize("document", documents("invalid"))
def test_what_is_wrong_is_refused_with_its_place(document: Source) -> None:
    label = document.root.pop(LABEL)
    del document.root.lines[-len(document.root) - 1]  # the label's
    result = read_documents(load.Loaded([document], [], [document.file]), allow_unenforced=True)
    assert result.errors, label
    for problem in result.errors:
        assert problem.line >= document.first
        assert problem.kind == document.root["kind"]
    field = re.match(r"(spec[\w.\[\]]*)[: ]", label)
    if field:  # the label says where
        path = field[1]
        shown = [f"{problem.field} {problem.message}" for problem in result.errors]
        parent, _, last = path.rpartition(".")
        assert any(line.startswith(path) or (line.startswith(parent) and last in line) for line in shown), shown
