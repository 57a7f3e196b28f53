"""Response heads: what is refused with 502, and how the end of the body is known (RFC 9112 6.3). Rows 22 and 67 to
73."""

from __future__ import annotations

from typing import Any

import pytest

from fastmesh.core.wire.h1_probe import parse_response

from .feeding import accept, refuse, refused_after

OK = b"HTTP/1.1 200 OK\r\n"


REFUSED = [
    (68, "duplicate_content_length", OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
    (68, "duplicate_content_length", OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
    (68, "bad_content_length", OK + b"Content-Length: 5, 5\r\n\r\n"),
    (68, "bad_transfer_encoding", OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n"),
    (68, "unsupported_transfer_encoding", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
    (68, "unsupported_transfer_encoding", OK + b"Transfer-Encoding: identity\r\n\r\n"),
    (68, "duplicate_transfer_encoding", OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (68, "transfer_encoding_in_http_1_0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    *[
        (68, "bad_status_line", line + b"\r\n\r\n")
        for line in (
            b"HTP/1.1 200 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 2 OK", b"HTTP/1.1 099 OK",
            b"HTTP/1.1  200 OK",
            b"HTTP/1.1\t200 OK", b"HTTP/2.0 200 OK", b"HTTP/0.9 200 OK", b"HTTP/1.2 200 OK", b"HTTP/01.1 200 OK",
            b"HTTP/1.01 200 OK",
            b"HTTP/11.1 200 OK", b"http/1.1 200 OK", b"HTTP/1.1 2x0 OK", b"HTTP/1.1 +20 OK", b"HTTP/1.1 200-OK",
            b"RTSP/1.1 200 OK",
            b"HTTPER/1.1 200 OK", b"HTTP/1.v 200 OK", b"HTTP/1.1 sdd OK", b"HTTP/1.1 2d0 OK",
            b"\x15\x03\x03\x00\x02\x02\x28", b"HTTP/1.1", b"HTTP/1.1 ",
        )
    ],
    (68, "bad_reason_phrase", b"HTTP/1.1 200 O\0K\r\n\r\n"),
    (17, "bare_lf", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    (17, "bare_lf", b"HTTP/1.1 200\n\n"),
    (18, "bare_cr", b"HTTP/1.1 200 OK\rContent-Length: 0\r\n\r\n"),
    (18, "bare_cr", OK[:-2] + b"\r\rContent-Length: 4\r\n\r\n"),
    (18, "bare_cr", OK + b"Foo: 1\rBar: 2\r\n\r\n"),
    (15, "bad_status_line", b"\r\n\r\n" + OK + b"\r\n"),
    (21, "folded_field", OK + b"X: a\r\n b\r\n\r\n"),
    (22, "space_in_field_name", OK + b"Content-Length : 5\r\n\r\n"),  # refused; RFC 9112 5.1 would let us cut the blank
    (23, "space_before_field", OK + b" Host: foo\r\n\r\n"),
    (26, "space_in_field_name", OK + b"en-US Content-Type: text/xml\r\n\r\n"),
    (72, "too_many_fields", OK + b"X: y\r\n" * 101 + b"\r\n"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "reason", "sample"), REFUSED, ids=[f"row{case[0]}-{case[1]}-{at}" for at, case in enumerate(REFUSED)]
)
def test_refused(row: int, reason: str, sample: bytes) -> None:
    assert refuse(parse_response, sample) == (502, reason)


ACCEPTED: list[tuple[bytes, dict[str, Any]]] = [
    (OK + b"Content-Length: 5\r\n\r\n", {"code": 200, "reason": b"OK", "framing": "length", "length": 5,
    "keep_alive": True}),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n", {"framing": "chunked", "keep_alive": True}),
    (OK + b"\r\n", {"framing": "close", "keep_alive": False}),
    (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", {"framing": "close", "keep_alive": False, "minor": 0}),
    # 67: Content-Length is dropped, the coding wins, the connection ends with this message
    (OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", {"framing": "chunked", "length": 0,
    "keep_alive": False}),
    (OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", {"framing": "chunked", "length": 0,
    "keep_alive": False}),
    (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", {"framing": "none", "length": 0, "keep_alive": True}),
    (b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", {"framing": "none"}),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", {"framing": "none", "keep_alive": True}),
    (b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", {"framing": "none"}),
    (b"HTTP/1.1 100 Continue\r\n\r\n", {"code": 100, "framing": "none", "keep_alive": True}),
    (b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n", {"code": 103, "framing": "none", "length": 0}),
    (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", {"framing": "none",
    "upgrade": True}),
    (b"HTTP/1.1 301\r\n\r\n", {"code": 301, "reason": b""}),
    (b"HTTP/1.1 200 \r\n\r\n", {"reason": b""}),
    (b"HTTP/1.1 500 Ori\xc3\xabnt\ta  b\r\n\r\n", {"reason": b"Ori\xc3\xabnt\ta  b"}),
    (b"HTTP/1.1 999 Linked\r\n\r\n", {"code": 999}),
    (b"\r\n" + OK + b"\r\n", {"code": 200}),  # some servers end 100 (Continue) with one empty line too many
    (OK + b"Host: b\r\nHost: c d\r\nExpect: x\r\n\r\n", {"code": 200}),
]  # fmt: skip


@pytest.mark.parametrize(("sample", "expected"), ACCEPTED)
def test_accepted(sample: bytes, expected: dict[str, Any]) -> None:
    result = accept(parse_response, sample)
    assert {name: result[name] for name in expected} == expected


def told_length(sample: bytes, to_head: bool = False) -> int:
    result = accept(lambda data: parse_response(data, to_head), sample)
    assert result["framing"] == "none"
    assert all(hop for name, _, _, hop in result["fields"] if name.lower() == b"content-length")  # the writer's to say
    return int(result["length"])


def test_content_length_without_body_is_told_not_counted() -> None:
    """After HEAD and in 304 it says what GET would have got; in 204 and 1xx it says nothing (RFC 9110 8.6)."""
    assert told_length(OK + b"Content-Length: 5\r\n\r\n", to_head=True) == 5
    assert told_length(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n") == 5
    assert told_length(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n") == 0
    assert told_length(b"HTTP/1.1 103 Early\r\nContent-Length: 5\r\n\r\n") == 0
    assert told_length(OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", to_head=True) == 0


def test_framing_lookalikes_are_dropped() -> None:
    result = accept(parse_response, OK + b"Content_Length: 5\r\nTransfer_Encoding: chunked\r\nX_Request_Id: a\r\n\r\n")
    assert [hop for _, _, _, hop in result["fields"]] == [True, True, False]
    assert result["framing"] == "close"


def test_limits() -> None:
    assert refused_after(lambda data: parse_response(data, line=100), b"HTTP/1.1 200 " + b"a" * 1000) == 102
    assert refused_after(lambda data: parse_response(data, head=100), OK + b"X: y\r\n" * 100) == 100
    refused = parse_response(OK + b"X: " + b"y" * 61440)
    assert (refused["status"], refused["error"]) == (502, "field_line_too_long")
    huge = parse_response(OK + (b"X: " + b"y" * 10_000 + b"\r\n") * 7 + b"\r\n")
    assert (huge["status"], huge["error"]) == (502, "head_too_large")
    assert (
        parse_response(OK + b"Content-Length: 1000\r\n\r\n", body=10)["verdict"] == "done"
    )  # the limit is for requests


def test_refused_at_the_byte_that_is_wrong() -> None:
    assert refused_after(parse_response, b"SSH-2.0-OpenSSH_9.2p1\r\n") == 1
    assert refused_after(parse_response, b"HTTP/2") == 6
    assert refused_after(parse_response, b"HTTP/1.1 2000") == 13
