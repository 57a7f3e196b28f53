"""The rows of the HTTP/1 hazard list through a running proxy: the parser's own samples, and what needs two ends."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from tests.core.wire.test_h1_chunks import REFUSED as CHUNKS
from tests.core.wire.test_h1_request import ACCEPTED, REFUSED
from tests.core.wire.test_h1_response import REFUSED as RESPONSES

from .recording import Answers, Bench, ask_scripted, check_arrived, read_requests, recording_proxy

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
GOOD = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with recording_proxy(tmp_path_factory.mktemp("rows")) as running:
        yield running


THERE = [case for case in REFUSED if case[2] != "http2_preface"]  # at the beginning of a connection it is HTTP/2


@pytest.mark.parametrize(
    ("row", "status", "reason", "sample"), THERE, ids=[f"{c[0]}-{c[2]}-{at}" for at, c in enumerate(THERE)]
)
def test_refused_request(bench: Bench, row: int, status: int, reason: str, sample: bytes) -> None:
    answers, streams = bench.run([sample], 1)
    assert (answers.statuses, answers.closed) == ([status], True), answers
    assert not streams


@pytest.mark.parametrize(
    ("row", "reason", "sample"), CHUNKS, ids=[f"{c[0]}-{c[1]}-{at}" for at, c in enumerate(CHUNKS)]
)
def test_refused_chunks(bench: Bench, row: int, reason: str, sample: bytes) -> None:
    answers, streams = bench.run([CHUNKED + sample, GOOD], 1)
    assert (answers.statuses, answers.closed) == ([400], True), answers
    assert not any(message.complete for stream in streams for message in read_requests(stream)[0])


@pytest.mark.parametrize("sample", [sample for _, sample, _ in ACCEPTED if not sample.startswith(b"CONNECT")])
def test_accepted_request_arrives_as_it_was_meant(bench: Bench, sample: bytes) -> None:
    sent, _ = read_requests(sample)
    answers, streams = bench.run([sample], 1)
    whole = check_arrived(sent, streams)
    if answers.statuses == [200]:
        assert whole == 1
    else:  # a body that the sample does not bring, %00, an unknown expectation
        assert whole == 0
        assert answers.statuses in ([], [400], [417]), answers


@pytest.mark.parametrize(
    "bad",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_61_a_malformed_request_behind_a_good_one(bench: Bench, bad: bytes) -> None:
    answers, streams = bench.run([GOOD + bad + GOOD], 2)
    assert (answers.statuses, answers.closed) == ([200, 505 if bad.startswith(b"PRI") else 400], True), answers
    assert check_arrived(read_requests(GOOD)[0], streams) == 1


@pytest.mark.parametrize(
    ("row", "sample"),
    [
        (39, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"),
        (58, CHUNKED + b"5\r\nhello\r\n"),
        (58, CHUNKED + b"5\r\nhello\r\n0\r\n"),
        (58, CHUNKED + b"5\r\nhel"),
    ],
)
def test_a_body_that_breaks_off_is_never_whole_upstream(bench: Bench, row: int, sample: bytes) -> None:
    bench.recorder.forget()
    with socket.create_connection(bench.address, 5) as client:
        client.sendall(sample)
        client.shutdown(socket.SHUT_WR)
        got = b""
        while data := client.recv(65536):
            got += data
    assert not got or got.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 "))
    time.sleep(0.05)
    for stream in bench.recorder.raw():
        assert not any(message.complete for message in read_requests(stream)[0]), stream


def test_a_head_byte_by_byte(bench: Bench) -> None:
    sample = CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
    answers, streams = bench.run([sample[at : at + 1] for at in range(len(sample))], 1)
    assert answers.statuses == [200]
    assert check_arrived(read_requests(sample)[0], streams) == 1


def test_many_requests_in_one_segment(bench: Bench) -> None:
    sample = b"".join(
        b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (number, number) + b"x" * number
        for number in range(100)
    )
    answers, streams = bench.run([sample], 100)
    assert answers.statuses == [200] * 100
    assert check_arrived(read_requests(sample)[0], streams) == 100


# --- responses ---

BROKEN = [sample for _, _, sample in RESPONSES]
OK = b"HTTP/1.1 200 OK\r\n"
CUT = [
    OK + b"Content-Length: 10\r\n\r\nhello",  # row 71
    OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    *[OK + b"Transfer-Encoding: chunked\r\n\r\n" + sample for _, _, sample in CHUNKS],
]
WHOLE = [
    (OK + b"Content-Length: 5\r\n\r\nhelloEVIL", 200, b"hello"),  # row 70: what nobody asked for goes nowhere
    (OK + b"Content-Length: 5\r\n\r\nhello" + OK + b"Content-Length: 4\r\n\r\nEVIL", 200, b"hello"),
    (b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nEVIL", 204, b""),  # row 69
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nEVIL", 304, b""),
    (OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, b"hello"),  # row 67
    (b"HTTP/1.1 100 Continue\r\n\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", 200, b"ok"),
    (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 16 + OK + b"Content-Length: 2\r\n\r\nok", 200, b"ok"),
    (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, b"until the end"),
    (b"HTTP/1.1 999 Own\r\nContent-Length: 0\r\n\r\n", 999, b""),
]
ENDLESS = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17 + OK + b"Content-Length: 0\r\n\r\n"  # row 73


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[bytes, Answers]:
    scripts = [*BROKEN, *CUT, *[script for script, _, _ in WHOLE], ENDLESS]
    return dict(zip(scripts, ask_scripted(tmp_path_factory.mktemp("answers"), scripts), strict=True))


@pytest.mark.parametrize("script", [*BROKEN, ENDLESS])
def test_broken_head_of_a_response(answers: dict[bytes, Answers], script: bytes) -> None:
    assert (answers[script].statuses, answers[script].broken) == ([502], False), answers[script]


@pytest.mark.parametrize("script", CUT)
def test_broken_body_of_a_response(answers: dict[bytes, Answers], script: bytes) -> None:
    """The client must see a broken message, never a short one that looks whole."""
    got = answers[script]
    assert got.statuses in ([502], [200])
    assert got.broken == (got.statuses == [200]), got


@pytest.mark.parametrize(("script", "status", "body"), WHOLE)
def test_whole_response(answers: dict[bytes, Answers], script: bytes, status: int, body: bytes) -> None:
    got = answers[script]
    assert (got.statuses, got.bodies, got.broken) == ([status], [body], False)
