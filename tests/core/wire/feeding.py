"""One sample, fed three ways: whole, byte by byte, and with bytes of a next message behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Parse = Callable[[bytes], dict[str, Any]]
TRAILING = (b"GET /next HTTP/1.1\r\nHost: next\r\n\r\n", b"\r\n", b"\x00", b"A" * 70)


def accept(parse: Parse, sample: bytes) -> dict[str, Any]:
    """The sample is one whole message head: every shorter piece waits, and what follows it changes nothing."""
    result = parse(sample)
    assert result["verdict"] == "done", result
    assert result["size"] == len(sample)
    for end in range(len(sample)):
        assert parse(sample[:end]) == {"verdict": "more"}, f"at byte {end}: {parse(sample[:end])}"
    for trailing in TRAILING:
        assert parse(sample + trailing) == result
    return result


def refuse(parse: Parse, sample: bytes) -> tuple[int, str]:
    """The sample is refused: it waits, then refuses, and never changes its mind. Status and reason."""
    result = parse(sample)
    assert result["verdict"] == "bad", result
    refused_at = None
    for end in range(len(sample) + 1):
        verdict = parse(sample[:end])["verdict"]
        assert verdict == ("bad" if refused_at is not None else verdict)
        assert verdict != "done"
        if verdict == "bad" and refused_at is None:
            refused_at = end
    for trailing in TRAILING:
        assert parse(sample + trailing)["verdict"] == "bad"
    return result["status"], result["error"]


def refused_after(parse: Parse, sample: bytes) -> int:
    """How many bytes of the sample had to arrive before it was refused."""
    for end in range(len(sample) + 1):
        if parse(sample[:end])["verdict"] == "bad":
            return end
    raise AssertionError("not refused")
