"""An HTTP/2 client that says what it is told to, right or wrong: frames by hand, header blocks by hpack."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITISED = 1, 1, 4, 8, 32
ERRORS = [
    *("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED"),
    *("FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM"),
    *("INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"),
]
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT, INITIAL_WINDOW, MAX_FRAME, MAX_HEADER_LIST = range(1, 7)

Fields = Iterable[tuple[str, str]]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def settings(*entries: tuple[int, int]) -> bytes:
    return frame(SETTINGS, payload=b"".join(id.to_bytes(2, "big") + value.to_bytes(4, "big") for id, value in entries))


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def rst_stream(stream: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def headers(stream: int, block: bytes, flags: int = 0, size: int = 16384) -> bytes:
    """A whole header block, in as many frames as it needs."""
    pieces = [block[at : at + size] for at in range(0, len(block), size)] or [b""]
    raw = b""
    for number, piece in enumerate(pieces, 1):
        raw += frame(
            CONTINUATION if raw else HEADERS,
            (0 if raw else flags) | (END_HEADERS if number == len(pieces) else 0),
            stream,
            piece,
        )
    return raw


def request(path: str = "/", method: str = "GET", host: str = "app", *more: tuple[str, str]) -> list[tuple[str, str]]:
    return [(":method", method), (":scheme", "http"), (":path", path), (":authority", host), *more]


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes
    fields: tuple[tuple[str, str], ...] = ()  # of HEADERS, decoded

    @property
    def end(self) -> bool:
        return self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM)

    @property
    def code(self) -> str:
        """Of RST_STREAM and GOAWAY."""
        at = 0 if self.kind == RST_STREAM else 4
        return ERRORS[int.from_bytes(self.payload[at : at + 4], "big")]

    @property
    def reason(self) -> str:
        return self.payload[8:].decode()

    @property
    def last_stream(self) -> int:
        return int.from_bytes(self.payload[:4], "big")


class Reply:
    """What has come on one stream."""

    def __init__(self) -> None:
        self.status = 0
        self.interim: list[int] = []
        self.headers: dict[str, str] = {}
        self.trailers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.ended = False
        self.reset = ""

    def take(self, got: Frame) -> None:
        if got.kind == RST_STREAM:
            self.reset = got.code
        elif got.kind == DATA:
            self.pieces.append(got.payload)
        elif got.kind == HEADERS:
            fields = dict(got.fields)
            if ":status" not in fields:
                self.trailers = fields
            elif fields[":status"].startswith("1"):
                self.interim.append(int(fields[":status"]))
            else:
                self.status, self.headers = int(fields[":status"]), fields
        self.ended = self.ended or got.end

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def over(self) -> bool:
        return self.ended or bool(self.reset)


class Http2:
    """One connection. Settings and pings of the proxy are answered; windows are opened when `generous`."""

    def __init__(
        self, port: int, *entries: tuple[int, int], timeout: float = 10.0, generous: bool = True, greet: bool = True
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 20
        self.generous = generous
        self.buffer = b""
        self.next_id = 1
        self.replies: dict[int, Reply] = {}
        self.goaway: Frame | None = None
        self.closed = False
        self.pongs: list[bytes] = []
        self.settings: dict[int, int] = {}
        self.windows = {0: 65535}  # what we may send
        if greet:
            self.send(PREFACE + settings(*entries))

    def __enter__(self) -> Http2:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # --- out

    def send(self, *raw: bytes) -> None:
        self.socket.sendall(b"".join(raw))

    def block(self, fields: Fields) -> bytes:
        return self.encoder.encode(list(fields))

    def open(self, fields: Fields, end: bool = True) -> int:
        """The head of a request on a new stream."""
        stream, self.next_id = self.next_id, self.next_id + 2
        self.send(self.head(stream, fields, end))
        return stream

    def head(self, stream: int, fields: Fields, end: bool = True) -> bytes:
        self.replies.setdefault(stream, Reply())
        self.windows.setdefault(stream, self.settings.get(INITIAL_WINDOW, 65535))
        return headers(stream, self.block(fields), END_STREAM if end else 0)

    def data(self, stream: int, payload: bytes, end: bool = False) -> None:
        self.send(frame(DATA, END_STREAM if end else 0, stream, payload))

    # --- in

    def read(self) -> Frame | None:
        """The next frame; None at the end of the connection."""
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            chunk = b""
            with contextlib.suppress(ConnectionError):
                chunk = self.socket.recv(1 << 18)
            if not chunk:
                self.closed = True
                return None
            self.buffer += chunk
        size = int.from_bytes(self.buffer[:3], "big")
        kind, flags = self.buffer[3], self.buffer[4]
        stream, payload = int.from_bytes(self.buffer[5:9], "big"), self.buffer[9 : 9 + size]
        self.buffer = self.buffer[9 + size :]
        got = Frame(kind, flags, stream, payload)
        if kind == HEADERS:
            while not flags & END_HEADERS:
                more = self.read()
                assert more is not None
                assert more.kind == CONTINUATION
                payload, flags = payload + more.payload, more.flags
            got = got._replace(
                payload=payload, fields=tuple((str(name), str(value)) for name, value in self.decoder.decode(payload))
            )
        self._note(got)
        return got

    def _note(self, got: Frame) -> None:
        if got.kind == SETTINGS and not got.flags & ACK:
            for at in range(0, len(got.payload), 6):
                entry = got.payload[at : at + 6]
                self.settings[int.from_bytes(entry[:2], "big")] = int.from_bytes(entry[2:], "big")
            self._try(frame(SETTINGS, ACK))
        elif got.kind == PING and got.flags & ACK:
            self.pongs.append(got.payload)
        elif got.kind == GOAWAY:
            self.goaway = got
        elif got.kind == WINDOW_UPDATE:
            self.windows[got.stream] = self.windows.get(got.stream, 0) + int.from_bytes(got.payload, "big")
        elif got.stream in self.replies:
            self.replies[got.stream].take(got)
            if got.kind == DATA and got.payload and self.generous:
                more = window_update(got.stream, len(got.payload)) if not got.end else b""
                self._try(window_update(0, len(got.payload)) + more)

    def _try(self, raw: bytes) -> None:
        with contextlib.suppress(OSError):
            self.send(raw)

    def wait(self, *streams: int) -> list[Reply]:
        """Read until all of them are over, or the connection is."""
        while not all(self.replies[stream].over for stream in streams) and self.read() is not None:
            pass
        return [self.replies[stream] for stream in streams]

    def until(self, kind: int) -> Frame:
        """Read until a frame of this kind comes."""
        while (got := self.read()) is not None:
            if got.kind == kind:
                return got
        raise AssertionError(f"the connection ended without {kind}; {self.goaway}")

    def drain(self) -> None:
        """Read until the proxy closes."""
        while self.read() is not None:
            pass

    def ask(self, path: str = "/", method: str = "GET", body: bytes | None = None, **more: Any) -> Reply:
        fields = request(path, method, more.pop("host", "app"), *((n.replace("_", "-"), v) for n, v in more.items()))
        stream = self.open(fields, end=body is None)
        if body is not None:
            self.upload(stream, body)
        return self.wait(stream)[0]

    def upload(self, stream: int, body: bytes) -> None:
        """A body as fast as the windows of the proxy allow."""
        at = 0
        while at < len(body) and not self.replies[stream].over:
            piece = body[at : at + min(self.windows[0], self.windows[stream], 16384)]
            if piece:
                at += len(piece)
                self.windows[0] -= len(piece)
                self.windows[stream] -= len(piece)
                self.data(stream, piece, end=at == len(body))
            elif self.read() is None:
                return
        if not body:
            self.data(stream, b"", end=True)

    def alive(self) -> bool:
        """Whether the connection still answers a ping."""
        mark = time.monotonic_ns().to_bytes(8, "big")
        self._try(frame(PING, payload=mark))
        while mark not in self.pongs:
            if self.read() is None:
                return False
        return True
