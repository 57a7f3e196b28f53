"""Chunked bodies and trailers (RFC 9112 7.1): rows 51 to 59."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmesh.core.wire.h1_probe import decode_chunked

TRAILING = (b"", b"GET / HTTP/1.1\r\n", b"\r\n", b"0\r\n\r\n", b"\x00")


def pieces_of(sample: bytes, size: int) -> list[bytes]:
    return [sample[at : at + size] for at in range(0, len(sample), size)]


def decode(sample: bytes, **limits: int) -> dict[str, Any]:
    """Whole, in small pieces, and with bytes behind: one answer."""
    result = decode_chunked([sample], **limits)
    for size in (1, 2, 3, 7):
        assert decode_chunked(pieces_of(sample, size), **limits) | {"body": 0, "used": 0} == result | {
            "body": 0,
            "used": 0,
        }
    assert decode_chunked(pieces_of(sample, 1), **limits)["body"].startswith(result["body"])
    if result["verdict"] != "more":
        for trailing in TRAILING:
            assert decode_chunked([sample + trailing], **limits) == result
            assert decode_chunked([sample, trailing], **limits) == result
    if result["verdict"] == "done":
        assert result["used"] == len(sample)
        for end in range(len(sample)):
            assert decode_chunked([sample[:end]], **limits)["verdict"] == "more"
    return result


@pytest.mark.parametrize(
    ("sample", "body"),
    [
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n6\r\n world\r\n000\r\n\r\n", b"hello world"),
        (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
        (b"0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n", b"hello"),
        (b"5\r\n\r\n\r\n0\r\n0\r\n\r\n", b"\r\n\r\n0"),
        (b"5;ext\r\nhello\r\n0;a=b\r\n\r\n", b"hello"),
        (b'5;a=b;c="d; \\" \\\\\t\xff";e\r\nhello\r\n0\r\n\r\n', b"hello"),
        (b'5;a="";b=!#$\r\nhello\r\n0\r\n\r\n', b"hello"),
    ],
)
def test_bodies(sample: bytes, body: bytes) -> None:
    result = decode(sample)
    assert (result["verdict"], result["body"], result["trailers"]) == ("done", body, [])


REFUSED = [
    *[
        (51, "bad_chunk_size", size + b"\r\nhello\r\n0\r\n\r\n")
        for size in (b"0x5", b"+5", b"-5", b"5_0", b" 5", b"5 ", b"", b"g", b"\xb2", b"5\t", b"5\0", b"\x00", b"5 ;a",
        b'"5"', b"1.0")
    ],
    (52, "chunk_size_overflow", b"FFFFFFFFFFFFFFFF0\r\n"),
    (52, "chunk_size_overflow", b"FFFFFFFFFFFFFFFF\r\n"),
    (52, "chunk_size_overflow", b"00000000000000005\r\nhello\r\n"),
    (53, "bare_lf_in_chunk", b"5;a\nX\r\nhello\r\n0\r\n\r\n"),
    (53, "bad_chunk_extension", b"5;\nhello\r\n0\r\n\r\n"),
    (53, "bare_lf_in_chunk", b"5\nhello\r\n0\r\n\r\n"),
    (53, "bad_chunk_extension", b'5;a="\nX"\r\nhello\r\n0\r\n\r\n'),
    (53, "bad_chunk_extension", b'5;a="\\\nX"\r\nhello\r\n0\r\n\r\n'),
    (54, "bare_cr_in_chunk", b"5\r\r;ABCD\r\n34\r\nE\r\n0\r\n\r\n"),
    (54, "bare_cr_in_chunk", b"5;a\rX\r\nhello\r\n0\r\n\r\n"),
    (54, "bare_cr_in_chunk", b"5\rhello\r\n0\r\n\r\n"),
    (54, "bad_chunk_extension", b'5;a="\rX"\r\nhello\r\n0\r\n\r\n'),
    (55, "chunk_data_without_crlf", b"5\r\nhelloXX0\r\n\r\n"),
    (55, "chunk_data_without_crlf", b"5\r\nhello0\r\n\r\n"),
    (55, "chunk_data_without_crlf", b"5\r\nhello\n0\r\n\r\n"),
    (55, "chunk_data_without_crlf", b"5\r\nhello\rX\n0\r\n\r\n"),
    (56, "chunk_extensions_too_large", b"5;ext=" + b"a" * 65536 + b"\r\nhello\r\n0\r\n\r\n"),
    (56, "chunk_extensions_too_large", (b"1;" + b"a" * 500 + b"\r\nx\r\n") * 20 + b"0\r\n\r\n"),
    (57, "bad_chunk_size", b"5\r\nhello\r\n\r\n0\r\n\r\n"),
    # RFC 9112 7.1.1 calls blanks around ';' and '=' bad whitespace: refused
    *[
        (0, "bad_chunk_extension", b"5" + extension + b"\r\nhello\r\n0\r\n\r\n")
        for extension in (b";", b";;", b"; a", b";a=", b";a =b", b";a= b", b";bad[=x", b";=x", b';a="b"c', b';"a"',
        b";a=b=c", b";\0a",
                          b';a="\x00"', b';a="\x7f"', b";a ")
    ],
    (17, "bare_lf", b"0\r\n\n"),
    (17, "bare_lf", b"0\r\nX: y\n\r\n"),
    (18, "bare_cr", b"0\r\n\rX"),
    (18, "bare_cr", b"0\r\nX: y\rZ: a\r\n\r\n"),
    (20, "control_in_trailer", b"0\r\nX: \0\r\n\r\n"),
    (21, "folded_field", b"0\r\nX: y\r\n z\r\n\r\n"),
    (23, "space_before_field", b"0\r\n X: y\r\n\r\n"),
    (24, "field_without_colon", b"0\r\nGET / HTTP\r\n\r\n".replace(b" / ", b"")),
    (25, "empty_field_name", b"0\r\n: y\r\n\r\n"),
    (26, "bad_field_name", b"0\r\nX\xe9: y\r\n\r\n"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "reason", "sample"), REFUSED, ids=[f"row{case[0]}-{case[1]}-{at}" for at, case in enumerate(REFUSED)]
)
def test_refused(row: int, reason: str, sample: bytes) -> None:
    result = decode(sample)
    assert (result["verdict"], result["status"], result["error"]) == ("bad", 400, reason)


@pytest.mark.parametrize(
    "sample", [b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n", b"5\r\nhel", b"5", b"", b"0\r\nX: y\r\n"]
)
def test_without_the_end_it_waits(sample: bytes) -> None:
    assert decode(sample)["verdict"] == "more"  # row 58: the peer's FIN now is an aborted body


def test_trailers() -> None:
    result = decode(b"0\r\nX-Sum: abc \r\ngrpc-status:0\r\nX:\r\n\r\n")
    assert [entry[:2] + entry[3:] for entry in result["trailers"]] == [
        (b"X-Sum", b"abc", False), (b"grpc-status", b"0", False), (b"X", b"", False)]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [b"Content-Length", b"Host", b"Transfer-Encoding", b"Authorization", b"X-Forwarded-For", b"Cookie", b"Set-Cookie",
        b"Connection",
     b"Trailer", b"TE", b"Upgrade", b"Content-Type", b"Content-Encoding", b"Content-Range", b"Cache-Control", b"Expect",
     b"Proxy-Authorization", b"If-Match", b"Range", b"X-Envoy-Retry-On", b"X-Forwarded-Client-Cert", b"Location",
     b"Content_Length",
     b"x_forwarded_for", b"Max-Forwards", b"Www-Authenticate", b"X-Request-Id", b"traceparent", b"Date", b"Vary"],
)  # fmt: skip
def test_forbidden_trailers_are_flagged(name: bytes) -> None:
    """Row 59: dropped, never merged into the header section (a refusal would be legal, and unkind to `Date`)."""
    assert [entry[3] for entry in decode(b"0\r\n" + name + b": 1\r\nX-Sum: a\r\n\r\n")["trailers"]] == [True, False]


def test_trailer_limits() -> None:
    over = decode(b"0\r\n" + b"X: y\r\n" * 30 + b"\r\n", head=100)
    assert (over["status"], over["error"]) == (431, "trailers_too_large")
    many = decode(b"0\r\n" + b"X: y\r\n" * 11 + b"\r\n", fields=10)
    assert (many["status"], many["error"]) == (431, "too_many_fields")
    assert decode_chunked([b"0\r\nX: " + b"y" * 100_000])["error"] == "trailers_too_large"
    large = decode_chunked(
        [b"0\r\n" + b"".join(b"X: " + b"y" * 995 + b"\r\n" for _ in range(80)) + b"\r\n"], head=1 << 30
    )
    assert large["error"] == "trailers_too_large"  # offsets have 16 bits


def test_body_limit() -> None:
    sample = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    assert decode(sample, body=11)["verdict"] == "done"
    over = decode(sample, body=10)
    assert (over["status"], over["error"], over["body"]) == (413, "body_too_large", b"hello")
    assert decode(b"fffffffffffffff\r\n", body=1 << 40)["status"] == 413


def test_extension_limit_is_for_the_body() -> None:
    sample = b"1;abc\r\nx\r\n" * 10 + b"0\r\n\r\n"
    assert decode(sample, chunk_extension=40)["verdict"] == "done"
    assert decode(sample, chunk_extension=39)["error"] == "chunk_extensions_too_large"


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.lists(st.integers(min_value=0, max_value=300), max_size=8),
    st.sampled_from([b"", b"X: y\r\n", b"A: b\r\nC: d\r\n"]),
)
def test_any_split_gives_the_same_body(chunks: list[bytes], cuts: list[int], trailers: bytes) -> None:
    sample = b"".join(b"%x;e\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailers + b"\r\n"
    edges = [0, *sorted(min(cut, len(sample)) for cut in cuts), len(sample)]
    pieces = [sample[start:end] for start, end in pairwise(edges)]
    result = decode_chunked([*pieces, b"next"])
    assert (result["verdict"], result["body"], result["used"]) == ("done", b"".join(chunks), len(sample))
