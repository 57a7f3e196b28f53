"""A load client that counts what goes wrong: `python -m tests.story.load HOST:PORT HOST-HEADER RATE FRESH [CERTS]`.

RATE requests a second leave on keep-alive connections and FRESH more a second on a connection each, by the clock (open
loop). It stops at SIGTERM, waits for what is in flight, and prints one JSON line. A request that is not answered
200 and whole is a failure; none is sent twice. With CERTS, a folder as --certs has it, it speaks mutual TLS; each new
connection shakes hands anew.
"""

from __future__ import annotations

import asyncio
import collections
import json
import signal
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from fastmesh.security.files import CHAIN, KEY, ROOTS

TICK = 0.005
PATIENCE = 10.0
MOST_CONNECTIONS = 512


class Client(asyncio.Protocol):
    """One connection with at most one request in flight."""

    def __init__(self, load: Load, keep: bool) -> None:
        self.load = load
        self.keep = keep
        self.sent_at: float | None = None
        self.used = False
        self.data = b""
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def send(self, intended: float) -> None:
        self.sent_at = intended
        self.load.in_flight += 1
        self.load.most_in_flight = max(self.load.most_in_flight, self.load.in_flight)
        if self.transport.is_closing():  # lost since it was connected
            self.done("closed new")
            return
        self.transport.write(self.load.request if self.keep else self.load.last_request)

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, end, body = self.data.partition(b"\r\n\r\n")
        if not end or len(body) < 7:
            return
        self.data = b""
        self.used = True
        self.done("" if head.startswith(b"HTTP/1.1 200") and body == b"origin\n" else "status " + head[9:12].decode())
        if not self.keep or b"connection: close" in head.lower():
            self.transport.close()
        elif not self.transport.is_closing():
            self.load.free.append(self)

    def done(self, failure: str) -> None:
        assert self.sent_at is not None
        self.load.in_flight -= 1
        if failure:
            self.load.failed[failure] += 1
            self.load.failed_at.append(self.sent_at)
        else:
            self.load.answered += 1
            self.load.slowest = max(self.load.slowest, time.monotonic() - self.sent_at)
        self.sent_at = None

    def connection_lost(self, error: Exception | None) -> None:
        if self.sent_at is not None:
            how = "cut" if self.data else "reset" if error is not None else "closed"
            self.done(f"{how} {'reused' if self.used else 'new'}")
        self.load.lost(self)


class Load:
    def __init__(self, address: str, host: str, certs: str = "") -> None:
        self.tls = mutual_tls(certs) if certs else None
        self.where = address.rpartition(":")[::2]
        self.request = f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()
        self.last_request = f"GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode()
        self.free: collections.deque[Client] = collections.deque()
        self.failed: collections.Counter[str] = collections.Counter()
        self.failed_at: list[float] = []  # when the requests that failed were sent, by the machine's clock
        self.answered = 0
        self.in_flight = self.most_in_flight = 0
        self.connections = 0
        self.slowest = 0.0
        self.unsent = 0  # for want of a connection: nobody was asked, and a busy machine is no failure of the proxy
        self.tasks: set[asyncio.Task[None]] = set()

    def lost(self, client: Client) -> None:
        self.connections -= 1
        if client in self.free:
            self.free.remove(client)

    async def connect(self, keep: bool, intended: float) -> None:
        loop = asyncio.get_running_loop()
        self.connections += 1
        self.in_flight += 1
        try:
            connecting = loop.create_connection(
                lambda: Client(self, keep), self.where[0], int(self.where[1]), ssl=self.tls
            )
            _, client = await asyncio.wait_for(connecting, PATIENCE)
        except (OSError, TimeoutError) as error:
            self.connections -= 1
            self.failed["refused" if isinstance(error, ConnectionRefusedError) else f"connect {error!r}"] += 1
        else:
            client.send(intended)
        finally:
            self.in_flight -= 1

    def start(self, keep: bool, intended: float) -> None:
        if keep and self.free:
            self.free.popleft().send(intended)
        elif self.connections < MOST_CONNECTIONS:
            task = asyncio.create_task(self.connect(keep, intended))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            self.unsent += 1

    async def run(self, rate: float, fresh: float, stop: asyncio.Event) -> None:
        began = last = time.monotonic()
        owed = {True: 0.0, False: 0.0}
        while not stop.is_set():
            await asyncio.sleep(TICK)
            now = time.monotonic()
            for keep, share in ((True, rate), (False, fresh)):
                owed[keep] += share * (now - last)
                for _ in range(int(owed[keep])):
                    self.start(keep, now)
                owed[keep] %= 1
            last = now
        ends = time.monotonic() + PATIENCE
        while self.in_flight and time.monotonic() < ends:
            await asyncio.sleep(0.01)
        self.failed["unanswered"] += self.in_flight
        self.report(time.monotonic() - began)

    def report(self, seconds: float) -> None:
        failed = {kind: count for kind, count in self.failed.items() if count}
        report = {"answered": self.answered, "failed": failed, "seconds": seconds, "slowest": self.slowest}
        report["unsent"], report["most_in_flight"] = self.unsent, self.most_in_flight
        report["failed_at"] = self.failed_at
        print(json.dumps(report), flush=True)


def mutual_tls(certs: str) -> ssl.SSLContext:
    """The server has to be of the same CA; SPIFFE ids are no host names."""
    folder = Path(certs)
    context = ssl.create_default_context(cafile=folder / ROOTS)
    context.check_hostname = False
    context.load_cert_chain(folder / CHAIN, folder / KEY)
    return context


async def main(address: str, host: str, rate: str, fresh: str, certs: str = "") -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("load ready", flush=True)
    await Load(address, host, certs).run(float(rate), float(fresh), stop)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:6]))
