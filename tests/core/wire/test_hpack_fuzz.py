"""Random blocks and mutations of good and hostile ones. The invariants:

- every input gives a verdict, and no byte outside of it is read nor written (each lies in a malloc block of exactly its
  size: run this under the address sanitizer, FASTMESH_SANITIZE=1, to have that checked);
- where `hpack` reads a block, we read the same fields from it, and our table is as long as its; where it refuses one we
  do too (we also refuse integers without end and more than two changes of the table size);
- an accepted head is one that HTTP/1 accepts with the same fields; what is refused leaves the table as `hpack` has it;
- limits hold: never more fields, nor more bytes, than they say.

FASTMESH_FUZZ_ROUNDS sets how many (default 20,000), FASTMESH_FUZZ_SEED where the sequence starts.
"""

from __future__ import annotations

import os
import random
from typing import Any

import hpack
from hpack.exceptions import HPACKError

from fastmesh.core.wire import h2_probe

from .hpack_peers import Pairs, block, integer, literal
from .test_hpack_rules import GET, REFUSED_FIELDS, REFUSED_REQUESTS, REFUSED_RESPONSES, indexed

ROUNDS = int(os.environ.get("FASTMESH_FUZZ_ROUNDS", "20000"))
SEED = int(os.environ.get("FASTMESH_FUZZ_SEED", "7541"))
GOOD: list[Pairs] = [
    GET,
    [*GET, (b"cookie", b"a"), (b"x", b"y"), (b"cookie", b"b")],
    [(b":status", b"200"), (b"a", b"b")],
]
FIELDS = [field for fields in GOOD for field in fields] + [(a, b) for a, b, _ in REFUSED_FIELDS]


def random_field(rng: random.Random) -> bytes:
    name, value = rng.choice(FIELDS)
    if rng.randrange(4) == 0:
        value *= rng.randrange(1, 60)
    match rng.randrange(12):
        case 0:
            return integer(rng.choice([2, 4, 6, 8, 15, 40, 62, 62, 63, 64, 70]), 7, 128)
        case 1:
            return literal(rng.choice([1, 15, 28, 32, 62, 63]), value, indexed=True)
        case 2:
            return literal(name, value, indexed=True)
        case 3:
            coded = h2_probe.huffman_encode(value)
            return b"\x40" + integer(len(name), 7) + name + integer(len(coded), 7, 128) + coded
        case 4:
            return literal(rng.choice([1, 4, 15, 28, 32, 61, 62, 90]), value)
        case 5:
            return bytes(rng.randrange(256) for _ in range(rng.randrange(6)))
        case _:
            return literal(name, value)


def random_block(rng: random.Random, samples: list[bytes]) -> bytes:
    if rng.randrange(3) == 0:
        data = bytearray(rng.choice(samples))
        for _ in range(rng.randrange(3)):
            at = rng.randrange(len(data) + 1)
            if rng.randrange(2) and at < len(data):
                data[at] = rng.randrange(256)
            else:
                del data[at : at + rng.randrange(1, 5)]
        return bytes(data)
    size = integer(rng.choice([0, 40, 100, 4096]), 5, 32) if rng.randrange(6) == 0 else b""
    start = indexed(rng.choice(GOOD)) if rng.randrange(2) else b""
    return size + start + b"".join(random_field(rng) for _ in range(rng.randrange(6)))


def read(decoder: hpack.Decoder, data: bytes) -> Pairs | None:
    try:
        return [(bytes(name), bytes(value)) for name, value in decoder.decode(data, raw=True)]
    except HPACKError:
        return None


def leniently(data: bytes) -> bool:
    """Why `hpack` may read what we refuse: three changes of the table size, or an integer with many zeroes."""
    changes = at = 0
    while at < len(data) and data[at] & 0xE0 == 0x20:
        changes += 1
        at += 1
        if data[at - 1] == 0x3F:
            at += 1 + next((count for count, byte in enumerate(data[at:]) if byte < 128), 0)
    return changes > 2 or b"\x80\x80" in data


def check_table(ours: h2_probe.Decoder, theirs: hpack.Decoder) -> None:
    table = theirs.header_table
    assert ours.table == (len(table.dynamic_entries), table._current_size, table.maxsize)


