"""Over TLS and HTTP/2: answers that are cut are seen as cut, and clients that leave free their upstream at once."""

from __future__ import annotations

import random
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.adversity.lateness import Lateness
from tests.adversity.secured import Front, front
from tests.adversity.test_aborts import Waiting, whole_answer
from tests.interop.h2_client import H2Client, Reset
from tests.interop.h2_server import H2Upstream, Talk
from tests.running import Upstream, read_head, reset
from tests.traffic import Broken, eventually, open_sockets, read_answer, stats, together

QUICK, WHOLE = 120, 1_000
AT_ONCE = 8


def by_h2(client: H2Client) -> str:
    try:
        return str(client.ask("/", "POST").status)
    except Reset:
        return "broken"


def by_h1(client: socket.socket) -> str:
    with client, client.makefile("rb") as stream:
        client.sendall(b"POST / HTTP/1.1\r\nHost: app.example\r\nContent-Length: 0\r\n\r\n")
        try:
            return str(read_answer(stream)[0])
        except (Broken, ConnectionError, ssl.SSLError):
            return "broken"


def ask_often(here: Front, version: str, door: str, times: int) -> list[str]:
    """What a client saw each time. In HTTP/2 all go over one connection, which lives on."""
    if version == "h1":
        return [by_h1(here.h1(door)) for _ in range(times)]
    with here.h2(door) as client:
        return [by_h2(client) for _ in range(times)]


