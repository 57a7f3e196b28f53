"""A table that is printed again in place on a terminal, and as plain lines anywhere else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import TextIO

BOLD, RED, PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[0m"
CLEAR_BELOW = "\x1b[J"
GAP = "  "


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Left-aligned columns, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


class Screen:
    """Shows blocks of lines, each in the place of the one before when `out` is a terminal."""

    def __init__(self, out: TextIO) -> None:
        self.live = out.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = self.live and not os.environ.get("NO_COLOR")
        self._out = out
        self._shown = 0

    def show(self, lines: Sequence[str], bold: Sequence[int] = (), red: Sequence[int] = ()) -> None:
        """`bold` and `red` are numbers of lines."""
        if self.live:
            columns, rows = shutil.get_terminal_size()
            lines = [line[: columns - 1] for line in lines[: rows - 1]]
        text = "".join(f"{self._painted(line, n in bold, n in red)}\n" for n, line in enumerate(lines))
        up = f"\x1b[{self._shown}A\r{CLEAR_BELOW}" if self.live and self._shown else ""
        self._out.write(up + text)
        self._out.flush()
        self._shown = len(lines)

    def _painted(self, line: str, bold: bool, red: bool) -> str:
        code = (BOLD if bold else "") + (RED if red else "") if self._colour else ""
        return f"{code}{line}{PLAIN}" if code else line
