"""A small keep-alive HTTP/1.1 client: what the demo's traffic and the order service call with."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import h11

READ_SIZE = 65536
TIMEOUT = 10.0  # seconds for a request; the services answer in milliseconds


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.h11 = h11.Connection(h11.CLIENT)

    @property
    def usable(self) -> bool:
        return not self.reader.at_eof() and not self.writer.is_closing()

    async def ask(self, request: h11.Request) -> tuple[h11.Response, bytes]:
        self.writer.write(self.h11.send(request) + self.h11.send(h11.EndOfMessage()))
        response, body = None, bytearray()
        while True:
            event = self.h11.next_event()
            if event is h11.NEED_DATA:
                self.h11.receive_data(await self.reader.read(READ_SIZE))
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert response is not None
                return response, bytes(body)
            elif isinstance(event, h11.ConnectionClosed):
                raise ConnectionResetError("closed without an answer")

    def again(self) -> bool:
        """Ready for the next request; False when this connection is at its end."""
        if self.h11.our_state is h11.DONE and self.h11.their_state is h11.DONE:
            self.h11.start_next_cycle()
            return True
        return False


class Client:
    """Requests to one address; idle connections are kept and used again."""

    def __init__(self, address: str) -> None:
        self.address = address
        host, _, port = address.rpartition(":")
        self._place = host, int(port)
        self._idle: list[_Connection] = []

    async def get(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
        """`headers` may name another `host`. A kept connection that turns out to be dead is replaced once."""
        fields = {"host": self.address, **(headers or {})}
        request = h11.Request(method=method, target=path, headers=list(fields.items()))
        started = time.perf_counter()
        async with asyncio.timeout(TIMEOUT):
            connection = self._kept()
            if connection is not None:
                try:
                    return await self._ask(connection, request, started)
                except (ConnectionError, h11.RemoteProtocolError):
                    pass
            connection = _Connection(*await asyncio.open_connection(*self._place))
            return await self._ask(connection, request, started)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().writer.close()

    def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.writer.close()
        return None

    async def _ask(self, connection: _Connection, request: h11.Request, started: float) -> Answer:
        keep = False
        try:
            response, body = await connection.ask(request)
            keep = connection.again()
        finally:
            if keep:
                self._idle.append(connection)
            else:
                connection.writer.close()
        headers = {name.decode(): value.decode("latin-1") for name, value in response.headers}
        return Answer(response.status_code, headers, body, time.perf_counter() - started)