def check_head(result: dict[str, Any], fields: Pairs, limits: dict[str, int]) -> None:
    if result["verdict"] != "ok":
        assert result["status"] in (400, 413, 414, 431, 502)
        assert result["error"]
        return
    others = [(name, value) for name, value in fields if name not in (b"cookie", b"host") and name[:1] != b":"]
    assert [(name, value) for name, value, _, _ in result["fields"] if name not in (b"cookie", b"host")] == others
    ordinary = [field for field in fields if field[0][:1] != b":"]
    assert len(ordinary) <= limits.get("fields", 100)
    assert sum(len(name) + len(value) + 32 for name, value in fields) <= limits.get("head", 61440)
    for name, value in ordinary:
        assert name
        assert name == name.lower()
        assert not set(name + value) & set(b"\r\n\0")
        assert value == value.strip(b" \t")


def test_blocks() -> None:
    rng = random.Random(f"{SEED}-blocks")
    samples = [block(fields) for _, fields, _ in REFUSED_REQUESTS + REFUSED_RESPONSES]
    samples += [indexed(fields) for fields in GOOD]
    heads = accepted = 0
    for _ in range(ROUNDS // 8):
        theirs = hpack.Decoder(max_header_list_size=1 << 30)
        ours = {kind: h2_probe.Decoder() for kind in ("plain", "request", "response", "trailers", "nothing")}
        for _ in range(8):
            data = random_block(rng, samples)
            limits = {"line": 60, "head": 300, "fields": 4} if rng.randrange(8) == 0 else {}
            wanted = read(theirs, data)
            got = {kind: getattr(decoder, kind)(data, **({} if kind == "plain" else limits))
                   for kind, decoder in ours.items()}  # fmt: skip
            if wanted is None or got["plain"] == "error":
                assert wanted is None or leniently(data)
                assert got["nothing"] in ("error", "flood")
                assert got["plain"] == "error" or len(wanted or ()) > 128
                break
            assert got["plain"] == wanted
            for decoder in ours.values():
                if "flood" not in str(got):
                    check_table(decoder, theirs)
            if "flood" in str(got):
                break
            for kind in ("request", "response", "trailers"):
                check_head(got[kind], wanted, limits)
                accepted += got[kind]["verdict"] == "ok"
                heads += 1
    assert heads > ROUNDS // 2
    assert accepted > ROUNDS // 40


def test_random_bytes() -> None:
    rng = random.Random(f"{SEED}-bytes")
    for _ in range(ROUNDS):
        data = rng.randbytes(rng.randrange(40))
        theirs, ours = hpack.Decoder(), h2_probe.Decoder()
        wanted = read(theirs, data)
        got = ours.plain(data)
        if wanted is not None and got != "error":
            assert got == wanted
            check_table(ours, theirs)
        else:
            assert got == "error"
            assert wanted is None or leniently(data)
        for kind in ("request", "response", "trailers", "nothing"):
            getattr(h2_probe.Decoder(), kind)(data)
        h2_probe.huffman_decode(data, rng.randrange(20))


def test_encoder_and_decoder_stay_together() -> None:
    """Random heads with repeats through our encoder; tables shrink and grow; `hpack` and we read the same."""
    rng = random.Random(f"{SEED}-encode")
    for _ in range(ROUNDS // 200):
        encoder, ours, theirs = (
            h2_probe.Encoder(rng.choice([0, 200, 4096, 65536])),
            h2_probe.Decoder(65536),
            hpack.Decoder(),
        )
        theirs.max_header_list_size = 1 << 30
        names = [bytes(rng.choice(b"abcdefXYZ-_") for _ in range(rng.randrange(1, 70))) for _ in range(6)]
        values = [rng.randbytes(rng.randrange(300)) for _ in range(8)]
        for _ in range(30):
            if rng.randrange(10) == 0:
                size = rng.choice([0, 50, 300, 4096, 60000])
                encoder.resize(size)
                theirs.max_allowed_table_size = size
            fields = [(rng.choice(names), rng.choice(values)) for _ in range(rng.randrange(8))]
            wanted = [(name.lower(), value) for name, value in fields]
            data = encoder.trailers(fields)
            assert ours.plain(data) == read(theirs, data) == wanted
