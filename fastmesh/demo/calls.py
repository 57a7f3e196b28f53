"""As much of gRPC as the shop needs: unary calls over HTTP/2 in plaintext, by the package h2. Messages are bytes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, NamedTuple

import h2.config
import h2.connection
import h2.events

READ_SIZE = 65536
OK, UNIMPLEMENTED = 0, 12
Answer = Callable[[bytes], bytes]


def message(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


class Said(NamedTuple):
    """How a call ended."""

    http: int
    status: int
    data: bytes
    server: str


async def serve(
    methods: dict[str, Answer], name: str, sock: socket.socket, stop: asyncio.Event, ready: Callable[[], None]
) -> None:
    """Serve on a bound socket until `stop`, then let go of every connection."""
    writers: set[asyncio.StreamWriter] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            await _talk(methods, name, reader, writer)
        except ConnectionError:
            pass
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(accepted, sock=sock)
    ready()
    await stop.wait()
    server.close()
    for writer in list(writers):
        writer.close()


async def _talk(
    methods: dict[str, Answer], name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
    connection.initiate_connection()
    asked: dict[int, tuple[str, bytearray]] = {}
    while True:
        writer.write(connection.data_to_send())
        await writer.drain()
        data = await reader.read(READ_SIZE)
        if not data:
            return
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                asked[_stream(event)] = dict(_pairs(event))[":path"], bytearray()
            elif isinstance(event, h2.events.DataReceived):
                asked[_stream(event)][1].extend(event.data or b"")
                connection.acknowledge_received_data(event.flow_controlled_length or 0, _stream(event))
            elif isinstance(event, h2.events.StreamReset):
                asked.pop(_stream(event), None)
            elif isinstance(event, h2.events.StreamEnded) and _stream(event) in asked:
                _answer(connection, _stream(event), methods, name, *asked.pop(_stream(event)))


def _answer(connection: Any, stream: int, methods: dict[str, Answer], name: str, path: str, request: bytearray) -> None:
    method = methods.get(path)
    head = [(":status", "200"), ("content-type", "application/grpc"), ("x-served-by", name)]
    if method is None:
        connection.send_headers(stream, [*head, ("grpc-status", str(UNIMPLEMENTED))], end_stream=True)
        return
    connection.send_headers(stream, head)
    connection.send_data(stream, message(method(bytes(request[5:]))))
    connection.send_headers(stream, [("grpc-status", str(OK))], end_stream=True)


async def call(address: str, authority: str, method: str, data: bytes) -> Said:
    """One call on a connection of its own."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        connection.initiate_connection()
        stream = connection.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "http"), (":authority", authority), (":path", method)]
        connection.send_headers(stream, [*head, ("content-type", "application/grpc"), ("te", "trailers")])
        connection.send_data(stream, message(data), end_stream=True)
        fields: dict[str, str] = {}
        body = bytearray()
        while True:
            writer.write(connection.data_to_send())
            received = await reader.read(READ_SIZE)
            if not received:
                raise ConnectionError("the connection ended before the call did")
            for event in connection.receive_data(received):
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    fields |= dict(_pairs(event))
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data or b""
                elif isinstance(event, h2.events.StreamEnded):
                    status = int(fields.get("grpc-status", 2))
                    return Said(int(fields[":status"]), status, bytes(body[5:]), fields.get("x-served-by", ""))
                elif isinstance(event, h2.events.StreamReset):
                    raise ConnectionError("the call was reset")
    finally:
        writer.close()


def _pairs(event: Any) -> list[tuple[str, str]]:
    return [(str(name), str(value)) for name, value in event.headers or ()]


def _stream(event: Any) -> int:
    return int(event.stream_id or 0)
