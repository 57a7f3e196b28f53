"""An HTTP/2 endpoint made of PyPI `h2`, which does as it is told: answers at once, later, in pieces, or wrongly."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from tests.running import Upstream
from tests.traffic import PATIENCE, Answer, Story, ask, destination_rule, eventually, thing, virtual_service

Pairs = list[tuple[str, str]]
Settings = dict[h2.settings.SettingCodes | int, int]
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def setting(id: int, value: int) -> bytes:
    return frame(SETTINGS, payload=id.to_bytes(2, "big") + value.to_bytes(4, "big"))


class Asked:
    """One request, and how it is answered."""

    def __init__(self, peer: Peer, stream: int, fields: Pairs) -> None:
        self.peer = peer
        self.stream = stream
        self.fields = fields
        self.body = b""
        self.trailers: Pairs = []
        self.ended = threading.Event()
        self.code: int | None = None  # of the RST_STREAM that ended it
        self.reset_seen = threading.Event()

    def __getitem__(self, name: str) -> str:
        return ", ".join(value for key, value in self.fields if key == name)

    @property
    def path(self) -> str:
        return self[":path"]

    def head(self, status: int = 200, *fields: tuple[str, str], end: bool = False) -> None:
        with self.peer.lock:
            self.peer.h2.send_headers(self.stream, [(":status", str(status)), *fields], end_stream=end)
            self.peer.flush()

    def data(self, data: bytes, end: bool = False) -> None:
        """As the windows allow; waits where they do not."""
        with self.peer.windows:
            while self.code is None:
                room = min(self.peer.h2.local_flow_control_window(self.stream), 16384, len(data))
                if room or not data:
                    self.peer.h2.send_data(self.stream, data[:room], end_stream=end and room == len(data))
                    self.peer.flush()
                    data = data[room:]
                if not data:
                    return
                if not room:
                    assert self.peer.windows.wait(PATIENCE), "no window"

    def finish(self, *trailers: tuple[str, str]) -> None:
        with self.peer.lock:
            if trailers:
                self.peer.h2.send_headers(self.stream, trailers, end_stream=True)
            else:
                self.peer.h2.end_stream(self.stream)
            self.peer.flush()

    def answer(self, status: int = 200, body: bytes = b"ok", *fields: tuple[str, str]) -> None:
        self.head(status, ("content-length", str(len(body))), *fields, end=not body)
        if body:
            self.data(body, end=True)

    def reset(self, code: int = 8) -> None:
        with self.peer.lock:
            self.peer.h2.reset_stream(self.stream, code)
            self.peer.flush()


class Peer:
    """One connection of the proxy."""

    def __init__(self, upstream: Endpoint, connection: socket.socket) -> None:
        self.upstream = upstream
        self.socket = connection
        self.lock = threading.RLock()
        self.windows = threading.Condition(self.lock)
        config = h2.config.H2Configuration(
            client_side=False, header_encoding="latin-1", validate_outbound_headers=False,
            normalize_outbound_headers=False)  # fmt: skip
        self.h2 = h2.connection.H2Connection(config)
        self.asked: dict[int, Asked] = {}
        self.goaway: int | None = None  # the code of the proxy's
        self.pings = 0
        self.pongs = threading.Semaphore(0)
        self.over = threading.Event()

    def flush(self) -> None:
        if data := self.h2.data_to_send():
            self.socket.sendall(data)

    @property
    def goaway_name(self) -> str:
        return h2.errors.ErrorCodes(self.goaway).name if self.goaway is not None else ""

    def raw(self, *data: bytes) -> None:
        with self.lock:
            self.flush()
            self.socket.sendall(b"".join(data))

    def block(self, fields: Pairs) -> bytes:
        """A header block in the connection's own table."""
        block: bytes = self.h2.encoder.encode(fields)
        return block

    def go_away(self, last: int, code: int = 0) -> None:
        self.raw(frame(GOAWAY, payload=last.to_bytes(4, "big") + code.to_bytes(4, "big")))

    def pong(self) -> bool:
        """The proxy has read all that was sent to it so far."""
        self.raw(frame(PING, payload=b"are you?"))
        return self.pongs.acquire(timeout=PATIENCE)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """End with a reset: the thread that reads closes the socket."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.shutdown(socket.SHUT_RD)

    def talk(self) -> None:
        with self.lock:
            self.h2.initiate_connection()
            if self.upstream.settings:
                self.h2.update_settings(self.upstream.settings)
            self.flush()
        self.upstream.greet(self)
        try:
            while data := self.socket.recv(65536):
                with self.lock:
                    events = self.h2.receive_data(data)
                    self.flush()
                for event in events:
                    self.take(event)
                with self.lock:
                    self.flush()
        except h2.exceptions.StreamClosedError:
            pass
        finally:
            with self.windows:
                self.windows.notify_all()
            self.over.set()

    def take(self, event: Any) -> None:
        match event:
            case h2.events.RequestReceived():
                asked = self.asked[event.stream_id] = Asked(self, event.stream_id, event.headers)
                self.upstream.seen.append(asked)
                self.upstream.begun(asked)
            case h2.events.DataReceived():
                self.asked[event.stream_id].body += event.data
                if self.upstream.takes:
                    with self.lock:
                        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                self.asked[event.stream_id].trailers = event.headers
            case h2.events.StreamEnded():
                self.asked[event.stream_id].ended.set()
                self.upstream.act(self.asked[event.stream_id])
            case h2.events.StreamReset():
                self.asked[event.stream_id].code = event.error_code
                self.asked[event.stream_id].reset_seen.set()
                with self.windows:
                    self.windows.notify_all()
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                with self.windows:
                    self.windows.notify_all()
            case h2.events.PingReceived():
                self.pings += 1
            case h2.events.PingAckReceived():
                self.pongs.release()
            case h2.events.ConnectionTerminated():
                self.goaway = event.error_code


class Endpoint(Upstream):
    """`act` gets each request when it is complete, `begun` when its head is there, `greet` each new connection."""

    def __init__(
        self,
        act: Callable[[Asked], object] | None = None,
        settings: Settings | None = None,
        takes: bool = True,
    ) -> None:
        super().__init__(self._talk)
        self.act: Callable[[Asked], object] = act or Asked.answer
        self.begun: Callable[[Asked], object] = lambda asked: None
        self.greet: Callable[[Peer], object] = lambda peer: None
        self.talk: Callable[[Peer], object] = Peer.talk
        self.settings = settings  # in force once the proxy has acknowledged them
        self.takes = takes  # opens windows as it reads
        self.seen: list[Asked] = []
        self.peers: list[Peer] = []

    def _talk(self, connection: socket.socket) -> None:
        peer = Peer(self, connection)
        self.peers.append(peer)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.talk(peer)


def endpoint_of(name: str, *ports: int, policy: dict[str, Any] | None = None, port_name: str = "http2") -> str:
    """A service whose port speaks HTTP/2, and a workload on loopback for each of `ports`."""
    spec = {"selector": {"app": name}, "ports": [{"name": port_name, "port": 80, "targetPort": 8000}]}
    text = thing("Service", name, spec, "v1")
    for number, port in enumerate(ports):
        entry = {"address": "127.0.0.1", "ports": {port_name: port}, "labels": {"app": name}}
        text += thing("WorkloadEntry", f"{name}-{number}", entry)
    return text + (destination_rule(name, policy) if policy else "")


class Service(NamedTuple):
    policy: dict[str, Any] | None = None
    rule: dict[str, Any] | None = None
    settings: Settings | None = None
    takes: bool = True
    port_name: str = "http2"
    endpoints: int = 1


class Case:
    """One service of a `World` with its first endpoint, asked through the proxy."""

    def __init__(self, story: Story, name: str, endpoints: list[Endpoint]) -> None:
        self.story = story
        self.name = name
        self.endpoints = endpoints
        self.endpoint = endpoints[0]

    def ask(self, target: str = "/", method: str = "GET", **more: Any) -> Answer:
        return ask(self.story.proxy, target, method, host=self.name, **more)

    def log(self, target: str = "/", method: str = "GET", **more: Any) -> tuple[Answer, dict[str, Any]]:
        """The answer and its line in the access log."""
        return self.story.ask(target, method, host=self.name, **more)

    def connect(self, head: str, *, timeout: float = PATIENCE) -> socket.socket:
        """A connection with the beginning of a request on it: `GET /` and fields."""
        connection = socket.create_connection(("127.0.0.1", self.story.port), timeout)
        line, *fields = head.split("\r\n")
        connection.sendall("\r\n".join([f"{line} HTTP/1.1", f"host: {self.name}", *fields, "", ""]).encode())
        return connection

    def stat(self, pattern: str) -> int:
        return sum(self.story.stats(f"outbound.80..{self.name}.default.*{pattern}").values())

    def act(self, act: Callable[[Asked], object]) -> None:
        self.endpoint.act = act

    def restart(self) -> None:
        """As it was at first: answers everything, remembers nothing."""
        for one in self.endpoints:
            one.act, one.begun, one.greet = Asked.answer, lambda asked: None, lambda peer: None
            one.seen.clear()

    @property
    def seen(self) -> list[Asked]:
        return self.endpoint.seen

    @property
    def peers(self) -> list[Peer]:
        return self.endpoint.peers

    @property
    def accepted(self) -> int:
        return self.endpoint.accepted

    def count(self, path: str) -> int:
        return sum(1 for asked in self.seen if asked.path == path)

    def last(self, path: str) -> Asked:
        return [asked for asked in self.seen if asked.path == path][-1]


class World:
    """One proxy in front of many services, each with endpoints of its own: a test takes one."""

    def __init__(self, directory: Path, services: dict[str, Service], *args: str) -> None:
        self.stack = contextlib.ExitStack()
        self.services = services
        self.cases: dict[str, Case] = {}
        self.directory = directory
        self.args = args

    def __enter__(self) -> World:
        yaml, made = "", {}
        for name, service in self.services.items():
            endpoints = [
                self.stack.enter_context(Endpoint(settings=service.settings, takes=service.takes))
                for _ in range(service.endpoints)
            ]
            made[name] = endpoints
            ports = [one.port for one in endpoints]
            yaml += endpoint_of(name, *ports, policy=service.policy, port_name=service.port_name)
            yaml += virtual_service(name, service.rule) if service.rule else ""
        story = self.stack.enter_context(Story(self.directory, yaml, *self.args))
        self.story = story
        self.cases = {name: Case(story, name, endpoints) for name, endpoints in made.items()}
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def __getitem__(self, name: str) -> Case:
        return self.cases[name]

    def check_nothing_is_left(self) -> None:
        """No request hangs, no endpoint met what it did not expect."""
        eventually(lambda: not sum(self.story.stats("upstream_rq_(active|pending_active)$").values()))
        for case in self.cases.values():
            for one in case.endpoints:
                assert not one.errors, (case.name, one.errors)
