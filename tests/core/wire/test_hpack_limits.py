"""What a block may cost: fields, bytes, table sizes, integers; and a refused head leaves the table right."""

from __future__ import annotations

from typing import Any

import pytest

from fastmesh.core.wire import h2_probe

from .hpack_peers import Pairs, block, integer, literal
from .test_hpack_rules import GET, OK, indexed

TOO_LARGE = {"verdict": "too_large", "status": 431, "error": "head_too_large"}
TOO_MANY = {"verdict": "too_large", "status": 431, "error": "too_many_fields"}


def decode(data: bytes, **said: int) -> dict[str, Any]:
    return h2_probe.Decoder().request(data, **said)


def cost(fields: Pairs) -> int:
    """RFC 9113 6.5.2."""
    return sum(len(name) + len(value) + 32 for name, value in fields)


# --- fields ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 5, 100, 127])
@pytest.mark.parametrize("name", [b"x", b"cookie"])
def test_fields(limit: int, name: bytes) -> None:
    """Pseudo-headers are free, crumbs are not."""
    assert decode(block([*GET, *[(name, b"y")] * limit]), fields=limit)["verdict"] == "ok"
    assert decode(block([*GET, *[(name, b"y")] * (limit + 1)]), fields=limit) == TOO_MANY


def test_fields_of_responses_and_trailers() -> None:
    decoder = h2_probe.Decoder()
    assert decoder.response(block([*OK, *[(b"x", b"y")] * 101])) == TOO_MANY | {"status": 502}
    assert decoder.trailers(block([(b"x", b"y")] * 101)) == TOO_MANY
    assert len(decoder.trailers(block([(b"x", b"y")] * 100))["fields"]) == 100


def test_fields_never_pass_the_capacity_of_a_head() -> None:
    fields = [*GET, *[(b"x", b"")] * 127]
    assert len(decode(block(fields), fields=60000)["fields"]) == 128
    assert decode(block([*fields, (b"x", b"")]), fields=60000) == TOO_MANY


# --- bytes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [400, 2000, 61440, 65535, 100000])
@pytest.mark.parametrize("kind", ["literal", "huffman", "indexed"])
def test_bytes(limit: int, kind: str) -> None:
    """The limit passes, one more is refused, in whichever form it comes."""
    for more in (0, 1):
        space = min(limit, 65535) + more - cost([*GET, (b"x", b"")])
        decoder = h2_probe.Decoder(65536)
        decoder.plain(b"\x3f\xe1\xff\x03")
        if kind == "indexed":
            decoder.plain(literal(b"x", b"a" * space, indexed=True))
            fields = b"\xbe"
            if space + 33 > 65536 - 32:
                continue
        elif kind == "huffman":
            coded = h2_probe.huffman_encode(b"a" * space)
            fields = b"\x00\x01x" + integer(len(coded), 7, 128) + coded
        else:
            fields = literal(b"x", b"a" * space)
        result = decoder.request(block(GET) + fields, head=limit, line=1 << 20)
        if more:
            assert result == TOO_LARGE
        else:
            assert result["verdict"] == "ok"
            assert len(result["fields"][0][1]) == space


def test_lines() -> None:
    """The limits of lines in HTTP/1 hold here too."""
    assert decode(block([*GET, (b"x", b"y" * 99)]), line=100)["verdict"] == "ok"
    too_long = {"verdict": "too_large", "status": 431, "error": "field_line_too_long"}
    assert decode(block([*GET, (b"x", b"y" * 100)]), line=100) == too_long
    path = [*GET[:2], (b":path", b"/" * 100), GET[3]]
    assert decode(block(path), line=100)["verdict"] == "ok"
    path[2] = (b":path", b"/" * 101)
    assert decode(block(path), line=100) == {"verdict": "too_large", "status": 414, "error": "path_too_long"}


def test_body() -> None:
    post: Pairs = [(b":method", b"POST"), *GET[1:], (b"content-length", b"11")]
    too_large = {"verdict": "too_large", "status": 413, "error": "body_too_large"}
    assert decode(block(post), end_stream=False, body=10) == too_large
    assert decode(block(post), end_stream=False, body=11)["verdict"] == "ok"
    assert decode(block(post), end_stream=False)["verdict"] == "ok"


def test_crumbs_that_cannot_be_joined_in_the_buffer() -> None:
    """40 KB of crumbs with other fields between them do not fit twice; side by side they do."""
    crumbs = [(b"cookie", b"a" * 4000)] * 10
    assert decode(block([*GET, *crumbs]))["verdict"] == "ok"
    apart = [field for crumb in crumbs for field in (crumb, (b"x", b""))]
    assert decode(block([*GET, *apart])) == TOO_LARGE
    assert decode(block([*GET, *apart[:14]]))["verdict"] == "ok"


