"""The Huffman code against `hpack`, and its rules for padding (RFC 7541 5.2)."""

from __future__ import annotations

import random

import pytest
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hypothesis import given
from hypothesis import strategies as st

from fastmesh.core.wire import h2_probe


def bits(text: str) -> bytes:
    """Bytes of a string of bits, ones behind."""
    text += "1" * (-len(text) % 8)
    return bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8))


def code(symbol: int) -> str:
    return f"{REQUEST_CODES[symbol]:0{REQUEST_CODES_LENGTH[symbol]}b}"


EOS = code(256)


def test_every_symbol_in_every_place() -> None:
    for symbol in range(256):
        for before in (b"", b"0", b"a&", b"\xff" * 3, b"abcdefghij" * 2):
            for after in (b"", b"t", b"~~", b"0123456789abcdef"):
                text = before + bytes([symbol]) + after
                coded = bits("".join(map(code, text)))
                assert h2_probe.huffman_encode(text) == coded
                assert h2_probe.huffman_decode(coded) == text


@given(st.binary(max_size=300))
def test_round_trip(text: bytes) -> None:
    coded = h2_probe.huffman_encode(text)
    assert h2_probe.huffman_decode(coded) == text
    assert decode_huffman(coded) == text


@given(st.binary(max_size=60))
def test_any_bytes_as_hpack_reads_them(data: bytes) -> None:
    try:
        wanted: bytes | str = bytes(decode_huffman(data))
    except Exception:
        wanted = "bad"
    got = h2_probe.huffman_decode(data)
    assert got == wanted


@pytest.mark.parametrize("before", ["", code(ord("a")), code(ord("0")) * 20, code(0xFF) * 4])
def test_padding(before: str) -> None:
    """Up to 7 ones, nothing else, and no EOS."""
    text = h2_probe.huffman_decode(bits(before))
    for size in range(-len(before) % 8, 40, 8):
        whole = bits(before + "1" * size)
        assert h2_probe.huffman_decode(whole) == (text if size < 8 else "bad"), size
    free = -len(before) % 8
    for place in range(free):
        padding = "".join("0" if place == at else "1" for at in range(free))
        got = h2_probe.huffman_decode(bits(before + padding))
        assert got == "bad" or len(got) > len(text), padding  # with 5 bits or more it may be a symbol
    assert h2_probe.huffman_decode(bits(before + EOS)) == "bad"
    assert h2_probe.huffman_decode(bits(before + EOS + code(ord("a")) * 16)) == "bad"


def test_room() -> None:
    rng = random.Random(7541)
    for _ in range(300):
        text = bytes(rng.choice(b"abc019&~\x00\xff") for _ in range(rng.randrange(80)))
        coded = h2_probe.huffman_encode(text)
        for room in {0, 1, len(text) // 2, max(len(text) - 1, 0), len(text), len(text) + 1}:
            assert h2_probe.huffman_decode(coded, room) == (text if room >= len(text) else "long")
