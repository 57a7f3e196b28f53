"""Request heads: each row of the hazard table that concerns the parser, and what an accepted head says.

Row numbers are those of the project's list of HTTP/1 hazards (RFC 9112 and the public advisories behind it). Where a
row lets an implementation choose, the choice stands here as a comment."""

from __future__ import annotations

from typing import Any

import pytest

from fastmesh.core.wire.h1_probe import parse_request

from .feeding import accept, refuse, refused_after

LINE = b"GET / HTTP/1.1\r\n"
HOST = b"Host: a\r\n"
END = b"\r\n"


def field(line: bytes, host: bytes = HOST) -> bytes:
    return LINE + host + line + END


def target(line: bytes, host: bytes = b"a") -> bytes:
    return line + b"\r\nHost: " + host + b"\r\n\r\n"


REFUSED = [
    # row, status, reason, bytes
    (1, 400, "missing_host", b"GET / HTTP/1.1\r\n\r\n"),
    (1, 400, "missing_host", b"GET http://a/ HTTP/1.1\r\n\r\n"),
    (2, 400, "duplicate_host", LINE + b"Host: a\r\nHost: a\r\n\r\n"),
    (2, 400, "duplicate_host", LINE + b"Host: a\r\nX: y\r\nhOST: b\r\n\r\n"),
    *[
        (3, 400, "bad_host", target(b"GET / HTTP/1.1", host))
        for host in (b"a, b", b"a,b", b"u@a", b"a/p", b"a b", b"", b"\xe4", b"a%2e", b"a:", b"a:x", b":80", b"h\x80",
        b"a:99999")
    ],
    # 4: refused on a mismatch (HAProxy's choice), so nothing can be routed by one and forwarded by the other
    (4, 400, "host_differs_from_target", target(b"GET http://b/ HTTP/1.1")),
    (4, 400, "host_differs_from_target", target(b"GET http://a:8080/ HTTP/1.1")),
    (4, 400, "host_differs_from_target", target(b"GET http://a/ HTTP/1.1", b"a:8080")),
    (4, 400, "host_differs_from_target", target(b"GET http://a/ HTTP/1.1", b"a:443")),
    (4, 400, "host_differs_from_target", target(b"GET https://a/ HTTP/1.1", b"a:80")),
    (4, 400, "host_differs_from_target", target(b"CONNECT a:443 HTTP/1.1", b"b:443")),
    (4, 400, "host_differs_from_target", target(b"CONNECT a:443 HTTP/1.1", b"a:80")),
    (6, 400, "bad_version", target(b"GET /a b HTTP/1.1")),
    (6, 400, "bad_target", target(b"GET  / HTTP/1.1")),
    (6, 400, "bad_version", target(b"GET /  HTTP/1.1")),
    (6, 400, "bad_method", target(b"GET\t/\tHTTP/1.1")),
    (6, 400, "bad_target", target(b"GET /\tHTTP/1.1")),
    (6, 400, "missing_target", b"GET\n/\nHTTP/1.1\nHost: a\n\n"),
    (7, 400, "asterisk_without_options", target(b"GET * HTTP/1.1")),
    (7, 400, "asterisk_without_options", target(b"M-SEARCH * HTTP/1.1")),  # RFC 9112 3.2.4: OPTIONS only
    (7, 400, "bad_target", target(b"OPTIONS */x HTTP/1.1")),
    (7, 400, "bad_target", target(b"GET foo/bar HTTP/1.1")),
    (7, 400, "bad_target", target(b"GET h:443 HTTP/1.1")),
    (7, 400, "bad_target", target(b"GET ftp://a/ HTTP/1.1")),
    (7, 400, "bad_target", target(b"GET httpx://a/ HTTP/1.1")),
    (7, 400, "bad_target", target(b"GET http:/a HTTP/1.1")),
    (7, 400, "bad_authority", target(b"GET http:///a HTTP/1.1")),
    (7, 400, "bad_authority", target(b"GET http://u@a/ HTTP/1.1")),
    (7, 400, "bad_authority", target(b"GET http://u:p@a/ HTTP/1.1")),
    (7, 400, "bad_authority", target(b"GET http://?a HTTP/1.1")),
    (7, 400, "bad_authority", target(b"CONNECT / HTTP/1.1")),
    (7, 400, "bad_authority", target(b"CONNECT h HTTP/1.1")),
    (7, 400, "bad_authority", target(b"CONNECT http://h:80 HTTP/1.1")),
    (7, 400, "bad_authority", target(b"CONNECT u@h:80 HTTP/1.1")),
    # 9: refused rather than stripped
    (9, 400, "fragment_in_target", target(b"GET /a#frag HTTP/1.1")),
    (9, 400, "fragment_in_target", target(b"GET /a?b#frag HTTP/1.1")),
    (9, 400, "fragment_in_target", target(b"GET http://a/#frag HTTP/1.1")),
    (9, 400, "fragment_in_target", target(b"GET http://a#frag HTTP/1.1")),
    *[
        (10, 400, "bad_target", target(b"GET /%c HTTP/1.1" % char))
        for char in [*range(1, 32), 127, 128, 255]
        if char not in (10, 13)
    ],
    (10, 400, "bad_target", target(b"GET /\0 HTTP/1.1")),
    (10, 400, "bad_target", target(b"GET /?\0 HTTP/1.1")),
    (10, 400, "bad_target", target(b"GET /?\xc3\xa9 HTTP/1.1")),
    (13, 400, "missing_version", b"GET /\r\n"),
    (13, 400, "missing_target", b"GET\r\n"),
    (13, 505, "unsupported_version", target(b"GET / HTTP/0.9")),
    (13, 505, "unsupported_version", target(b"GET / HTTP/2.0")),
    (13, 505, "unsupported_version", target(b"GET / HTTP/9.9")),
    (13, 400, "bad_version", target(b"GET / HTTP/111")),
    (13, 505, "unsupported_version", target(b"GET / HTTP/1.32")),
    (13, 505, "unsupported_version", target(b"GET / HTTP/1.2")),  # as Envoy; RFC 9110 2.5 would let us read it as 1.1
    (13, 400, "bad_version", target(b"GET / http/1.1")),
    (13, 400, "bad_version", target(b"GET / HTTP/01.1")),
    (13, 400, "bad_version", target(b"GET / HTTP/1.1 ")),
    (13, 400, "bad_version", target(b"GET / HTTP/1.11")),
    (13, 400, "bad_version", target(b"GET / HTTP/1")),
    (13, 400, "bad_version", target(b"GET / HTTP/ 1.1")),
    (13, 400, "bad_version", target(b"GET / ICE/1.0")),
    (13, 400, "bad_version", target(b"GET / HTTP/1,1")),
    (14, 400, "bad_method", target(b"G:T / HTTP/1.1")),
    (14, 400, "bad_method", target(b"GET\0 / HTTP/1.1")),
    (14, 400, "bad_method", target(b"GET: / HTTP/1.1")),
    (14, 400, "bad_method", target(b"GET\xff / HTTP/1.1")),
    (14, 400, "lower_case_method", target(b"get / HTTP/1.1")),
    # a token, but folded by some back ends: as Istio, refused
    (14, 400, "lower_case_method", target(b"Get / HTTP/1.1")),
    (14, 400, "method_too_long", target(b"A" * 33 + b" / HTTP/1.1")),
    (15, 400, "empty_request_line", b"\r\n\r\n" + LINE + HOST + END),  # one empty line is skipped, not two
    (15, 400, "empty_request_line", b"\n" + LINE + HOST + END),
    (15, 400, "bare_cr", b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (16, 400, "tls_on_plain_port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    (16, 505, "http2_preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    (16, 400, "bad_method", b"\x00\xff\x12" + bytes(range(256))),
    (17, 400, "bare_lf", b"GET / HTTP/1.1\nHost: a\n\n"),
    (17, 400, "bare_lf", LINE + b"Host: a\nX: b\r\n\r\n"),
    (17, 400, "bare_lf", field(b"X: b\n")),
    (17, 400, "bare_lf", LINE + HOST + b"\n"),
    (17, 400, "bare_lf", field(b"X\n: b\r\n")),
    (18, 400, "bare_cr", field(b"X: a\rTransfer-Encoding: chunked\r\n")),
    (18, 400, "bare_cr", field(b"X:\rTransfer-Encoding: chunked\r\n")),
    (18, 400, "bare_cr", b"GET / HTTP/1.1\rHost: a\r\n\r\n"),
    (18, 400, "bare_cr", field(b"X\rY: a\r\n")),
    (19, 400, "bare_cr", LINE + HOST + b"\rZGET /evil: HTTP/1.1\r\nHost: a\r\n\r\n"),
    (19, 400, "bare_cr", LINE + HOST + b"X: y\r\n\r\rZ"),
    *[(20, 400, "control_in_value", field(b"X: a%cb\r\n" % char)) for char in [*range(9), 11, 12, *range(14, 32), 127]],
    (21, 400, "folded_field", field(b"X: a\r\n b\r\n")),
    (21, 400, "folded_field", field(b"X: a\r\n\tb\r\n")),
    (21, 400, "folded_field", field(b"X: a\r\n \r\n")),
    (22, 400, "space_in_field_name", field(b"Content-Length : 5\r\n")),
    (22, 400, "space_in_field_name", field(b"X\t: 5\r\n")),
    (22, 400, "space_in_field_name", field(b"Content\tLength: 5\r\n")),
    (23, 400, "space_before_field", LINE + b" Host: a\r\n\r\n"),
    (23, 400, "space_before_field", LINE + b"\tHost: a\r\n\r\n"),
    (23, 400, "space_before_field", LINE + b" \r\nHost: a\r\n\r\n"),
    (24, 400, "field_without_colon", field(b"NoColonHere\r\n")),
    (25, 400, "empty_field_name", field(b": x\r\n")),
    (26, 400, "space_in_field_name", field(b"Foo bar: x\r\n")),
    *[(26, 400, "bad_field_name", field(name + b": x\r\n")) for name in (b"X\x85", b"X(a)", b"X\xc3\xa9", b"X\0",
        b"X[", b"Fo@", b'"X"')],
    # 27: refused, not dropped; also where only some of the blanks are underscores
    (27, 400, "framing_lookalike", field(b"Transfer_Encoding: chunked\r\n")),
    (27, 400, "framing_lookalike", field(b"CONTENT_LENGTH: 9\r\n")),
    (28, 431, "too_many_fields", LINE + HOST + b"X: y\r\n" * 100 + END),
    *[
        (33, 400, "bad_content_length", field(b"Content-Length: " + value + b"\r\n"))
        for value in (b"+5", b"-5", b"-0", b"0x5", b"5_0", b"5 5", b"5.0", b"5e1", b"\xd9\xa3", b"5Z", b"abc",
        b"\xa05", b"0o5", b"5;a")
    ],
    (34, 400, "bad_content_length", field(b"Content-Length:\r\n")),
    (34, 400, "bad_content_length", field(b"Content-Length: \t \r\n")),
    (34, 400, "bad_content_length", field(b"Content-Length: \r\nContent-Length: 5\r\n")),
    (35, 400, "duplicate_content_length", field(b"Content-Length: 5\r\nContent-Length: 6\r\n")),
    (35, 400, "bad_content_length", field(b"Content-Length: 5, 6\r\n")),
    # 36: equal repeats are refused too; collapsing them is legal
    (36, 400, "duplicate_content_length", field(b"Content-Length: 5\r\nContent-Length: 5\r\n")),
    (36, 400, "bad_content_length", field(b"Content-Length: 5, 5\r\n")),
    (36, 400, "bad_content_length", field(b"Content-Length: ,5\r\n")),
    (37, 400, "bad_content_length", field(b"Content-Length: 00000000000000000005\r\n")),
    (37, 400, "bad_content_length", field(b"Content-Length: 99999999999999999999\r\n")),
    (37, 400, "bad_content_length", field(b"Content-Length: " + b"9" * 10_000 + b"\r\n")),
    (40, 400, "body_in_trace", b"TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"),
    (42, 400, "content_length_and_transfer_encoding", field(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")),
    (42, 400, "content_length_and_transfer_encoding", field(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")),
    (42, 400, "content_length_and_transfer_encoding", field(b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n")),
    (43, 400, "duplicate_transfer_encoding", field(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
    (43, 400, "duplicate_transfer_encoding", field(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n")),
    (43, 400, "bad_transfer_encoding", field(b"Transfer-Encoding: chunked, chunked\r\n")),
    (43, 400, "bad_transfer_encoding", field(b"Transfer-Encoding: chunked, gzip, chunked\r\n")),
    # 44: 501 for a coding that we do not know (RFC 9112 6.1), 400 where the end of the body cannot be told
    *[
        (44, 501, "unsupported_transfer_encoding", field(b"Transfer-Encoding: " + coding + b"\r\n"))
        for coding in (b"identity", b"xchunked", b"chunkedchunked", b"pigeons", b"gzip", b"gzip, deflate")
    ],
    (44, 400, "bad_transfer_encoding", field(b"Transfer-Encoding: chunked, gzip\r\n")),
    (45, 501, "unsupported_transfer_encoding", field(b"Transfer-Encoding: gzip, chunked\r\n")),
    *[
        (46, 400, "bad_transfer_encoding", field(b"Transfer-Encoding:" + value + b"\r\n"))
        for value in (b" ,chunked", b" , chunked", b" chunked,", b" chunked, ", b"", b" ", b" ,", b"\t")
    ],
    *[
        (47, 400, "control_in_value", field(b"Transfer-Encoding: " + value + b"\r\n"))
        for value in (b"\x0bchunked", b"chunked\0", b"\x0cchunked")
    ],
    *[
        (47, 400, "bad_transfer_encoding", field(b"Transfer-Encoding: " + value + b"\r\n"))
        for value in (b"\xa0chunked", b'"chunked"', b"chunked;q=1", b"chunked\x85", b"chun ked")
    ],
    (48, 400, "space_in_field_name", field(b"Transfer-Encoding : chunked\r\n")),
    (48, 400, "bad_transfer_encoding", field(b"Transfer-Encoding:\r\n chunked\r\n")),
    (49, 400, "transfer_encoding_in_http_1_0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "status", "reason", "sample"),
    REFUSED,
    ids=[f"row{case[0]}-{case[2]}-{at}" for at, case in enumerate(REFUSED)],
)
def test_refused(row: int, status: int, reason: str, sample: bytes) -> None:
    assert refuse(parse_request, sample) == (status, reason)


ACCEPTED: list[tuple[int, bytes, dict[str, Any]]] = [
    (0, LINE + HOST + END, {"method": "GET", "path": b"/", "query": None, "framing": "none", "keep_alive": True,
    "minor": 1}),
    (5, target(b"GET http://h:80/ HTTP/1.1", b"h"), {"authority": b"h:80", "host": b"h", "port": 80, "scheme": 1}),
    (5, target(b"GET http://h/ HTTP/1.1", b"h:80"), {"authority": b"h", "host": b"h", "port": 0}),
    (5, target(b"GET https://h/ HTTP/1.1", b"h:443"), {"authority": b"h", "scheme": 2}),
    (5, target(b"GET HTTP://H./ HTTP/1.1", b"h"), {"authority": b"H.", "host": b"H"}),
    (5, target(b"GET http://h:8080?a=b HTTP/1.1", b"h:8080"), {"path": b"/", "query": b"a=b", "target": "absolute"}),
    (5, target(b"GET http://h HTTP/1.1", b"h"), {"path": b"/", "query": None}),
    (5, target(b"GET http://h/p//q?r?s HTTP/1.1", b"h"), {"path": b"/p//q", "query": b"r?s"}),
    (8, target(b"OPTIONS * HTTP/1.1"), {"method": "OPTIONS", "target": "asterisk", "path": b"*"}),
    (8, target(b"CONNECT h:443 HTTP/1.1", b"h:443"), {"target": "authority", "authority": b"h:443", "path": b"",
    "port": 443}),
    (8, target(b"CONNECT h:443 HTTP/1.1", b"h"), {"authority": b"h:443"}),
    (8, target(b"CONNECT [::1]:443 HTTP/1.1", b"[::1]:443"), {"host": b"[::1]", "port": 443}),
    (8, b"CONNECT home0.example:443 HTTP/1.0\r\n\r\n", {"host": b"home0.example", "minor": 0}),
    (10, target(b"GET /a\"<>\\^`{|}~b?\"<>\\^`{|}/ HTTP/1.1"), {"path": b"/a\"<>\\^`{|}~b", "query": b"\"<>\\^`{|}/"}),
    (11, target(b"GET /a%0d%0aX:y%00 HTTP/1.1"), {"path": b"/a%0d%0aX:y%00"}),  # %00 is path normalisation's to refuse
    (12, target(b"GET /" + b"a" * 8000 + b" HTTP/1.1"), {"path": b"/" + b"a" * 8000}),
    (13, b"GET / HTTP/1.0\r\n\r\n", {"minor": 0, "keep_alive": False, "authority": b"", "host": b""}),
    (14, target(b"M-SEARCH / HTTP/1.1"), {"method": "OTHER", "method_name": b"M-SEARCH"}),
    (14, target(b"GETX / HTTP/1.1"), {"method": "OTHER", "method_name": b"GETX"}),
    (14, target(b"A" * 32 + b" / HTTP/1.1"), {"method": "OTHER"}),
    (15, b"\r\n" + LINE + HOST + END, {"path": b"/", "authority": b"a"}),
    (28, LINE + HOST + b"X: y\r\n" * 99 + END, {}),
    (33, field(b"Content-Length: 5\r\n"), {"framing": "length", "length": 5}),
    (33, field(b"Content-Length:\t 5 \t\r\n"), {"framing": "length", "length": 5}),
    (33, field(b"content-length:9999999999999999999\r\n"), {"length": 9999999999999999999}),
    (38, field(b"Content-Length: 010\r\n"), {"length": 10}),
    (38, field(b"Content-Length: 00\r\n"), {"framing": "length", "length": 0}),
    (40, b"DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n", {"framing": "length", "length": 3}),
    (40, b"GET / HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\n\r\n", {"framing": "length", "length": 3}),
    (50, field(b"Transfer-Encoding: CHUNKED\r\n"), {"framing": "chunked"}),
    (50, field(b"TRANSFER-ENCODING:chunked \t\r\n"), {"framing": "chunked"}),
    (66, field(b"Expect: 100-Continue\r\n"), {"expect_continue": True, "expect_other": False}),
    (66, field(b"Expect: 200-ok\r\n"), {"expect_continue": False, "expect_other": True}),
    (66, b"POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", {"expect_continue": False, "expect_other": False}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "sample", "expected"), ACCEPTED, ids=[f"row{case[0]}-{at}" for at, case in enumerate(ACCEPTED)]
)
def test_accepted(row: int, sample: bytes, expected: dict[str, Any]) -> None:
    result = accept(parse_request, sample)
    assert {name: result[name] for name in expected} == expected


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_methods(method: str) -> None:
    result = accept(parse_request, target(method.encode() + b" /x HTTP/1.1"))
    assert (result["method"], result["method_name"]) == (method, method.encode())
    for near in (method[:-1], method + "S", method[0] + method):
        assert parse_request(target(near.encode() + b" /x HTTP/1.1"))["method"] == "OTHER"


def test_values_keep_their_inside() -> None:
    result = accept(parse_request, field(b"X: \t a \t b\xff\xc3\xa9, \x80 \t\r\nEmpty:\r\nBlank: \t\r\n"))
    assert [entry[:2] for entry in result["fields"][1:]] == [
        (b"X", b"a \t b\xff\xc3\xa9, \x80"), (b"Empty", b""), (b"Blank", b"")]  # fmt: skip


def test_lookalikes_of_trusted_fields_are_dropped() -> None:
    result = accept(
        parse_request,
        field(b"X_Forwarded_For: 1.1.1.1\r\nX-Forwarded_Client_Cert: a\r\nX_Mine: b\r\nx_envoy_retry_on: 5xx\r\n"),
    )
    assert [entry[3] for entry in result["fields"]] == [True, True, True, False, True]


@pytest.mark.parametrize(
    ("sample", "most"),
    [
        (b"\x16\x03\x01\x02\x00\x01", 1),  # a TLS ClientHello
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 4),
        (b"GET / ICE/1.0\r\n", 7),
        (b"GET / HTTP/5.6\r\n", 13),
        (b"GET  / HTTP/1.1", 5),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", 12),
        (b"A" * 100_000, 33),
        (LINE + b"X: a\x00", len(LINE) + 5),
        (LINE + b"X: a\n", len(LINE) + 5),
        (LINE + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", len(LINE + HOST) + 49),
    ],
)
def test_refused_at_the_byte_that_is_wrong(sample: bytes, most: int) -> None:
    assert refused_after(parse_request, sample) <= most


def test_request_line_limit() -> None:
    line = b"GET /" + b"a" * 80 + b" HTTP/1.1"
    assert parse_request(target(line), line=len(line))["verdict"] == "done"
    refused = parse_request(target(line), line=len(line) - 1)
    assert (refused["status"], refused["error"]) == (414, "request_line_too_long")
    endless = b"GET /" + b"a" * 100_000
    assert refused_after(lambda data: parse_request(data, line=100), endless) == 102


@pytest.mark.parametrize("start", [b"", b"X: ", b"X", b"Y: z\r\nX: "])
def test_field_line_limit(start: bytes) -> None:
    endless = LINE + HOST + start + b"a" * 100_000
    refused = parse_request(endless, line=100)
    assert (refused["status"], refused["error"]) == (431, "field_line_too_long")
    line_start = endless.rindex(b"\n") + 1
    assert refused_after(lambda data: parse_request(data, line=100), endless) == line_start + 102
    whole = endless[: line_start + 100].replace(b"X", b"X:") if b":" not in start else endless[: line_start + 100]
    if b":" in start:
        assert parse_request(whole + b"\r\n\r\n", line=100)["verdict"] == "done"
        assert parse_request(whole + b"a\r\n\r\n", line=100)["status"] == 431


def test_head_limit() -> None:
    sample = LINE + HOST + b"X: yyyyyyy\r\n" * 20 + END
    assert parse_request(sample, head=len(sample))["verdict"] == "done"
    for end in range(len(LINE), len(sample) + 1):
        result = parse_request(sample[:end], head=len(sample) - 1)
        assert result["verdict"] == ("bad" if end >= len(sample) - 1 else "more")
    assert (result["status"], result["error"]) == (431, "head_too_large")


def test_head_is_never_larger_than_its_offsets() -> None:
    lines = b"".join(b"X: " + b"y" * 1000 + b"\r\n" for _ in range(70))
    result = parse_request(LINE + HOST + lines + END, head=1 << 30, line=1 << 30)
    assert (result["status"], result["error"]) == (431, "head_too_large")
    result = parse_request(b"GET /" + b"y" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", head=1 << 30, line=1 << 30)
    assert (result["status"], result["error"]) == (431, "head_too_large")


def test_field_count_limit() -> None:
    assert parse_request(LINE + HOST + b"X: y\r\n" * 4 + END, fields=5)["verdict"] == "done"
    assert parse_request(LINE + HOST + b"X: y\r\n" * 5, fields=5)["error"] == "too_many_fields"
    most = LINE + HOST + b"X: y\r\n" * 127 + END
    assert parse_request(most, fields=1000)["verdict"] == "done"
    assert parse_request(most[:-2] + b"X: y\r\n\r\n", fields=1000)["status"] == 431


def test_body_limit() -> None:
    sample = field(b"Content-Length: 1001\r\n")
    assert parse_request(sample, body=1001)["verdict"] == "done"
    assert parse_request(sample, body=1000)["status"] == 413
    assert parse_request(sample, body=0)["verdict"] == "done"
