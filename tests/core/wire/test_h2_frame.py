"""Frames against PyPI `hyperframe`, and every rule that a frame can break by itself."""

from __future__ import annotations

from typing import Any

import pytest
from hyperframe import frame as hyper
from hypothesis import given
from hypothesis import strategies as st

from fastmesh.core.wire import h2_probe

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ACK, END_STREAM, END_HEADERS, PADDED, PRIORITIES = 1, 1, 4, 8, 32
STREAMS = st.integers(1, 0x7FFFFFFF)
CODES = st.integers(0, 0xFFFFFFFF)


def parsed(data: bytes) -> list[Any]:
    """Every frame as hyperframe reads it; nothing is left over."""
    frames = []
    while data:
        frame, size = hyper.Frame.parse_frame_header(memoryview(data[:9]))
        assert h2_probe.frame_head(data) == (size, frame.type, data[4], frame.stream_id)
        frame.parse_body(memoryview(data[9 : 9 + size]))
        frames.append(frame)
        data = data[9 + size :]
    return frames


def one(data: bytes) -> Any:
    (frame,) = parsed(data)
    return frame


# --- writing --------------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.integers(0, 65535), CODES, max_size=10))
def test_settings(values: dict[int, int]) -> None:
    frame = one(h2_probe.write_settings(list(values.items())))
    assert frame.settings == values
    assert not frame.flags


def test_settings_ack() -> None:
    frame = one(h2_probe.write("settings_ack"))
    assert (frame.settings, set(frame.flags), frame.stream_id) == ({}, {"ACK"}, 0)


@given(st.binary(min_size=8, max_size=8), st.booleans())
def test_ping(opaque: bytes, ack: bool) -> None:
    frame = one(h2_probe.write("ping", opaque, ack))
    assert (frame.opaque_data, set(frame.flags)) == (opaque, {"ACK"} if ack else set())


@given(STREAMS, CODES, st.binary(max_size=40))
def test_small_frames(stream: int, code: int, debug: bytes) -> None:
    frame = one(h2_probe.write("rst_stream", stream, code))
    assert (frame.type, frame.stream_id, frame.error_code) == (RST_STREAM, stream, code)
    frame = one(h2_probe.write("goaway", stream, code, debug))
    assert (frame.last_stream_id, frame.error_code, frame.additional_data) == (stream, code, debug)
    frame = one(h2_probe.write("window_update", stream, max(code >> 1, 1)))
    assert (frame.type, frame.stream_id, frame.window_increment) == (WINDOW_UPDATE, stream, max(code >> 1, 1))


