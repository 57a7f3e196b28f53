"""Clients that leave free their upstream; half-closed ones get their answer; cut answers are seen as cut."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.adversity.lateness import Lateness
from tests.http2 import END_STREAM, Http2, headers, request, rst_stream
from tests.running import Proxy, Upstream, keep_answering, read_head, reset
from tests.traffic import Broken, Client, eventually, open_sockets, read_answer, replicas_of, stats, together


def half_close_then_close(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)
    time.sleep(0.02)
    client.close()


LEAVES: dict[str, Callable[[socket.socket], None]] = {
    "close": socket.socket.close,
    "reset": reset,
    "half-close": half_close_then_close,
}


class Waiting(Upstream):
    """Never answers: it measures how long after the client's leave the proxy leaves."""

    def __init__(self) -> None:
        super().__init__(self._wait)
        self.arrived: dict[bytes, threading.Event] = {}
        self.left: dict[bytes, float] = {}
        self.gone: dict[bytes, threading.Event] = {}

    def expect(self, path: bytes) -> None:
        self.arrived[path] = threading.Event()
        self.gone[path] = threading.Event()

    def _wait(self, connection: socket.socket) -> None:
        head, _ = read_head(connection)
        path = head.split(b" ")[1]
        self.arrived[path].set()
        try:
            while connection.recv(65536):
                pass
        except ConnectionError:
            pass
        self.left[path] = time.monotonic()
        self.gone[path].set()


REQUESTS = (
    b"GET %s HTTP/1.1\r\nHost: app\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\n\r\nhello",
    b"POST %s HTTP/1.1\r\nHost: app\r\nContent-Length: 50\r\n\r\nhalf of it",
    b"POST %s HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    b"GET %s HTTP/1.1\r\nHost: app\r\n\r\nGET /behind HTTP/1.1\r\n",
)


