"""A small ASGI server for the demo's services: HTTP/1.1 by h11, one coroutine a connection; WebSockets that only tell.
No TLS, no lifespan.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote

import h11

from fastmesh.demo import websocket

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

READ_SIZE = 65536
PROTOCOL_ERROR = [("content-type", "text/plain"), ("content-length", "0"), ("connection", "close")]


async def serve(app: App, sock: socket.socket, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    """Serve on a bound socket until `stop`, then let go of every connection."""
    connections: set[asyncio.Task[None]] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await Connection(app, reader, writer).run()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_server(accepted, sock=sock)
    ready()
    await stop.wait()
    server.close()
    for task in list(connections):
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)


class Connection:
    """One client. `run` takes request after request; `receive` and `send` are what ASGI gives to the app."""

    def __init__(self, app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._app = app
        self._reader = reader
        self._writer = writer
        self._h11 = h11.Connection(h11.SERVER)
        self._start: Message | None = None  # the app's http.response.start, sent with the first body message
        self._head = False

    async def run(self) -> None:
        while True:
            try:
                event = await self._next()
                if not isinstance(event, h11.Request):
                    return
                if dict(event.headers).get(b"upgrade", b"").lower() == b"websocket":
                    await self._tell(event)
                    return
                await self._answer(event)
                await self._skip_request_body()
            except h11.RemoteProtocolError as error:
                await self._refuse(error.error_status_hint)
                return
            if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
                return
            self._h11.start_next_cycle()

    async def _answer(self, request: h11.Request) -> None:
        self._head = request.method == b"HEAD"
        self._start = None
        try:
            await self._app(self._scope(request), self.receive, self.send)
        except (h11.RemoteProtocolError, ConnectionError):
            raise
        except Exception:
            traceback.print_exc(file=sys.stderr)
            await self._refuse(500)

    async def _tell(self, request: h11.Request) -> None:
        """A WebSocket: what the app sends until it closes, then the client's goodbye is awaited."""
        scope = {**self._scope(request), "type": "websocket"}
        key = dict(request.headers).get(b"sec-websocket-key", b"")

        async def send(message: Message) -> None:
            if message["type"] == "websocket.accept":
                accept = ("sec-websocket-accept", websocket.accept(key))
                fields = [("upgrade", "websocket"), ("connection", "Upgrade"), accept, *message.get("headers", [])]
                await self._write(h11.InformationalResponse(status_code=101, headers=fields))
                return
            told = message["type"] == "websocket.send"
            text = message["text"].encode() if told else (1000).to_bytes(2, "big")
            self._writer.write(websocket.frame(websocket.TEXT if told else websocket.CLOSE, text))
            await self._writer.drain()

        await self._app(scope, self.receive, send)
        while await self._reader.read(READ_SIZE):
            pass

    def _scope(self, request: h11.Request) -> Message:
        path, _, query = request.target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": request.http_version.decode(),
            "method": request.method.decode(),
            "scheme": "http",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(request.headers),
            "client": self._writer.get_extra_info("peername"),
            "server": self._writer.get_extra_info("sockname"),
        }

    async def receive(self) -> Message:
        if self._h11.their_state is h11.SEND_BODY:
            if self._h11.they_are_waiting_for_100_continue:
                await self._write(h11.InformationalResponse(status_code=100, headers=[]))
            event = await self._next()
            if isinstance(event, h11.Data):
                return {"type": "http.request", "body": bytes(event.data), "more_body": True}
            if isinstance(event, h11.EndOfMessage):
                return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        if self._start is not None:
            start, self._start = self._start, None
            headers = [*start.get("headers", []), (b"date", formatdate(usegmt=True).encode())]
            await self._write(h11.Response(status_code=start["status"], headers=headers))
        body = message.get("body", b"")
        if body and not self._head:
            await self._write(h11.Data(data=body))
        if not message.get("more_body", False):
            await self._write(h11.EndOfMessage())

    async def _next(self) -> Any:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            self._h11.receive_data(await self._reader.read(READ_SIZE))
        return event

    async def _skip_request_body(self) -> None:
        while self._h11.their_state is h11.SEND_BODY:
            await self._next()

    async def _write(self, event: Any) -> None:
        data = self._h11.send(event)
        if data:
            self._writer.write(data)
            await self._writer.drain()

    async def _refuse(self, status: int) -> None:
        if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._write(h11.Response(status_code=status, headers=PROTOCOL_ERROR))
            await self._write(h11.EndOfMessage())
