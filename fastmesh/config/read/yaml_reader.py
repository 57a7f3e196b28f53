"""YAML to plain data with the line of every key and item, read as Kubernetes reads it.

libyaml's parser gives events (about 1 microsecond each); one pass over them makes the plain data and notes the lines,
so 11,000 documents take about half a second. Scalars follow YAML 1.2 with Kubernetes' habits: only true and false are
booleans (`on`, `yes` are text), `0644` is octal, dates are text. An alias is shared, and what aliases would unfold to
is limited, so that a bomb costs nothing here nor later.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import yaml
from yaml._yaml import CParser

from fastmesh.config.place import Mapping, Sequence, Source

MAX_DEPTH = 100
MAX_ALIASED = 100_000  # nodes that the aliases of one document unfold to

_NUMBER_START = frozenset("0123456789-+.")
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_OCTAL = re.compile(r"([-+]?)0o?([0-7]+)\Z")
_HEX = re.compile(r"[-+]?0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_TAGS = "tag:yaml.org,2002:"


class _RefusedError(Exception):
    """A document that cannot be read on: line and message."""


class Reader:
    """Turns the events of one text into documents. `findings` are errors that reading survives."""

    def __init__(self, text: str, lines_before: int) -> None:
        self.findings: list[tuple[int, str]] = []
        self.bare_colon: tuple[int, int] | None = None  # line and column of a scalar such as `2001:db8::` in a list
        self._text = text
        self._base = lines_before + 1  # libyaml counts lines from 0
        self._count = 0  # nodes of this document, aliases unfolded
        self._depth = 0
        self._aliased = 0
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        self._next: Callable[[], Any] = lambda: None  # the next event

    def run(self, documents: list[Source], file: str) -> tuple[int, str] | None:
        """Append the documents; answer line and message of what cannot be read, or None at the end."""
        try:
            self._next = CParser(self._text).get_event
            while (event := self._next()) is not None:
                if type(event) is yaml.DocumentStartEvent:
                    self._count = self._aliased = self._depth = 0
                    self._anchors = {}
                    first: Any = self._next()
                    root = self._node(first)
                    if root is not None:
                        documents.append(Source(file, first.start_mark.line + self._base, root))
        except _RefusedError as refused:
            line, message = refused.args
            return line, message
        except yaml.reader.ReaderError as error:
            line = self._text.encode()[: error.position].count(b"\n") + self._base
            return line, f"is not YAML: {error.reason}"
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            if error.problem == "found unexpected ':'" and error.context_mark is not None:
                self.bare_colon = error.context_mark.line + self._base, error.context_mark.column
            line = (mark.line if mark else 0) + self._base
            return line, f"is not YAML: {_explain(error)}"
        return None

    def _node(self, event: Any) -> Any:
        self._count += 1
        kind = type(event)
        if kind is yaml.ScalarEvent:
            text = event.value
            value = _plain(text) if event.implicit[0] else self._tagged(event, text)
            if event.anchor is not None:
                self._anchors[event.anchor] = (value, 1)
            return value
        if kind is yaml.AliasEvent:
            return self._alias(event)
        before = self._count
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _RefusedError(event.start_mark.line + self._base, f"is nested more than {MAX_DEPTH} levels deep")
        value = self._mapping() if kind is yaml.MappingStartEvent else self._sequence()
        self._depth -= 1
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._count - before + 1)
        return value

    def _mapping(self) -> Mapping:
        mapping = Mapping()
        lines: list[int] = []
        mapping.lines = lines
        merged: list[tuple[int, Any]] = []
        following, base, node = self._next, self._base, self._node
        while True:
            event = following()
            if type(event) is yaml.MappingEndEvent:
                break
            line = event.start_mark.line + base
            key = self._key(event, line)
            value = node(following())
            if key == "<<" and event.implicit[0]:
                merged.append((line, value))
            elif key in mapping:
                first = lines[list(mapping).index(key)]
                message = f"{key}: is written twice in one mapping (first on line {first}), keep one"
                self.findings.append((line, message))
            else:
                lines.append(line)
                mapping[key] = value
        for line, value in merged:
            self._merge(mapping, value, line)
        return mapping

    def _key(self, event: Any, line: int) -> str:
        if type(event) is yaml.ScalarEvent and event.anchor is None and event.value:
            return event.value
        if type(event) is yaml.AliasEvent:
            value = self._alias(event)
            if isinstance(value, str):
                return value
        elif type(event) is yaml.ScalarEvent:
            if event.anchor is not None:
                self._anchors[event.anchor] = (event.value, 1)
            if event.value or not event.implicit[0]:
                return str(event.value)
            raise _RefusedError(line, "a key is empty, write a name before the colon")
        raise _RefusedError(line, "a key is not a text, write a plain name before the colon")

    def _merge(self, mapping: Mapping, value: Any, line: int) -> None:
        """`<<: *anchor`: keys that are not there yet are taken over with their own lines."""
        for part in value if isinstance(value, Sequence) else [value]:
            if not isinstance(part, Mapping):
                self.findings.append((line, "<<: merges something that is not a mapping"))
                continue
            for key_line, (key, entry) in zip(part.lines, part.items(), strict=True):
                if key not in mapping:
                    mapping.lines.append(key_line)
                    mapping[key] = entry

    def _sequence(self) -> Sequence:
        sequence = Sequence()
        lines: list[int] = []
        sequence.lines = lines
        while True:
            event = self._next()
            if type(event) is yaml.SequenceEndEvent:
                return sequence
            lines.append(event.start_mark.line + self._base)
            sequence.append(self._node(event))

    def _alias(self, event: Any) -> Any:
        line = event.start_mark.line + self._base
        if event.anchor not in self._anchors:
            raise _RefusedError(line, f"alias *{event.anchor} has no anchor &{event.anchor} before it")
        known = self._anchors[event.anchor]
        if known is None:
            raise _RefusedError(line, f"alias *{event.anchor} contains itself")
        value, size = known
        self._aliased += size
        self._count += size
        if self._aliased > MAX_ALIASED:
            raise _RefusedError(line, f"aliases unfold to more than {MAX_ALIASED} values, write fewer")
        return value

    def _tagged(self, event: Any, text: str) -> Any:
        """A quoted scalar, or one with a tag."""
        tag = event.tag
        if event.implicit[1] or tag is None or tag in ("!", _TAGS + "str"):
            return text
        wanted = {"int": int, "float": float, "bool": bool, "null": type(None)}.get(tag.removeprefix(_TAGS))
        value = _plain(text)
        if wanted is float and type(value) is int:
            value = float(value)
        if wanted is None or type(value) is not wanted:
            line = event.start_mark.line + self._base
            self.findings.append((line, f"tag {tag} does not fit its value, leave the tag out"))
        return value


def _plain(text: str) -> Any:
    """A scalar without quotes, by YAML 1.2's core rules and Kubernetes' octals; too large a float stays text."""
    if text[:1] not in _NUMBER_START:
        return _WORDS.get(text, text)
    if text.isdecimal() and (text[0] != "0" or len(text) == 1) and text.isascii():
        return int(text)
    if not text.isascii():
        return text
    if _INT.match(text):
        return int(text)
    octal = _OCTAL.match(text)
    if octal:
        return int(octal[1] + octal[2], 8)
    if _HEX.match(text):
        return int(text, 16)
    if _FLOAT.match(text):
        value = float(text)
        return value if math.isfinite(value) else text
    return text


def _explain(error: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (error.problem, error.context) if part]
    message = ", ".join(parts) or "cannot be read"
    if "cannot start any token" in message:
        message += " (indent with spaces, not tabs)"
    return message
