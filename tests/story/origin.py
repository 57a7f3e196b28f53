"""An upstream for story tests: `python -m tests.story.origin PORT...` answers `origin`; `/sleep/S` waits S seconds."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\norigin\n"


class Origin(asyncio.Protocol):
    def __init__(self) -> None:
        self.data = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        while b"\r\n\r\n" in self.data:
            head, _, self.data = self.data.partition(b"\r\n\r\n")
            wait = float(head.split(b"/sleep/")[1].split()[0]) if b"/sleep/" in head else 0.0
            if wait:
                asyncio.get_running_loop().call_later(wait, self.transport.write, ANSWER)
            else:
                self.transport.write(ANSWER)


async def serve(ports: list[int]) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Origin, "127.0.0.1", port, backlog=4096) for port in ports]
    print("origin ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    uvloop.run(serve([int(port) for port in sys.argv[1:]]))
