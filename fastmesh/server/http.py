"""A small HTTP/1.1 server for the master's own pages: h11 is the codec, asyncio's streams carry the bytes.

It serves operators and scrapers, not traffic: every limit is low, and a request is answered from memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from email.utils import formatdate
from urllib.parse import parse_qs, urlsplit

import h11
import msgspec

log = logging.getLogger("fastmesh.admin")

READ_BYTES = 16384
REQUEST_PATIENCE = 10.0  # for a whole request, and for the next one on a connection
MAX_CONNECTIONS = 128
MAX_BODY = 65536


class Request(msgspec.Struct, frozen=True):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case; of repeated ones the last


class Response(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


Answer = Callable[[Request], Response]


class HttpServer:
    """Serves `answer` on one listening socket."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, sock: socket.socket) -> None:
        """The socket stays the caller's: a duplicate is served, so that an upgrade can hand over the original."""
        self._server = await asyncio.start_server(self._connected, sock=sock.dup())

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            if len(self._open) <= MAX_CONNECTIONS:
                await _Conversation(reader, writer, self._answer).run()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            with contextlib.suppress(OSError):
                writer.close()


class _Conversation:
    """The requests of one connection, one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._codec = h11.Connection(h11.SERVER, max_incomplete_event_size=READ_BYTES)

    async def run(self) -> None:
        try:
            while await asyncio.wait_for(self._exchange(), REQUEST_PATIENCE):
                self._codec.start_next_cycle()
        except h11.RemoteProtocolError as error:
            if self._codec.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                await self._send(Response(error.error_status_hint, b"bad request\n"), head_only=False)
        except TimeoutError:
            pass

    async def _exchange(self) -> bool:
        """Whether another request may follow."""
        head = await self._next_event()
        if not isinstance(head, h11.Request):
            return False
        received = 0
        while not isinstance(event := await self._next_event(), h11.EndOfMessage):
            received += len(event.data) if isinstance(event, h11.Data) else 0
            if received > MAX_BODY or isinstance(event, h11.ConnectionClosed):
                return False
        await self._send(self._ask(head), head_only=head.method == b"HEAD")
        return self._codec.our_state is h11.DONE and self._codec.their_state is h11.DONE

    def _ask(self, head: h11.Request) -> Response:
        try:
            return self._answer(_read_request(head))
        except ValueError as error:
            return Response(400, f"{error}\n".encode())
        except Exception:
            log.exception("an admin request failed")
            return Response(500, b"internal error; the log says more\n")

    async def _next_event(self) -> h11.Event | h11.ConnectionClosed:
        while True:
            event = self._codec.next_event()
            if event is h11.NEED_DATA:
                if self._codec.they_are_waiting_for_100_continue:
                    go_on = self._codec.send(h11.InformationalResponse(status_code=100, headers=[]))
                    self._writer.write(go_on or b"")
                self._codec.receive_data(await self._reader.read(READ_BYTES))
                continue
            if isinstance(event, type):  # h11.PAUSED: the client sends ahead
                return h11.ConnectionClosed()
            return event

    async def _send(self, response: Response, head_only: bool) -> None:
        headers = [
            ("date", formatdate(usegmt=True)),
            ("content-type", response.content_type),
            ("content-length", str(len(response.body))),
            ("cache-control", "no-cache, max-age=0"),
            ("x-content-type-options", "nosniff"),
            *response.headers,
        ]
        out = self._codec.send(h11.Response(status_code=response.status, headers=headers)) or b""
        if not head_only:
            out += self._codec.send(h11.Data(data=response.body)) or b""
        out += self._codec.send(h11.EndOfMessage()) or b""
        self._writer.write(out)
        await self._writer.drain()


def _read_request(head: h11.Request) -> Request:
    parts = urlsplit(head.target.decode("ascii"))
    query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
    return Request(head.method.decode(), parts.path or "/", query, headers)
