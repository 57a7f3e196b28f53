"""What a block becomes: the same `Head` as the same message in HTTP/1."""

from __future__ import annotations

from typing import Any

import pytest

from fastmesh.core.wire import h1_probe, h2_probe

from .hpack_peers import Pairs, block, literal
from .test_hpack_rules import GET, OK, POST, having, without

ALIKE = ("method", "method_name", "path", "query", "authority", "host", "port", "te_trailers", "expect_continue",
         "expect_other", "keep_alive", "upgrade", "length")  # fmt: skip


def request(fields: Pairs, end_stream: bool = True, **limits: int) -> dict[str, Any]:
    result = h2_probe.Decoder().request(block(fields), end_stream, **limits)
    assert result["verdict"] == "ok", result
    return result


def response(fields: Pairs, **said: Any) -> dict[str, Any]:
    result = h2_probe.Decoder().response(block(fields), **said)
    assert result["verdict"] == "ok", result
    return result


def in_http1(fields: Pairs) -> bytes:
    said = dict(fields)
    rest = b"".join(b"%s: %s\r\n" % field for field in fields if not field[0].startswith(b":"))
    return b"%s %s HTTP/1.1\r\nhost: %s\r\n%s\r\n" % (said[b":method"], said[b":path"], said[b":authority"], rest)


@pytest.mark.parametrize("fields", [
    GET,
    having(b":path", b"/a/b?c=d&e=/?"),
    having(b":path", b"/a?"),
    having(b":path", b"/"),
    having(b":authority", b"a.example:8080"),
    having(b":authority", b"[::1]:8080"),
    having(b":authority", b"A.Example."),
    having(b":path", b"*", [(b":method", b"OPTIONS"), *GET[1:]]),
    [(b":method", b"PURGE"), *GET[1:]],
    [(b":method", b"DELETE"), *GET[1:], (b"te", b"trailers"), (b"x", b"y")],
    [*POST, (b"content-length", b"0")],
    [*GET, (b"user-agent", b"x"), (b"x-request-id", b"1"), (b"traceparent", b"00-1"), (b"x-envoy-retry-on", b"5xx"),
     (b"x_forwarded_for", b"1.2.3.4"), (b"x_custom", b"kept"), (b"expect", b"100-continue"), (b"trailer", b"x"),
     (b"authorization", b"Bearer t"), (b"empty", b""), (b"tab", b"a\tb"), (b"latin", b"\xe9"),
     (b"http2-settings", b"AA")],
    [*GET, (b"expect", b"magic")],
    [*GET, (b"cookie", b"a=b; c=d")],
])  # fmt: skip
def test_same_head_as_http_1(fields: Pairs) -> None:
    ours, theirs = request(fields), h1_probe.parse_request(in_http1(fields))
    assert theirs["verdict"] == "done"
    assert {key: ours[key] for key in ALIKE} == {key: theirs[key] for key in ALIKE}
    assert sorted(ours["fields"]) == sorted(theirs["fields"])
    assert ours["framing"] == theirs["framing"]
    assert ours["minor"] == 2
    assert ours["target"] == theirs["target"]


def test_size_covers_the_text() -> None:
    fields: Pairs = [*having(b":path", b"/path?query"), (b"x", b"y"), (b"name", b"value")]
    text = len(b"GET/path?querya.examplexynamevaluehost")
    assert text <= request(fields)["size"] <= sum(len(a) + len(b) for a, b in fields) + 4


@pytest.mark.parametrize(("value", "scheme"), [(b"http", 1), (b"https", 2), (b"HTTPS", 2)])
def test_scheme(value: bytes, scheme: int) -> None:
    assert request(having(b":scheme", value))["scheme"] == scheme


def test_host_stands_in_for_a_missing_authority() -> None:
    result = request([*without(b":authority"), (b"x", b"y"), (b"host", b"b.example:81")])
    assert (result["authority"], result["host"], result["port"]) == (b"b.example:81", b"b.example", 81)
    assert [field[::3] for field in result["fields"] if field[0] == b"host"] == [(b"host", True)]


def test_host_beside_an_authority_is_dropped() -> None:
    result = request([*GET, (b"host", b"evil.example"), (b"x", b"y")])
    assert result["authority"] == b"a.example"
    assert [(name, value) for name, value, _, _ in result["fields"]] == [(b"x", b"y"), (b"host", b"a.example")]


def test_connect() -> None:
    result = request([(b":method", b"CONNECT"), (b":authority", b"a.example:443")], end_stream=False)
    assert (result["target"], result["authority"], result["port"]) == ("authority", b"a.example:443", 443)
    assert (result["path"], result["protocol"], result["framing"]) == (b"", b"", "stream")


def test_extended_connect() -> None:
    fields: Pairs = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *having(b":path", b"/chat?x")[1:]]
    result = request(fields, end_stream=False)
    assert (result["method"], result["target"], result["protocol"]) == ("CONNECT", "origin", b"websocket")
    assert (result["path"], result["query"]) == (b"/chat", b"x")


