"""The PROXY header: both versions in every cut, and what is none."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmesh.core.wire.proxy_header_probe import make, read

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = ("192.0.2.1", 56324, "10.0.0.5", 443)
V6 = ("2001:db8::1", 56324, "2001:db8::5", 443)


def binary(family: int = 0x11, payload: bytes | None = None, command: int = 0x21, length: int | None = None) -> bytes:
    if payload is None:
        payload = socket.inet_aton(V4[0]) + socket.inet_aton(V4[2]) + struct.pack(">HH", V4[1], V4[3])
    return SIGNATURE + struct.pack(">BBH", command, family, len(payload) if length is None else length) + payload


LONG = b"".join(socket.inet_pton(socket.AF_INET6, str(V6[i])) for i in (0, 2)) + struct.pack(">HH", V6[1], V6[3])
SHORT = binary()[16:]
TLVS = b"\x04\0\x03abc" + b"\x03\0\x04\x01\x02\x03\x04" + b"\x20\0\0"

GOOD = [
    (b"PROXY TCP4 192.0.2.1 10.0.0.5 56324 443\r\n", V4),
    (b"PROXY TCP6 2001:db8::1 2001:db8::5 56324 443\r\n", V6),
    (
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        ("255.255.255.255", 65535, "255.255.255.255", 65535),
    ),
    (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", ("0.0.0.0", 0, "0.0.0.0", 0)),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:10.0.0.5 56324 443\r\n", V4),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
    (binary(), V4),
    (binary(0x21, LONG), V6),
    (binary(0x11, SHORT + TLVS), V4),
    (binary(0x21, LONG + TLVS), V6),
    (binary(0x31, bytes(216)), None),
    (binary(0x00, b""), None),
    (binary(0x00, b"anything"), None),
    (binary(0x11, SHORT, command=0x20), None),
    (binary(0x00, b"", command=0x20), None),
    (binary(0x11, SHORT + b"\x30" + struct.pack(">H", 4065) + bytes(4065)), V4),  # 4096 bytes in all
]

BAD = [
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01",
    b"proxy TCP4 192.0.2.1 10.0.0.5 56324 443\r\n",
    b"PROXY  TCP4 192.0.2.1 10.0.0.5 56324 443\r\n",
    b"PROXY\tTCP4",
    b"PROXY TCP5 192.0.2.1 10.0.0.5 56324 443\r\n",
    b"PROXY TCP4  192.0.2.1 10.0.0.5 56324 443\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.5 56324 443 \r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.5 56324 443\n\r\n\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.5 56324 443\rX",
    b"PROXY TCP4 192.0.2.256 10.0.0.5 56324 443\r\n",
    b"PROXY TCP4 192.0.2 10.0.0.5 56324 443\r\n",
    b"PROXY TCP4 192.000.2.1 10.0.0.5 56324 443\r\n",
    b"PROXY TCP4 2001:db8::1 10.0.0.5 56324 443\r\n",
    b"PROXY TCP6 192.0.2.1 10.0.0.5 56324 443\r\n",
    b"PROXY TCP6 2001:db8::1%eth0 2001:db8::5 56324 443\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.5 65536 443\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.5 056 443\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.5 -1 443\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.5 +1 443\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.5 443\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.5  443\r\n",
    b"PROXY TCP4 192.0.2.1\0 10.0.0.5 1 443\r\n",
    b"PROXY \r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY UNKNOWN " + b"x" * 100,
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    binary(command=0x22),
    binary(command=0x11),
    binary(command=0x31),
    binary(0x12),
    binary(0x22, LONG),
    binary(0x32, bytes(216)),
    binary(0x10),
    binary(0x41),
    binary(0x01),
    binary(0x11, SHORT[:-1]),
    binary(0x21, LONG[:-1]),
    binary(0x31, bytes(215)),
    binary(0x11, SHORT + b"\x04"),
    binary(0x11, SHORT + b"\x04\0\x04abc"),
    binary(0x11, SHORT + TLVS + b"\0"),
    binary(0x11, b"", length=4081),
    binary(0x11, b"", length=65535),
]  # fmt: skip


@pytest.mark.parametrize(("header", "addresses"), GOOD)
def test_good_ones_in_every_cut(header: bytes, addresses: tuple[object, ...] | None) -> None:
    done = ("done", len(header), addresses)
    assert read(header) == done
    assert read(header + b"\r\nGET / HTTP/1.1\r\n") == done
    for size in range(len(header)):
        assert read(header[:size]) == ("more",), size


@pytest.mark.parametrize("header", BAD)
def test_bad_ones(header: bytes) -> None:
    kind, why = read(header)
    assert (kind, bool(why)) == ("bad", True)
    assert read(header + b"\r\n" * 60)[0] == "bad"


def test_more_is_not_waited_for_for_ever() -> None:
    assert read(b"PROXY UNKNOWN " + b"x" * 92) == ("more",)
    assert read(b"PROXY UNKNOWN " + b"x" * 93)[0] == "bad"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("source", "target", "addresses"),
    [
        (b"192.0.2.1:56324", b"10.0.0.5:443", V4),
        (b"[2001:db8::1]:56324", b"[2001:db8::5]:443", V6),
        (b"192.0.2.1:1", b"[2001:db8::5]:443", ("192.0.2.1", 1, "2001:db8::5", 443)),
        (b":0", b":0", None),
    ],
)
def test_written_and_read(version: int, source: bytes, target: bytes, addresses: tuple[object, ...] | None) -> None:
    text = make(version, source, target)
    assert read(text) == ("done", len(text), addresses)
    assert text.startswith(b"PROXY " if version == 1 else SIGNATURE)


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_a_verdict_is_never_taken_back(data: bytes, start: bytes) -> None:
    whole = start + data
    found = read(whole)
    if found[0] == "done":
        size = found[1]
        assert isinstance(size, int)
        assert read(whole[:size]) == found
        assert all(read(whole[:cut]) == ("more",) for cut in range(size))
    elif found[0] == "bad":
        assert read(whole + b"\r\n")[0] == "bad"