def leave(proxy: Proxy, upstream: Waiting, number: int) -> float:
    path = b"/%d" % number
    upstream.expect(path)
    client = proxy.connect()
    client.sendall(REQUESTS[number % len(REQUESTS)] % path)
    assert upstream.arrived[path].wait(5)
    LEAVES[sorted(LEAVES)[number // len(REQUESTS) % len(LEAVES)]](client)
    left = time.monotonic()
    assert upstream.gone[path].wait(5), f"{path!r}: the upstream still waits"
    return upstream.left[path] - left


def aborts(directory: Path, times: int) -> None:
    with Waiting() as upstream, Proxy(directory, replicas_of("app", upstream.port)) as proxy, Lateness() as noise:
        (worker,) = proxy.workers()
        before = open_sockets(worker)
        took: list[float] = []
        for start in range(0, times, 4):
            took += together([lambda n=n: leave(proxy, upstream, n) for n in range(start, min(start + 4, times))])  # type: ignore[misc]
        late = 2 * noise.worst  # two wake-ups: the proxy's and the upstream's
        print(f"slowest {max(took) * 1000:.0f} ms, mean {sum(took) / times * 1000:.0f} ms, noise {late * 1000:.0f} ms")
        assert max(took) <= 0.1 + late
        eventually(lambda: open_sockets(worker) == before)
        eventually(lambda: set(stats(proxy, "rq_active|cx_active|pending_active").values()) == {0})
        assert not upstream.errors, upstream.errors


@pytest.mark.quiet
def test_the_upstream_is_told_at_once(tmp_path: Path) -> None:
    aborts(tmp_path, 200)


@pytest.mark.slow
def test_the_upstream_is_told_at_once_a_thousand_times(tmp_path: Path) -> None:
    aborts(tmp_path, 1_000)


def test_clients_that_leave_in_the_middle_of_an_answer(tmp_path: Path) -> None:
    """The upstream has much to say; it is stopped, not read to its end."""
    told: list[int] = []

    def handle(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        sent = 0
        try:
            while True:
                sent += connection.send(bytes(65536))
        except ConnectionError:
            told.append(sent)

    with Upstream(handle) as upstream, Proxy(tmp_path, replicas_of("app", upstream.port)) as proxy:
        before = open_sockets(proxy.workers()[0])
        for _ in range(20):
            with proxy.connect() as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
                read_head(client)
        eventually(lambda: len(told) == 20)
        eventually(lambda: open_sockets(proxy.workers()[0]) == before)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_clients_that_leave_while_an_answer_stands_still(tmp_path: Path, how: str) -> None:
    """The head has gone out, the rest does not come: no interim answer can ask whether the client is still there. A FIN
    may be a half-close, so it gets as long as a body may stand still; a reset ends it at once.
    """
    told = threading.Event()

    def handle(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx")
        connection.recv(1)
        told.set()

    with (
        Upstream(handle) as upstream,
        Proxy(tmp_path, replicas_of("app", upstream.port), "--body-timeout", "500ms") as proxy,
    ):
        before = open_sockets(proxy.workers()[0])
        client = proxy.connect()
        client.sendall(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
        data = b""
        while not data.endswith(b"\r\n\r\nx"):
            data += client.recv(1000)
        LEAVES[how](client)
        assert told.wait(0.2 if how == "reset" else 2.5), "the upstream is held for a client that has gone"
        eventually(lambda: open_sockets(proxy.workers()[0]) == before)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("wait", [0.0, 0.05, 1.3])
def test_half_closed_clients_get_their_answers(tmp_path: Path, wait: float, version: str) -> None:
    def handle(connection: socket.socket) -> None:
        while read_head(connection)[0]:
            time.sleep(wait)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + bytes(50_000))
            time.sleep(wait / 10)
            connection.sendall(bytes(50_000))

    def one() -> bytes:
        with proxy.connect() as client, client.makefile("rb") as stream:
            client.sendall(f"GET / HTTP/{version}\r\nHost: app\r\n\r\n".encode())
            client.shutdown(socket.SHUT_WR)
            status, _, body = read_answer(stream)
            assert status == 200
            assert stream.read() == b""
            return body

    with Upstream(handle) as upstream, Proxy(tmp_path, replicas_of("app", upstream.port)) as proxy:
        assert together([one] * 20) == [bytes(100_000)] * 20
        assert not upstream.errors, upstream.errors


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"


def whole_answer(chance: random.Random) -> bytes:
    """An answer of 3,000 bytes, by length or in chunks."""
    if chance.random() < 0.5:
        return HEAD + b"content-length: 3000\r\n\r\n" + bytes(3000)
    parts = [chance.randint(1, 1500) for _ in range(3)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (size, bytes(size)) for size in parts)
    return HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def cuts(directory: Path, times: int) -> None:
    """Each answer is cut at a random byte. A client sees 503, or a message that is broken; never a short one."""
    chance, lock = random.Random(22), threading.Lock()

    def handle(connection: socket.socket) -> None:
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

    def one() -> str:
        with Client(proxy.port) as client:
            try:
                return str(client.ask("/", "POST").status)
            except (Broken, ConnectionError):
                return "broken"

    with Upstream(handle) as upstream, Proxy(directory, replicas_of("app", upstream.port)) as proxy:
        seen = [result for _ in range(times // 8) for result in together([one] * 8)]
        assert not upstream.errors, upstream.errors
        counts = {result: seen.count(result) for result in set(seen)}
        print(counts)
        assert set(counts) == {"503", "broken"}
        assert counts["broken"] > counts["503"]  # most cuts fall into the body
        eventually(lambda: set(stats(proxy, "rq_active").values()) == {0})


def test_answers_cut_anywhere(tmp_path: Path) -> None:
    cuts(tmp_path, 200)


@pytest.mark.slow
def test_answers_cut_anywhere_a_thousand_times(tmp_path: Path) -> None:
    cuts(tmp_path, 1_000)


def test_connects_whose_requests_have_left_are_few(tmp_path: Path) -> None:
    """An endpoint takes no connection for a while. Requests that come and leave meanwhile pile up no sockets, and who
    comes afterwards is served by those that are on their way.
    """
    upstream = Upstream(keep_answering)
    upstream.socket.listen(0)
    active = "cluster.outbound|80||app.default.svc.cluster.local.upstream_cx_active"
    flags = ("--h2-max-resets", "100000")
    with Proxy(tmp_path, replicas_of("app", upstream.port), *flags) as proxy, Http2(proxy.port, timeout=30) as client:
        block = client.block(request("/left"))
        for stream in range(1, 1001, 2):
            client.send(headers(stream, block, END_STREAM), rst_stream(stream))
            block = client.block(request("/left"))
        assert client.alive()
        assert 1 <= stats(proxy, active)[active] <= 64
        client.next_id = 1001
        streams = [client.open(request("/stays")) for _ in range(10)]
        assert client.alive()
        assert stats(proxy, active)[active] <= 64 + 10
        upstream.socket.listen(1024)  # what the kernel has refused so far comes again within seconds
        with upstream:
            assert {reply.status for reply in client.wait(*streams)} == {200}
        assert not upstream.errors, upstream.errors
