"""One request of each kind, and a close look at its answer: before a load a proxy has to show the upstream's body."""

from __future__ import annotations

import socket
import ssl
import struct
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events

BODY = "x" * 13
MESSAGE = struct.pack(">BI", 0, len(BODY)) + BODY.encode()  # gRPC: not compressed, and how long
WANTED = {
    "h1": f"200 {BODY}",  # what upstream.c and upstream_h2.c answer, so that no proxy can pass with its own answer
    "h2": f"200 {BODY}",
    "grpc": f"200 {MESSAGE.decode()} grpc-status 0",
}


@dataclass(frozen=True)
class Question:
    """`clients` is h1 or h2, `app` is h1, h2 or grpc: what the upstream answers."""

    port: int
    host: str
    clients: str = "h1"
    app: str = "h1"
    tls: bool = False

    @property
    def wanted(self) -> str:
        return WANTED[self.app]

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=2)
        if not self.tls:
            return connection
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context.wrap_socket(connection, server_hostname=self.host)

    def ask(self, connection: socket.socket) -> str:
        """The answer as `wanted` writes it, or whatever came instead."""
        return _ask_h2(self, connection) if self.clients == "h2" else _ask_h1(self, connection)


def _ask_h1(question: Question, connection: socket.socket) -> str:
    connection.sendall(f"GET /small HTTP/1.1\r\nHost: {question.host}\r\n\r\n".encode())
    answer = connection.recv(65536).decode("latin-1")
    body = answer.partition("\r\n\r\n")[2] or connection.recv(65536).decode("latin-1")
    return f"{answer[9:12]} {body[:60]}"


def _ask_h2(question: Question, connection: socket.socket) -> str:
    is_call = question.app == "grpc"
    codec = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    codec.initiate_connection()
    fields = [(":scheme", "http"), (":authority", question.host)]
    if is_call:
        call = [("content-type", "application/grpc"), ("te", "trailers")]
        codec.send_headers(1, [(":method", "POST"), (":path", "/bench.Echo/Say"), *fields, *call])
        codec.send_data(1, MESSAGE, end_stream=True)
    else:
        codec.send_headers(1, [(":method", "GET"), (":path", "/small"), *fields], end_stream=True)
    connection.sendall(codec.data_to_send())
    answer = _Answer()
    while not answer.over:
        data = connection.recv(65536)
        if not data:
            return f"{answer.text} and the end of the connection"
        for event in codec.receive_data(data):
            answer.take(event)
        connection.sendall(codec.data_to_send())
    return answer.text


@dataclass
class _Answer:
    status: str = ""
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    over: str = ""

    def take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self.status = dict(_texts(event.headers))[":status"]
        elif isinstance(event, h2.events.DataReceived):
            self.body += event.data or b""
        elif isinstance(event, h2.events.TrailersReceived):
            self.trailers = _texts(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            self.over = "ended"
        elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
            self.over = f" and error {event.error_code}"

    @property
    def text(self) -> str:
        trailers = "".join(f" {name} {value}" for name, value in self.trailers)
        error = self.over if self.over != "ended" else ""
        return f"{self.status} {self.body[:60].decode('latin-1')}{trailers}{error}"


def _texts(fields: object) -> list[tuple[str, str]]:
    return [(str(name), str(value)) for name, value in fields]  # type: ignore[attr-defined]
