"""Every rule of RFC 9113 8.1 to 8.5 (and RFC 8441) for header sections, one row each: what is refused, and why.

Each row is decoded as literals and a second time from the dynamic table, where its fields were put by a first block.
"""

from __future__ import annotations

from typing import Any

import pytest

from fastmesh.core.wire import h1_probe, h2_probe

from .hpack_peers import Pairs, block, literal

GET: Pairs = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a.example")]
POST: Pairs = [(b":method", b"POST"), *GET[1:]]
OK: Pairs = [(b":status", b"200")]


def without(name: bytes, fields: Pairs = GET) -> Pairs:
    return [field for field in fields if field[0] != name]


def having(name: bytes, value: bytes, fields: Pairs = GET) -> Pairs:
    return [(a, value if a == name else b) for a, b in fields]


REFUSED_REQUESTS: list[tuple[str, Pairs, str]] = [
    # pseudo-headers, 8.3 and 8.3.1
    ("no method", without(b":method"), "missing_method"),
    ("no scheme", without(b":scheme"), "missing_scheme"),
    ("no path", without(b":path"), "missing_path"),
    ("no authority, no host", without(b":authority"), "missing_authority"),
    ("nothing", [], "missing_method"),
    ("only fields", [(b"host", b"a.example")], "missing_method"),
    ("method twice", [*GET, (b":method", b"GET")], "duplicate_pseudo_header"),
    ("scheme twice", [*GET, (b":scheme", b"http")], "duplicate_pseudo_header"),
    ("path twice", [*GET, (b":path", b"/")], "duplicate_pseudo_header"),
    ("authority twice", [*GET, (b":authority", b"a.example")], "duplicate_pseudo_header"),
    ("after a field", [*GET[:3], (b"accept", b"*/*"), GET[3]], "pseudo_header_after_field"),
    ("status in a request", [*GET, (b":status", b"200")], "wrong_pseudo_header"),
    ("unknown", [*GET, (b":fancy", b"x")], "unknown_pseudo_header"),
    ("only a colon", [*GET, (b":", b"x")], "unknown_pseudo_header"),
    ("upper case", [*GET[1:], (b":METHOD", b"GET")], "unknown_pseudo_header"),
    ("a space behind", [*GET[1:], (b":method ", b"GET")], "unknown_pseudo_header"),
    # method
    ("empty method", having(b":method", b""), "bad_method"),
    ("method with space", having(b":method", b"GET /admin"), "bad_method"),
    ("method with CRLF", having(b":method", b"GET\r\nX: y"), "bad_method"),
    ("method with NUL", having(b":method", b"GET\0"), "bad_method"),
    ("lower-case method", having(b":method", b"get"), "lower_case_method"),
    ("long method", having(b":method", b"M" * 33), "bad_method"),
    # scheme
    ("empty scheme", having(b":scheme", b""), "bad_scheme"),
    ("scheme with more", having(b":scheme", b"http://x/?"), "bad_scheme"),
    ("unknown scheme", having(b":scheme", b"ftp"), "bad_scheme"),
    # path
    ("empty path", having(b":path", b""), "bad_path"),
    ("relative path", having(b":path", b"a"), "bad_path"),
    ("absolute path", having(b":path", b"http://a/"), "bad_path"),
    ("path with space", having(b":path", b"/a b"), "bad_path"),
    ("path with CRLF", having(b":path", b"/ HTTP/1.1\r\nX: y"), "bad_path"),
    ("path with LF", having(b":path", b"/\n"), "bad_path"),
    ("path with NUL", having(b":path", b"/\0"), "bad_path"),
    ("path with DEL", having(b":path", b"/\x7f"), "bad_path"),
    ("path with a byte above 0x7f", having(b":path", b"/\xc3\xa9"), "bad_path"),
    ("query with space", having(b":path", b"/?a b"), "bad_path"),
    ("only a query", having(b":path", b"?a"), "bad_path"),
    ("fragment", having(b":path", b"/a#b"), "fragment_in_path"),
    ("fragment in the query", having(b":path", b"/a?b#c"), "fragment_in_path"),
    ("asterisk with GET", having(b":path", b"*"), "asterisk_without_options"),
    ("asterisk and more", having(b":path", b"*/x", [(b":method", b"OPTIONS"), *GET[1:]]), "bad_path"),
    # authority and host
    ("empty authority", having(b":authority", b""), "bad_authority"),
    ("userinfo", having(b":authority", b"u@a.example"), "bad_authority"),
    ("authority with path", having(b":authority", b"a.example/x"), "bad_authority"),
    ("authority with space", having(b":authority", b"a example"), "bad_authority"),
    ("authority list", having(b":authority", b"a.example,b.example"), "bad_authority"),
    ("authority with port 0", having(b":authority", b"a.example:0"), "bad_authority"),
    ("two hosts", [*without(b":authority"), (b"host", b"a"), (b"host", b"a")], "duplicate_host"),
    ("two hosts beside an authority", [*GET, (b"host", b"a"), (b"host", b"a")], "duplicate_host"),
    ("bad host", [*without(b":authority"), (b"host", b"a/b")], "bad_host"),
    ("empty host", [*without(b":authority"), (b"host", b"")], "bad_host"),
    # CONNECT, 8.5, and RFC 8441
    ("CONNECT without port", [(b":method", b"CONNECT"), (b":authority", b"a")], "bad_authority"),
    ("CONNECT without authority", [(b":method", b"CONNECT")], "bad_connect"),
    ("CONNECT with path", [(b":method", b"CONNECT"), (b":authority", b"a:1"), (b":path", b"/")], "bad_connect"),
    ("CONNECT with scheme", [(b":method", b"CONNECT"), (b":authority", b"a:1"), (b":scheme", b"http")], "bad_connect"),
    ("protocol without CONNECT", [*GET, (b":protocol", b"websocket")], "protocol_without_connect"),
    ("protocol without path", [(b":method", b"CONNECT"), GET[1], GET[3], (b":protocol", b"x")], "missing_path"),
    ("protocol without scheme", [(b":method", b"CONNECT"), *GET[2:], (b":protocol", b"x")], "missing_scheme"),
    ("empty protocol", [(b":method", b"CONNECT"), *GET[1:], (b":protocol", b"")], "bad_protocol"),
    ("protocol with space", [(b":method", b"CONNECT"), *GET[1:], (b":protocol", b"web socket")], "bad_protocol"),
    # te, 8.2.2
    ("te: gzip", [*GET, (b"te", b"gzip")], "te_other_than_trailers"),
    ("te: trailers, gzip", [*GET, (b"te", b"trailers, gzip")], "te_other_than_trailers"),
    ("empty te", [*GET, (b"te", b"")], "te_other_than_trailers"),
    # the body
    ("length and no body", [*POST, (b"content-length", b"5")], "content_length_without_body"),
    ("length twice", [*POST, (b"content-length", b"0"), (b"content-length", b"0")], "duplicate_content_length"),
    ("framing lookalike", [*POST, (b"content_length", b"5")], "framing_lookalike"),
    ("framing lookalike", [*POST, (b"transfer_encoding", b"chunked")], "framing_lookalike"),
]  # fmt: skip

