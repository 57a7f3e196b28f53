"""Every file of the corpora that is a sample has its row in README.md, with a test that exists; and every one loads."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastmesh.config.store import read
from tests.corpora import REPOSITORY, corpora_dir

ROW = re.compile(r"^\| (?P<files>`.*?) \| (?P<tests>.*?) \| (?P<shown>.*?) \|$", re.MULTILINE)
FOLDERS = ("istio", "gateway-api")


def rows() -> list[tuple[list[str], list[str]]]:
    """Files and tests of each row under "Samples"."""
    text = Path(__file__).with_name("README.md").read_text()
    section = text.partition("\n## Samples\n")[2].partition("\n## ")[0]
    return [
        ([name for words in quoted(row["files"]) for name in spelled(words)], quoted(row["tests"]))
        for row in ROW.finditer(section)
    ]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def spelled(words: str) -> Iterator[str]:
    """`a-{b,c}.yaml` is two names."""
    parts = [part.split(",") for part in re.split(r"[{}]", words)]
    yield from ("".join(chosen) for chosen in itertools.product(*_alternatives(words, parts)))


def _alternatives(words: str, parts: list[list[str]]) -> list[list[str]]:
    """Outside of braces a comma is a comma."""
    return [part if index % 2 else [",".join(part)] for index, part in enumerate(parts)]


def files() -> list[str]:
    folder = corpora_dir()
    return sorted(path.relative_to(folder).as_posix() for name in FOLDERS for path in (folder / name).rglob("*.yaml"))


def test_every_file_has_a_row() -> None:
    named = [name for found, _ in rows() for name in found]
    assert sorted(set(files()) - set(named)) == []
    assert sorted(set(named) - set(files())) == []


def test_every_row_has_a_test() -> None:
    for found, tests in rows():
        assert tests, found
        for test in tests:
            file, _, name = test.partition("::")
            source = (REPOSITORY / "tests" / file).read_text()
            assert not name or f"def {name}(" in source, test


@pytest.mark.parametrize("file", [name for name in files() if "/crds/" not in name])
def test_every_sample_loads(file: str) -> None:
    """Those under crds/ are judged one by one in tests/config/test_crds.py."""
    result = read([str(corpora_dir() / file)])
    assert result.errors == []
    assert len(result.resources) > 0
