"""Istio's samples, and what stands for their workloads in one process: names that answer, echoes, shares of calls.

A proxy takes one file set after the other by reload, so that a module of samples needs one mesh proxy and one gateway.
"""

from __future__ import annotations

import collections
import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.corpora import corpora_dir
from tests.ports import free_port
from tests.running import Upstream
from tests.traffic import Story, thing

SAMPLES = corpora_dir() / "istio" / "samples"
if not SAMPLES.is_dir():
    pytest.skip("Istio's samples are not here", allow_module_level=True)

TOGETHER = 50  # requests that are under way on one connection (RFC 9112 section 9.3.2)


def text(*files: str, more: str = "") -> str:
    """YAML of these files of the samples, and more of it."""
    return "\n---\n".join([*((SAMPLES / file).read_text() for file in files), more])


class Named(Upstream):
    """Answers every GET with `<name>`, as fast as Python can, and keeps the heads that came."""

    def __init__(self, name: str, address: str = "127.0.0.1") -> None:
        super().__init__(self._talk)
        self.name = name
        self.address = address
        self.heads: list[bytes] = []
        self.connections: list[socket.socket] = []
        if address != "127.0.0.1":
            self.socket.close()
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            self.socket = socket.create_server((address, 0), family=family, backlog=256)
            self.port = int(self.socket.getsockname()[1])

    def _talk(self, connection: socket.socket) -> None:
        answer = f"HTTP/1.1 200 OK\r\ncontent-length: {len(self.name) + 2}\r\n\r\n<{self.name}>".encode()
        self.connections.append(connection)
        data = b""
        while piece := connection.recv(65536):
            *heads, data = (data + piece).split(b"\r\n\r\n")
            self.heads += heads
            connection.sendall(answer * len(heads))

    def leave(self) -> None:
        """Nobody listens there any more, and nobody answers on the connections that there are."""
        self.__exit__()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def workload(name: str, port: int, labels: dict[str, str], named: str = "http", **fields: Any) -> str:
    spec = {"address": "127.0.0.1", "ports": {named: port}, "labels": labels, **fields}
    return thing("WorkloadEntry", name, spec)


@contextlib.contextmanager
def versions(app: str, *names: str) -> Iterator[str]:
    """A workload for each version of an app, which answers `<app-version>`; their YAML."""
    with contextlib.ExitStack() as stack:
        yaml = ""
        for version in names:
            named = stack.enter_context(Named(f"{app}-{version}"))
            yaml += workload(named.name, named.port, {"app": app, "version": version})
        yield yaml


def shares(port: int, host: str, times: int = 2000, target: str = "/", **headers: str) -> dict[str, float]:
    """Who answered what part of so many calls, made on four connections."""
    fields = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    calls = f"GET {target} HTTP/1.1\r\n{head}\r\n".encode() * TOGETHER
    counts: collections.Counter[str] = collections.Counter()
    for _ in range(4):
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            for _ in range(times // 4 // TOGETHER):
                connection.sendall(calls)
                counts.update(name.decode() for name in _bodies(connection))
    total = counts.total()
    assert total == times
    return {name: count / total for name, count in counts.items()}


def _bodies(connection: socket.socket) -> list[bytes]:
    data = b""
    while len(found := re.findall(rb"\r\n\r\n<([^>]+)>", data)) < TOGETHER:
        piece = connection.recv(65536)
        assert piece, data
        data += piece
        assert data.count(b"HTTP/1.1 200") == data.count(b"HTTP/1.1 "), data
    return found


def near(found: dict[str, float], wanted: dict[str, float], points: float = 5.0) -> None:
    """Every share is that close to what the rules say, in points of a hundred."""
    assert set(found) == set(wanted), found
    for name, share in wanted.items():
        assert abs(found[name] - share) * 100 <= points, (found, wanted)


class Edge(Story):
    """A gateway; `ports` says where the ports of its servers really are."""

    def __init__(self, directory: Path, yaml: str, *numbers: int) -> None:
        self.ports = {number: free_port() for number in numbers}
        maps = [word for number, port in self.ports.items() for word in ("--map", f"{number}={port}")]
        super().__init__(directory, yaml, "--bind", "127.0.0.1", *maps, role="gateway")
