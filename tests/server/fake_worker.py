"""A worker whose data plane is a few lines of Python: it answers every request with the plan's version and its own pid.

Life-cycle tests run it in place of the compiled core: `python -m tests.server.fake_worker CONTROL_FD ARENA_FD`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

from fastmesh.server import worker


class FakeConnection:
    def __init__(self, plane: FakePlane, sock: socket.socket) -> None:
        self.plane = plane
        self.sock = sock
        self.data = b""
        self.busy = False
        sock.setblocking(False)
        plane.loop.add_reader(sock.fileno(), self.readable)

    def readable(self) -> None:
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self.data += data
        while b"\r\n\r\n" in self.data and not self.busy:
            head, _, self.data = self.data.partition(b"\r\n\r\n")
            self.busy = True
            self.plane.active += 1
            delay = float(head.split(b"/sleep/")[1].split()[0]) if b"/sleep/" in head else 0.0
            if delay:
                self.plane.loop.call_later(delay, self.respond, head)
            else:
                self.respond(head)

    def respond(self, head: bytes) -> None:
        self.busy = False
        self.plane.active -= 1
        last = self.plane.draining or b"connection: close" in head.lower()
        told = self.plane.version
        if b" /ticket-keys " in head:
            told = self.plane.keys
        elif b" /credentials " in head:
            told = ",".join(f"{name}={serial}" for name, serial in self.plane.credentials.items()) or "none"
        body = f"{told} {os.getpid()}\n".encode()
        more = b"connection: close\r\n" if last else b""
        try:
            self.sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%s\r\n%s" % (len(body), more, body))
        except OSError:
            last = True
        if last:
            self.close()

    def close(self) -> None:
        if self in self.plane.open:
            self.plane.open.discard(self)
            self.plane.loop.remove_reader(self.sock.fileno())
            self.sock.close()


class FakeBuild:
    def __init__(self, items: Iterator[tuple[str, dict[str, Any]]]) -> None:
        self.items = items
        self.version = ""
        self.listeners: set[str] = set()
        self.credentials: dict[str, str] = {}

    def step(self, budget_us: int) -> bool:
        for kind, body in self.items:
            if kind == "listener":
                self.listeners.add(body["name"])
            if kind == "credential":
                if os.path.exists(os.environ.get("FAKE_REFUSAL", "")):
                    raise ValueError("this key is too exotic")
                assert body["key"].startswith(b"-----BEGIN PRIVATE KEY-----")
                self.credentials[body["name"]] = body["serial"]
            if kind == "mesh":
                self.version = body["version"]
                if "unbuildable" in self.version:
                    raise ValueError("this plan cannot be built")
                if "crash" in self.version:
                    os._exit(9)
                if "slow" in self.version:
                    time.sleep(0.01)
            return False
        return True


class FakePlane:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, arena_fd: int, index: int, settings: dict[str, Any], load: object = None
    ) -> None:
        self.loop = loop
        self.open: set[FakeConnection] = set()
        self.listeners: dict[str, int] = {}
        self.version = ""
        self.keys = "no-keys-yet"
        self.credentials: dict[str, str] = {}
        self.draining = False
        self.active = 0

    @property
    def connections(self) -> int:
        return len(self.open)

    @property
    def all_connections(self) -> int:
        return len(self.open)

    def press(self, level: int, shedding: int, pressures: tuple[int, int, int]) -> None:
        pass

    def close_quiet(self, milliseconds: int) -> None:
        pass

    def trim(self) -> None:
        pass

    def load(self, items: Iterator[tuple[str, dict[str, Any]]]) -> FakeBuild:
        return FakeBuild(items)

    def apply(self, built: FakeBuild, listeners: dict[str, int]) -> None:
        self.version = built.version
        self.credentials = built.credentials
        for name in self.listeners.keys() - built.listeners:
            self.release(self.listeners.pop(name))
        for name, fd in listeners.items():
            self.loop.add_reader(fd, self.accept, fd)
            self.listeners[name] = fd

    def accept(self, fd: int) -> None:
        listening = socket.socket(fileno=fd)
        try:
            while True:
                self.open.add(FakeConnection(self, listening.accept()[0]))
        except OSError:
            pass
        finally:
            listening.detach()

    def release(self, fd: int) -> None:
        self.accept(fd)
        self.loop.remove_reader(fd)
        os.close(fd)

    def drain(self, idle_grace: float) -> None:
        self.draining = True
        while self.listeners:
            self.release(self.listeners.popitem()[1])
        self.loop.call_later(idle_grace, self.close_idle)

    def close_idle(self) -> None:
        for connection in list(self.open):
            if not connection.busy:
                connection.close()
        if self.draining and self.open:
            self.loop.call_later(0.1, self.close_idle)

    def set_lease_bell(self, bell: object) -> None:
        pass

    def set_ticket_keys(self, keys: list[bytes]) -> None:
        assert all(len(key) == 80 for key in keys)
        self.keys = ",".join(hashlib.sha256(key).hexdigest()[:12] for key in keys) or "none"

    def cut(self) -> None:
        for connection in list(self.open):
            connection.close()

    def flush_logs(self) -> None:
        pass

    def reopen_logs(self) -> None:
        pass

    def set_log_level(self, level: str) -> None:
        pass


if __name__ == "__main__":
    worker.main(FakePlane)