def check_cuts(here: Front, upstream: Upstream, version: str, door: str, times: int) -> None:
    asking = [lambda: ask_often(here, version, door, times // AT_ONCE)] * AT_ONCE
    seen = [result for results in together(asking) for result in results]
    assert not upstream.errors, upstream.errors
    counts = {result: seen.count(result) for result in set(seen)}
    print(counts)
    assert set(counts) == {"503", "broken"}
    eventually(lambda: set(stats(here.proxy, "rq_active").values()) == {0})


def cut_h1(connection: socket.socket, chance: random.Random, lock: threading.Lock) -> None:
    """Reads a head, sends a part of an answer, and leaves in one of two ways."""
    while read_head(connection)[0]:
        with lock:
            data = whole_answer(chance)
            cut, hard, pieces = chance.randrange(len(data)), chance.random() < 0.5, chance.randint(1, 3)
        for piece in range(pieces):
            connection.sendall(data[cut * piece // pieces : cut * (piece + 1) // pieces])
            time.sleep(0.001)
        if hard:
            reset(connection)
        return


def cuts_of_h1(folder: Path, version: str, door: str, times: int) -> None:
    chance, lock = random.Random(22), threading.Lock()
    with (
        Upstream(lambda connection: cut_h1(connection, chance, lock)) as upstream,
        front(folder, upstream.port) as here,
    ):
        check_cuts(here, upstream, version, door, times)


def cuts_of_h2(folder: Path, version: str, door: str, times: int) -> None:
    """The upstream speaks HTTP/2 and ends streams or its connection before, in and after the head."""
    chance, lock = random.Random(22), threading.Lock()

    def act(talk: Talk, stream: int, path: str) -> None:
        with lock:
            how, after = chance.choice(("fin", "reset", "stream", "goaway")), chance.randrange(4_000)
        if after > 500:
            talk.say(stream, content_length="4000") if after % 2 else talk.say(stream)
            talk.body(stream, bytes(after - 500))
            time.sleep(0.005)  # else the cut comes with the head, before anything was passed on
        talk.cut(how, stream)

    with H2Upstream(act) as upstream, front(folder, upstream.port, leg="h2") as here:
        check_cuts(here, upstream, version, door, times)


ROADS = [("h2", "plain"), ("h2", "tls"), ("h1", "tls")]


@pytest.mark.parametrize(("version", "door"), ROADS)
def test_cut_answers(tmp_path: Path, version: str, door: str) -> None:
    cuts_of_h1(tmp_path, version, door, QUICK)


@pytest.mark.parametrize(("version", "door"), [("h1", "plain"), ("h2", "tls")])
def test_cut_answers_of_http2(tmp_path: Path, version: str, door: str) -> None:
    cuts_of_h2(tmp_path, version, door, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize(("version", "door"), ROADS)
def test_cut_answers_a_thousand_times(tmp_path: Path, version: str, door: str) -> None:
    cuts_of_h1(tmp_path, version, door, WHOLE)


@pytest.mark.slow
@pytest.mark.parametrize(("version", "door"), [("h1", "plain"), ("h2", "tls")])
def test_cut_answers_of_http2_a_thousand_times(tmp_path: Path, version: str, door: str) -> None:
    cuts_of_h2(tmp_path, version, door, WHOLE)


# --- clients that leave -----------------------------------------------------------------------------------------------


def goaway(client: H2Client, stream: int) -> None:
    client.h2.close_connection()
    client.flush()
    client.close()


def hard(client: H2Client, stream: int) -> None:
    raw = client.socket
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    raw.close()


LEAVES: list[Callable[[H2Client, int], None]] = [
    lambda client, stream: client.reset(stream),
    lambda client, stream: client.close(),
    goaway,
    hard,
]


def leave_h2(here: Front, upstream: Waiting, door: str, number: int) -> float:
    path = f"/{number}"
    upstream.expect(path.encode())
    with here.h2(door) as client:
        stream = client.begin(path, "POST" if number % 2 else "GET", end=number % 3 > 0)
        assert upstream.arrived[path.encode()].wait(5)
        LEAVES[number % len(LEAVES)](client, stream)
        left = time.monotonic()
        assert upstream.gone[path.encode()].wait(5), f"{path}: the upstream still waits"
        return upstream.left[path.encode()] - left


def leave_h1(here: Front, upstream: Waiting, door: str, number: int) -> float:
    path = b"/%d" % number
    upstream.expect(path)
    client = here.h1(door)
    client.sendall(b"GET %s HTTP/1.1\r\nHost: app.example\r\n\r\n" % path)
    assert upstream.arrived[path].wait(5)
    if number % 3 == 0:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    elif number % 3 == 1 and isinstance(client, ssl.SSLSocket):
        client.settimeout(0.001)
        try:
            client.unwrap()  # close_notify goes out, the answer is not waited for
        except (OSError, ssl.SSLError):
            pass
    client.close()
    left = time.monotonic()
    assert upstream.gone[path].wait(5), f"{path!r}: the upstream still waits"
    return upstream.left[path] - left


def aborts(folder: Path, version: str, door: str, times: int) -> None:
    leave = leave_h2 if version == "h2" else leave_h1
    with Waiting() as upstream, front(folder, upstream.port) as here, Lateness() as noise:
        before = open_sockets(here.worker)
        took: list[float] = []
        for start in range(0, times, 4):
            numbers = range(start, min(start + 4, times))
            took += together([lambda n=n: leave(here, upstream, door, n) for n in numbers])  # type: ignore[misc]
        late = 2 * noise.worst  # two wake-ups: the proxy's and the upstream's
        print(f"slowest {max(took) * 1000:.0f} ms, mean {sum(took) / times * 1000:.0f} ms, noise {late * 1000:.0f} ms")
        assert max(took) <= 0.1 + late
        eventually(lambda: open_sockets(here.worker) == before)
        eventually(lambda: set(stats(here.proxy, "rq_active|cx_active|pending_active").values()) == {0})
        assert not upstream.errors, upstream.errors


@pytest.mark.parametrize(("version", "door"), ROADS)
@pytest.mark.quiet
def test_the_upstream_is_told_at_once(tmp_path: Path, version: str, door: str) -> None:
    aborts(tmp_path, version, door, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize(("version", "door"), ROADS)
def test_the_upstream_is_told_at_once_a_thousand_times(tmp_path: Path, version: str, door: str) -> None:
    aborts(tmp_path, version, door, WHOLE)
