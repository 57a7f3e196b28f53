"""Clients that are slow on purpose: they cost little, end in time, and nobody else notices."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.adversity.test_bodies import rss
from tests.running import Proxy, Upstream, keep_answering, mesh, read_all, read_head
from tests.traffic import Client, eventually, open_sockets, replicas_of, stats

GET = b"GET / HTTP/1.1\r\nHost: app\r\n\r\n"


class Victim:
    """An honest client, 50 requests a second in the background."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.failed: list[str] = []
        self.answered = 0
        self.slowest = 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def __enter__(self) -> Victim:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join(10)

    def _run(self) -> None:
        kept = Client(self.port, timeout=5)
        while not self.over.wait(0.02):
            fresh = Client(self.port, timeout=5)
            for client in (kept, fresh):
                try:
                    answer = client.ask()
                    self.answered += answer.status == 200
                    self.slowest = max(self.slowest, answer.seconds)
                    if answer.status != 200:
                        self.failed.append(str(answer.status))
                except OSError as error:
                    self.failed.append(repr(error))
            fresh.close()
        kept.close()


@contextlib.contextmanager
def connections(proxy: Proxy, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(proxy.connect()) for _ in range(count)]


def ends(clients: list[socket.socket], trickle: Callable[[socket.socket], None]) -> list[tuple[float, bytes]]:
    """Let each trickle until the proxy ends it: when, and what it said."""
    began, left, found = time.monotonic(), list(clients), []
    for client in clients:
        client.setblocking(False)
    while left:
        assert time.monotonic() - began < 15, f"{len(left)} connections are still open"
        time.sleep(0.02)
        for client in list(left):
            data = b""
            try:
                trickle(client)
                data = client.recv(1000)
            except BlockingIOError:
                continue
            except ConnectionError:
                pass
            found.append((time.monotonic() - began, data))
            left.remove(client)
    return found


@pytest.mark.parametrize(
    "begin", [b"", b"G", b"GET / HTTP/1.1\r\nHost: app\r\n", GET[:-1]], ids=["nothing", "letter", "head", "last byte"]
)
def test_slow_heads(tmp_path: Path, begin: bytes) -> None:
    """200 connections trickle a head; each has ended soon after the time for heads, whatever it sends."""
    last = begin[-1:] == b"\r"

    def trickle(client: socket.socket) -> None:
        if begin and not last:
            client.send(b"X")

    with mesh(tmp_path, keep_answering, "--header-timeout", "700ms") as (proxy, upstream), Victim(proxy.port) as victim:
        eventually(lambda: victim.answered > 4)
        before, fds = rss(proxy.workers()[0]), open_sockets(proxy.workers()[0])
        with connections(proxy, 200) as clients:
            for client in clients:
                client.sendall(begin)
            grown = rss(proxy.workers()[0]) - before
            times = ends(clients, trickle)
        assert max(at for at, _ in times) < 1.6
        assert min(at for at, _ in times) > 0.4  # they were opened one after the other, the first a little earlier
        if begin:
            assert {data[:12] for _, data in times} == {b"HTTP/1.1 408"}
        eventually(lambda: open_sockets(proxy.workers()[0]) <= fds + 1)
        assert upstream.accepted <= 3
    print(f"{grown} KiB, {victim.answered} answered, slowest {victim.slowest * 1000:.0f} ms")
    assert grown < 4096
    assert victim.failed == []
    assert victim.slowest < 0.5


