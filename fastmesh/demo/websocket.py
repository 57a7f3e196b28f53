"""As much of WebSocket (RFC 6455) as the shop needs: a server that tells short texts and closes, a client."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import Iterable

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE = 0x81, 0x88
SHORT = 125  # bytes of a message whose length is one byte


def accept(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())


def frame(kind: int, payload: bytes) -> bytes:
    """A frame of a server, without a mask."""
    assert len(payload) <= SHORT
    return bytes((kind, len(payload))) + payload


def masked(kind: int, payload: bytes) -> bytes:
    """A frame of a client."""
    assert len(payload) <= SHORT
    mask = os.urandom(4)
    return bytes((kind, 0x80 | len(payload))) + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


async def listen(address: str, path: str, headers: Iterable[tuple[str, str]] = ()) -> tuple[int, list[str]]:
    """The status of the answer, and the messages until the server closes."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        key = base64.b64encode(os.urandom(16))
        fields = [
            ("Host", address),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
        ]
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in [*fields, *headers])]
        writer.write("\r\n".join([*lines, f"Sec-WebSocket-Key: {key.decode()}", "", ""]).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        if status != 101 or accept(key) not in head:
            return status, []
        messages: list[str] = []
        while True:
            kind, size = await reader.readexactly(2)
            payload = await reader.readexactly(size)
            if kind == CLOSE:
                writer.write(masked(CLOSE, payload))
                return status, messages
            messages.append(payload.decode())
    finally:
        writer.close()
