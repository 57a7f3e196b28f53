"""HTTP/2 connections of clients through their life: first bytes, bodies under back-pressure, limits, the end."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.adversity.test_bodies import rss
from tests.http2 import (
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    PREFACE,
    SETTINGS,
    Http2,
    Reply,
    frame,
    headers,
    request,
    settings,
    window_update,
)
from tests.running import Proxy, Upstream, keep_answering, mesh, read_head
from tests.traffic import Gate, Replica, Story, eventually, reload, replicas, replicas_of, stats, virtual_service

LAST = 2**31 - 1


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Replica("app") as app, Proxy(tmp_path_factory.mktemp("h2"), replicas_of("app", app.port)) as proxy:
        yield proxy


def cpu(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


class TestFirstBytes:
    @pytest.mark.parametrize("cuts", [range(1, 200), range(2, 200, 3), [10], [18], [24], [33]], ids=repr)
    def test_split_any_way(self, place: Proxy, cuts: range | list[int]) -> None:
        with Http2(place.port, greet=False) as client:
            raw = PREFACE + settings() + client.head(1, request("/", "POST"), end=False) + frame(DATA, 0, 1, b"hello")
            raw += frame(DATA, END_STREAM, 1, b"world")
            edges = [0, *(cut for cut in cuts if cut < len(raw)), len(raw)]
            for begin, end in itertools.pairwise(edges):
                client.send(raw[begin:end])
            assert client.wait(1)[0].status == 200

    @pytest.mark.parametrize("said", [b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", PREFACE])
    def test_half_a_preface_ends_in_time(self, tmp_path: Path, said: bytes) -> None:
        with mesh(tmp_path, keep_answering, "--header-timeout", "300ms") as (proxy, _), proxy.connect() as client:
            client.sendall(said)
            while client.recv(1000):  # settings, or a 408
                pass

    def test_one_that_only_begins_like_it(self, place: Proxy) -> None:
        with place.connect() as client:
            client.sendall(b"PRI * HTTP/2.0\r\nHost: app\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 505")


def slow_reader(goes_on: threading.Event, sums: list[bytes]) -> Callable[[socket.socket], None]:
    """Reads nothing of a body to /slow before it may."""

    def handle(connection: socket.socket) -> None:
        while True:
            head, rest = read_head(connection)
            if not head:
                return
            if b"/slow" in head:
                assert goes_on.wait(60)
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            digest, left = hashlib.sha256(rest), length - len(rest)
            while left:
                piece = connection.recv(1 << 18)
                assert piece
                digest.update(piece)
                left -= len(piece)
            sums.append(digest.digest())
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    return handle


def measured(path: str, size: int) -> list[tuple[str, str]]:
    return request(path, "POST", "app", ("content-length", str(size)))


class TestBodies:
    def test_large_ones_at_once(self, tmp_path: Path) -> None:
        """Both ways on 30 streams of one connection: each whole, and none waits for another's end."""
        size = 1 << 20
        body = os.urandom(size)

        def handle(connection: socket.socket) -> None:
            while (got := read_head(connection))[0]:
                data = got[1]
                while len(data) < size:
                    data += connection.recv(1 << 18)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + data)

        with mesh(tmp_path, handle) as (proxy, _), Http2(proxy.port, timeout=30) as client:
            streams = [client.open(measured("/", size), end=False) for _ in range(30)]
            left = dict.fromkeys(streams, 0)
            while left:
                for stream in list(left):
                    room = min(client.windows[0], client.windows[stream], 16384)
                    piece = body[left[stream] : left[stream] + room]
                    if piece:
                        left[stream] += len(piece)
                        client.windows[0] -= len(piece)
                        client.windows[stream] -= len(piece)
                        client.data(stream, piece, end=left[stream] == size)
                    if left[stream] == size:
                        del left[stream]
                if left and all(min(client.windows[0], client.windows[stream]) == 0 for stream in left):
                    client.read()
            replies = client.wait(*streams)
            assert all(reply.ended and reply.body == body for reply in replies)

    def test_an_endpoint_that_does_not_read(self, tmp_path: Path) -> None:
        """Uploads stand still after their window and little more; another passes them on the same connection."""
        size, goes_on, sums = 8 << 20, threading.Event(), list[bytes]()
        body = os.urandom(size)
        with (
            mesh(tmp_path, slow_reader(goes_on, sums)) as (proxy, _),
            Http2(proxy.port, timeout=30) as client,
        ):
            client.until(SETTINGS)
            streams = [client.open(measured("/slow", size), end=False) for _ in range(5)]
            given = dict.fromkeys(streams, 0)

            def send_what_fits(patience: float) -> None:
                client.socket.settimeout(patience)
                with contextlib.suppress(TimeoutError):
                    while not all(client.replies[stream].over for stream in streams):
                        for stream in streams:
                            while room := min(client.windows[0], client.windows[stream], 16384, size - given[stream]):
                                client.data(stream, body[given[stream] :][:room], given[stream] + room == size)
                                given[stream] += room
                                client.windows[0] -= room
                                client.windows[stream] -= room
                        client.read()

            before = rss(proxy.workers()[0])
            send_what_fits(0.5)
            assert max(given.values()) < 6 << 20  # the kernel takes 4 MiB of each
            assert rss(proxy.workers()[0]) - before < 3 << 10
            client.socket.settimeout(10)
            quick = client.open(measured("/quick", 1 << 20), end=False)
            client.upload(quick, body[: 1 << 20])
            assert client.wait(quick)[0].status == 200
            goes_on.set()
            send_what_fits(10)
            ends = [(client.replies[stream].status, client.replies[stream].reset, given[stream]) for stream in streams]
            assert ends == [(200, "", size)] * 5
            assert set(sums[-5:]) == {hashlib.sha256(body).digest()}

    def test_a_client_that_gives_no_window(self, tmp_path: Path) -> None:
        """What waits for it is bounded, the endpoints are not read on, and another stream passes."""
        sent = [0] * 10

        def handle(connection: socket.socket) -> None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            head, _ = read_head(connection)
            number = int(head.split(b"/")[1].split(b" ")[0])
            if number == 10:
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                return
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n")
            while sent[number] < 10_000_000:
                sent[number] += connection.send(b"x" * 10_000)

        with mesh(tmp_path, handle) as (proxy, _), Http2(proxy.port, (INITIAL_WINDOW, 1)) as client:
            streams = [client.open(request(f"/{number}")) for number in range(10)]
            for stream in streams:
                while not client.replies[stream].body:
                    client.read()
            last = -1
            while last != (last := sum(sent)):  # until nobody can send on
                time.sleep(0.2)
            assert max(sent) < 8 << 20
            before = cpu(proxy.workers()[0])
            time.sleep(0.5)
            assert cpu(proxy.workers()[0]) - before < 0.05  # nobody looks again and again at who may not be read
            extra = client.open(request("/10"))
            client.send(window_update(extra, 100))
            assert client.wait(extra)[0].body == b"ok"
            client.send(*(window_update(stream, 1 << 24) for stream in streams))
            replies = client.wait(*streams)
            assert [len(reply.body) for reply in replies] == [10_000_000] * 10

    def test_streams_take_turns(self, tmp_path: Path) -> None:
        """Two large answers to a client that is the slowest of all: when one has ended, much of the other has come."""
        size, both = 8 << 20, threading.Barrier(2)

        def handle(connection: socket.socket) -> None:
            read_head(connection)
            both.wait(10)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
            connection.recv(1)

        with mesh(tmp_path, handle) as (proxy, _), Http2(proxy.port, (INITIAL_WINDOW, 16 << 20)) as client:
            client.send(window_update(0, 1 << 30))
            streams = [client.open(request("/")) for _ in range(2)]
            while not any(client.replies[stream].over for stream in streams):
                time.sleep(0.0005)  # slower than both endpoints, which are threads of this process
                client.read()
            assert min(len(client.replies[stream].body) for stream in streams) > size // 4
            assert [len(reply.body) for reply in client.wait(*streams)] == [size] * 2


