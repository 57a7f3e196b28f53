"""Durations and sizes as people write them: `30s`, `500ms`, `1m`, `60KiB`, `16k`."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)")
_MILLISECONDS = {"ms": 1.0, "": 1000.0, "s": 1000.0, "m": 60_000.0, "min": 60_000.0, "h": 3_600_000.0}
_BYTES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def parse_duration(text: str) -> int:
    """Milliseconds. A bare number is seconds; ValueError says what is wrong."""
    found = _NUMBER.fullmatch(text.strip())
    if found is None or found[2].lower() not in _MILLISECONDS:
        raise ValueError(f"{text!r} is not a duration; write for example 500ms, 30s or 1m")
    return round(float(found[1]) * _MILLISECONDS[found[2].lower()])


def parse_size(text: str) -> int:
    """Bytes. `k`, `KiB`, `m`, `MiB`, `g`, `GiB` are powers of 1024."""
    found = _NUMBER.fullmatch(text.strip())
    unit = found[2].lower().removesuffix("ib") if found is not None else "?"
    if found is None or unit not in _BYTES:
        raise ValueError(f"{text!r} is not a size; write for example 8192, 60KiB or 1MiB")
    return round(float(found[1]) * _BYTES[unit])


def show_duration(milliseconds: int) -> str:
    """The shortest form that `parse_duration` reads back."""
    if milliseconds % 1000:
        return f"{milliseconds}ms"
    if milliseconds and milliseconds % 3_600_000 == 0:
        return f"{milliseconds // 3_600_000}h"
    return f"{milliseconds // 1000}s"


def show_size(size: int) -> str:
    """The shortest form that `parse_size` reads back."""
    for unit, factor in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)
