"""Round trips with PyPI `hpack`, both ways, over blocks that hypothesis makes up; and what our encoder leaves out."""

from __future__ import annotations

from typing import Any

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmesh.core.wire import h2_probe

from .hpack_peers import READERS, Nghttp2Reader, Pairs, PythonReader, Reader

KNOWN = [
    b"content-type",
    b"cookie",
    b"set-cookie",
    b"authorization",
    b"user-agent",
    b"accept-encoding",
    b"date",
    b"x-a",
    b"x-b",
]
NAMES = st.one_of(
    st.sampled_from(KNOWN), st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.", min_size=1, max_size=90).map(str.encode)
)
VALUES = st.one_of(st.sampled_from([b"", b"1", b"gzip, deflate", b"application/grpc"]), st.binary(max_size=120))
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=12)
SIZES = st.sampled_from([0, 1, 31, 64, 100, 500, 4096, 70000])
OUT = {b"host", b"te", b"upgrade", b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding",
       b"content-length", b"http2-settings"}  # fmt: skip


@given(st.lists(st.tuples(FIELDS, st.booleans(), st.booleans(), st.one_of(st.none(), SIZES)), max_size=8))
def test_theirs_to_ours(blocks: list[tuple[Pairs, bool, bool, int | None]]) -> None:
    """With and without Huffman, never-indexed fields, and tables that change."""
    encoder, decoder = hpack.Encoder(), h2_probe.Decoder(65536)
    for fields, huffman, secret, size in blocks:
        if size is not None:
            encoder.header_table_size = min(size, 65536)
        kind = hpack.NeverIndexedHeaderTuple if secret else hpack.HeaderTuple
        assert decoder.plain(encoder.encode([kind(*field) for field in fields], huffman=huffman)) == fields


@pytest.mark.parametrize("kind", READERS)
@given(blocks=st.lists(st.tuples(FIELDS, st.one_of(st.none(), SIZES)), max_size=12))
def test_ours_to_theirs(kind: type[Reader], blocks: list[tuple[Pairs, int | None]]) -> None:
    """Every third block repeats the one before, so that the table is used."""
    encoder, reader, again = h2_probe.Encoder(65536), kind(), h2_probe.Decoder(70000)
    for fields, size in [each for each in blocks for _ in range(3)]:
        if size is not None:
            encoder.resize(size)
            reader.resize(size)
        block = encoder.trailers(fields)
        wanted = [field for field in fields if field[0] not in OUT]
        assert reader.read(block) == wanted
        assert again.plain(block) == wanted
        assert encoder.table == again.table


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("sizes", [(0,), (0, 4096), (100, 50, 4096), (65536, 4096), (4096, 0, 100), (50, 100)])
def test_sizes_between_two_blocks(kind: type[Reader], sizes: tuple[int, ...]) -> None:
    """RFC 7541 4.2: the least size and the last one are said, and nothing when nothing changed."""
    encoder, reader = h2_probe.Encoder(), kind()
    fields = [(b"x-a", b"1" * 30), (b"x-b", b"2" * 30)]
    for _ in range(4):
        assert reader.read(encoder.trailers(fields)) == fields
    assert len(encoder.trailers(fields)) == 2
    for size in sizes:
        encoder.resize(size)
        reader.resize(size)
    block = encoder.trailers(fields)
    assert reader.read(block) == fields
    assert reader.read(encoder.trailers(fields)) == fields
    updates = [byte for byte in block[:1] if byte & 0xE0 == 0x20]
    assert bool(updates) == (min(*sizes, 4096) < 4096)


@pytest.mark.parametrize("own", [0, 100, 4096, 65536])
@pytest.mark.parametrize("kind", READERS)
def test_our_own_limit(kind: type[Reader], own: int) -> None:
    """A peer that allows a large table does not make us use one."""
    encoder, reader = h2_probe.Encoder(own), kind()
    for number in range(100):
        if number == 3:
            encoder.resize(65536)
            reader.resize(65536)
        fields = [(b"x-%d" % (number % 50), b"value" * 20)]
        assert reader.read(encoder.trailers(fields)) == fields
        assert encoder.table[1] <= encoder.table[2] == (own if number >= 3 else min(own, 4096))


def request(**more: Any) -> dict[str, Any]:
    return {"method": b"GET", "path": b"/", "authority": b"a"} | more