class TestLimits:
    def test_streams_above_the_limit_are_refused(self, tmp_path: Path) -> None:
        gate = Gate()
        with (
            Replica("app", gate) as app,
            Proxy(tmp_path, replicas_of("app", app.port), "--h2-max-streams", "5") as proxy,
            Http2(proxy.port) as client,
        ):
            streams = [client.open(request("/")) for _ in range(5)]
            assert client.wait(client.open(request("/")))[0].reset == "REFUSED_STREAM"
            assert client.settings[3] == 5
            eventually(lambda: gate.held == 5)
            gate.opened.set()
            assert [reply.status for reply in client.wait(*streams)] == [200] * 5
            assert client.ask().status == 200
            assert stats(proxy, "http2.stream_refused_errors")["http2.stream_refused_errors"] == 1

    def test_requests_of_a_connection(self, tmp_path: Path) -> None:
        """The end is announced, what comes before the client can know it is served, and then the connection closes."""
        flags = ("--h2-max-requests", "3", "--drain-idle", "300ms")
        with mesh(tmp_path, keep_answering, *flags) as (proxy, _), Http2(proxy.port) as client:
            for _ in range(5):
                assert client.ask().status == 200
            assert client.goaway is not None
            assert (client.goaway.last_stream, client.goaway.code) == (LAST, "NO_ERROR")
            client.drain()
            assert client.goaway.last_stream == 9
            assert stats(proxy, "max_requests")["http.downstream_cx_max_requests_reached"] == 1

    def test_age_of_a_connection(self, tmp_path: Path) -> None:
        flags = ("--h2-max-age", "300ms", "--drain-idle", "200ms")
        with mesh(tmp_path, keep_answering, *flags) as (proxy, _), Http2(proxy.port) as client:
            assert client.ask().status == 200
            assert client.until(GOAWAY).last_stream == LAST
            assert client.ask().status == 200
            client.drain()
            assert client.goaway is not None
            assert client.goaway.last_stream == 3

    def test_idle_connections(self, tmp_path: Path) -> None:
        with mesh(tmp_path, keep_answering, "--idle-timeout", "300ms") as (proxy, _):
            with Http2(proxy.port) as client:
                assert client.ask().status == 200
                client.drain()
                assert client.goaway is not None
                assert (client.goaway.last_stream, client.goaway.code) == (1, "NO_ERROR")
            assert stats(proxy, "cx_idle_timeout")["http.downstream_cx_idle_timeout"] == 1