# --- attacks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 200, 4000])
@pytest.mark.parametrize("name", [b"x", b"cookie"])
@pytest.mark.parametrize("kind", ["request", "response", "trailers", "nothing"])
def test_bomb(name: bytes, size: int, kind: str) -> None:
    """CVE-2016-6581, and the one of 2026: one entry, and 100,000 bytes that name it."""
    decoder = h2_probe.Decoder()
    decoder.plain(literal(name, b"y" * size, indexed=True))
    read = getattr(decoder, kind)
    assert read(b"\xbe" * 100_000) in ("flood", {"verdict": "flood"})
    fields = 4 * 61440 // (len(name) + size + 32)
    expected = {"request": "too_large", "response": "too_large", "trailers": "too_large", "nothing": "ok"}[kind]
    result = read(b"\xbe" * fields)
    assert (result if kind == "nothing" else result["verdict"]) == expected
    assert read(b"\xbe" * (fields + 1)) in ("flood", {"verdict": "flood"})


def test_bomb_costs_no_time() -> None:
    """The decoder stops: a hundred times the block takes no longer."""
    decoder = h2_probe.Decoder()
    decoder.plain(literal(b"x", b"", indexed=True))
    for _ in range(200):
        assert decoder.request(b"\xbe" * 1_000_000) == {"verdict": "flood"}


def test_huffman_bomb() -> None:
    """Text that grows by 8/5 beyond the buffer."""
    coded = h2_probe.huffman_encode(b"a" * 200_000)
    field = b"\x40\x01x" + integer(len(coded), 7, 128) + coded
    assert decode(block(GET) + field) == TOO_LARGE
    assert decode(block(GET) + field * 4) == {"verdict": "flood"}


# --- the table stays right ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [
    block([(b"Bad", b"x")]),
    block([(b"x", b"y")] * 101),
    block([(b"x", b"y" * 16390)]),
    block([(b"x", b"y" * 65000)]),
    block([(b"x" * 65000, b"y" * 65000)]),
])  # fmt: skip
@pytest.mark.parametrize("before", [True, False])
def test_a_refused_head_still_fills_the_table(bad: bytes, before: bool) -> None:
    decoder = h2_probe.Decoder()
    entries: Pairs = [(b"a-%d" % number, b"v" * number) for number in range(20)]
    data = bad + indexed(entries) if before else indexed(entries) + bad
    assert decoder.request(data)["verdict"] in ("malformed", "too_large")
    assert decoder.plain(bytes(128 | 62 + 19 - number for number in range(20))) == entries


def test_an_entry_behind_a_full_buffer() -> None:
    """A value that would fit a table but no longer the buffer is still put into the table."""
    decoder = h2_probe.Decoder(65536)
    decoder.plain(b"\x3f\xe1\xff\x03")
    filling = block([(b"x", b"y" * 16000)] * 3)
    for value in (b"v" * 40_000, b"w" * 100):
        for coded in (False, True):
            text = h2_probe.huffman_encode(value) if coded else value
            field = b"\x40\x01k" + integer(len(text), 7, 128 if coded else 0) + text
            assert decoder.request(block(GET) + filling + field, line=1 << 20)["verdict"] == (
                "too_large" if len(value) > 1000 else "ok"
            )
            assert decoder.plain(b"\xbe") == [(b"k", value)]
    for name in (b"n" * 40_000, b"n" * 17_535, b"n" * 17_536):  # the buffer ends inside the name, or right behind it
        assert decoder.request(filling + literal(name, b"v", indexed=True), line=1 << 20)["verdict"] == "too_large"
        assert decoder.plain(b"\xbe") == [(name, b"v")]


def test_a_field_larger_than_everything_empties_the_table() -> None:
    """RFC 7541 4.4."""
    for value in (b"y" * 5000, b"y" * 70000):
        decoder = h2_probe.Decoder()
        decoder.plain(literal(b"a", b"b", indexed=True))
        assert decoder.table == (1, 34, 4096)
        assert decoder.request(block(GET) + literal(b"x", value, indexed=True), line=100)["verdict"] == "too_large"
        assert decoder.table == (0, 0, 4096)
        assert decoder.plain(b"\xbe") == "error"


def test_nothing_keeps_the_table() -> None:
    decoder = h2_probe.Decoder()
    assert decoder.nothing(indexed([(b"BAD", b"\0"), (b"a", b"b")])) == "ok"
    assert decoder.plain(b"\xbf\xbe") == [(b"BAD", b"\0"), (b"a", b"b")]
    assert decoder.nothing(b"\xc0") == "error"


