"""gRPC's statuses, deadlines and frames, by table."""

from __future__ import annotations

import random

import pytest

from fastmesh.core.wire import grpc_probe as grpc


@pytest.mark.parametrize(
    ("content_type", "wanted"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc+json", True),
        (b"Application/GRPC", True),
        (b"application/grpc;charset=utf-8", True),
        (b"application/grpc-web", False),
        (b"application/grpc-web+proto", False),
        (b"application/grpcx", False),
        (b"application/grp", False),
        (b"application/json", False),
        (b"", False),
    ],
)
def test_content_types(content_type: bytes, wanted: bool) -> None:
    assert grpc.is_grpc(content_type) is wanted


def test_statuses() -> None:
    assert [grpc.status(b"%d" % number) for number in range(17)] == list(range(17))
    for text in (b"", b"17", b"99", b"-1", b"+1", b"00", b"01", b" 0", b"0 ", b"x", b"1x", b"100", b"\xd9\xa3"):
        assert grpc.status(text) == 2, text


def test_what_an_http_status_means_to_a_caller() -> None:
    """grpc/grpc doc/http-grpc-status-mapping.md."""
    said = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
    for status in range(100, 1000):
        assert grpc.grpc_of_http(status) == said.get(status, 2), status


def test_what_a_status_means_to_outlier_detection() -> None:
    """Envoy's table."""
    http = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401]
    assert [grpc.http_of_grpc(status) for status in range(17)] == http
    assert grpc.http_of_grpc(99) == 500


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        (b"1m", 1),
        (b"99999999m", 99_999_999),
        (b"1S", 1_000),
        (b"00000010S", 10_000),
        (b"2M", 120_000),
        (b"3H", 10_800_000),
        (b"99999999H", 99_999_999 * 3_600_000),
        (b"1u", 1),
        (b"1000u", 1),
        (b"1001u", 2),
        (b"1n", 1),
        (b"1000001n", 2),
    ],
)
def test_timeouts(text: bytes, ms: int) -> None:
    assert grpc.timeout(text) == ms


@pytest.mark.parametrize(
    "text",
    [b"", b"1", b"m", b"0m", b"0H", b"-1m", b"+1m", b" 1m", b"1m ", b"1 m", b"1.5S", b"1e3S", b"1s", b"1h", b"1ms",
     b"0x1m",
     b"123456789m", b"999999999999999999999H", b"1_0m", b"\xd9\xa3m", b"1\x00m", b"mm"],
)  # fmt: skip
def test_what_is_no_timeout(text: bytes) -> None:
    assert grpc.timeout(text) == -1


def test_timeouts_that_are_sent_on() -> None:
    assert grpc.timeout_text(1) == b"1m"
    assert grpc.timeout_text(99_999_999) == b"99999999m"
    assert grpc.timeout_text(100_000_000) == b"100000S"
    assert grpc.timeout_text(99_999_999 * 1000 + 1000) == b"1666666M"
    assert grpc.timeout_text(99_999_999 * 60_000 + 60_000) == b"1666666H"
    assert grpc.timeout_text(2**64 - 1) == b"99999999H"
    rng = random.Random(1)
    for _ in range(2_000):
        ms = rng.randrange(1, 1 << rng.randrange(1, 49))
        back = grpc.timeout(grpc.timeout_text(ms))
        assert back <= ms
        assert ms - back <= ms / 90_000 + 1, "nobody is given less than what is left, by more than a rounding"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"no healthy upstream", b"no healthy upstream"),
        (b"100%", b"100%25"),
        (b"a\r\nb", b"a%0D%0Ab"),
        (b" x ", b"%20x%20"),
        ("zu sp\u00e4t".encode(), b"zu sp%C3%A4t"),
        (b"\x00\x7f", b"%00%7F"),
        (b"", b""),
    ],
)
def test_messages_of_errors(text: bytes, wanted: bytes) -> None:
    assert grpc.message(text) == wanted


def frame(size: int, flag: int = 0) -> bytes:
    return bytes((flag,)) + size.to_bytes(4, "big") + bytes(size)


def test_messages_are_counted_however_they_are_cut() -> None:
    rng = random.Random(2)
    sizes = [0, 0, 1, 5, 255, 256, 70_000, 0, 3]
    data = b"".join(frame(size, rng.randrange(2)) for size in sizes)
    assert grpc.messages([data]) == len(sizes)
    assert grpc.messages([bytes((byte,)) for byte in data]) == len(sizes)
    for _ in range(200):
        cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(30)))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        assert grpc.messages(pieces) == len(sizes)
    assert grpc.messages([frame(10)[:4]]) == 0
    assert grpc.messages([frame(10)[:5]]) == 1
    assert grpc.messages([b"\x00\xff\xff\xff\xff", bytes(100)]) == 1
