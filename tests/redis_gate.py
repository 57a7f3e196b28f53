"""A way to Redis that can be shut: questions wait until it is opened."""

from __future__ import annotations

import contextlib
import socket
import threading

from tests.running import Upstream


class Gate(Upstream):
    """Listens on a port of its own; `port` of Redis is behind it."""

    def __init__(self, port: int) -> None:
        super().__init__(self._pass_on)
        self._behind = port
        self._open = threading.Event()
        self._open.set()
        self.held = threading.Semaphore(0)  # released for every question that has to wait

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def _pass_on(self, client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._behind), 10) as redis:
            redis.settimeout(None)
            back = threading.Thread(target=copy, args=(redis, client), daemon=True)
            back.start()
            with contextlib.suppress(OSError):
                while said := client.recv(65536):
                    if not self._open.is_set():
                        self.held.release()
                        self._open.wait(30)
                    redis.sendall(said)
                redis.shutdown(socket.SHUT_WR)
            back.join(10)


def copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while said := source.recv(65536):
            target.sendall(said)
        target.shutdown(socket.SHUT_WR)
