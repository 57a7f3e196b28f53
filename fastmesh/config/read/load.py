"""Files to documents: which files, of what size and encoding, and the `---` documents and lists in them.

The YAML itself is read by `yaml_reader`, with the line of every key and item.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from fastmesh.config.place import Mapping, Sequence, Source
from fastmesh.config.read.yaml_reader import Reader
from fastmesh.errors import Problem

STDIN = "-"
SUFFIXES = (".yaml", ".yml", ".json")
MAX_BYTES = 64 * 1024 * 1024  # of one file
MAX_REPAIRS = 100  # scalars that are quoted for libyaml in one file

_BARE = re.compile(r"[0-9A-Za-z.:/%_-]+:(?=[,\]}\s])")
_NEXT_DOCUMENT = re.compile(r"^---(\s|$)", re.MULTILINE)


class Loaded(msgspec.Struct):
    """Documents in the order given, `kind: List` already opened, empty ones left out."""

    documents: list[Source]
    problems: list[Problem]
    files: list[str]


def load(paths: Iterable[str]) -> Loaded:
    """Read files, directories (recursively, in sorted order, hidden names left out) and `-` for standard input."""
    loaded = Loaded([], [], [])
    seen: set[str] = set()
    for path in paths:
        for file in _files(path, loaded.problems):
            identity = file if file == STDIN else os.path.realpath(file)
            if identity in seen:
                continue
            seen.add(identity)
            loaded.files.append(file)
            text = _read(file, loaded.problems)
            if text is not None:
                name = "<stdin>" if file == STDIN else file
                loaded.documents += load_text(text, name, loaded.problems)
    return loaded


def load_text(text: str, file: str, problems: list[Problem]) -> list[Source]:
    """The documents of one text, lists opened. After a broken document reading goes on at the next `---`."""
    documents = _documents(text, file, problems)
    return [item for document in documents for item in _open_list(document)]


def _documents(text: str, file: str, problems: list[Problem]) -> list[Source]:
    documents: list[Source] = []
    offset = repairs = 0
    while True:
        lines_before = text.count("\n", 0, offset)
        reader = Reader(text[offset:] if offset else text, lines_before)
        before = len(documents)
        broken = reader.run(documents, file)
        bare = reader.bare_colon if repairs < MAX_REPAIRS else None
        if bare is not None and (quoted := _quote(text, *bare)) is not None:
            del documents[before:]
            text = quoted
            repairs += 1
            continue
        problems.extend(_syntax(file, line, message) for line, message in reader.findings)
        if broken is None:
            return documents
        line, message = broken
        if file.endswith(".json"):
            return _load_json(text, file, problems, line, message)
        if not problems or problems[-1] != _syntax(file, line, message):
            problems.append(_syntax(file, line, message))
        restart = _NEXT_DOCUMENT.search(text, max(offset + 1, _start_of_line(text, line)))
        if restart is None:
            return documents
        offset = restart.start()


def _files(path: str, problems: list[Problem]) -> Iterator[str]:
    if path == STDIN or os.path.isfile(path):
        yield path
    elif os.path.isdir(path):
        found = False
        for file in _walk(path, frozenset()):
            found = True
            yield file
        if not found:
            message = f"no file here ends in {', '.join(SUFFIXES)}"
            problems.append(Problem(severity="warning", code="advice", file=path, line=0, message=message))
    elif os.path.exists(path):
        yield path  # a pipe, such as a shell's <(...)
    else:
        problems.append(_syntax(path, 0, "no such file or directory"))


def _walk(directory: str, above: frozenset[str]) -> Iterator[str]:
    """Hidden names are left out: a mounted ConfigMap keeps its old versions in `..data` and its like."""
    identity = os.path.realpath(directory)
    if identity in above:
        return
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry.path, above | {identity})
        elif entry.name.endswith(SUFFIXES):
            yield entry.path


def _read(file: str, problems: list[Problem]) -> str | None:
    try:
        if file == STDIN:
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(file, "rb") as stream:
                data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        problems.append(_syntax(file, 0, f"cannot be read: {error.strerror}"))
        return None
    if len(data) > MAX_BYTES:
        problems.append(_syntax(file, 0, f"is larger than {MAX_BYTES // 1024 // 1024} MiB, split it"))
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.append(_syntax(file, line, f"byte 0x{data[error.start]:02x} is not UTF-8, save the file as UTF-8"))
        return None


def _open_list(document: Source) -> Iterator[Source]:
    """`kind: List` holds objects, which may be lists themselves."""
    root = document.root
    if not (isinstance(root, Mapping) and root.get("kind") == "List" and isinstance(root.get("items"), Sequence)):
        yield document
        return
    items = root["items"]
    for line, item in zip(items.lines, items, strict=True):
        if item is not None:
            yield from _open_list(Source(document.file, line, item))


def _syntax(file: str, line: int, message: str) -> Problem:
    return Problem(severity="error", code="invalid", file=file, line=line, message=message)


def _start_of_line(text: str, line: int) -> int:
    """Offset of a line (from 1); the end of the text when there are fewer."""
    offset = 0
    for _ in range(line - 1):
        offset = text.find("\n", offset) + 1
        if offset == 0:
            return len(text)
    return offset


def _quote(text: str, line: int, column: int) -> str | None:
    """Put `2001:db8::` of `[2001:db8::]` into quotes: libyaml refuses what Kubernetes takes as a text."""
    start = _start_of_line(text, line) + column
    found = _BARE.match(text, start)
    return f'{text[:start]}"{found[0]}"{text[found.end() :]}' if found else None


def _load_json(text: str, file: str, problems: list[Problem], line: int, message: str) -> list[Source]:
    """JSON that YAML cannot read (escaped surrogates): the data without lines."""
    repeated: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            repeated.extend({key for key, _ in items if sum(key == other for other, _ in items) > 1})
        return result

    try:
        root = json.loads(text, object_pairs_hook=pairs)
    except ValueError:
        problems.append(_syntax(file, line, message))
        return []
    problems.extend(_syntax(file, 1, f"{key}: is written twice in one object, keep one") for key in repeated)
    return [Source(file, 1, root)]
