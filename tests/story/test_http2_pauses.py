"""A body over HTTP/2 whose other end reads now and then: whoever was stopped may go on, whatever comes in between."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adversity.test_bodies import rss
from tests.http2 import INITIAL_WINDOW, SETTINGS, Http2, request
from tests.http2_endpoint import Asked, Endpoint, endpoint_of
from tests.running import Proxy, answer, mesh, read_head
from tests.traffic import eventually, stats

PIECE, HALF = 16384, 32768  # of a frame; of a stream's window: when so much is gone, the proxy opens it again
QUIET = 0.3  # seconds after which nothing more comes


def measured(path: str, size: int) -> list[tuple[str, str]]:
    return request(path, "POST", "app", ("content-length", str(size)))


@contextlib.contextmanager
def stopped(proxy: Proxy) -> Iterator[None]:
    """What happens meanwhile, the worker learns at once, in the order in which it happened."""
    worker = proxy.workers()[0]
    os.kill(worker, signal.SIGSTOP)
    try:
        eventually(lambda: Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


class Reader:
    """An endpoint of HTTP/1.1 that reads nothing before `goes_on`, then all there is, then the rest."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.goes_on, self.caught_up = threading.Event(), threading.Event()

    def handle(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
        _, rest = read_head(connection)
        told, left = hashlib.sha256(rest), self.size - len(rest)
        assert self.goes_on.wait(30)
        connection.settimeout(QUIET)
        while left:
            try:
                data = connection.recv(65536)
            except TimeoutError:
                self.caught_up.set()
                connection.settimeout(30)
                continue
            if not data:
                return
            told.update(data)
            left -= len(data)
        answer(connection, told.hexdigest().encode())


class Upload:
    """One stream, frame by frame."""

    def __init__(self, client: Http2, body: bytes, path: str = "/") -> None:
        client.until(SETTINGS)
        self.client, self.body, self.given = client, body, 0
        self.stream = client.open(measured(path, len(body)), end=False)

    @property
    def window(self) -> int:
        return self.client.windows[self.stream]

    def send(self) -> None:
        piece = self.body[self.given : self.given + min(PIECE, self.window, self.client.windows[0])]
        self.given += len(piece)
        self.client.windows[0] -= len(piece)
        self.client.windows[self.stream] -= len(piece)
        self.client.data(self.stream, piece, end=self.given == len(self.body))

    def until_paused(self) -> None:
        """Half a window is left, and the proxy does not open it again."""
        while self.window >= HALF + PIECE:
            self.send()
            if self.window < HALF + PIECE:
                for _ in range(2):  # the second answer comes after all that the first frames caused
                    assert self.client.alive()

    def rest(self) -> str:
        while self.given < len(self.body):
            if min(self.window, self.client.windows[0]) > 0:
                self.send()
            else:
                assert self.client.read() is not None
        return self.client.wait(self.stream)[0].body.decode()


def test_an_endpoint_that_catches_up_as_more_comes(tmp_path: Path) -> None:
    """Bytes that the client still had a window for came together with the news that the endpoint takes more: all of it
    left, nobody was told, and the stream got no window any more."""
    body = os.urandom(12 << 20)
    reader = Reader(len(body))
    with mesh(tmp_path, reader.handle) as (proxy, _), Http2(proxy.port) as client:
        upload = Upload(client, body)
        upload.until_paused()
        assert upload.given < len(body) - HALF
        with stopped(proxy):
            while upload.window:
                upload.send()
            reader.goes_on.set()
            assert reader.caught_up.wait(30)
        assert upload.rest() == hashlib.sha256(body).hexdigest()


def test_a_client_that_catches_up_as_more_comes(tmp_path: Path) -> None:
    """The same the other way: an endpoint of HTTP/2, a client of HTTP/1.1."""
    body = os.urandom(12 << 20)
    asked_now, failed = list[Asked](), list[BaseException]()
    paused, goes_on = threading.Event(), threading.Event()
    given = 0

    def send(asked: Asked) -> None:
        nonlocal given
        with asked.peer.lock:
            room = min(PIECE, asked.peer.h2.local_flow_control_window(asked.stream))
            asked.peer.h2.send_data(asked.stream, body[given : given + room])
            asked.peer.flush()
            given += room

    def window(asked: Asked) -> int:
        with asked.peer.lock:
            return int(asked.peer.h2.local_flow_control_window(asked.stream))

    def pour(asked: Asked) -> None:
        try:
            asked.head(200, ("content-length", str(len(body))))
            asked_now.append(asked)
            while window(asked) >= HALF + PIECE:
                send(asked)
                if window(asked) < HALF + PIECE:
                    assert asked.peer.pong() and asked.peer.pong()  # noqa: PT018
            paused.set()
            assert goes_on.wait(30)
            asked.data(body[given:], end=True)
        except BaseException as error:
            failed.append(error)

    def act(asked: Asked) -> None:
        threading.Thread(target=pour, args=(asked,), daemon=True).start()

    with (
        Endpoint(act) as endpoint,
        Proxy(tmp_path, endpoint_of("app", endpoint.port)) as proxy,
        socket.socket() as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
        client.settimeout(10)
        client.connect(("127.0.0.1", proxy.port))
        client.sendall(b"GET / HTTP/1.1\r\nhost: app\r\n\r\n")
        assert paused.wait(30)
        assert given < len(body) - HALF
        client.settimeout(QUIET)
        with stopped(proxy):
            while window(asked_now[0]):
                send(asked_now[0])
            got = b"".join(all_there_is(client))
        goes_on.set()
        client.settimeout(10)
        assert sum_of(client, got.partition(b"\r\n\r\n")[2], len(body)) == hashlib.sha256(body).digest()
    assert not failed


def sum_of(connection: socket.socket, begun: bytes, size: int) -> bytes:
    told, left = hashlib.sha256(begun), size - len(begun)
    while left:
        data = connection.recv(65536)
        assert data
        told.update(data)
        left -= len(data)
    return told.digest()


def all_there_is(connection: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(TimeoutError):
        while data := connection.recv(65536):
            yield data


def test_time_begins_again_after_a_pause(tmp_path: Path) -> None:
    """A client that got no window is not late; one that is silent when it has a window again is."""
    body = os.urandom(12 << 20)
    reader = Reader(len(body))
    with mesh(tmp_path, reader.handle, "--body-timeout", "300ms") as (proxy, _), Http2(proxy.port) as client:
        upload = Upload(client, body)
        upload.until_paused()
        time.sleep(0.8)
        assert client.alive()
        assert not client.replies[upload.stream].over
        reader.goes_on.set()
        assert client.wait(upload.stream)[0].status == 408
        assert stats(proxy, "body_timeout")["http.downstream_rq_body_timeout"] == 1


def test_an_upload_opens_no_room_for_the_answer(tmp_path: Path) -> None:
    """Answers that the client does not take wait in 64 KiB each at most, also while the requests go on byte by byte."""
    many = 100

    def handle(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n" + b"x" * 1_000_000)
        while connection.recv(1000):
            pass

    with mesh(tmp_path, handle) as (proxy, _), Http2(proxy.port, (INITIAL_WINDOW, 1), generous=False) as client:
        client.until(SETTINGS)
        before = rss(proxy.workers()[0])
        streams = [client.open(measured("/", 1000), end=False) for _ in range(many)]
        while not all(client.replies[stream].pieces for stream in streams):
            assert client.read() is not None
        for _ in range(4):
            for stream in streams:
                client.data(stream, b"y")
            assert client.alive()
        assert rss(proxy.workers()[0]) - before < many * 90  # KiB


class Fickle:
    """Endpoints that read in fits and starts, each in its own way; with smaller buffers TCP waits for its probes."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def handle(self, connection: socket.socket) -> None:
        dice = random.Random(self.dice.random())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, dice.choice((1 << 17, 1 << 18, 1 << 20)))
        nap = dice.choice((0, 0.01, 0.02, 0.03))
        while True:
            head, rest = read_head(connection)
            if not head:
                return
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            told, left = hashlib.sha256(rest), length - len(rest)
            while left:
                time.sleep(dice.choice((nap, nap, 0, nap * 3)))
                data = connection.recv(dice.choice((16384, 65536, 262144)))
                if not data:
                    return
                told.update(data)
                left -= len(data)
            answer(connection, told.hexdigest().encode())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_pauses_at_random(tmp_path: Path, seed: int) -> None:
    """Many streams of one connection, to endpoints that pause as they like: no stall, no reset, right sums."""
    dice, body = random.Random(seed), os.urandom(12 << 20)
    ends, done = time.monotonic() + 20, 0
    with mesh(tmp_path, Fickle(seed).handle) as (proxy, _), Http2(proxy.port, timeout=10) as client:
        client.until(SETTINGS)
        flight: dict[int, tuple[int, int]] = {}  # stream: size and what is given of it
        while flight or time.monotonic() < ends:
            while len(flight) < 12 and time.monotonic() < ends:
                size = dice.choice((1, 20_000, 1 << 20, 8 << 20, 12 << 20))
                flight[client.open(measured("/", size), end=False)] = (size, 0)
            moved = False
            for stream, (size, given) in list(flight.items()):
                room = min(client.windows[0], client.windows[stream], dice.choice((PIECE, PIECE, 100)), size - given)
                moved = moved or room > 0
                if room > 0 and dice.random() < 0.3:  # the others keep some of their windows for later
                    client.windows[0] -= room
                    client.windows[stream] -= room
                    client.data(stream, body[given : given + room], end=given + room == size)
                    flight[stream] = (size, given + room)
            while not moved or select.select([client.socket], [], [], 0)[0]:
                assert client.read() is not None
                moved = True
            for stream in [stream for stream in flight if client.replies[stream].over]:
                size, given = flight.pop(stream)
                reply = client.replies.pop(stream)
                assert (reply.status, reply.reset, given) == (200, "", size)
                assert reply.body.decode() == hashlib.sha256(body[:size]).hexdigest()
                done += 1
    assert done > 50