# Refused in every kind of header section.
REFUSED_FIELDS: list[tuple[bytes, bytes, str]] = [
    (b"", b"x", "empty_field_name"),
    (b"", b"", "empty_field_name"),
    (b"Accept", b"x", "upper_case_field_name"),
    (b"accepT", b"x", "upper_case_field_name"),
    (b"a b", b"x", "bad_field_name"),
    (b" a", b"x", "bad_field_name"),
    (b"a:", b"x", "bad_field_name"),
    (b"a:b", b"x", "bad_field_name"),
    (b"a\r\nb", b"x", "bad_field_name"),
    (b"a\0", b"x", "bad_field_name"),
    (b"A\0", b"x", "bad_field_name"),
    (b"a\x7f", b"x", "bad_field_name"),
    (b"\xc3\xa9", b"x", "bad_field_name"),
    (b"a(b)", b"x", "bad_field_name"),
    (b"x", b"a\rb", "control_in_value"),
    (b"x", b"a\nb", "control_in_value"),
    (b"x", b"a\0b", "control_in_value"),
    (b"x", b"a\x01b", "control_in_value"),
    (b"x", b"a\x7fb", "control_in_value"),
    (b"x", b"0123456789\n", "control_in_value"),
    (b"x", b"\n", "control_in_value"),
    (b"x", b" a", "blank_around_value"),
    (b"x", b"a ", "blank_around_value"),
    (b"x", b"\ta", "blank_around_value"),
    (b"x", b"a\t", "blank_around_value"),
    (b"x", b" ", "blank_around_value"),
    (b"connection", b"close", "connection_field"),
    (b"connection", b"", "connection_field"),
    (b"keep-alive", b"timeout=5", "connection_field"),
    (b"proxy-connection", b"keep-alive", "connection_field"),
    (b"transfer-encoding", b"chunked", "connection_field"),
    (b"upgrade", b"websocket", "connection_field"),
]

REFUSED_RESPONSES: list[tuple[str, Pairs, str]] = [
    ("no status", [(b"server", b"x")], "missing_status"),
    ("nothing", [], "missing_status"),
    ("status twice", [*OK, *OK], "duplicate_pseudo_header"),
    ("status after a field", [(b"server", b"x"), *OK], "pseudo_header_after_field"),
    ("a request's", [*OK, (b":path", b"/")], "wrong_pseudo_header"),
    ("a request's", [(b":method", b"GET"), *OK], "wrong_pseudo_header"),
    ("short", [(b":status", b"20")], "bad_status"),
    ("long", [(b":status", b"2000")], "bad_status"),
    ("signed", [(b":status", b"+20")], "bad_status"),
    ("not a number", [(b":status", b"2x0")], "bad_status"),
    ("below 100", [(b":status", b"099")], "bad_status"),
    ("empty", [(b":status", b"")], "bad_status"),
    ("with a phrase", [(b":status", b"200 OK")], "bad_status"),
    ("te", [*OK, (b"te", b"trailers")], "te_other_than_trailers"),
    ("101", [(b":status", b"101")], "switching_protocols"),
    ("length twice", [*OK, (b"content-length", b"1"), (b"content-length", b"1")], "duplicate_content_length"),
]

