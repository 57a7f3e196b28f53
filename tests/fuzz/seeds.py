"""The corpus: a few inputs for each target, and what was once found. As text: it can be read, and stays small."""

from __future__ import annotations

import contextlib
import ssl

from hpack import Encoder

from tests.fuzz.plane import FRAMED, HALF, INBOUND, PREFACE, RAW_UPSTREAM, RESET, SPLIT, UPSTREAM_STAYS, short

GET = b"GET /a?b=c HTTP/1.1\r\nHost: one\r\nX-A: 1\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: one\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST / HTTP/1.1\r\nHost: one\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: one\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"  # noqa: E501
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CLOSE = b"HTTP/1.1 200 OK\r\n\r\nuntil the end"
PIECES = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nbytes"
HEAD = [(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":authority", "one")]


def block(*fields: tuple[str, str]) -> bytes:
    return bytes(Encoder().encode(list(fields)))


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


SETTINGS = frame(4, 0, 0)
H2_GET = SETTINGS + frame(1, 5, 1, block(*HEAD))
H2_TWO = SETTINGS + frame(1, 5, 1, block(*HEAD[:3], (":authority", "two")))
H2_POST = (
    SETTINGS + frame(1, 4, 1, block((":method", "POST"), *HEAD[1:], ("te", "trailers"))) + frame(0, 0, 1, b"hello")
)
H2_TRAILERS = H2_POST + frame(1, 5, 1, block(("x-check", "1")))
H2_SPLIT = SETTINGS + frame(1, 1, 1, block(*HEAD)[:4]) + frame(9, 4, 1, block(*HEAD)[4:])
H2_PADDED = SETTINGS + frame(1, 0xD, 1, b"\x02" + block(*HEAD) + b"\0\0") + frame(0, 9, 3, b"\x01a\0")
H2_CONNECT = (
    SETTINGS
    + frame(1, 4, 1, block((":method", "CONNECT"), (":protocol", "websocket"), *HEAD[1:]))
    + frame(0, 0, 1, b"ws")
)
H2_MIXED = (
    SETTINGS + frame(4, 1, 0) + frame(6, 0, 0, bytes(8)) + frame(2, 0, 1, bytes(5)) + frame(8, 0, 0, b"\0\0\1\0")
    + frame(1, 4, 1, block(*HEAD)) + frame(3, 0, 1, bytes(4)) + frame(1, 5, 3, block(*HEAD)) + frame(7, 0, 0, bytes(8))
)  # fmt: skip
H2_OK = SETTINGS + frame(1, 4, 1, block((":status", "200"), ("content-length", "2"))) + frame(0, 1, 1, b"ok")
H2_GRPC = (
    SETTINGS
    + frame(1, 4, 1, block((":status", "200")))
    + frame(0, 0, 1, b"ok")
    + frame(1, 5, 1, block(("grpc-status", "0")))
)
H2_INTERIM = SETTINGS + frame(1, 4, 1, block((":status", "103"))) + H2_OK[9:]
H2_REFUSED = SETTINGS + frame(3, 0, 1, b"\0\0\0\7") + frame(7, 0, 0, bytes(8))


