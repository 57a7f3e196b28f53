"""The reader of ClientHellos: real ones in every split, and hostile ones."""

from __future__ import annotations

import ssl
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmesh.core.wire.client_hello_probe import hello


def vector(width: int, content: bytes) -> bytes:
    return len(content).to_bytes(width, "big") + content


def extension(kind: int, content: bytes) -> bytes:
    return struct.pack(">H", kind) + vector(2, content)


def name(text: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(2, bytes([kind]) + vector(2, text)))


def alpn(*protocols: bytes) -> bytes:
    return extension(16, vector(2, b"".join(vector(1, each) for each in protocols)))


GREASE = extension(0x3A3A, b"\0")


def message(*extensions: bytes, session: bytes = b"", suites: bytes = b"\x13\x01", compression: bytes = b"\0") -> bytes:
    body = b"\x03\x03" + bytes(32) + vector(1, session) + vector(2, suites) + vector(1, compression)
    if extensions:
        body += vector(2, b"".join(extensions))
    return b"\x01" + vector(3, body)


def record(content: bytes, kind: int = 22) -> bytes:
    return bytes([kind]) + b"\x03\x01" + vector(2, content)


def real(server: str | None, protocols: list[str], only: ssl.TLSVersion | None = None) -> bytes:
    """What OpenSSL sends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    if only is not None:
        context.minimum_version = context.maximum_version = only
    out = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=server).do_handshake()
    return out.read()


CASES = [
    (real("shop.example", ["h2", "http/1.1"]), ("done", b"shop.example", [b"h2", b"http/1.1"], False)),
    (real("Shop.Example", [], ssl.TLSVersion.TLSv1_3), ("done", b"shop.example", [], False)),
    (real("a.b", ["istio-http/1.1"], ssl.TLSVersion.TLSv1_2), ("done", b"a.b", [b"istio-http/1.1"], True)),
    (real(None, []), ("done", b"", [], False)),
    (record(message()), ("done", b"", [], False)),
    (
        record(message(GREASE, name(b"x.y."), GREASE, alpn(b"\x8a\x8a", b"istio"))),
        ("done", b"x.y", [b"\x8a\x8a", b"istio"], True),
    ),
    (record(message(name(b"x"), extension(21, bytes(16000)))), ("done", b"x", [], False)),
    (record(message(name(b"outbound_.80_.v1_.a.b"))), ("done", b"outbound_.80_.v1_.a.b", [], False)),
]


@pytest.mark.parametrize(("data", "wanted"), CASES)
def test_whole_split_and_with_bytes_behind(data: bytes, wanted: tuple[object, ...]) -> None:
    assert hello(data) == wanted
    assert hello(data + b"\x14\x03\x03\x00\x01\x01") == wanted
    step = 1 if len(data) < 1000 else 97
    for size in range(0, len(data), step):
        assert hello(data[:size]) == ("more",), size


@pytest.mark.parametrize(("data", "wanted"), CASES)
def test_spread_over_records(data: bytes, wanted: tuple[object, ...]) -> None:
    content = data[5:]
    for cut in (1, 3, 4, 5, 40):
        pieces = [content[:400][at : at + cut] for at in range(0, 400, cut)] + [content[400:]]
        spread = b"".join(record(piece) for piece in pieces if piece)
        assert hello(spread + b"\x17\x03\x03") == wanted
        assert hello(spread[:-1]) == ("more",)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00\x00\x00",
        b"\x15\x03\x01\x00\x02\x02\x28",
    ],
)
def test_what_is_no_tls(data: bytes) -> None:
    assert hello(data) == ("plain",)
    assert hello(data[:1]) == ("plain",)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x80\x2e\x01\x03\x01" + bytes(40), "an SSL 2 hello"),
        (b"\x16\x02\x00", "not a handshake record"),
        (b"\x16\x03\x01\x00\x00\x01", "not a handshake record"),
        (b"\x16\x03\x01\x40\x01\x01", "not a handshake record"),
        (record(b"\x02\x00\x00\x02\x03\x03"), "begins with something else"),
        (record(message()[:9]) + record(b"x", kind=23), "not a handshake record"),
        (record(message(extension(21, bytes(16400)))[:16384]), "too long"),
        (record(b"\x01\xff\xff\xff" + bytes(100)), "too long"),
        (record(message() + b"\x00"), "something follows"),
        (record(message(session=bytes(33))), "bad session id"),
        (record(message(suites=b"\x13")), "bad cipher suites"),
        (record(message(suites=b"")), "bad cipher suites"),
        (record(message(compression=b"")), "bad compression methods"),
        (record(message(b"\x00")), "a bad extension"),
        (record(message(b"\x00\x00\x00\x05\x00")), "a bad extension"),
        (record(message(name(b""))), "bad server name"),
        (record(message(name(b"a", kind=1))), "bad server name"),
        (record(message(name(b"a\0b"))), "bad server name"),
        (record(message(name(b"a\r\nb"))), "bad server name"),
        (record(message(name(b'a"b'))), "bad server name"),
        (record(message(name(b"."))), "bad server name"),
        (record(message(name(b".a"))), "bad server name"),
        (record(message(name(b"a" * 256))), "bad server name"),
        (record(message(name(b"a"), name(b"b"))), "bad server name"),
        (record(message(extension(0, b"\x00\x08\x00\x00\x01a\x00\x00\x01b"))), "bad server name"),
        (record(message(alpn())), "bad list of protocols"),
        (record(message(alpn(b""))), "bad list of protocols"),
        (record(message(alpn(b"h2"), alpn(b"h2"))), "bad list of protocols"),
        (record(message(extension(16, b"\x00\x03\x05h2"))), "bad list of protocols"),
    ],
)
def test_what_is_refused(data: bytes, why: str) -> None:
    verdict = hello(data)
    assert verdict[0] == "bad"
    assert why in str(verdict[1])


def test_a_longer_hello_is_a_matter_of_the_limit() -> None:
    data = message(extension(21, bytes(17000)))
    spread = record(data[:16384]) + record(data[16384:])
    assert hello(spread)[0] == "bad"
    assert hello(spread, 20000) == ("done", b"", [], False)


@given(st.data())
def test_no_change_of_a_hello_is_misread(draw: st.DataObject) -> None:
    """Any mutation is read or refused; a name is always one that may stand in a log."""
    data = bytearray(CASES[draw.draw(st.integers(0, 4))][0])
    for _ in range(draw.draw(st.integers(1, 6))):
        at = draw.draw(st.integers(0, len(data) - 1))
        if draw.draw(st.booleans()):
            data[at] = draw.draw(st.integers(0, 255))
        else:
            del data[at : at + draw.draw(st.integers(1, 20))]
        if not data:
            return
    verdict = hello(bytes(data))
    if verdict[0] == "done":
        assert isinstance(verdict[1], bytes)
        assert not verdict[1].translate(None, b"abcdefghijklmnopqrstuvwxyz0123456789-_.")


@given(st.binary(max_size=400))
def test_noise(data: bytes) -> None:
    hello(data)
    hello(b"\x16\x03\x01" + data)
    hello(record(b"\x01" + vector(3, data)))