@pytest.mark.parametrize(("given", "wanted"), [
    (request(), [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")]),
    (request(method=b"POST", scheme=2, path=b"/x", query=b""),
     [(b":method", b"POST"), (b":scheme", b"https"), (b":path", b"/x?"), (b":authority", b"a")]),
    (request(method=b"PURGE", path=b"/index.html", query=b"a=b?c", te_trailers=True, framing="length", length=12345),
     [(b":method", b"PURGE"), (b":scheme", b"http"), (b":path", b"/index.html?a=b?c"), (b":authority", b"a"),
      (b"content-length", b"12345"), (b"te", b"trailers")]),
    (request(method=b"OPTIONS", path=b"*", framing="chunked"),
     [(b":method", b"OPTIONS"), (b":scheme", b"http"), (b":path", b"*"), (b":authority", b"a")]),
    (request(method=b"CONNECT", path=b"", authority=b"a:443"), [(b":method", b"CONNECT"), (b":authority", b"a:443")]),
    (request(method=b"CONNECT", path=b"/chat", protocol=b"websocket"),
     [(b":method", b"CONNECT"), (b":scheme", b"http"), (b":path", b"/chat"), (b":authority", b"a"),
      (b":protocol", b"websocket")]),
    (request(fields=[(b"X-Mixed_Case", b"Value"), (b"ETag", b"A"), (b"Q" * 70, b"Z"), (b"aZ[`{@", b"1")]),
     [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a"), (b"x-mixed_case", b"Value"),
      (b"etag", b"A"), (b"q" * 70, b"Z"), (b"az[`{@", b"1")]),
    (request(fields=[(name.title(), b"x") for name in sorted(OUT)]),
     [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")]),
])  # fmt: skip
def test_requests(given: dict[str, Any], wanted: Pairs) -> None:
    encoder, reader = h2_probe.Encoder(), PythonReader()
    for _ in range(3):
        assert reader.read(encoder.request(given)) == wanted
    assert len(encoder.request(given)) <= len(wanted) * 3 or b"q" * 70 in dict(wanted)


@pytest.mark.parametrize("status", [100, 200, 204, 206, 304, 400, 404, 500, 503, 999])
def test_responses(status: int) -> None:
    encoder, reader = h2_probe.Encoder(), PythonReader()
    fields = [(b"server", b"x"), (b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"accept-encoding", b"gzip, deflate")]
    given = {"status": status, "fields": fields, "framing": "length", "length": 0}
    for _ in range(3):
        assert reader.read(encoder.response(given)) == [
            (b":status", b"%d" % status), *fields, (b"content-length", b"0")]  # fmt: skip


def test_fields_taken_out_leave_nothing() -> None:
    encoder = h2_probe.Encoder()
    assert encoder.response({"status": 200, "fields": [(b"", b"x")]}) == b"\x88"
    assert encoder.trailers([(b"a", b"b"), (b"c", b"d")], dropped=(0,)) == b"\x00\x01c\x01d"


def test_secrets_are_never_indexed() -> None:
    """RFC 7541 7.1.3: neither by us nor by anybody behind."""
    secrets = [(b"Authorization", b"Bearer t"), (b"proxy-authorization", b"x"), (b"cookie", b"a=" + b"b" * 17),
               (b"Set-Cookie", b"a=" + b"b" * 60)]  # fmt: skip
    for reader in (PythonReader(), Nghttp2Reader()):
        encoder = h2_probe.Encoder()
        wanted = [(name.lower(), value) for name, value in secrets]
        for _ in range(4):
            block = encoder.trailers(secrets)
            assert reader.read(block) == wanted
            assert encoder.table[0] == 0
    tuples = hpack.Decoder().decode(block, raw=True)
    assert [type(each) for each in tuples] == [hpack.NeverIndexedHeaderTuple] * 4


def test_what_repeats_is_indexed_and_what_does_not_is_not() -> None:
    """The name of a value that always changes goes in once; a long cookie may."""
    encoder, reader = h2_probe.Encoder(), PythonReader()
    sizes = []
    for number in range(200):
        fields = [
            (b"user-agent", b"curl/8.5"),
            (b"x-request-id", b"%036d" % number),
            (b"cookie", b"c" * 40),
            (b"date", b"%d" % (number // 50)),
        ]
        block = encoder.trailers(fields)
        assert reader.read(block) == fields
        sizes.append(len(block))
    assert sizes[0] > sum(len(name) + len(value) for name, value in fields) - 40
    assert max(sizes[3:50]) <= 1 + 2 + 1 + 36 + 1 + 2
    assert encoder.table[0] == 3 + 4  # three that repeat (date four times), one name


def test_values_that_look_alike_to_the_hash() -> None:
    """It reads both ends and the middle only: the rest decides when the texts are compared."""
    encoder, reader = h2_probe.Encoder(), PythonReader()
    for number in range(40):
        for name in (b"x-a", b"n" * 30 + b"%d" % (number % 3) + b"n" * 30):
            value = b"a" * 20 + b"%d" % (number // 2 % 4) + b"a" * 80
            assert reader.read(encoder.trailers([(name, value)])) == [(name, value)]
    assert encoder.table[0] > 1
