"""A real redis-server on a port of its own, in a folder of its own. Without it a test is skipped."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.ports import free_port

BINARY = shutil.which("redis-server")


class RedisServer:
    def __init__(self, directory: Path, *args: str) -> None:
        if BINARY is None:
            pytest.skip("there is no redis-server: make peers, or apt-get install redis-server")
        self.port = free_port()
        self._directory = directory
        self._args = args
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.address}"

    def start(self) -> None:
        assert BINARY is not None
        command = [BINARY, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._directory)]
        with open(self._directory / "redis.log", "ab") as log:
            self._process = subprocess.Popen([*command, *self._args], stdout=log, stderr=log)
        end = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            assert self._process.poll() is None, (self._directory / "redis.log").read_text()
            assert time.monotonic() < end, "redis-server does not listen"
            time.sleep(0.01)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, *words: str) -> bytes:
        """One command, the answer as it comes: for looks from outside."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            command = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words)
            connection.sendall(command)
            return connection.recv(65536)
