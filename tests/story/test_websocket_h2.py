"""WebSocket over HTTP/2 (RFC 8441): clients by the package h2, frames and HTTP/1 servers by the package websockets."""

from __future__ import annotations

import contextlib
import random
import re
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest
from websockets.frames import Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from tests.adversity.test_tunnels import AGREE, Switching
from tests.running import read_all, read_head
from tests.story.test_websocket import Server, websockets
from tests.traffic import Story, eventually, replicas_of, stats, virtual_service

assert websockets  # skipped as a whole without it
MIB = 1 << 20


class Client:
    """One HTTP/2 connection, one thread: what is awaited is read until it is there."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.streams: dict[int, Stream] = {}
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(MIB)
        self.flush()
        while self.h2.remote_settings.enable_connect_protocol != 1:
            self.take()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def flush(self) -> None:
        if data := self.h2.data_to_send():
            self.socket.sendall(data)

    def open(self, path: str = "/", *, protocol: str = "websocket", authority: str = "app", **fields: str) -> Stream:
        number = self.h2.get_next_available_stream_id()
        stream = self.streams[number] = Stream(self, number)
        head = [(":method", "CONNECT"), (":protocol", protocol), (":scheme", "http"), (":path", path)]
        head += [(":authority", authority), ("sec-websocket-version", "13")]
        head += [(name.replace("_", "-"), value) for name, value in fields.items()]
        self.h2.send_headers(number, head)
        self.flush()
        return stream

    def take(self) -> None:
        data = self.socket.recv(1 << 18)
        assert data, "the connection has ended"
        for event in self.h2.receive_data(data):
            stream = self.streams.get(getattr(event, "stream_id", 0) or 0)
            if stream is not None:
                stream.note(event)
        self.flush()


class Stream:
    def __init__(self, client: Client, number: int) -> None:
        self.client = client
        self.number = number
        self.head: dict[str, str] = {}
        self.data = bytearray()
        self.ended = False
        self.error: int | None = None
        self.frames = Protocol(CLIENT, state=OPEN, max_size=None)

    def note(self, event: Any) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self.head = dict(event.headers)  # type: ignore[arg-type]
        elif isinstance(event, h2.events.DataReceived):
            self.data += event.data
            self.client.h2.acknowledge_received_data(event.flow_controlled_length, self.number)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended = True
        elif isinstance(event, h2.events.StreamReset):
            self.error = int(event.error_code)

    @property
    def status(self) -> int:
        """Of the answer, which is awaited."""
        while not self.head and self.error is None:
            self.client.take()
        return int(self.head[":status"]) if self.head else -1

    def send(self, data: bytes, end: bool = False) -> None:
        view = memoryview(data)
        while view:
            room = min(self.client.h2.local_flow_control_window(self.number), self.client.h2.max_outbound_frame_size)
            if room == 0:
                self.client.take()
                continue
            self.client.h2.send_data(self.number, bytes(view[:room]))
            view = view[room:]
            self.client.flush()
        if end:
            self.client.h2.end_stream(self.number)
            self.client.flush()

    def rest(self) -> bytes:
        """All up to the end of the other side."""
        while not self.ended and self.error is None:
            self.client.take()
        return bytes(self.data)

    def exactly(self, size: int) -> bytes:
        while len(self.data) < size:
            assert not self.ended, self.data
            assert self.error is None, self.error
            self.client.take()
        piece = bytes(self.data[:size])
        del self.data[:size]
        return piece

    # --- messages

    def say(self, message: bytes) -> None:
        self.frames.send_binary(message)
        self._leave()

    def close(self, code: int, reason: str) -> None:
        self.frames.send_close(code, reason)
        self._leave()

    def _leave(self) -> None:
        for data in self.frames.data_to_send():
            self.send(data)

    def hear(self) -> Any:
        """The next frame; pongs and the like are sent as they fall due."""
        while not (events := self.frames.events_received()):
            self.frames.receive_data(self.exactly(max(1, len(self.data))))
        self._leave()
        assert len(events) == 1
        return events[0]


class Site(NamedTuple):
    story: Story
    raw: Switching
    server: Server

    def line(self, path: str) -> dict[str, Any]:
        return eventually(lambda: next(iter(self.story.lines(f'"{path}"')), None))  # type: ignore[return-value]

    def stats(self, name: str) -> int:
        return next(iter(stats(self.story.proxy, f"{name}$").values()))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Server() as server, Switching() as raw:
        yaml = replicas_of("app", server.port) + replicas_of("raw", raw.port)
        yaml += virtual_service("raw", {"match": [{"method": {"exact": "GET"}}]})
        with Story(tmp_path_factory.mktemp("h2"), yaml) as story:
            yield Site(story, raw, server)
        assert raw.errors == []


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    with Client(site.story.port) as made:
        yield made


def test_messages_of_many_sizes(client: Client, site: Site) -> None:
    rng = random.Random(1)
    stream = client.open("/chat?room=1", sec_websocket_protocol="v1.chat")
    assert stream.status == 200
    assert stream.head["sec-websocket-protocol"] == "v1.chat"
    assert "sec-websocket-accept" not in stream.head, "the key was the proxy's own"
    assert "upgrade" not in stream.head
    for size in (0, 1, 125, 126, 65_535, 65_536, MIB):
        message = rng.randbytes(size)
        stream.say(message)
        frame = stream.hear()
        assert (frame.opcode, frame.data) == (Opcode.BINARY, message)
    stream.close(1000, "done")
    assert stream.hear().opcode == Opcode.CLOSE
    assert stream.rest() == b""
    stream.send(b"", end=True)
    line = site.line("/chat?room=1")
    assert (line["response_code"], line["response_flags"], line["method"], line["protocol"]) == (
        101,
        "-",
        "GET",
        "HTTP/2",
    )


def test_the_server_closes(client: Client) -> None:
    stream = client.open("/close")
    assert stream.status == 200
    frame = stream.hear()
    assert (frame.opcode, frame.data[2:]) == (Opcode.CLOSE, b"enough")


def test_the_server_refuses(client: Client) -> None:
    stream = client.open("/private")
    assert stream.status == 401
    assert stream.rest() == b"who are you?"


def test_tunnels_and_requests_share_a_connection(client: Client, site: Site) -> None:
    streams = [client.open(f"/many/{number}") for number in range(40)]
    for number, stream in enumerate(streams):
        assert stream.status == 200
        stream.say(b"%d" % number)
    assert [stream.hear().data for stream in streams] == [b"%d" % number for number in range(40)]
    assert site.stats("upgrades_active") == 40
    streams[0].client.h2.reset_stream(streams[0].number, h2.errors.ErrorCodes.CANCEL)
    client.flush()
    eventually(lambda: site.stats("upgrades_active") == 39)
    for stream in streams[1:]:
        stream.say(b"still")
        assert stream.hear().data == b"still"
        stream.close(1000, "")
        stream.rest()
        stream.send(b"", end=True)
    eventually(lambda: site.stats("upgrades_active") == 0)
    assert site.line("/many/0")["response_flags"] == "DC"


def test_what_the_endpoint_is_asked(client: Client, site: Site) -> None:
    seen: list[bytes] = []

    def talk(connection: socket.socket, head: bytes, rest: bytes) -> None:
        seen.append(head)
        assert rest == b""
        connection.sendall(accepted(head) + b"hello")
        assert read_all(connection) == b"early and late"
        connection.sendall(b"bye")

    stream = client.open(site.raw.on("/asked", talk), authority="raw", x_user="ada")
    stream.send(b"early")  # before the endpoint has agreed
    assert stream.status == 200
    stream.send(b" and late", end=True)
    assert stream.rest() == b"hellobye"
    head = seen[0].lower()
    assert head.startswith(b"get /asked http/1.1\r\nhost: raw\r\n")
    for field in (b"connection: upgrade", b"upgrade: websocket", b"sec-websocket-version: 13", b"x-user: ada"):
        assert head.count(b"\r\n" + field + b"\r\n") == 1
    assert re.search(rb"\r\nsec-websocket-key: [a-z0-9+/]{22}==\r\n", head)
    assert b":protocol" not in head
    line = site.line("/asked")
    assert (line["response_code"], line["bytes_received"], line["bytes_sent"]) == (101, 14, 8)


def accepted(head: bytes) -> bytes:
    from websockets.utils import accept_key

    found = re.search(rb"\r\nsec-websocket-key: (\S+)\r\n", head, re.IGNORECASE)
    assert found is not None
    return re.sub(rb"Accept: \S+", b"Accept: " + accept_key(found[1].decode()).encode(), AGREE)


def test_an_accept_of_another_key(client: Client, site: Site) -> None:
    """The answer proves nothing about our request: it may come from a cache, or from no WebSocket at all."""

    def talk(connection: socket.socket, head: bytes, rest: bytes) -> None:
        connection.sendall(AGREE + b"injected")
        assert connection.recv(1) == b""

    stream = client.open(site.raw.on("/accept", talk), authority="raw")
    assert stream.status == 502
    assert b"injected" not in stream.rest()
    assert site.line("/accept")["response_flags"] == "UPE"


@pytest.mark.parametrize("first", ["client", "endpoint"])
def test_halves(client: Client, site: Site, first: str) -> None:
    body = random.Random(2).randbytes(MIB)
    got: list[bytes] = []

    def talk(connection: socket.socket, head: bytes, rest: bytes) -> None:
        connection.sendall(accepted(head))
        if first == "endpoint":
            connection.sendall(body)
            connection.shutdown(socket.SHUT_WR)
            got.append(read_all(connection))
        else:
            got.append(read_all(connection))
            connection.sendall(body)

    stream = client.open(site.raw.on(f"/half/{first}", talk), authority="raw")
    assert stream.status == 200
    if first == "endpoint":
        assert stream.rest() == body
        stream.send(body, end=True)
    else:
        stream.send(body, end=True)
        assert stream.rest() == body
    assert eventually(lambda: got) == [body]
    assert stream.error is None
    assert site.line(f"/half/{first}")["response_flags"] == "-"


def test_a_reset_endpoint_resets_the_stream(client: Client, site: Site) -> None:
    def talk(connection: socket.socket, head: bytes, rest: bytes) -> None:
        connection.sendall(accepted(head))
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    stream = client.open(site.raw.on("/reset", talk), authority="raw")
    assert stream.status == 200
    stream.send(b"x")
    stream.rest()
    assert stream.error is not None
    assert site.line("/reset")["response_flags"] == "UC"
    assert client.open("/private").status == 401, "the connection goes on"


def test_other_protocols_and_plain_connect(client: Client) -> None:
    assert client.open(protocol="connect-udp").status == 403
    number = client.h2.get_next_available_stream_id()
    stream = client.streams[number] = Stream(client, number)
    client.h2.send_headers(number, [(":method", "CONNECT"), (":authority", "app:80")])
    client.flush()
    assert stream.status == 405


def test_an_endpoint_that_does_not_agree_gets_nothing_more(client: Client, site: Site) -> None:
    def talk(connection: socket.socket, head: bytes, rest: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno")
        connection.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            assert read_head(connection) == (b"", b"")

    stream = client.open(site.raw.on("/no", talk), authority="raw")
    stream.send(b"GET /smuggled HTTP/1.1\r\nHost: raw\r\n\r\n")
    assert stream.status == 200
    assert stream.rest() == b"no"
