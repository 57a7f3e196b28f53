"""A client of HTTP/2 by the `h2` package, in plaintext (prior knowledge) and in TLS, one thread."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings

from tests.interop.pki import Authority, Party
from tests.running import DEADLINE

WINDOW = 1 << 20


class Reset(Exception):  # noqa: N818
    """The stream was reset, or its connection is gone."""


@dataclass
class Stream:
    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    trailers: dict[str, str] = field(default_factory=dict)
    ended: bool = False
    error: int | None = None  # of RST_STREAM, or of the connection's end


def context(pki: Authority, party: Party | None = None, alpn: tuple[str, ...] = ("h2",)) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(pki.roots))
    made.set_alpn_protocols(list(alpn))
    if party:
        made.load_cert_chain(party.chain, party.key)
    return made


class H2Client:
    """On a connection of its own to a port, or on one that is given."""

    def __init__(
        self, to: int | socket.socket, tls: ssl.SSLContext | None = None, host: str = "app.example", **sizes: int
    ) -> None:
        self.host = host
        self.scheme = "http" if tls is None else "https"
        self.socket = socket.create_connection(("127.0.0.1", to), DEADLINE) if isinstance(to, int) else to
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=host)
            assert self.socket.selected_alpn_protocol() == "h2"
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.streams: dict[int, Stream] = {}
        self.goaway: int | None = None
        self.pongs = 0
        self.acknowledging = True  # bodies are taken: windows open again
        self.h2.initiate_connection()
        if sizes:
            self.h2.update_settings({h2.settings.SettingCodes(code): value for code, value in _codes(sizes)})
        self.h2.increment_flow_control_window(WINDOW)
        self.flush()

    def __enter__(self) -> H2Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()

    def flush(self) -> None:
        if data := self.h2.data_to_send():
            self.socket.sendall(data)

    def begin(self, path: str, method: str = "GET", *, end: bool = True, host: str = "", **fields: str) -> int:
        """Send a request's head; its stream's number."""
        stream: int = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", self.scheme), (":authority", host or self.host), (":path", path)]
        head += [(name.replace("_", "-"), value) for name, value in fields.items()]
        self.streams[stream] = Stream()
        self.h2.send_headers(stream, head, end_stream=end)
        self.flush()
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = True, trailers: dict[str, str] | None = None) -> None:
        """A body as the peer's windows let it out; answers are taken in meanwhile."""
        view = memoryview(data)
        while view and self.streams[stream].error is None:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room <= 0:
                self.take()
                continue
            self.h2.send_data(stream, bytes(view[:room]), end_stream=end and not trailers and room >= len(view))
            view = view[room:]
            self.flush()
        if trailers is not None:
            self.h2.send_headers(stream, list(trailers.items()), end_stream=True)
        elif end and not data:
            self.h2.end_stream(stream)
        self.flush()

    def reset(self, stream: int) -> None:
        self.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        self.flush()

    def take(self) -> None:
        """Read once. At the end of the connection every open stream ends in error."""
        try:
            data = self.socket.recv(1 << 18)
        except (ConnectionError, ssl.SSLError):
            data = b""
        if not data:
            self._lose(-1)
            return
        for event in self.h2.receive_data(data):
            self._note(event)
        self.flush()

    def _lose(self, why: int) -> None:
        for stream in self.streams.values():
            if not stream.ended and stream.error is None:
                stream.error = why

    def _note(self, event: Any) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = int(event.error_code or 0)
            self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN  # it takes no frame after a GOAWAY
        elif isinstance(event, h2.events.PingAckReceived):
            self.pongs += 1
        stream = self.streams.get(getattr(event, "stream_id", None) or 0)
        if stream is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            stream.fields = {str(name): str(value) for name, value in event.headers or ()}
            stream.status = int(stream.fields[":status"])
        elif isinstance(event, h2.events.DataReceived):
            stream.body += event.data or b""
            if self.acknowledging:
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
        elif isinstance(event, h2.events.TrailersReceived):
            stream.trailers = {str(name): str(value) for name, value in event.headers or ()}
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
        elif isinstance(event, h2.events.StreamReset):
            stream.error = int(event.error_code or 0)

    def finish(self, stream: int) -> Stream:
        """Read until the stream has ended; Reset when it ends otherwise."""
        found = self.streams[stream]
        while not found.ended and found.error is None:
            self.take()
        if found.error is not None:
            raise Reset(found.error)
        return found

    def attempt(self, path: str, method: str = "GET", **more: Any) -> Stream:
        """As `ask` without a body, whatever comes of it."""
        stream = self.begin(path, method, **more)
        with contextlib.suppress(Reset):
            self.finish(stream)
        return self.streams[stream]

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **more: Any) -> Stream:
        trailers = more.pop("trailers", None)
        stream = self.begin(path, method, end=body is None and trailers is None, **more)
        if body is not None or trailers is not None:
            self.send(stream, body or b"", trailers=trailers)
        return self.finish(stream)

    def ping(self) -> None:
        """Returns when the answer is there: whatever was sent before has been seen."""
        before = self.pongs
        self.h2.ping(b"01234567")
        self.flush()
        while self.pongs == before:
            self.take()


def _codes(sizes: dict[str, int]) -> Iterator[tuple[int, int]]:
    names = {"window": h2.settings.SettingCodes.INITIAL_WINDOW_SIZE, "frame": h2.settings.SettingCodes.MAX_FRAME_SIZE}
    yield from ((int(names[name]), value) for name, value in sizes.items())
