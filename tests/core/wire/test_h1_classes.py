"""Characters, names and authorities: the tables against the grammars they were made from."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmesh.core.wire import h1_probe

LETTERS = set(string.ascii_letters.encode())
DIGITS = set(string.digits.encode())
TOKEN = LETTERS | DIGITS | set(b"!#$%&'*+-.^_`|~")
TARGET = set(range(0x21, 0x7F)) - set(b"#?")
GRAMMARS = {
    1: TOKEN,
    2: TOKEN - set(string.ascii_lowercase.encode()),
    4: TARGET,
    8: LETTERS | DIGITS | set(b"-._~!$&'()*+;="),
    16: set(b"_"),
    32: set(string.hexdigits.encode()),
    64: LETTERS | DIGITS | set(b"-._~"),
    128: TARGET - set(b"%./\\"),
}


@pytest.mark.parametrize("bit", GRAMMARS)
def test_class_is_its_grammar(bit: int) -> None:
    assert {char for char in range(256) if h1_probe.char_class(char) & bit} == GRAMMARS[bit]


@pytest.mark.parametrize("name", h1_probe.HEADER_IDS)
def test_known_name_in_any_case(name: bytes) -> None:
    expected = h1_probe.HEADER_IDS[name]
    spelled = name + b"upstream-service-time" if name == b"x-envoy-" else name
    for variant in (spelled, spelled.upper(), spelled.title()):
        assert h1_probe.header_id(variant) == expected


@pytest.mark.parametrize("name", h1_probe.HEADER_IDS)
def test_one_wrong_byte_is_another_name(name: bytes) -> None:
    for at in range(len(name)):
        for char in TOKEN - {name[at], name[at] ^ 0x20}:
            wrong = name[:at] + bytes([char]) + name[at + 1 :]
            assert h1_probe.header_id(wrong) in (0, h1_probe.HEADER_IDS.get(wrong.lower(), 0))
    if name != b"x-envoy-":
        assert h1_probe.header_id(name + b"x") == h1_probe.HEADER_IDS.get(name + b"x", 0)
    assert h1_probe.header_id(name[1:]) == h1_probe.HEADER_IDS.get(name[1:], 0)
    assert h1_probe.header_id(name[:-1]) == h1_probe.HEADER_IDS.get(name[:-1], 0)


@given(st.text(alphabet=[chr(char) for char in sorted(TOKEN)], min_size=1, max_size=40))
def test_other_names_have_no_id(name: str) -> None:
    lowered = name.lower().encode()
    expected = h1_probe.HEADER_IDS.get(lowered, 0)
    if lowered.startswith(b"x-envoy-"):
        expected = h1_probe.HEADER_IDS[b"x-envoy-"] if len(lowered) > 8 else 0
    assert h1_probe.header_id(name.encode()) == expected


@given(
    st.binary(max_size=40) | st.lists(st.sampled_from(b"\x1f\x20\x7e\x7f\x80\xff\x00\t\r\nA"), max_size=40).map(bytes)
)
def test_find_control(data: bytes) -> None:
    expected = next((at for at, char in enumerate(data) if char < 0x20 or char == 0x7F), len(data))
    assert h1_probe.find_control(data) == expected


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (b"localhost", b"localhost", 0),
        (b"localhost:8080", b"localhost", 8080),
        (b"example.com.", b"example.com", 0),
        (b"example.com.:443", b"example.com", 443),
        (b"10.0.0.1:080", b"10.0.0.1", 80),
        (b"h:65535", b"h", 65535),
        (b"[::1]", b"[::1]", 0),
        (b"[2001:db8::10.0.0.1]:9080", b"[2001:db8::10.0.0.1]", 9080),
        (b"0.0.0.0=5000", b"0.0.0.0=5000", 0),  # an odd reg-name, but one
        (b"home_0.example", b"home_0.example", 0),
        (b"a" * 255, b"a" * 255, 0),
    ],
)
def test_authority(text: bytes, host: bytes, port: int) -> None:
    assert h1_probe.split_authority(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [b"", b".", b":80", b"h:", b"h:0", b"h:65536", b"h:123456", b"h:8o", b"h:+80", b"h:80:80", b"a,b", b"a, b", b"u@a",
        b"u:p@a",
     b"a/p", b"a b", b"a\tb", b"a?b", b"a#b", b"a%62", b"a\\b", b"a\x80", b"\xc3\xa4", b"a\x00", b"a\x7f", b"[::1",
     b"::1",
     b"[::1]x", b"[::1]:", b"[]", b"[:]", b"[1.2.3.4]", b"[fe80::a%25eth0]", b"[v1.a]", b"a[::1]", b"a" * 256],
)  # fmt: skip
def test_no_authority(text: bytes) -> None:
    assert h1_probe.split_authority(text) is None
