"""The arena, as telemetry reads it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

Entry = tuple[int, bytes, tuple[int, ...]]


class ReadableArena(Protocol):
    """`fastmesh.core.base.arena.Arena`, as far as it is read here."""

    @property
    def usage(self) -> tuple[int, int, int, int]: ...
    def entries(self) -> Iterable[Entry]: ...
    def find(self, kind: int, key: bytes, /) -> tuple[int, ...]: ...


def totals(values: tuple[int, ...], width: int, first: int = 0) -> list[int]:
    """The rows of all worker slots added up, word by word. `first` words stand before the rows."""
    sums: list[int] = [0] * width
    for start in range(first, len(values) - width + 1, width):
        row = values[start : start + width]
        if any(row):
            sums = [a + b for a, b in zip(sums, row, strict=True)]
    return sums


def signed(value: int) -> int:
    """A gauge: 64 bits that a lost count may have taken below zero."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value