def both(how: int, mine: bytes, theirs: bytes) -> bytes:
    """An input of `connection`."""
    mine = short(mine) if how & FRAMED else mine
    theirs = theirs if how & RAW_UPSTREAM else short(theirs)
    share = -(-len(mine) * 255 // max(1, len(mine) + len(theirs)))
    # the share is a byte: fill the client's part up, so that it falls on the border
    while (len(mine) + len(theirs)) * share // 255 < len(mine):
        share += 1
    return bytes((how, min(share, 255))) + mine + theirs


def _connections() -> list[bytes]:
    raw = RAW_UPSTREAM
    found = [both(raw, GET, answer) for answer in (OK, CLOSE, PIECES, INTERIM, b"", b"HTTP/1.1 2")]
    found += [both(raw | SPLIT, request, OK) for request in (GET, POST, CHUNKED, GET + GET, b"\x16\x03\x01\0\x05\1")]
    found += [both(raw | HALF, POST, PIECES), both(raw | UPSTREAM_STAYS, UPGRADE, SWITCH), both(raw, PREFACE[:9], b"")]
    for request in (H2_GET, H2_POST, H2_TRAILERS, H2_SPLIT, H2_PADDED, H2_MIXED, H2_CONNECT):
        found += [both(raw | FRAMED, request, OK), both(raw | FRAMED | SPLIT | RESET, request, PIECES)]
    for answer in (H2_OK, H2_GRPC, H2_INTERIM, H2_REFUSED, b""):
        found += [both(FRAMED, H2_TWO, answer), both(UPSTREAM_STAYS, GET.replace(b"one", b"two"), answer)]
    for request in (GET, _hellos()[0], _hellos()[1], PREFACE + H2_GET, b"\x16\x03"):
        found += [both(INBOUND | raw, request, OK), both(INBOUND | raw | SPLIT | HALF, request, OK)]
    return found


def hello(alpn: list[str], name: str | None, version: ssl.TLSVersion) -> bytes:
    """The first flight of Python's own TLS, as it would send it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = version
    context.set_alpn_protocols(alpn)
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
    return out.read()


def _hellos() -> list[bytes]:
    newest, older = ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2
    whole = hello(["istio-http/1.1", "istio", "http/1.1"], "a.example", older)
    body = whole[5:]
    records = b"".join(b"\x16\x03\x01\0" + bytes((len(part),)) + part for part in (body[:7], body[7:90], body[90:]))
    return [whole, records, hello(["h2"], None, older), hello(["h2", "http/1.1"], "b.example", newest), PREFACE, GET]


def _blocks(*blocks: bytes) -> bytes:
    return b"".join(bytes((kind, len(each))) + each for kind, each in enumerate(blocks))


def _hpack() -> list[bytes]:
    table = Encoder()
    same = [bytes(table.encode([*HEAD, ("x-long", "value" * 5), ("cookie", "a=b")])) for _ in range(3)]
    return [
        _blocks(block(*HEAD)), _blocks(*same), _blocks(b"\x3f\xe1\x1f\x82\x86\x84", b"\x20\x82"),
        _blocks(block((":status", "200"), ("set-cookie", "a")), block(("grpc-status", "0"))),
        _blocks(b"\xbe", b"\x0f\x2f"),
    ]  # fmt: skip


FOUND: dict[str, list[bytes]] = {}  # inputs that once were findings

PROXY_2 = b"\r\n\r\n\0\r\nQUIT\n"  # the signature of version 2

SEEDS: dict[str, list[bytes]] = {
    "h1_request": [b" " + each for each in (GET, POST, CHUNKED, UPGRADE, PREFACE, b"OPTIONS * HTTP/1.0\r\n\r\n")],
    "h1_response": [b"\0" + each for each in (OK, CLOSE, PIECES, INTERIM, SWITCH)] + [b"\1" + OK],
    "chunks": [
        b"\0@\x80\xc0" + each for each in (CHUNKED.partition(b"\r\n\r\n")[2], b'3;a="\\"";b\r\nabc\r\n0\r\n\r\n')
    ],
    "path": [b"\0/a/../b//c%2f", b"\4/%2e%2e/%2F%5c\\x/%61%zz", b"\1[::1]:8080", b"\2a.b:80"],
    "huffman": [b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", b"\xff\xff\xff\xff", b"www.example.com"],
    "hpack": _hpack(),
    "frames": [H2_GET, H2_MIXED, H2_PADDED, frame(4, 0, 0, b"\0\4\0\1\0\0\0\3\0\0\0\x64"), H2_SPLIT],
    "client_hello": _hellos(),
    "proxy_header": [
        b"PROXY TCP4 192.0.2.1 10.0.0.5 56324 443\r\n",
        b"PROXY TCP6 2001:db8::1 2001:db8::5 1 2\r\nGET",
        b"PROXY UNKNOWN\r\n",
        PROXY_2 + b"\x21\x11\0\x0f" + bytes(12) + b"\x04\0\0",
        PROXY_2 + b"\x21\x21\0\x24" + bytes(36),
        PROXY_2 + b"\x20\0\0\0",
    ],
    "connection": _connections(),
}
for _name, _inputs in FOUND.items():
    SEEDS[_name] += _inputs
