"""Where a value was written: mappings and sequences that know the line of each entry, and paths into them."""

from __future__ import annotations

import re
from typing import Any

Path = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_/@-]+\Z")
_STEP = re.compile(r'\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]|([^.\[\]]+)')
_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")


class Mapping(dict[str, Any]):
    """A dict whose n-th key was written on line `lines[n]` (from 1)."""

    __slots__ = ("lines",)
    lines: list[int]


class Sequence(list[Any]):
    """A list whose n-th item starts on line `lines[n]` (from 1)."""

    __slots__ = ("lines",)
    lines: list[int]


def dotted(path: Path) -> str:
    """The path as people write it: `spec.http[0].route[1].weight`, `metadata.labels["a.b"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN_KEY.match(step):
            text += f".{step}" if text else step
        else:
            text += f'["{step}"]'
    return text


def parsed(text: str) -> Path:
    """The reverse of `dotted`."""
    return tuple(int(number) if number else (quoted or plain) for quoted, number, plain in _STEP.findall(text))


def snake(name: str) -> str:
    """`ignoreUriCase` as protobuf spells it: `ignore_uri_case`."""
    return _CAPITAL.sub(r"_\1", name).lower()


class Source:
    """A document as it was written. `line(path)` is the line of the value, or of the nearest part that was written."""

    __slots__ = ("file", "first", "root")

    def __init__(self, file: str, first: int, root: Any) -> None:
        self.file = file
        self.first = first
        self.root = root

    def __repr__(self) -> str:
        return f"Source({self.file}:{self.first})"

    def line(self, path: Path | str = ()) -> int:
        """Line of a path such as `("spec", "http", 0)` or `"spec.http[0]"`; `()` is the first line of the document."""
        line, value = self.first, self.root
        for step in parsed(path) if isinstance(path, str) else path:
            if isinstance(value, Mapping) and isinstance(step, str):
                key = step if step in value else snake(step)
                if key not in value:
                    break
                line, value = value.lines[list(value).index(key)], value[key]
            elif isinstance(value, Sequence) and isinstance(step, int) and step < len(value):
                line, value = value.lines[step], value[step]
            else:
                break
        return line
