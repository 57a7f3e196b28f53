"""Random mutations of real and of hostile messages. The invariants:

- every input gives a verdict, and no byte outside of it is read (each input lies in a malloc block of exactly its
  size: run this under the address sanitizer, FASTMESH_SANITIZE=1, to have that checked);
- a shorter piece of an accepted head waits, a longer one gives the same head, and a refusal is never taken back;
- spans lie inside the head, and an accepted head has exactly one reading of its framing;
- a chunked body gives the same bytes however it is cut.

FASTMESH_FUZZ_ROUNDS sets how many (default 20,000), FASTMESH_FUZZ_SEED where the sequence starts.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from fastmesh.core.wire import h1_probe

from .test_h1_chunks import REFUSED as CHUNKS_REFUSED
from .test_h1_request import ACCEPTED, REFUSED
from .test_h1_response import ACCEPTED as RESPONSES
from .test_h1_response import REFUSED as RESPONSES_REFUSED

ROUNDS = int(os.environ.get("FASTMESH_FUZZ_ROUNDS", "20000"))
SEED = int(os.environ.get("FASTMESH_FUZZ_SEED", "9112"))
SPICE = [b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b",", b";", b"%", b"\x7f", b"\xff", b"0", b"9" * 20,
    b"HTTP/1.1", b"Host: b\r\n",
         b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"http://", b"[::1]", b"Connection: x, y\r\n",
         b"X_Y: z\r\n"]  # fmt: skip


def small(samples: Iterator[bytes]) -> list[bytes]:
    return [sample for sample in samples if len(sample) < 400]


def mutations(samples: list[bytes], salt: str) -> Iterator[tuple[random.Random, bytes]]:
    rng = random.Random(f"{SEED}-{salt}")
    for _ in range(ROUNDS):
        data = bytearray(rng.choice(samples))
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(data) + 1)
            match rng.randrange(5):
                case 0 if at < len(data):
                    data[at] = rng.randrange(256)
                case 1:
                    data[at:at] = rng.choice(SPICE)
                case 2:
                    del data[at : at + rng.randrange(1, 9)]
                case 3:
                    other = rng.choice(samples)
                    data[at:] = other[rng.randrange(len(other) + 1) :]
                case _:
                    data[at:at] = data[at : at + rng.randrange(1, 30)]
        yield rng, bytes(data)


def check_head(parse: Any, rng: random.Random, data: bytes) -> None:
    result = parse(data)
    cut = rng.randrange(len(data) + 1)
    if result["verdict"] == "done":
        size = result["size"]
        assert size <= len(data)
        assert parse(data[:size]) == result
        assert parse(data[: min(cut, size - 1)])["verdict"] == "more"
        assert parse(data + b"\r\nX") == result
        names = [name.lower() for name, _, _, hop in result["fields"]]
        assert result["framing"] != "chunked" or names.count(b"transfer-encoding") == 1
        assert result["framing"] != "length" or (names.count(b"content-length"), names.count(b"transfer-encoding")) == (
            1,
            0,
        )
        for name, value, _, _ in result["fields"]:
            assert name
            assert not set(name + value) & set(b"\r\n\0")
            assert value == value.strip(b" \t")
            assert b":" not in name
            assert b" " not in name
    elif result["verdict"] == "bad":
        assert result["status"] in (400, 413, 414, 431, 501, 502, 505)
        assert parse(data + bytes([rng.randrange(256)]))["verdict"] == "bad"
        assert parse(data[:cut])["verdict"] != "done" or parse(data[:cut])["size"] <= cut
    else:
        assert parse(data[:cut])["verdict"] == "more"


def test_requests() -> None:
    samples = small(sample for *_, sample in REFUSED) + small(sample for _, sample, _ in ACCEPTED)
    for rng, data in mutations(samples, "requests"):
        limits = {"line": 60, "head": 150, "fields": 4} if rng.randrange(8) == 0 else {}
        check_head(lambda piece, limits=limits: h1_probe.parse_request(piece, **limits), rng, data)


def test_responses() -> None:
    samples = small(sample for *_, sample in RESPONSES_REFUSED) + small(sample for sample, _ in RESPONSES)
    for rng, data in mutations(samples, "responses"):
        limits = {"line": 60, "head": 150, "fields": 4} if rng.randrange(8) == 0 else {}
        to_head = rng.randrange(4) == 0
        check_head(
            lambda piece, limits=limits, to_head=to_head: h1_probe.parse_response(piece, to_head, **limits), rng, data
        )


def test_chunks() -> None:
    samples = small(sample for *_, sample in CHUNKS_REFUSED)
    samples += [b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX: y\r\nZ:\r\n\r\n", b'3;a="\\"";b\r\nabc\r\n0\r\n\r\n'] * 10
    for rng, data in mutations(samples, "chunks"):
        limits = {"body": 8, "head": 30, "fields": 2, "chunk_extension": 5} if rng.randrange(8) == 0 else {}
        whole = h1_probe.decode_chunked([data], **limits)
        cuts = [0, *sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(5))), len(data)]
        parts = h1_probe.decode_chunked([data[a:b] for a, b in pairwise(cuts)], **limits)
        assert parts["verdict"] == whole["verdict"]
        if whole["verdict"] == "done":
            assert parts == whole
            assert h1_probe.decode_chunked([data[: whole["used"]]], **limits) == whole
            assert h1_probe.decode_chunked([data[: whole["used"] - 1]], **limits)["verdict"] == "more"
        elif whole["verdict"] == "bad":
            assert parts["error"] == whole["error"]


def test_paths() -> None:
    samples = [b"/a/b/../c/./d//e", b"/%2e%2e/%2F%5c\\x/%61%zz%%361", b"/", b"*", b"/app/..", b"/a%00b#c"]
    for rng, data in mutations(samples, "paths"):
        mode = rng.randrange(5)
        once = h1_probe.normalize_path(data, mode)
        assert h1_probe.path_needs_work(data, mode) == (once != data)
        if once is not None:
            assert len(once) <= len(data)
            assert h1_probe.normalize_path(once, mode) == once


def test_authorities() -> None:
    for _, data in mutations([b"a.b:80", b"[::1]:8080", b"x", b"10.0.0.1:1"], "authorities"):
        found = h1_probe.split_authority(data)
        if found is not None:
            host, port = found
            assert host
            assert data.startswith(host)
            assert 0 <= port <= 65535
            assert not set(host) & set(b"/@,#? %\\")


def test_worth_parsing_never_misses_the_end() -> None:
    """A head that becomes complete, or breaks its limit by a KiB, is always worth another parse."""
    for rng, data in mutations(small(sample for _, sample, _ in ACCEPTED), "worth"):
        seen = rng.randrange(len(data) + 1)
        if (
            h1_probe.parse_request(data[:seen])["verdict"] == "more"
            and h1_probe.parse_request(data)["verdict"] == "done"
        ):
            assert h1_probe.head_worth_parsing(data, seen)
    endless = b"GET /" + b"a" * 20_000
    seen = 0
    for size in range(0, len(endless), 7):
        if (
            h1_probe.head_worth_parsing(endless[:size], seen)
            and h1_probe.parse_request(endless[:size])["verdict"] == "bad"
        ):
            break
        seen = size
    assert size < 16384 + 2048