class TestLog:
    """A line for each request, with its protocol; a line with the reason for what was ended."""

    def test_lines(self, tmp_path: Path) -> None:
        with Replica("app") as app, Story(tmp_path, replicas_of("app", app.port)) as story:
            with Http2(story.port) as client:
                assert client.ask("/fine", x_request_id="0f0f0f0f-0000-4000-8000-000000000001").status == 200
                bad = client.wait(client.open(request("/bad", "GET", "app", ("connection", "close"))))[0]
                assert bad.reset == "PROTOCOL_ERROR"
                client.send(frame(DATA, 0, 99, b"a"))
                client.drain()
                assert client.goaway is not None
                assert client.goaway.reason == "data_on_idle_stream"
            eventually(lambda: len(story.lines()) == 3)
            told = [(line["protocol"], line["response_flags"], line["response_code_details"]) for line in story.lines()]
            assert told == [
                ("HTTP/2", "-", "via_upstream"),
                ("HTTP/2", "DPE", "connection_field"),
                ("HTTP/2", "DPE", "data_on_idle_stream"),
            ]
            assert all(line["downstream_remote_address"].startswith("127.0.0.1:") for line in story.lines())


class TestTime:
    def test_a_head_that_does_not_end(self, tmp_path: Path) -> None:
        with mesh(tmp_path, keep_answering, "--header-timeout", "300ms") as (proxy, _), Http2(proxy.port) as client:
            client.until(SETTINGS)
            client.send(frame(HEADERS, END_STREAM, 1, client.block(request())[:3]))
            client.drain()
            assert client.goaway is not None
            assert (client.goaway.code, client.goaway.reason) == ("ENHANCE_YOUR_CALM", "request_header_timeout")

    def test_a_body_that_does_not_come(self, tmp_path: Path) -> None:
        def handle(connection: socket.socket) -> None:
            while connection.recv(65536):
                pass

        with mesh(tmp_path, handle, "--body-timeout", "300ms") as (proxy, _), Http2(proxy.port) as client:
            stream = client.open(request("/", "POST"), end=False)
            client.data(stream, b"a")
            assert client.wait(stream)[0].status == 408
            assert client.alive()
            assert stats(proxy, "body_timeout")["http.downstream_rq_body_timeout"] == 1

    def test_a_call_may_rest(self, tmp_path: Path) -> None:
        """gRPC: the ends of a call know how long it may be silent."""

        def handle(connection: socket.socket) -> None:
            data = b""
            while not data.endswith(b"0\r\n\r\n"):
                data += connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

        with mesh(tmp_path, handle, "--body-timeout", "200ms") as (proxy, _), Http2(proxy.port) as client:
            stream = client.open(request("/", "POST", "app", ("content-type", "application/grpc")), end=False)
            client.data(stream, b"a")
            time.sleep(0.8)
            client.data(stream, b"b", end=True)
            assert client.wait(stream)[0].status == 200

    @pytest.mark.parametrize("step", [0, 1], ids=["stands still", "dribbles"])
    def test_an_answer_that_is_not_taken(self, tmp_path: Path, step: int) -> None:
        left = threading.Event()

        def handle(connection: socket.socket) -> None:
            read_head(connection)
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n" + b"x" * 10_000_000)
                connection.recv(1)
            left.set()

        with (
            mesh(tmp_path, handle, "--body-timeout", "500ms") as (proxy, _),
            Http2(proxy.port, (INITIAL_WINDOW, 1), generous=False) as client,
        ):
            stream = client.open(request("/"))
            began = time.monotonic()
            while not client.replies[stream].over:
                got = client.read()
                if step and got is not None and got.kind == DATA:
                    time.sleep(0.002)  # 4 KiB within the time would be progress
                    client.send(window_update(stream, step))
            assert client.replies[stream].reset == "CANCEL"
            assert 0.4 < time.monotonic() - began < 5
            assert left.wait(5)
            assert client.alive()


