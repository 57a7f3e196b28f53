"""What a WebSocket can suffer at the level of bytes: early bytes, answers that are no 101, half-closes, resets,
silence, slow peers.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.running import Upstream, answer, read_all, read_head, read_message, reset
from tests.traffic import Story, eventually, open_sockets, replicas_of, stats, together, virtual_service

ASK = (
    b"GET %s HTTP/1.1\r\nHost: app\r\nConnection: keep-alive, Upgrade, X-Hop\r\nUpgrade: websocket\r\nX-Hop: 1\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
AGREE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
MIB = 1 << 20

Talk = Callable[[socket.socket, bytes, bytes], None]


class Switching(Upstream):
    """Reads the head of a request, then does what stands under its path: it is given the connection, the head, and what
    came behind it.
    """

    def __init__(self) -> None:
        super().__init__(self._talk)
        self.roads: dict[str, Talk] = {}

    def _talk(self, connection: socket.socket) -> None:
        head, rest = read_head(connection)
        if head:
            self.roads[head.split(b" ")[1].decode()](connection, head, rest)

    def on(self, path: str, talk: Talk) -> str:
        self.roads[path] = talk
        return path

    def agree(self, path: str, talk: Callable[[socket.socket], None]) -> str:
        def switch(connection: socket.socket, head: bytes, rest: bytes) -> None:
            assert rest == b"", "bytes before the upgrade was agreed on"
            connection.sendall(AGREE)
            talk(connection)

        return self.on(path, switch)


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


class Site:
    def __init__(self, story: Story, app: Switching) -> None:
        self.story = story
        self.app = app

    def ask(self, path: str, behind: bytes = b"") -> socket.socket:
        connection = self.story.proxy.connect()
        connection.sendall(ASK % path.encode() + behind)
        return connection

    def open(self, path: str, behind: bytes = b"") -> socket.socket:
        """A tunnel through the proxy."""
        connection = self.ask(path, behind)
        head = exactly(connection, until=b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        return connection

    def stats(self, name: str) -> int:
        return next(iter(stats(self.story.proxy, f"{name}$").values()))

    def line(self, path: str) -> dict[str, Any]:
        return eventually(lambda: next(iter(self.story.lines(f'"{path}"')), None))  # type: ignore[return-value]


def exactly(connection: socket.socket, size: int = 0, until: bytes = b"") -> bytes:
    """That many bytes, or all up to a mark: not one more is taken from the socket."""
    data = b""
    while len(data) < size or (until and not data.endswith(until)):
        piece = connection.recv(size - len(data) if size else 1)
        assert piece, data
        data += piece
    return data


RULES = [{"match": [{"uri": {"prefix": "/short"}}], "timeout": "200ms"}, {}]


def site_with(directory: Path, *args: str) -> Iterator[Site]:
    with Switching() as app:
        yaml = replicas_of("app", app.port) + virtual_service("app", *RULES)
        with Story(directory, yaml, *args) as story:
            yield Site(story, app)
        assert app.errors == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    yield from site_with(tmp_path_factory.mktemp("tunnels"))


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    args = ("--tunnel-idle-timeout", "400ms", "--body-timeout", "150ms", "--drain-timeout", "1s", "--drain-idle", "0s")
    yield from site_with(tmp_path_factory.mktemp("hasty"), *args)


# --- the handshake ----------------------------------------------------------------------------------------------------


def test_both_heads_are_written_anew(site: Site) -> None:
    seen: list[bytes] = []

    def talk(connection: socket.socket, head: bytes, rest: bytes) -> None:
        seen.append(head.lower())
        connection.sendall(AGREE + b"first")

    with site.ask(site.app.on("/anew", talk)) as client:
        head = exactly(client, until=b"\r\n\r\n").lower()
        assert read_all(client) == b"first"
    for each in (seen[0], head):
        assert each.count(b"\r\nconnection: upgrade\r\n") == each.count(b"\r\nconnection:") == 1
        assert each.count(b"\r\nupgrade: websocket\r\n") == each.count(b"\r\nupgrade:") == 1
        assert b"keep-alive" not in each
        assert b"content-length" not in each
        assert b"transfer-encoding" not in each
    assert b"x-hop" not in seen[0]
    assert b"\r\nsec-websocket-key: dghlihnhbxbszsbub25jzq==\r\n" in seen[0]
    assert b"\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n" in head
    line = site.line("/anew")
    assert (line["response_code"], line["response_flags"], line["bytes_sent"]) == (101, "-", 5)
    assert line["response_code_details"] == "via_upstream"


def test_early_bytes_wait_for_the_agreement(site: Site) -> None:
    early = random.Random(1).randbytes(40_000)
    asked, go = threading.Event(), threading.Event()

    def talk(connection: socket.socket, head: bytes, rest: bytes) -> None:
        assert rest == b""
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        asked.set()
        assert go.wait(10)
        connection.settimeout(10)
        connection.sendall(AGREE)
        connection.sendall(exactly(connection, len(early) + 4))

    with site.ask(site.app.on("/early", talk), early) as client:
        assert asked.wait(10)
        client.sendall(b"more")
        go.set()
        assert exactly(client, until=b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        assert exactly(client, len(early) + 4) == early + b"more"


def test_early_bytes_are_bounded_and_none_is_lost(site: Site) -> None:
    whole = random.Random(2).randbytes(12 * MIB)
    go = threading.Event()
    digests: list[str] = []

    def talk(connection: socket.socket, head: bytes, rest: bytes) -> None:
        assert go.wait(20)
        connection.sendall(AGREE)
        digest = hashlib.sha256()
        while data := connection.recv(MIB):
            digest.update(data)
        digests.append(digest.hexdigest())

    path = site.app.on("/flood", talk)
    before = resident(site)
    clients = [site.ask(path) for _ in range(10)]
    senders = [threading.Thread(target=push, args=(client, whole), daemon=True) for client in clients]
    for sender in senders:
        sender.start()
    eventually(lambda: all(stuck(client) for client in clients))
    assert resident(site) - before < 10 * 700 * 1024  # 64 KiB, and one read that was on its way
    go.set()
    for client, sender in zip(clients, senders, strict=True):
        sender.join(20)
        client.shutdown(socket.SHUT_WR)
        read_all(client)
        client.close()
    assert set(eventually(lambda: digests if len(digests) == 10 else None)) == {hashlib.sha256(whole).hexdigest()}  # type: ignore[arg-type]


def push(client: socket.socket, data: bytes) -> None:
    client.sendall(data)


def stuck(client: socket.socket) -> bool:
    """The kernel takes no more of what is being sent."""
    poll = select.poll()
    poll.register(client, select.POLLOUT)
    return not poll.poll(50)


def resident(site: Site) -> int:
    [worker] = site.story.proxy.workers()
    status = Path(f"/proc/{worker}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "403 No", "426 Upgrade Required", "503 Busy"])
def test_after_another_answer_the_bytes_are_a_request(site: Site, status: str) -> None:
    code = status.split()[0]

    def refuse(connection: socket.socket, head: bytes, rest: bytes) -> None:
        assert rest == b""
        answer(connection, b"no", status)
        assert read_message(connection)[0].startswith(b"GET /next/")
        answer(connection, b"next")

    behind = f"GET /next/{code} HTTP/1.1\r\nHost: app\r\n\r\n".encode()
    site.app.on(f"/next/{code}", lambda connection, head, rest: answer(connection, b"next"))
    with site.ask(site.app.on(f"/no/{code}", refuse), behind) as client:
        head, body = read_message(client)
        assert head.startswith(f"HTTP/1.1 {code} ".encode()), head
        if len(body) == 2:
            head, body = read_message(client)
        else:
            body = body[body.index(b"\r\n\r\n") + 4 :] or exactly(client, 4)
        assert body == b"next"
    assert site.line(f"/no/{code}")["response_code"] == int(code)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    ],
)
def test_an_agreement_to_something_else_is_none(site: Site, said: bytes) -> None:
    def talk(connection: socket.socket, head: bytes, rest: bytes) -> None:
        connection.sendall(said + b"injected")
        assert connection.recv(1) == b""

    path = f"/else/{hash(said)}"
    with site.ask(site.app.on(path, talk), b"early") as client:
        head, body = read_head(client)
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b"injected" not in body + read_all(client)
    assert site.line(path)["response_flags"] == "UPE"


def test_an_agreement_nobody_asked_for(site: Site) -> None:
    path = site.app.on("/unasked", lambda connection, head, rest: connection.sendall(AGREE + b"injected"))
    said = site.story.proxy.send(f"GET {path} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n".encode())
    assert said.startswith(b"HTTP/1.1 502 ")
    assert b"injected" not in said


@pytest.mark.parametrize("names", [b"h2c", b"websocket, h2c", b"H2C"])
def test_h2c_is_not_passed_on(site: Site, names: bytes) -> None:
    seen: list[bytes] = []

    def talk(connection: socket.socket, head: bytes, rest: bytes) -> None:
        seen.append(head.lower())
        answer(connection)

    site.app.on("/h2c", talk)
    raw = b"GET /h2c HTTP/1.1\r\nHost: app\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: " + names
    assert site.story.proxy.send(raw + b"\r\nHTTP2-Settings: AAMAAABk\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    assert b"upgrade" not in seen[0]
    assert b"http2-settings" not in seen[0]


@pytest.mark.parametrize(
    ("request_line", "fields", "status"),
    [
        (b"GET /", b"Upgrade: foo", 403),
        (b"GET /", b"Upgrade: websocket-x", 403),
        (b"POST /", b"Upgrade: websocket\r\nContent-Length: 3", 400),
        (b"GET /", b"Upgrade: websocket\r\nTransfer-Encoding: chunked", 400),
        (b"CONNECT app:80", b"Upgrade: other", 403),
        (b"CONNECT app:80", b"X: 1", 405),
    ],
)
def test_what_is_refused_ends_the_connection(site: Site, request_line: bytes, fields: bytes, status: int) -> None:
    raw = request_line + b" HTTP/1.1\r\nHost: app:80\r\nConnection: Upgrade\r\n" + fields + b"\r\n\r\n"
    raw += b"GET /next HTTP/1.1\r\nHost: app\r\n\r\n"
    before = site.app.accepted
    said = site.story.proxy.send(raw)
    assert said.startswith(b"HTTP/1.1 %d " % status)
    assert said.count(b"HTTP/1.1 ") == 1
    assert site.app.accepted == before


# --- ends -------------------------------------------------------------------------------------------------------------


def test_the_clients_end_comes_first(site: Site) -> None:
    body = random.Random(3).randbytes(MIB)

    def talk(connection: socket.socket) -> None:
        assert read_all(connection) == b"question"
        connection.sendall(body)

    path = site.app.agree("/half/client", talk)

    def one() -> None:
        with site.open(path, b"quest") as client:
            client.sendall(b"ion")
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == body

    for _ in range(5):
        together([one] * 20)
    eventually(lambda: site.stats("upgrades_active") == 0)
    lines = site.story.lines(path)
    assert {(line["response_code"], line["response_flags"], line["bytes_received"]) for line in lines} == {
        (101, "-", 8)
    }


def test_the_endpoints_end_comes_first(site: Site) -> None:
    body = random.Random(4).randbytes(MIB)
    got: list[bool] = []

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"question")
        connection.shutdown(socket.SHUT_WR)
        got.append(read_all(connection) == body)

    path = site.app.agree("/half/endpoint", talk)

    def one() -> None:
        with site.open(path) as client:
            assert read_all(client) == b"question"
            client.sendall(body)

    for _ in range(5):
        together([one] * 20)
    eventually(lambda: len(got) == 100 and site.stats("upgrades_active") == 0)
    assert all(got)


def test_a_reset_of_one_side_ends_the_other_at_once(site: Site) -> None:
    ended: dict[str, float] = {}
    done = threading.Event()

    def wait_for_end(connection: socket.socket) -> None:
        read_all(connection)
        ended["endpoint"] = time.monotonic()
        done.set()

    client = site.open(site.app.agree("/reset/client", wait_for_end))
    client.sendall(b"x")
    began = time.monotonic()
    reset(client)
    assert done.wait(5)
    assert ended["endpoint"] - began < 0.5
    assert site.line("/reset/client")["response_flags"] == "DC"

    def hit(connection: socket.socket) -> None:
        assert connection.recv(1) == b"x"
        ended["began"] = time.monotonic()
        reset(connection)

    with site.open(site.app.agree("/reset/endpoint", hit)) as other:
        other.sendall(b"x")
        assert read_all(other) == b""
        assert time.monotonic() - ended["began"] < 0.5
    assert site.line("/reset/endpoint")["response_flags"] == "UC"


def test_a_reset_after_a_half_close(site: Site) -> None:
    def hit(connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b"x"
        reset(connection)

    with site.open(site.app.agree("/reset/half", hit)) as client:
        assert read_all(client) == b""
        client.sendall(b"x")
        eventually(lambda: site.stats("upgrades_active") == 0)
    assert site.line("/reset/half")["response_flags"] == "UC"


def test_nothing_is_left_behind(site: Site) -> None:
    [worker] = site.story.proxy.workers()
    path = site.app.agree("/leak", echo)

    def one(kind: int) -> None:
        client = site.open(path)
        client.sendall(b"ping")
        assert exactly(client, 4) == b"ping"
        if kind == 0:
            reset(client)
        elif kind == 1:
            client.close()
        else:
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b""
            client.close()

    one(1)
    eventually(lambda: site.stats("upgrades_active") == 0)
    before = open_sockets(worker)
    together([lambda kind=kind: one(kind % 3) for kind in range(60)])  # type: ignore[misc]
    eventually(lambda: site.stats("upgrades_active") == site.stats("downstream_rq_active") == 0)
    eventually(lambda: open_sockets(worker) <= before)


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.quiet
def test_the_routes_timeout_ends_with_the_agreement(site: Site) -> None:
    with site.open(site.app.agree("/short/tunnel", echo)) as client:
        for _ in range(5):
            time.sleep(0.08)
            client.sendall(b"x")
            assert exactly(client, 1) == b"x"
    late = site.app.on("/short/late", lambda connection, head, rest: connection.recv(1))
    with site.ask(late) as client:
        assert read_head(client)[0].startswith(b"HTTP/1.1 504 ")
    assert site.line("/short/late")["response_flags"] == "UT"


@pytest.mark.quiet
def test_a_tunnel_that_stands_still_is_broken_off(hasty: Site) -> None:
    with hasty.open(hasty.app.agree("/idle", echo)) as client:
        for _ in range(4):
            time.sleep(0.2)
            client.sendall(b"x")
            assert exactly(client, 1) == b"x"
        began = time.monotonic()
        assert read_all(client) == b""
        assert 0.3 < time.monotonic() - began < 0.9
    line = hasty.line("/idle")
    assert (line["response_flags"], line["response_code_details"]) == ("SI", "stream_idle_timeout")
    assert hasty.stats("downstream_rq_idle_timeout") == 1


@pytest.mark.quiet
def test_half_a_tunnel_has_less_patience(hasty: Site) -> None:
    def half(connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_WR)
        read_all(connection)

    with hasty.open(hasty.app.agree("/idle/half", half)) as client:
        assert read_all(client) == b""
        began = time.monotonic()
        eventually(lambda: hasty.stats("upgrades_active") == 0)
        assert time.monotonic() - began < 0.4
    assert hasty.line("/idle/half")["response_flags"] == "SI"


# --- slow peers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slow", ["client", "endpoint"])
def test_a_slow_side_holds_the_other_back(site: Site, slow: str) -> None:
    size = 48 * MIB
    piece = random.Random(5).randbytes(MIB)
    wanted = hashlib.sha256(piece * (size // MIB)).hexdigest()
    go = threading.Event()
    digests: list[str] = []

    def produce(connection: socket.socket) -> None:
        for _ in range(size // MIB):
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)

    def consume(connection: socket.socket) -> None:
        assert go.wait(30)
        digest = hashlib.sha256()
        while data := connection.recv(MIB):
            digest.update(data)
        digests.append(digest.hexdigest())

    before = resident(site)
    client = site.open(site.app.agree(f"/slow/{slow}", produce if slow == "client" else consume))
    pusher = threading.Thread(target=produce, args=(client,), daemon=True)
    if slow == "endpoint":
        pusher.start()
        eventually(lambda: stuck(client))
    else:
        eventually(lambda: waits(site))
    assert resident(site) - before < 4 * MIB
    go.set()
    if slow == "endpoint":
        pusher.join(30)
        assert read_all(client) == b""
    else:
        consume(client)
    client.close()
    assert eventually(lambda: digests, 30) == [wanted]


def test_bytes_of_the_client_do_not_end_the_wait_for_its_reads(site: Site) -> None:
    """Its own bytes make the proxy write to it, too; who waits for it to read must hear of that write."""
    piece = random.Random(6).randbytes(MIB)

    def produce(connection: socket.socket) -> None:
        connection.setblocking(False)
        left = memoryview(piece * 16)
        while left:
            _, writable, _ = select.select([connection], [connection], [], 10)
            with contextlib.suppress(BlockingIOError):
                connection.recv(65536)
            if writable:
                with contextlib.suppress(BlockingIOError):
                    left = left[connection.send(left) :]
        connection.setblocking(True)
        read_all(connection)

    with site.open(site.app.agree("/both", produce)) as client:
        eventually(lambda: waits(site))
        digest = hashlib.sha256()
        got = 0
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while got < 16 * MIB:
            client.sendall(b"x")
            data = client.recv(65536)
            assert data
            got += len(data)
            digest.update(data)
        assert digest.hexdigest() == hashlib.sha256(piece * 16).hexdigest()


def test_what_a_client_said_before_it_left_arrives(site: Site) -> None:
    """The endpoint has ended its side, the client all: nothing more goes to either, and much is still to be read."""
    body = random.Random(7).randbytes(24 * MIB)
    go = threading.Event()
    got: list[bytes] = []

    def late(connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_WR)
        assert go.wait(20)
        got.append(read_all(connection))

    client = site.open(site.app.agree("/left", late))
    assert read_all(client) == b""
    pusher = threading.Thread(target=push, args=(client, body), daemon=True)
    pusher.start()
    eventually(lambda: stuck(client))
    go.set()
    pusher.join(20)
    client.close()
    assert eventually(lambda: got, 30) == [body]
    assert site.line("/left")["response_flags"] == "-"


def waits(site: Site) -> bool:
    """Nothing moves any more."""
    before = site.stats("downstream_cx_tx_bytes_total")
    time.sleep(0.1)
    return site.stats("downstream_cx_tx_bytes_total") == before > MIB


# --- the end of the proxy ---------------------------------------------------------------------------------------------


def test_a_drain_gives_tunnels_its_time_and_then_ends_them(hasty: Site) -> None:
    """The last test of this proxy."""
    path = hasty.app.agree("/drain", echo)
    with hasty.open(path) as client, hasty.open(path) as other:
        began = time.monotonic()
        hasty.story.proxy.process.send_signal(signal.SIGTERM)
        while time.monotonic() - began < 0.7:
            client.sendall(b"x")
            assert exactly(client, 1) == b"x"
            other.sendall(b"y")
            assert exactly(other, 1) == b"y"
            time.sleep(0.05)
        read_all(client)
        assert hasty.story.proxy.process.wait(5) == 0
        assert 0.9 < time.monotonic() - began < 3
    lines = hasty.story.lines(path)
    assert [(line["response_flags"], line["response_code_details"]) for line in lines] == [
        ("LR", "drain_time_over")
    ] * 2
