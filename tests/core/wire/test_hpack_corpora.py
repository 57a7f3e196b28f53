"""Every story of the HPACK corpus: 3,848 blocks that 14 encoders made, decoded to exactly their fields; and their
fields through our encoder, read by `hpack` and by libnghttp2 under tables of all sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fastmesh.core.wire import h2_probe

from ...corpora import corpora_dir, corpus
from .hpack_peers import READERS, Pairs, Reader

ENCODERS = sorted(path.stem for path in (corpora_dir() / "hpack").glob("*.json"))


def fields_of(case: dict[str, Any]) -> Pairs:
    return [(name.encode(), value.encode()) for pair in case["headers"] for name, value in pair.items()]


def stories(encoder: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for story in corpus(f"hpack/{encoder}.json"):
        yield f"{encoder}, story {story['story']}", story["cases"]


def test_the_corpus_is_whole() -> None:
    cases = [case for encoder in ENCODERS for _, story in stories(encoder) for case in story]
    assert (len(ENCODERS), len(cases)) == (14, 3848)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_decodes_exactly(encoder: str) -> None:
    for name, story in stories(encoder):
        decoder = h2_probe.Decoder(65536)
        for number, case in enumerate(story):
            size = case.get("header_table_size")
            if size is not None:
                decoder.resize(size)
            assert decoder.plain(bytes.fromhex(case["wire"])) == fields_of(case), f"{name}, case {number}"


# A block has no place for these; content-length stands in it when HeadOut says so.
OURS = {
    b"host",
    b"content-length",
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    b"upgrade",
    b"te",
}


def sent(encoder: h2_probe.Encoder, fields: Pairs) -> tuple[bytes, Pairs]:
    """The block of a request, a response or neither, and what has to be read from it."""
    said = dict(fields)
    rest = [field for field in fields if not field[0].startswith(b":") and field[0] not in OURS]
    pseudo = [field for field in fields if field[0].startswith(b":")]
    given: dict[str, Any] = {"fields": rest}
    if b":method" in said and b":path" in said:
        path, mark, query = said[b":path"].partition(b"?")
        authority = said.get(b":authority", b"a.example")
        given |= {"method": said[b":method"], "path": path, "query": query if mark else None, "authority": authority,
                  "scheme": 1 + (said[b":scheme"] == b"https")}  # fmt: skip
        scheme = b"https" if said[b":scheme"] == b"https" else b"http"
        pseudo = [
            (b":method", said[b":method"]),
            (b":scheme", scheme),
            (b":path", said[b":path"]),
            (b":authority", authority),
        ]
        return encoder.request(given), pseudo + rest
    if b":status" in said:
        length = [field for field in fields if field[0] == b"content-length"]
        if length:
            given |= {"framing": "length", "length": int(length[0][1])}
        block = encoder.response(given | {"status": int(said[b":status"])})
        return block, [(b":status", said[b":status"]), *rest, *length[:1]]
    return encoder.trailers(fields), rest


def plan(size: int, number: int) -> int | None:
    """The table size that the peer asks for before this block of a story; -1: a table that shrinks and grows."""
    if size >= 0:
        return size if number == 0 else None
    return {1: 4096, 2: 300, 3: 64, 4: 0, 5: 4096, 7: 500}.get(number)


@pytest.mark.parametrize("size", [0, 1, 4096, 65536, -1])
@pytest.mark.parametrize("kind", READERS)
def test_what_we_encode_is_read_exactly(kind: type[Reader], size: int) -> None:
    bytes_in = bytes_out = 0
    for encoder_name in ENCODERS:
        for name, story in stories(encoder_name):
            encoder, reader, ours = h2_probe.Encoder(65536), kind(), h2_probe.Decoder(65536)
            for number, case in enumerate(story):
                asked = plan(size, number)
                if asked is not None:
                    encoder.resize(asked)
                    reader.resize(asked)
                block, wanted = sent(encoder, fields_of(case))
                assert reader.read(block) == wanted, f"{name}, case {number}"
                assert ours.plain(block) == wanted
                assert encoder.table[1] <= encoder.table[2] <= max(size, 4096)
                assert encoder.table == ours.table
                bytes_in += sum(len(a) + len(b) for a, b in wanted)
                bytes_out += len(block)
    assert bytes_out < bytes_in * (1.1 if size in (0, 1) else 0.7)