class TestEnds:
    def test_a_drain_tells_and_waits(self, tmp_path: Path) -> None:
        """GOAWAY twice; what was asked is answered; the proxy ends when the last stream has."""
        gate = Gate()
        app = Replica("app", lambda request: gate(request) if request.path == "/held" else 200)
        with (
            app,
            Proxy(tmp_path, replicas_of("app", app.port), "--drain-idle", "500ms") as proxy,
            Http2(proxy.port) as idle,
            Http2(proxy.port) as client,
        ):
            assert idle.ask().status == 200
            held = client.open(request("/held"))
            eventually(lambda: gate.held)
            proxy.process.send_signal(signal.SIGTERM)
            assert client.until(GOAWAY).last_stream == LAST
            late = client.open(request("/late"))  # it could not know
            assert client.wait(late)[0].status == 200
            assert client.until(GOAWAY).last_stream == late
            idle.drain()
            assert idle.goaway is not None
            assert (idle.goaway.last_stream, idle.goaway.code) == (1, "NO_ERROR")
            unheard = client.open(request("/unheard", "POST"), end=False)
            client.data(unheard, b"its body", end=True)
            gate.opened.set()
            assert client.wait(held)[0].status == 200
            client.drain()
            assert not client.replies[unheard].over
            assert proxy.process.wait(10) == 0
            assert app.count("/unheard") == 0

    def test_a_drain_that_takes_too_long(self, tmp_path: Path) -> None:
        gate = Gate()
        flags = ("--drain-idle", "100ms", "--drain-timeout", "700ms")
        with (
            Replica("app", gate) as app,
            Proxy(tmp_path, replicas_of("app", app.port), *flags) as proxy,
            Http2(proxy.port) as client,
        ):
            client.open(request("/held"))
            eventually(lambda: gate.held)
            began = time.monotonic()
            proxy.process.send_signal(signal.SIGTERM)
            client.drain()
            proxy.process.wait(10)
            assert time.monotonic() - began < 5
            gate.opened.set()

    def test_reloads_leave_connections_alone(self, tmp_path: Path) -> None:
        """Streams under way end by the old rules, the next ones of the same connection follow the new."""
        gate = Gate()
        with replicas("old", "new") as (old, new):
            old.act = lambda request: gate(request) if request.path == "/held" else 200
            yaml = replicas_of("app", old.port) + replicas_of("old", old.port) + replicas_of("new", new.port)

            def rules(name: str) -> str:
                return yaml + virtual_service("app", {"route": [{"destination": {"host": name}}]})

            with Proxy(tmp_path, rules("old")) as proxy, Http2(proxy.port) as client:
                held = client.open(request("/held"))
                assert client.ask().body == b"old"
                for name in ("new", "old", "new"):
                    reload(proxy, rules(name))
                    assert client.ask().body == name.encode()
                gate.opened.set()
                assert client.wait(held)[0].body == b"old"
                assert client.goaway is None

    def test_a_killed_worker(self, tmp_path: Path) -> None:
        with Replica("app") as app, Proxy(tmp_path, replicas_of("app", app.port), workers=2) as proxy:
            clients = [Http2(proxy.port) for _ in range(8)]
            assert all(client.ask().status == 200 for client in clients)
            killed = proxy.workers()[0]
            os.kill(killed, signal.SIGKILL)
            answers = []
            for client in clients:
                with contextlib.suppress(OSError):
                    answers.append(client.ask().status)
                client.socket.close()
            assert set(answers) <= {0, 200}
            eventually(lambda: len(proxy.workers()) == 2 and killed not in proxy.workers())
            with Http2(proxy.port) as client:
                assert client.ask().status == 200
            eventually(lambda: stats(proxy, "http2_active")["http.downstream_cx_http2_active"] == 0)
            assert stats(proxy, "streams_active")["http2.streams_active"] == 0