REFUSED_TRAILERS: list[tuple[str, Pairs, str]] = [
    ("a request's", [(b":path", b"/")], "pseudo_header_in_trailers"),
    ("a response's", [(b":status", b"200")], "pseudo_header_in_trailers"),
    ("after a field", [(b"x", b"y"), (b":status", b"200")], "pseudo_header_in_trailers"),
    ("unknown", [(b":x", b"y")], "unknown_pseudo_header"),
    ("te", [(b"te", b"trailers")], "te_other_than_trailers"),
]

LENGTHS = [
    b"",
    b"+5",
    b"-5",
    b"-0",
    b"0x5",
    b"5_0",
    b"5 5",
    b"5.0",
    b"5e1",
    b"5, 5",
    b"5,6",
    b"5Z",
    b"\xd9\xa3",
    b"9" * 20,
]


def indexed(fields: Pairs) -> bytes:
    return b"".join(literal(name, value, indexed=True) for name, value in fields)


def again(fields: Pairs) -> bytes:
    return b"".join(bytes([128 | (61 + len(fields) - number)]) for number in range(len(fields)))


def refused(kind: str, fields: Pairs, status: int, reason: str, **said: Any) -> None:
    """As literals, as it goes into the table, and from the table; and nothing that comes after it changes that."""
    decoder = h2_probe.Decoder(65536)
    decoder.plain(b"\x3f\xe1\xff\x03")  # the table may be as large as we allow
    wanted = {"verdict": "malformed", "status": status, "error": reason}
    blocks = [block(fields), indexed(fields), again(fields)]
    for number, piece in enumerate(blocks):
        assert getattr(decoder, kind)(piece, **said) == wanted, f"block {number}"
        assert decoder.table[0] == (len(fields) if number else 0)
    assert getattr(h2_probe.Decoder(), kind)(block([*fields, (b"later", b"x")]), **said)["verdict"] == "malformed"


@pytest.mark.parametrize(("fields", "reason"), [pytest.param(b, c, id=a) for a, b, c in REFUSED_REQUESTS])
def test_refused_requests(fields: Pairs, reason: str) -> None:
    refused("request", fields, 400, reason)


@pytest.mark.parametrize(("fields", "reason"), [pytest.param(b, c, id=a) for a, b, c in REFUSED_RESPONSES])
def test_refused_responses(fields: Pairs, reason: str) -> None:
    refused("response", fields, 502, reason)


@pytest.mark.parametrize(("fields", "reason"), [pytest.param(b, c, id=a) for a, b, c in REFUSED_TRAILERS])
def test_refused_trailers(fields: Pairs, reason: str) -> None:
    refused("trailers", fields, 400, reason)


@pytest.mark.parametrize(("name", "value", "reason"), REFUSED_FIELDS)
def test_refused_fields(name: bytes, value: bytes, reason: str) -> None:
    refused("request", [*GET, (name, value)], 400, reason)
    refused("response", [*OK, (name, value)], 502, reason)
    refused("trailers", [(name, value)], 400, reason)


@pytest.mark.parametrize("value", LENGTHS)
def test_refused_lengths(value: bytes) -> None:
    refused("request", [*POST, (b"content-length", value)], 400, "bad_content_length", end_stream=False)
    refused("response", [*OK, (b"content-length", value)], 502, "bad_content_length")


def test_a_body_that_its_head_excludes() -> None:
    refused("response", [*OK, (b"content-length", b"5")], 502, "content_length_without_body", end_stream=True)
    refused("response", [(b":status", b"103")], 502, "stream_ends_with_interim", end_stream=True)
    refused("request", [(b":method", b"TRACE"), *GET[1:]], 400, "body_in_trace", end_stream=False)
    refused(
        "request", [(b":method", b"TRACE"), *GET[1:], (b"content-length", b"1")], 400, "body_in_trace", end_stream=False
    )


def test_every_connection_field_of_http_1_is_refused_or_dropped() -> None:
    """What HTTP/1 never passes on, HTTP/2 must not either."""
    for name, number in h1_probe.HEADER_IDS.items():
        if name in (b"host", b"x-envoy-"):  # the second is a prefix
            continue
        head = b"GET / HTTP/1.1\r\nHost: a\r\n%s: trailers\r\n\r\n" % name
        first = h1_probe.parse_request(head)
        second = h2_probe.Decoder().request(block([*GET, (name, b"trailers")]), end_stream=False)
        if second["verdict"] == "ok":
            ours = [(field[2], field[3]) for field in second["fields"] if field[0] == name]
            theirs = [(field[2], field[3]) for field in first["fields"] if field[0] == name]
            assert ours == theirs == [(number, theirs[0][1])]
