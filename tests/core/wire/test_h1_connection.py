"""Hop-by-hop fields, persistence and Upgrade (RFC 9110 7.6.1, 7.8; RFC 9112 9.3): rows 30 to 32, 62 and 64."""

from __future__ import annotations

import pytest

from fastmesh.core.wire.h1_probe import parse_request, parse_response

from .feeding import accept, refuse


def request(fields: bytes, minor: int = 1) -> dict[str, object]:
    return accept(parse_request, b"GET / HTTP/1.%d\r\nHost: a\r\n" % minor + fields + b"\r\n")


def stripped(fields: bytes) -> set[bytes]:
    return {name.lower() for name, _, _, hop in request(fields)["fields"] if hop} - {b"host", b"connection"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "name",
    [b"Host", b"Content-Length", b"Transfer-Encoding", b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Prefix",
        b"Cookie",
     b"Authorization", b"X-Request-Id", b"Forwarded", b"Content-Type", b"Content-Encoding", b"X-Real-Ip",
     b"traceparent",
     b"x-envoy-original-path", b"X-B3-TraceId", b"Cache-Control", b"Set-Cookie"],
)  # fmt: skip
def test_connection_cannot_take_away_what_others_rely_on(name: bytes) -> None:
    value = b"a" if name != b"Content-Length" else b"5"
    if name in (b"Host", b"Transfer-Encoding"):
        assert request(b"Connection: close, " + name + b"\r\n")["authority"] == b"a"
        return
    framing = {b"content-length"} & {name.lower()}  # flagged because we write it ourselves
    assert stripped(b"Connection: close, " + name + b"\r\n" + name + b": " + value + b"\r\n") == framing


def test_connection_names_fields() -> None:
    assert stripped(b"X-Mine: a\r\nConnection: x-MINE ,, Other\r\nX-Mine: b\r\nX-Min: c\r\nother: d\r\n") == {
        b"x-mine",
        b"other",
    }
    assert stripped(b"Connection: x-one\r\nX-One: a\r\nX-Two: b\r\nConnection: x-two\r\n") == {b"x-one", b"x-two"}
    assert stripped(b"Connection: close\r\nClose: a\r\n") == set()


def test_always_hop_by_hop() -> None:
    fields = (
        b"Proxy-Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nUpgrade: foo\r\nHTTP2-Settings: AAMA\r\nTE: gzip\r\n"
    )
    assert stripped(fields) == {b"proxy-connection", b"keep-alive", b"upgrade", b"http2-settings", b"te"}
    assert stripped(b"Trailer: X-Sum\r\n") == set()
    assert stripped(b"Connection: trailer\r\nTrailer: X-Sum\r\n") == {b"trailer"}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(b"trailers", True), (b"trailers, gzip", True), (b"gzip;q=0.5,Trailers", True), (b"gzip", False), (b"", False),
     (b"xtrailers", False), (b"trailers;q=0", False)],
)  # fmt: skip
def test_te(value: bytes, wanted: bool) -> None:
    assert request(b"TE: " + value + b"\r\n")["te_trailers"] is wanted


@pytest.mark.parametrize(
    ("fields", "minor", "wanted"),
    [
        (b"", 1, True),
        (b"Connection: close\r\n", 1, False),
        (b"Connection: Keep-Alive\r\n", 1, True),
        (b"Connection: close\t\r\n", 1, False),
        (b"Connection: foo, CLOSE\r\n", 1, False),
        (b"Connection: foo\r\nConnection: close\r\n", 1, False),
        (b"Connection: keep-alive, close\r\n", 1, False),
        (b"Connection: close, keep-alive\r\n", 1, False),
        (b"Connection: closed\r\n", 1, True),
        (b'Connection: "close"\r\n', 1, True),
        (b"Proxy-Connection: close\r\n", 1, True),
        (b"", 0, False),
        (b"Connection: keep-alive\r\n", 0, True),
        (b"Connection: keep-alive, close\r\n", 0, False),
        (b"Proxy-Connection: keep-alive\r\n", 0, False),
    ],
)
def test_keep_alive(fields: bytes, minor: int, wanted: bool) -> None:
    assert request(fields, minor)["keep_alive"] is wanted
    head = b"HTTP/1.%d 200 OK\r\nContent-Length: 0\r\n" % minor + fields + b"\r\n"
    assert accept(parse_response, head)["keep_alive"] is wanted


@pytest.mark.parametrize(
    ("fields", "minor", "wanted"),
    [
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", 1, True),
        (b"Connection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\n", 1, True),
        (b"Upgrade: websocket\r\n", 1, False),
        (b"Connection: upgrade\r\n", 1, False),
        (b"Connection: upgrade\r\nUpgrade:\r\n", 1, False),
        (b"Connection: upgrade\r\nUpgrade: websocket\r\n", 0, False),  # RFC 9110 7.8: ignored in HTTP/1.0
        (b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", 1, False),
        (b"Connection: Upgrade\r\nUpgrade: websocket, H2C\r\n", 1, False),
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: foo\r\n", 1, False),
    ],
)
def test_upgrade(fields: bytes, minor: int, wanted: bool) -> None:
    result = request(fields, minor)
    assert result["upgrade"] is wanted
    assert all(entry[3] for entry in result["fields"] if entry[0].lower() in (b"upgrade", b"http2-settings"))  # type: ignore[attr-defined]


def test_options_are_limited() -> None:
    """Each may be compared with each field: 60 KiB of `a,` would be millions of compares."""
    head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: %s\r\n\r\n"
    assert accept(parse_request, head % b",".join([b"a"] * 32))
    assert refuse(parse_request, head % b",".join([b"close"] * 33)) == (400, "too_many_connection_options")
    many = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"Connection: a\r\n" * 33 + b"\r\n"
    assert refuse(parse_request, many) == (400, "too_many_connection_options")