def test_a_name_that_its_own_entry_pushes_out() -> None:
    """RFC 7541 4.4: the reference is read before the entry goes."""
    decoder = h2_probe.Decoder()
    decoder.plain(b"\x3f\x31")  # 80 bytes: one entry
    decoder.plain(literal(b"a-name", b"1" * 40, indexed=True))
    assert decoder.plain(literal(62, b"2" * 40, indexed=True)) == [(b"a-name", b"2" * 40)]
    assert decoder.plain(b"\xbe") == [(b"a-name", b"2" * 40)]
    assert decoder.table[0] == 1


@pytest.mark.parametrize("size", [64, 100, 333, 1000, 4096])
def test_a_table_that_turns_over(size: int) -> None:
    """Entries of all lengths, many times the table: each is found again while RFC 7541 4.1 says that it is there."""
    decoder, model = h2_probe.Decoder(), []
    decoder.plain(integer(size, 5, 32))
    for number in range(3000):
        name, value = b"n%d" % (number % 7), b"v" * (number * 37 % (size // 2))
        decoder.nothing(literal(name, value, indexed=True))
        model.insert(0, (name, value))
        while cost(model) > size:
            model.pop()
        if number % 50 == 0:
            assert decoder.plain(b"".join(integer(62 + at, 7, 128) for at in range(len(model)))) == model
        assert decoder.table == (len(model), cost(model), size)


# --- the wire form --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "why"), [
    (b"\x80", "index 0"),
    (b"\xbe", "an index behind the table"),
    (b"\xff\xff\xff\xff\xff\xff\xff\xff", "an integer without end"),
    (b"\xff\xff\xff\xff\xff\x0f", "an integer over 32 bits"),
    (b"\xff\x80\x80\x80\x80\x80\x00", "an integer with too many zeroes"),
    (b"\xff", "an integer cut off"),
    (b"\xff\x80", "an integer cut off"),
    (b"\x7f", "an index cut off"),
    (b"\x40", "no name"),
    (b"\x40\x05abc", "a name cut off"),
    (b"\x40\x01a", "no value"),
    (b"\x40\x01a\x05abc", "a value cut off"),
    (b"\x00\x01a\x7f\xff\xff\xff\xff\x7f", "a length over 32 bits"),
    (b"\x00\x01a\x7f\xff\xff\xff\x7fa", "a length far over the block"),
    (b"\x0f", "an index cut off"),
    (b"\x0f\x80", "an index cut off"),
    (b"\x0f\x2f\x01a", "a name index behind the table"),
    (b"\x7e\x01a", "a name index behind the table"),
    (b"\x00\x01a\x81\xff", "padding of 8 bits"),
    (b"\x00\x01a\x81\x00", "padding that is not all ones"),
    (b"\x00\x01a\x84\xff\xff\xff\xff", "EOS"),
    (b"\x00\x82\xff\xff\x01a", "bad padding in a name"),
    (b"\x82\x20", "a table size behind a field"),
    (b"\x3f\xe2\x1f", "a table over our limit"),
    (b"\x20\x20\x20", "three table sizes"),
    (b"\x3f", "a table size cut off"),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["request", "response", "trailers", "nothing"])
def test_compression_errors(data: bytes, why: str, kind: str) -> None:
    result = getattr(h2_probe.Decoder(), kind)(data)
    assert result in ("error", {"verdict": "error"}), why
    assert getattr(h2_probe.Decoder(), kind)(block([(b"Bad", b"x")]) + data) in ("error", {"verdict": "error"})


@pytest.mark.parametrize("data", [b"\x20", b"\x20\x3f\xe1\x1f", b"\x3f\xe1\x1f", b"\x3f\xe1\x1f\x20", b""])
def test_table_sizes_at_the_beginning(data: bytes) -> None:
    decoder = h2_probe.Decoder()
    assert decoder.request(data + block(GET))["verdict"] == "ok"
    assert decoder.table[2] == (0 if data.endswith(b"\x20") else 4096)


def test_a_smaller_table_that_we_asked_for_has_to_come() -> None:
    """RFC 7541 4.2: the next block begins with it."""
    for first, wanted in ((b"", "error"), (b"\x3f\x45", "ok"), (b"\x3f\x46", "error"), (b"\x20", "ok")):
        decoder = h2_probe.Decoder()
        decoder.plain(literal(b"a", b"b" * 200, indexed=True))
        decoder.resize(100)
        result = decoder.request(first + block(GET))
        assert result["verdict"] == wanted, first
        if wanted == "ok":
            assert decoder.table[0] == 0
            assert decoder.request(block(GET))["verdict"] == "ok"


def test_a_table_of_nothing() -> None:
    decoder = h2_probe.Decoder(0)
    assert decoder.request(block(GET)) == {"verdict": "error"}  # it has to say that it knows
    decoder = h2_probe.Decoder(0)
    assert decoder.request(b"\x20" + indexed(GET))["verdict"] == "ok"
    assert decoder.table == (0, 0, 0)
    assert decoder.request(b"\xbe") == {"verdict": "error"}