def test_many_streams_and_connections(place: Proxy) -> None:
    """5,000 requests on 10 connections, a hundred at a time; nothing is left over."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Http2(place.port)) for _ in range(10)]
        for _ in range(5):
            asked = [[client.open(request("/")) for _ in range(100)] for client in clients]
            for client, streams in zip(clients, asked, strict=True):
                assert {reply.status for reply in client.wait(*streams)} == {200}
        assert stats(place, "streams_active")["http2.streams_active"] == 0


def test_a_client_that_asks_on_without_reading(tmp_path: Path) -> None:
    """Heads cannot wait for windows: when too much waits for the client, its next requests wait."""
    head = b"HTTP/1.1 200 OK\r\nx-large: %s\r\ncontent-length: 2\r\n\r\nok" % (b"x" * 15_000)
    answered = list[int]()

    def handle(connection: socket.socket) -> None:
        while read_head(connection)[0]:
            connection.sendall(head)
            answered.append(1)

    with mesh(tmp_path, handle) as (proxy, _), Http2(proxy.port) as client:
        client.until(SETTINGS)
        worker = proxy.workers()[0]
        before = rss(worker)
        streams = list[int]()
        with contextlib.suppress(AssertionError):  # the endpoint is not asked any more
            while True:
                eventually(lambda: len(answered) > len(streams) - 60, 1)
                streams.append(client.open(request("/")))
        assert 100 < len(streams) < 2000
        assert rss(worker) - before < 6 << 10
        replies = client.wait(*streams)
        assert {(reply.status, reply.body) for reply in replies} == {(200, b"ok")}
        assert len(answered) == len(streams)


def test_resets_by_the_endpoint_are_passed_on(tmp_path: Path) -> None:
    """Goal 22: an answer that was cut is never shown as complete."""
    with (
        Upstream(lambda connection: _cut_off(connection)) as upstream,
        Proxy(tmp_path, replicas_of("app", upstream.port)) as proxy,
        Http2(proxy.port) as client,
    ):
        for number in range(0, 300, 50):
            streams = [client.open(request(f"/{number + each}")) for each in range(50)]
            for reply in client.wait(*streams):
                assert not reply.ended
                assert reply.reset == "INTERNAL_ERROR" or reply.status == 503
        assert client.alive()


def _cut_off(connection: socket.socket) -> None:
    head, _ = read_head(connection)
    number = int(head.split(b"/")[1].split(b" ")[0])
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + b"x" * 1000
    connection.sendall(whole[: 42 + number * 3])


def test_a_head_with_padding_and_priority(place: Proxy) -> None:
    with Http2(place.port) as client:
        block = client.block(request())
        client.replies[1] = Reply()
        client.send(frame(HEADERS, 1 | 4 | 8 | 32, 1, b"\7" + b"\0\0\0\0\20" + block + b"\0" * 7))
        assert client.wait(1)[0].status == 200
        client.replies[3] = Reply()
        client.send(headers(3, client.block(request()), END_STREAM))
        assert client.wait(3)[0].status == 200


def test_a_stream_that_is_reset_while_it_uploads(place: Proxy) -> None:
    """DATA that was under way when the proxy gave a stream up is skipped, and its window is given back."""
    with Http2(place.port) as client:
        client.until(SETTINGS)
        for _ in range(40):  # far more than one connection window
            stream = client.open(measured("/", 1), end=False)
            client.send(*(frame(DATA, 0, stream, b"x" * 16384) for _ in range(4)))
            assert client.wait(stream)[0].reset == "PROTOCOL_ERROR"
        assert client.ask().status == 200
        assert client.goaway is None