@pytest.mark.parametrize(("fields", "end_stream", "framing", "length"), [
    (GET, True, "none", 0),
    (POST, False, "stream", 0),
    ([*POST, (b"content-length", b"0")], True, "length", 0),
    ([*POST, (b"content-length", b"7")], False, "length", 7),
    ([*POST, (b"content-length", b"010")], False, "length", 10),
    ([*POST, (b"content-length", b"9999999999999999999")], False, "length", 9999999999999999999),
])  # fmt: skip
def test_framing_of_requests(fields: Pairs, end_stream: bool, framing: str, length: int) -> None:
    result = request(fields, end_stream)
    assert (result["framing"], result["length"]) == (framing, length)


@pytest.mark.parametrize(("fields", "said", "framing", "length"), [
    (OK, {}, "stream", 0),
    (OK, {"end_stream": True}, "length", 0),  # HTTP/1 has to be told that there is nothing
    ([*OK, (b"content-length", b"7")], {}, "length", 7),
    ([*OK, (b"content-length", b"0")], {"end_stream": True}, "length", 0),
    ([*OK, (b"content-length", b"7")], {"to_head": True, "end_stream": True}, "none", 7),
    ([(b":status", b"304"), (b"content-length", b"7")], {"end_stream": True}, "none", 7),
    ([(b":status", b"204")], {"end_stream": True}, "none", 0),
    ([(b":status", b"100")], {}, "none", 0),
    ([(b":status", b"103"), (b"link", b"</a>")], {}, "none", 0),
    ([(b":status", b"999")], {}, "stream", 0),
])  # fmt: skip
def test_framing_of_responses(fields: Pairs, said: dict[str, Any], framing: str, length: int) -> None:
    result = response(fields, **said)
    assert (result["framing"], result["length"], result["code"]) == (framing, length, int(fields[0][1]))


def test_response_keeps_what_http_1_keeps() -> None:
    fields: Pairs = [
        (b"server", b"x"),
        (b"host", b"odd"),
        (b"content_length", b"1"),
        (b"x_request_id", b"1"),
        (b"content-length", b"3"),
    ]
    ours = response([*OK, *fields])
    lines = b"".join(b"%s: %s\r\n" % field for field in fields)
    assert ours["fields"] == h1_probe.parse_response(b"HTTP/1.1 200 OK\r\n%s\r\n" % lines)["fields"]


def test_trailers_keep_what_chunks_keep() -> None:
    fields: Pairs = [
        (b"grpc-status", b"0"), (b"grpc-message", b""), (b"content-length", b"1"), (b"host", b"a"), (b"x-custom", b"y"),
        (b"x_forwarded_for", b"1"), (b"authorization", b"x"), (b"trailer", b"z"), (b"cookie", b"a"), (b"cookie", b"b"),
    ]  # fmt: skip
    ours = h2_probe.Decoder().trailers(block(fields))
    lines = b"".join(b"%s: %s\r\n" % field for field in fields)
    assert ours["fields"] == h1_probe.decode_chunked([b"0\r\n%s\r\n" % lines])["trailers"]


def test_no_trailers() -> None:
    assert h2_probe.Decoder().trailers(b"")["fields"] == []


@pytest.mark.parametrize("order", [
    ["a=1"],
    ["a=1", "b=2", "c=3"],
    ["a=1", None, "b=2"],
    [None, "a=1", None, None, "b=2", "c=3", None, "d=4", None],
    ["", "a=1", "", None, ""],
])  # fmt: skip
def test_crumbs_are_joined(order: list[str | None]) -> None:
    """RFC 9113 8.2.3; other fields stay in their order, and nothing is lost."""
    others = [(b"x-%d" % number, b"y") for number, crumb in enumerate(order) if crumb is None]
    crumbs = [crumb.encode() for crumb in order if crumb is not None]
    fields = [
        (b"cookie", crumb.encode()) if crumb is not None else (b"x-%d" % number, b"y")
        for number, crumb in enumerate(order)
    ]
    got = [(name, value) for name, value, _, _ in request([*GET, *fields])["fields"]]
    assert [field for field in got if field[0].startswith(b"x-")] == others
    assert [value for name, value in got if name == b"cookie"] == [b"; ".join(crumbs)]
    assert len(got) == len(others) + 2


def test_a_crumb_from_the_table() -> None:
    decoder = h2_probe.Decoder()
    decoder.request(block(GET) + literal(b"cookie", b"a=1", indexed=True) + literal(b"cookie", b"b=2", indexed=True))
    result = decoder.request(block(GET) + b"\xbf\xbe\xbf")
    assert [value for name, value, _, _ in result["fields"] if name == b"cookie"] == [b"a=1; b=2; a=1"]
