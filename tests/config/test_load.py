"""Files to documents: which files are read, what their scalars mean, and which line each value has."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from fastmesh.config.place import Source, dotted, parsed
from fastmesh.config.read.load import load, load_text
from fastmesh.errors import Problem


def read(text: str) -> tuple[list[Source], list[Problem]]:
    problems: list[Problem] = []
    return load_text(text, "x.yaml", problems), problems


def value(text: str) -> object:
    documents, problems = read(f"v: {text}\n")
    assert not problems
    return documents[0].root["v"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("80", 80), ("-5", -5), ("0", 0), ("0644", 420), ("0o17", 15), ("0x1F", 31), ("0800", "0800"),
        ("1_000", "1_000"),
        ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("1e999", "1e999"), (".inf", ".inf"), (".nan", ".nan"),
        ("true", True), ("False", False), ("on", "on"), ("yes", "yes"), ("off", "off"), ("y", "y"),
        ("", None), ("~", None), ("null", None), ("2020-01-02", "2020-01-02"), ("12:30:45", "12:30:45"),
        ('"80"', "80"), ("'true'", "true"), ("!!str 80", "80"), ("v1", "v1"), ("=", "="), ("٣", "٣"),
        ("1.10.0", "1.10.0"),
    ],
)  # fmt: skip
def test_scalars_mean_what_kubernetes_reads(written: str, meant: object) -> None:
    found = value(written)
    assert found == meant
    assert type(found) is type(meant)


def test_every_key_and_item_has_its_line() -> None:
    documents, _ = read(
        "a: 1\n---\n# c\nspec:\n  http:\n  - name: x\n    match:\n    - uri: {prefix: /}\n  - name: y\n"
    )
    source = documents[1]
    assert source.first == 4
    assert source.line("spec.http[0].match[0].uri.prefix") == 8
    assert source.line(("spec", "http", 1, "name")) == 9
    assert source.line("spec.http[1].timeout") == 9  # not written: the nearest part that is
    assert source.line("spec.http[7]") == 5
    assert source.line() == 4


def test_a_snake_case_key_is_found_by_its_camel_case_name() -> None:
    documents, _ = read("spec:\n  a: 1\n  retry_on: x\n")
    assert documents[0].line("spec.retryOn") == 3


@pytest.mark.parametrize("path", ["spec.http[0].route[12].weight", 'metadata.labels["a.b/c"].x', "a"])
def test_paths_are_written_and_read_the_same_way(path: str) -> None:
    assert dotted(parsed(path)) == path


def test_lists_are_opened_and_empty_documents_left_out() -> None:
    text = "---\n---\nkind: List\nitems:\n- {kind: A}\n- kind: List\n  items:\n  - kind: B\n- ~\n---\n#\n"
    documents, problems = read(text)
    assert not problems
    assert [(document.first, document.root["kind"]) for document in documents] == [(5, "A"), (8, "B")]


def test_a_directory_is_read_in_order_without_hidden_names(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "..data").mkdir()
    for name in ("b/2.yml", "a.yaml", "c.json", "skip.txt", ".hidden.yaml", "..data/old.yaml"):
        (tmp_path / name).write_text(f'{{"kind": "{name}"}}')
    (tmp_path / "d.yaml").write_text("kind: List\nitems:\n- kind: one\n-\n  kind: two\n")
    loaded = load([str(tmp_path), str(tmp_path / "a.yaml")])
    assert [document.root["kind"] for document in loaded.documents] == ["a.yaml", "b/2.yml", "c.json", "one", "two"]
    assert [document.first for document in loaded.documents[-2:]] == [3, 5]
    assert not loaded.problems


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"kind: A\n---\nkind: B\n")))
    loaded = load(["-"])
    assert [(document.file, document.first, document.root["kind"]) for document in loaded.documents] == [
        ("<stdin>", 1, "A"), ("<stdin>", 3, "B"),
    ]  # fmt: skip


def test_a_broken_document_does_not_hide_the_next_ones() -> None:
    documents, problems = read("a: [\n---\nb: 1\nb: 2\n---\nc: *nowhere\n---\nd: 1\n\te: 2\n---\nf: 1\n")
    assert [list(document.root) for document in documents] == [["b"], ["f"]]
    assert [problem.line for problem in problems] == [2, 4, 6, 9]
    assert "written twice" in problems[1].message
    assert "first on line 3" in problems[1].message
    assert "nowhere" in problems[2].message
    assert [problem.line for problem in read("a: 1\n--- *x\n---\nb: 1\n")[1]] == [2]


def test_keys_of_all_kinds() -> None:
    documents, problems = read("80: a\ntrue: b\non: c\n? x\n: d\n")
    assert documents[0].root == {"80": "a", "true": "b", "on": "c", "x": "d"}
    assert not problems
    for bad in ("? [a]\n: b\n", ": b\n", "{[a]: b}\n"):
        assert read(bad)[1], bad


def test_anchors_and_merges() -> None:
    text = "base: &b\n  x: 1\n  y: 2\none:\n  <<: *b\n  y: 3\ntwo: [*b, &s text, *s]\n'<<': plain\n"
    documents, problems = read(text)
    root = documents[0].root
    assert not problems
    assert root["one"] == {"x": 1, "y": 3}
    assert root["two"] == [{"x": 1, "y": 2}, "text", "text"]
    assert root["<<"] == "plain"
    assert documents[0].line("one.x") == 2
    assert documents[0].line("one.y") == 6


def test_an_alias_bomb_is_refused_fast() -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    bomb += "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    documents, problems = read(bomb)
    assert documents == []
    assert "unfold" in problems[0].message
    assert read("&a [*a]\n")[1][0].message.endswith("contains itself")


def test_depth_size_and_encoding_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "levels deep" in read("[" * 500 + "]" * 500)[1][0].message
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9\n")
    (tmp_path / "big.yaml").write_text("a: " + "x" * 2000)
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfkind: A\n")
    (tmp_path / "zero.yaml").write_bytes(b"a: 1\nb: \x00\n")
    monkeypatch.setattr("fastmesh.config.read.load.MAX_BYTES", 1000)
    loaded = load([str(tmp_path)])
    assert [document.root for document in loaded.documents] == [{"kind": "A"}]
    told = {Path(problem.file).name: problem for problem in loaded.problems}
    assert set(told) == {"latin.yaml", "big.yaml", "zero.yaml"}
    assert told["latin.yaml"].line == 2
    assert told["zero.yaml"].line == 2


def test_an_address_that_ends_in_colons_is_text_in_a_list() -> None:
    documents, problems = read("kind: A\n---\na: 1\nb: [1.2.3.4, 2001:db8::, fe80::]\nc: {d: '::'}\n")
    assert [document.root.get("b") for document in documents] == [None, ["1.2.3.4", "2001:db8::", "fe80::"]]
    assert documents[1].root["c"] == {"d": "::"}
    assert not problems


def test_json_that_yaml_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"kind": "A", "x": "\\ud83d\\ude00"}')
    (tmp_path / "b.json").write_text('{"kind": ')
    loaded = load([str(tmp_path)])
    assert [document.root["x"] for document in loaded.documents] == ["\U0001f600"]
    assert [Path(problem.file).name for problem in loaded.problems] == ["b.json"]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    loaded = load([str(tmp_path / "nothing.yaml"), str(tmp_path)])
    assert [problem.severity for problem in loaded.problems] == ["error", "warning"]
    assert "no such file" in loaded.problems[0].message


def test_tags_that_do_not_fit() -> None:
    _, problems = read("a: !!int x\nb: !custom y\nc: !!float 1\nd: !!int 5\n")
    assert [problem.line for problem in problems] == [1, 2]
