"""The server at the end of every road: HTTP/1.1 in threads, which sends back what it got.

`/bytes/N` N bytes by length, `/stream/N` the same in chunks, `/echo` the request's body (in chunks if it came so),
`/headers` what it saw as JSON, `/trailers` trailers for trailers, `/cut/N` half of N bytes and then nothing,
`/wait` answers when `release` is set.
"""

from __future__ import annotations

import json
import socket
import threading
from typing import BinaryIO, NamedTuple

from tests.running import Upstream
from tests.traffic import read_fields

PIECE = 16_384


def pattern(size: int) -> bytes:
    """`size` bytes in which no two places of a MiB look alike."""
    words = b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))
    return words[:size]


class Seen(NamedTuple):
    method: str
    path: str
    fields: dict[str, str]
    body: bytes
    trailers: dict[str, str]


class Origin(Upstream):
    def __init__(self) -> None:
        super().__init__(self._talk)
        self.seen: list[Seen] = []
        self.release = threading.Event()

    @property
    def last(self) -> Seen:
        return self.seen[-1]

    def _talk(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection.makefile("rb") as stream:
            while (request := self._read(stream, connection)) is not None:
                self.seen.append(request)
                kind, _, rest = request.path.partition("?")[0].strip("/").partition("/")
                if not self._answer(connection, request, kind, rest):
                    return

    def _read(self, stream: BinaryIO, connection: socket.socket) -> Seen | None:
        line = stream.readline()
        if not line.endswith(b"\r\n"):
            return None
        method, path, _ = line.decode("latin-1").split(" ")
        fields = read_fields(stream)
        if fields.get("expect") == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if fields.get("transfer-encoding") == "chunked":
            body, trailers = read_chunks(stream)
            return Seen(method, path, fields, body, trailers)
        return Seen(method, path, fields, stream.read(int(fields.get("content-length", 0))), {})

    def _answer(self, connection: socket.socket, request: Seen, kind: str, rest: str) -> bool:
        """Whether the connection may be used again."""
        if kind == "wait":
            assert self.release.wait(30)
        if kind == "cut":
            by_length(connection, pattern(int(rest) // 2), int(rest))
            return False
        if kind == "stream":
            in_chunks(connection, pattern(int(rest)))
        elif kind == "trailers":
            in_chunks(connection, request.body, x_sum=request.trailers.get("x-check", "none"))
        elif kind == "echo" and request.fields.get("transfer-encoding"):
            in_chunks(connection, request.body)
        elif kind == "echo":
            by_length(connection, request.body)
        elif kind == "bytes":
            by_length(connection, b"" if request.method == "HEAD" else pattern(int(rest)), int(rest))
        elif kind == "headers":
            by_length(connection, json.dumps(request.fields).encode())
        else:
            by_length(connection, b"origin")
        return True


def read_chunks(stream: BinaryIO) -> tuple[bytes, dict[str, str]]:
    """Body and trailers; ValueError when it is cut."""
    body = b""
    while size := int(stream.readline().split(b";")[0], 16):
        body += stream.read(size)
        stream.readline()
    return body, read_fields(stream)


def by_length(connection: socket.socket, body: bytes, told: int = -1) -> None:
    size = len(body) if told < 0 else told
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + body)


def in_chunks(connection: socket.socket, body: bytes, **trailers: str) -> None:
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in trailers.items()).encode()
    told = f"trailer: {', '.join(trailers).replace('_', '-')}\r\n".encode() if trailers else b""
    connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n" + told + b"\r\n")
    for start in range(0, len(body), PIECE):
        piece = body[start : start + PIECE]
        connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
    connection.sendall(b"0\r\n" + named + b"\r\n")
