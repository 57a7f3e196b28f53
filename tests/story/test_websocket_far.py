"""WebSocket to an endpoint that speaks HTTP/2 (RFC 8441), from clients of both versions."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest

from tests.adversity.test_tunnels import ASK, exactly
from tests.http2_endpoint import endpoint_of
from tests.running import Upstream, read_all, read_message, reset
from tests.story.test_websocket_h2 import Client
from tests.traffic import Story, eventually, stats

MIB = 1 << 20
EXTENDED = {h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}


class Far:
    """One stream at the endpoint."""

    def __init__(self, peer: FarPeer, number: int, head: dict[str, str]) -> None:
        self.peer = peer
        self.number = number
        self.head = head
        self.got = bytearray()
        self.out = bytearray()
        self.ending = self.ended = False
        self.code: int | None = None

    def agree(self, *fields: tuple[str, str]) -> None:
        self.peer.h2.send_headers(self.number, [(":status", "200"), *fields])

    def send(self, data: bytes = b"", end: bool = False) -> None:
        self.out += data
        self.ending = self.ending or end
        self.push()

    def push(self) -> None:
        h = self.peer.h2
        while self.out and (room := min(h.local_flow_control_window(self.number), h.max_outbound_frame_size)):
            h.send_data(self.number, bytes(self.out[:room]))
            del self.out[:room]
            self.peer.flush()
        if self.ending and not self.out:
            self.ending = False
            h.end_stream(self.number)
        self.peer.flush()


class FarPeer:
    def __init__(self, endpoint: FarEndpoint, connection: socket.socket) -> None:
        self.endpoint = endpoint
        self.socket = connection
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.streams: dict[int, Far] = {}

    def flush(self) -> None:
        if data := self.h2.data_to_send():
            self.socket.sendall(data)

    def talk(self) -> None:
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values=self.endpoint.settings)
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(MIB)
        self.flush()
        while data := self.socket.recv(1 << 18):
            for event in self.h2.receive_data(data):
                self.take(event)
            self.flush()

    def take(self, event: Any) -> None:
        stream = self.streams.get(getattr(event, "stream_id", 0) or 0)
        if isinstance(event, h2.events.RequestReceived):
            stream = self.streams[event.stream_id] = Far(self, event.stream_id, dict(event.headers))
            self.endpoint.seen.append(stream)
            self.endpoint.roads[stream.head[":path"]](stream)
        elif isinstance(event, h2.events.DataReceived):
            assert stream is not None
            stream.got += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.endpoint.on_data(stream, event.data)
        elif isinstance(event, h2.events.StreamEnded):
            assert stream is not None
            stream.ended = True
            self.endpoint.on_end(stream)
        elif isinstance(event, h2.events.StreamReset) and stream is not None:
            stream.code = int(event.error_code)
        elif isinstance(event, h2.events.WindowUpdated):
            for each in [stream] if stream is not None else list(self.streams.values()):
                each.push()


class FarEndpoint(Upstream):
    """Takes extended CONNECT; what happens to a stream is said by its path."""

    def __init__(self, settings: dict[Any, int]) -> None:
        super().__init__(lambda connection: FarPeer(self, connection).talk())
        self.settings = settings
        self.seen: list[Far] = []
        self.roads: dict[str, Callable[[Far], object]] = {}
        self.on_data: Callable[[Far, bytes], object] = lambda stream, data: None
        self.on_end: Callable[[Far], object] = lambda stream: None


class Site(NamedTuple):
    story: Story
    far: FarEndpoint

    def line(self, path: str) -> dict[str, Any]:
        return eventually(lambda: next(iter(self.story.lines(f'"{path}"')), None))  # type: ignore[return-value]

    def active(self) -> int:
        return next(iter(stats(self.story.proxy, "upgrades_active$").values()))

    def ask(self, path: str, host: bytes = b"far") -> socket.socket:
        connection = self.story.proxy.connect()
        connection.sendall((ASK % path.encode()).replace(b"Host: app", b"Host: " + host))
        return connection


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with FarEndpoint(EXTENDED) as far, FarEndpoint({}) as plain:
        plain.roads["/"] = lambda stream: None
        yaml = endpoint_of("far", far.port) + endpoint_of("plain", plain.port)
        with Story(tmp_path_factory.mktemp("far"), yaml) as story:
            yield Site(story, far)
        assert far.errors == plain.errors == []
        assert plain.seen == [], "nothing is asked that the endpoint did not allow"


def echo(stream: Far, data: bytes) -> None:
    stream.send(data)


def echo_end(stream: Far) -> None:
    stream.send(end=True)


def test_from_http_1(site: Site) -> None:
    site.far.on_data, site.far.on_end = echo, echo_end
    site.far.roads["/one"] = lambda stream: stream.agree(("sec-websocket-protocol", "chat"))
    body = random.Random(1).randbytes(MIB)
    with site.ask("/one") as client:
        head = exactly(client, until=b"\r\n\r\n").lower()
        assert head.startswith(b"http/1.1 101 ")
        for field in (b"connection: upgrade", b"upgrade: websocket", b"sec-websocket-protocol: chat"):
            assert head.count(b"\r\n" + field + b"\r\n") == 1
        assert b"\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n" in head, "of the client's own key"
        client.sendall(b"ping")
        assert exactly(client, 4) == b"ping"
        client.sendall(body)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == body
    asked = site.far.seen[-1].head
    assert (asked[":method"], asked[":protocol"], asked[":scheme"]) == ("CONNECT", "websocket", "http")
    assert (asked[":path"], asked[":authority"], asked["sec-websocket-version"]) == ("/one", "far", "13")
    assert not {"sec-websocket-key", "upgrade", "connection"} & set(asked)
    line = site.line("/one")
    assert (line["response_code"], line["response_flags"], line["bytes_sent"]) == (101, "-", MIB + 4)


def test_from_http_2(site: Site) -> None:
    site.far.on_data, site.far.on_end = echo, echo_end
    site.far.roads["/two"] = Far.agree
    body = random.Random(2).randbytes(MIB)
    with Client(site.story.port) as client:
        stream = client.open("/two", authority="far")
        stream.send(b"early")
        assert stream.status == 200
        assert stream.exactly(5) == b"early"
        stream.send(body, end=True)
        assert stream.rest() == body
        assert stream.error is None
    assert site.line("/two")["response_code"] == 101


def test_the_endpoint_ends_first(site: Site) -> None:
    body = random.Random(3).randbytes(MIB)
    ended: list[bytes] = []
    site.far.on_data = lambda stream, data: None
    site.far.on_end = lambda stream: ended.append(bytes(stream.got))

    def say(stream: Far) -> None:
        stream.agree()
        stream.send(b"question", end=True)

    site.far.roads["/first"] = say
    with site.ask("/first") as client:
        assert exactly(client, until=b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        assert read_all(client) == b"question"
        client.sendall(body)
    assert eventually(lambda: ended) == [body]
    eventually(lambda: site.active() == 0)
    assert site.line("/first")["response_flags"] == "-"


def test_resets(site: Site) -> None:
    site.far.on_data = lambda stream, data: None
    site.far.roads["/reset/client"] = Far.agree
    client = site.ask("/reset/client")
    assert exactly(client, until=b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
    reset(client)
    eventually(lambda: site.far.seen[-1].code == h2.errors.ErrorCodes.CANCEL)

    def hit(stream: Far) -> None:
        stream.agree()
        stream.peer.h2.reset_stream(stream.number, h2.errors.ErrorCodes.INTERNAL_ERROR)

    site.far.roads["/reset/endpoint"] = hit
    with site.ask("/reset/endpoint") as other:
        assert exactly(other, until=b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        assert read_all(other) == b""
    assert site.line("/reset/client")["response_flags"] == "DC"
    assert site.line("/reset/endpoint")["response_flags"] == "UC"


def test_another_answer(site: Site) -> None:
    def refuse(stream: Far) -> None:
        stream.peer.h2.send_headers(stream.number, [(":status", "403"), ("content-length", "2")])
        stream.send(b"no", end=True)

    site.far.roads["/no"] = refuse
    with site.ask("/no") as client:
        head, body = read_message(client)
        assert (head[:13], body) == (b"HTTP/1.1 403 ", b"no")
        client.sendall(b"GET /after HTTP/1.1\r\nHost: nobody\r\n\r\n")
        assert read_message(client)[0].startswith(b"HTTP/1.1 502 "), "what follows is a request"
    eventually(lambda: site.far.seen[-1].code is not None)


def test_an_endpoint_that_does_not_take_it(site: Site) -> None:
    with site.ask("/", host=b"plain") as client:
        head, body = read_message(client)
    assert head.startswith(b"HTTP/1.1 502 ")
    assert body == b"the endpoint takes no WebSocket over HTTP/2"
    line = site.line("/")
    assert (line["response_flags"], line["response_code_details"]) == ("UPE", "upgrade_not_supported_by_upstream")


def test_many_on_one_connection(site: Site) -> None:
    site.far.on_data, site.far.on_end = echo, echo_end
    site.far.roads["/many"] = Far.agree
    before = site.far.accepted
    clients = [site.ask("/many") for _ in range(60)]
    for number, client in enumerate(clients):
        assert exactly(client, until=b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        client.sendall(b"%03d" % number)
    for number, client in enumerate(clients):
        assert exactly(client, 3) == b"%03d" % number
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b""
        client.close()
    assert site.far.accepted <= before + 1
    eventually(lambda: site.active() == 0)