@given(st.binary(max_size=200), st.booleans(), st.integers(1, 60))
def test_data(data: bytes, end: bool, most: int) -> None:
    frames = parsed(h2_probe.write("data", 5, data, end, most))
    assert b"".join(frame.data for frame in frames) == data
    assert all(len(frame.data) <= most for frame in frames)
    assert len(frames) == max(1, -(-len(data) // most))
    assert ["END_STREAM" in frame.flags for frame in frames] == [False] * (len(frames) - 1) + [end]


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 199, 200, 201, 1000, 70000])
@pytest.mark.parametrize("end", [True, False])
@pytest.mark.parametrize("before", [0, 20, 16370, 16384])
def test_header_blocks_of_any_size(size: int, end: bool, before: int) -> None:
    """HEADERS, then CONTINUATION; also when the buffer has to grow in between."""
    block = bytes(at * 7 % 251 for at in range(size))
    earlier = h2_probe.write("data", 1, b"x" * before, False, 16384)
    first, *frames = parsed(h2_probe.write_block(earlier, block, 7, end, 100))
    assert first.data == b"x" * before
    assert b"".join(frame.data for frame in frames) == block
    assert [frame.type for frame in frames] == [HEADERS] + [CONTINUATION] * (len(frames) - 1)
    assert {frame.stream_id for frame in frames} == {7}
    assert all(0 < len(frame.data) <= 100 for frame in frames) or size == 0
    assert ["END_HEADERS" in frame.flags for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert ["END_STREAM" in frame.flags for frame in frames] == [end] + [False] * (len(frames) - 1)


# --- reading --------------------------------------------------------------------------------------------------------

FINE = ("NO_ERROR", False)
SIZE = ("FRAME_SIZE_ERROR", False)
PROTOCOL = ("PROTOCOL_ERROR", False)


@pytest.mark.parametrize(("size", "kind", "flags", "stream", "wanted"), [
    (0, DATA, 0, 1, FINE), (16384, DATA, 0, 1, FINE), (16385, DATA, 0, 1, SIZE), (5, DATA, 0, 0, PROTOCOL),
    (5, HEADERS, 0, 1, FINE), (16385, HEADERS, 0, 1, SIZE), (5, HEADERS, 0, 0, PROTOCOL),
    (5, PRIORITY, 0, 1, FINE), (4, PRIORITY, 0, 1, ("FRAME_SIZE_ERROR", True)), (5, PRIORITY, 0, 0, PROTOCOL),
    (4, RST_STREAM, 0, 1, FINE), (3, RST_STREAM, 0, 1, SIZE), (5, RST_STREAM, 0, 1, SIZE),
    (4, RST_STREAM, 0, 0, PROTOCOL),
    (0, SETTINGS, 0, 0, FINE), (12, SETTINGS, 0, 0, FINE), (5, SETTINGS, 0, 0, SIZE), (6, SETTINGS, 0, 1, PROTOCOL),
    (0, SETTINGS, ACK, 0, FINE), (6, SETTINGS, ACK, 0, SIZE), (1, SETTINGS, ACK, 0, SIZE),
    (9, PUSH_PROMISE, 0, 1, FINE), (9, PUSH_PROMISE, 0, 0, PROTOCOL),
    (8, PING, 0, 0, FINE), (8, PING, ACK, 0, FINE), (7, PING, 0, 0, SIZE), (9, PING, 0, 0, SIZE),
    (8, PING, 0, 1, PROTOCOL),
    (8, GOAWAY, 0, 0, FINE), (80, GOAWAY, 0, 0, FINE), (7, GOAWAY, 0, 0, SIZE), (8, GOAWAY, 0, 1, PROTOCOL),
    (4, WINDOW_UPDATE, 0, 0, FINE), (4, WINDOW_UPDATE, 0, 1, FINE), (3, WINDOW_UPDATE, 0, 0, SIZE),
    (0, CONTINUATION, 0, 1, FINE), (0, CONTINUATION, 0, 0, PROTOCOL), (16385, CONTINUATION, 0, 1, SIZE),
    (99, 10, 255, 0, FINE), (99, 255, 255, 9, FINE), (16385, 255, 0, 0, SIZE),
])  # fmt: skip
def test_check_frame(size: int, kind: int, flags: int, stream: int, wanted: tuple[str, bool]) -> None:
    assert h2_probe.check_frame(size, kind, flags, stream) == wanted


def test_frame_size_in_force() -> None:
    assert h2_probe.check_frame(16385, DATA, 0, 1, 16385) == FINE
    assert h2_probe.check_frame(16777215, DATA, 0, 1, 16777215) == FINE


def test_the_reserved_bit_is_ignored() -> None:
    assert h2_probe.frame_head(b"\x01\x02\x03\x04\x05\xff\xff\xff\xff") == (0x010203, 4, 5, 0x7FFFFFFF)


@pytest.mark.parametrize(("payload", "kind", "flags", "wanted"), [
    (b"abc", DATA, 0, (b"abc", 0)),
    (b"", DATA, 0, (b"", 0)),
    (b"\x00abc", DATA, PADDED, (b"abc", 0)),
    (b"\x02abc\0\0", DATA, PADDED, (b"abc", 0)),
    (b"\x03\0\0\0", DATA, PADDED, (b"", 0)),
    (b"\x00", DATA, PADDED, (b"", 0)),
    (b"", DATA, PADDED, "FRAME_SIZE_ERROR"),
    (b"\x01", DATA, PADDED, "PROTOCOL_ERROR"),
    (b"\x04abc", DATA, PADDED, "PROTOCOL_ERROR"),
    (b"\xffabc", DATA, PADDED, "PROTOCOL_ERROR"),
    (b"abc", DATA, PRIORITIES, (b"abc", 0)),  # means nothing there
    (b"\x80\0\0\x03\x0fabc", HEADERS, PRIORITIES, (b"abc", 3)),
    (b"\x7f\xff\xff\xff\x0f", HEADERS, PRIORITIES, (b"", 0x7FFFFFFF)),
    (b"\0\0\0\x01", HEADERS, PRIORITIES, "FRAME_SIZE_ERROR"),
    (b"\x01\0\0\0\x01\x0fabc\0", HEADERS, PRIORITIES | PADDED, (b"abc", 1)),
    (b"\x01\0\0\0\x01\x0f", HEADERS, PRIORITIES | PADDED, "PROTOCOL_ERROR"),
    (b"\x01\0\0\0\x01", HEADERS, PRIORITIES | PADDED, "FRAME_SIZE_ERROR"),
])  # fmt: skip
def test_strip_padding(payload: bytes, kind: int, flags: int, wanted: tuple[bytes, int] | str) -> None:
    assert h2_probe.strip_padding(payload, kind, flags) == wanted


@given(st.binary(max_size=60), st.integers(0, 255), STREAMS)
def test_padding_as_hyperframe_writes_it(data: bytes, padding: int, depends_on: int) -> None:
    flags = {"PADDED", "PRIORITY"}
    body = hyper.HeadersFrame(9, data, flags=flags, pad_length=padding, depends_on=depends_on).serialize_body()
    assert h2_probe.strip_padding(body, HEADERS, PADDED | PRIORITIES) == (data, depends_on)


def entry(number: int, value: int) -> bytes:
    return number.to_bytes(2, "big") + value.to_bytes(4, "big")


INITIAL = {
    "header_table": 4096, "header_table_low": 4096, "max_streams": 0xFFFFFFFF, "window": 65535, "max_frame": 16384,
    "max_header_list": 0xFFFFFFFF, "push": 1, "connect_protocol": 0, "no_priorities": 0,
}  # fmt: skip


@pytest.mark.parametrize(("payloads", "wanted"), [
    ([], {}),
    ([b""], {}),
    ([entry(1, 0), entry(1, 4096)], {"header_table_low": 0}),
    ([entry(1, 100) + entry(1, 50) + entry(1, 200)], {"header_table": 200, "header_table_low": 50}),
    ([entry(1, 0xFFFFFFFF)], {"header_table": 0xFFFFFFFF}),
    ([entry(2, 0)], {"push": 0}),
    ([entry(3, 0) + entry(4, 0) + entry(5, 16384) + entry(6, 0)],
     {"max_streams": 0, "window": 0, "max_header_list": 0}),
    ([entry(4, 0x7FFFFFFF) + entry(5, 16777215)], {"window": 0x7FFFFFFF, "max_frame": 16777215}),
    ([entry(8, 1), entry(8, 1), entry(9, 1)], {"connect_protocol": 1, "no_priorities": 1}),
    ([entry(0, 7) + entry(7, 7) + entry(0xFFFF, 7)], {}),
    ([entry(7, 7) * 32], {}),
])  # fmt: skip
def test_read_settings(payloads: list[bytes], wanted: dict[str, int]) -> None:
    assert h2_probe.read_settings(payloads) == INITIAL | wanted


@pytest.mark.parametrize(("payloads", "error"), [
    ([b"\0"], "FRAME_SIZE_ERROR"),
    ([entry(1, 0) + b"\0"], "FRAME_SIZE_ERROR"),
    ([entry(2, 2)], "PROTOCOL_ERROR"),
    ([entry(4, 0x80000000)], "FLOW_CONTROL_ERROR"),
    ([entry(5, 16383)], "PROTOCOL_ERROR"),
    ([entry(5, 16777216)], "PROTOCOL_ERROR"),
    ([entry(8, 2)], "PROTOCOL_ERROR"),
    ([entry(8, 1), entry(8, 0)], "PROTOCOL_ERROR"),
    ([entry(9, 2)], "PROTOCOL_ERROR"),
    ([entry(7, 7) * 33], "ENHANCE_YOUR_CALM"),
])  # fmt: skip
def test_refused_settings(payloads: list[bytes], error: str) -> None:
    assert h2_probe.read_settings(payloads) == error


def test_push_from_a_server() -> None:
    assert h2_probe.read_settings([entry(2, 1)]) == INITIAL
    assert h2_probe.read_settings([entry(2, 1)], from_server=True) == "PROTOCOL_ERROR"
    assert h2_probe.read_settings([entry(2, 0)], from_server=True) == INITIAL | {"push": 0}


def test_names_of_errors() -> None:
    assert len(h2_probe.ERRORS) == 14
    assert h2_probe.ERRORS["HTTP_1_1_REQUIRED"] == 13
    assert h2_probe.error_name(14) == h2_probe.error_name(0xFFFFFFFF) == "UNKNOWN_ERROR"