@pytest.mark.parametrize("framing", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
def test_bodies_that_stop(tmp_path: Path, framing: bytes) -> None:
    """No progress for the time of bodies: 408, and the upstream sees a broken request, not a short one."""
    broken: list[bool] = []

    def handle(connection: socket.socket) -> None:
        while head := read_head(connection)[0]:
            if head.startswith(b"GET"):
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                continue
            rest = read_all(connection)
            broken.append(not rest.endswith(b"0\r\n\r\n") and len(rest) < 1000)
            return

    with mesh(tmp_path, handle, "--body-timeout", "400ms") as (proxy, upstream), Victim(proxy.port) as victim:
        with connections(proxy, 100) as clients:
            for client in clients:
                client.sendall(b"POST / HTTP/1.1\r\nHost: app\r\n" + framing + b"\r\n\r\n5\r\nhello\r\n")
            times = ends(clients, lambda client: None)
        assert max(at for at, _ in times) < 1.3
        assert {data[:12] for _, data in times} == {b"HTTP/1.1 408"}
        eventually(lambda: len(broken) == 100)
        assert all(broken)
        eventually(lambda: stats(proxy, "cluster.*upstream_rq_active").popitem()[1] <= 1)
        assert not upstream.errors, upstream.errors
    assert victim.failed == []


def test_a_slow_body_that_goes_on_is_let_go_on(tmp_path: Path) -> None:
    flags = ("--body-timeout", "300ms", "--header-timeout", "300ms")
    with mesh(tmp_path, keep_answering, *flags) as (proxy, _), proxy.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: app\r\nConnection: close\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            time.sleep(0.1)
            client.sendall(b"x")
        assert read_all(client).startswith(b"HTTP/1.1 200")


def busy(proxy: Proxy) -> int:
    return stats(proxy, "http.downstream_rq_active")["http.downstream_rq_active"]


def test_slow_readers_cost_little_and_end(tmp_path: Path) -> None:
    """60 clients ask for 8 MiB each and read nothing: memory stays bounded, and they end when nothing moves."""

    def handle(connection: socket.socket) -> None:
        while head := read_head(connection)[0]:
            size = 2 if b"x-size" not in head else 8 << 20
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + bytes(size))

    with mesh(tmp_path, handle, "--body-timeout", "1s") as (proxy, _), Victim(proxy.port) as victim:
        eventually(lambda: victim.answered > 4)
        before, fds = rss(proxy.workers()[0]), open_sockets(proxy.workers()[0])
        with connections(proxy, 60) as clients:
            for client in clients:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.sendall(GET[:-2] + b"x-size: 1\r\n\r\n")
            began = time.monotonic()
            peak = 0
            while (
                stats(proxy, "http.downstream_rq_active")["http.downstream_rq_active"] > 1
                or time.monotonic() - began < 0.5
            ):
                assert time.monotonic() - began < 8, "slow readers are kept"
                peak = max(peak, rss(proxy.workers()[0]))
                time.sleep(0.05)
        eventually(lambda: open_sockets(proxy.workers()[0]) <= fds + 1)
    print(f"{(peak - before) / 60:.0f} KiB each")
    assert peak - before < 60 * 512
    assert victim.failed == []


def test_a_reader_that_is_slow_but_reads_gets_it_all(tmp_path: Path) -> None:
    size = 3 << 20

    def handle(connection: socket.socket) -> None:
        while read_head(connection)[0]:
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + bytes(size))

    with mesh(tmp_path, handle, "--body-timeout", "500ms") as (proxy, _), proxy.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        client.sendall(GET)
        _, rest = read_head(client)
        got = len(rest)
        while got < size:
            data = client.recv(65536)
            assert data, got
            got += len(data)
            time.sleep(0.02)
        assert got == size


def test_pipelined_requests_of_a_client_that_reads_nothing(tmp_path: Path) -> None:
    """What it sends piles up in the kernel, not in the proxy."""

    def handle(connection: socket.socket) -> None:
        while read_head(connection)[0]:
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + bytes(100_000))

    with mesh(tmp_path, handle) as (proxy, _), proxy.connect() as client:
        before = rss(proxy.workers()[0])
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        client.settimeout(1)
        with contextlib.suppress(TimeoutError):
            for _ in range(300):
                client.sendall(GET * 100)
        assert rss(proxy.workers()[0]) - before < 4096
        with Client(proxy.port) as other:
            assert other.ask().status == 200


def test_a_slow_upstream_holds_its_client_back(tmp_path: Path) -> None:
    """The application reads nothing: an upload of 64 MiB waits at the client."""
    stop = threading.Event()

    def handle(connection: socket.socket) -> None:
        read_head(connection)
        stop.wait(20)

    with (
        Upstream(handle) as upstream,
        Proxy(tmp_path, replicas_of("app", upstream.port)) as proxy,
        proxy.connect(1) as client,
    ):
        before = rss(proxy.workers()[0])
        client.sendall(b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 67108864\r\n\r\n")
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 64 << 20:
                sent += client.send(bytes(65536))
        assert sent < 32 << 20
        assert rss(proxy.workers()[0]) - before < 4096
        stop.set()


def test_time_for_a_body_begins_with_its_head(tmp_path: Path) -> None:
    """A connection that rested before it sends a request with a body has not used up any of the body's time."""
    flags = ("--header-timeout", "500ms", "--body-timeout", "600ms", "--idle-timeout", "1s")
    with mesh(tmp_path, keep_answering, *flags) as (proxy, _), Client(proxy.port) as client:
        assert client.ask().status == 200
        time.sleep(0.8)
        client.connect().sendall(b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\n\r\n")
        time.sleep(0.4)
        assert client.exchange(b"hello").status == 200


def test_zero_switches_times_off(tmp_path: Path) -> None:
    flags = [f"--{name}-timeout=0" for name in ("header", "idle", "body", "upstream-idle")]
    with mesh(tmp_path, keep_answering, *flags) as (proxy, upstream), Client(proxy.port) as client:
        client.connect()
        for pause in (0.3, 0.0, 0.3):
            time.sleep(pause)
            for part in (b"POST / HTTP/1.1\r\n", b"Host: app\r\nContent-Length: 5\r\n\r\n", b"hel"):
                client.connect().sendall(part)
                time.sleep(0.1)
            assert client.exchange(b"lo").status == 200
        assert upstream.accepted == 1
