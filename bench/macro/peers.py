"""Start and stop of one proxy: ready when it answers through the upstream; its worker is who holds the socket."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from . import process
from .measure import serving_process
from .upstream import free_port

MANY_HOSTS = 10_000
DOMAIN = "bench.example"
APPLICATION = "200 " + "x" * 13  # what upstream.c answers, so that no proxy can pass with an answer of its own


def host_names(count: int) -> list[str]:
    """The hosts that a proxy is configured with; `load -n` asks for the same names."""
    return ["bench"] if count == 1 else [f"h{number:05d}.{DOMAIN}" for number in range(count)]


@dataclass(frozen=True)
class Setup:
    """What a proxy has to be configured for; every peer turns this into its own best form."""

    folder: Path
    upstream: int
    hosts: int = 1
    log: bool = False
    port: int = field(default_factory=free_port)
    admin: int = field(default_factory=free_port)

    @property
    def log_file(self) -> Path:
        return self.folder / "access.log"


class Peer(ABC):
    """A proxy that can take part."""

    name: str
    log_to_stdout = False  # the proxy writes its access log there, and we make that a file
    patience = 30.0

    @abstractmethod
    def missing(self) -> str | None:
        """Why it cannot take part, in one line; may install what is lacking. None: it can."""

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def command(self, setup: Setup) -> list[str]:
        """Write the configuration into the setup's folder and say how to start."""

    def uncounted(self, setup: Setup, requests: int) -> int:
        """Requests that its metrics should show and do not; rivals run without metrics and owe none."""
        return 0

    def environment(self) -> dict[str, str] | None:
        return None


@dataclass
class Running:
    """A proxy that answers."""

    peer: Peer
    setup: Setup
    child: subprocess.Popen[bytes]
    worker: int = 0

    @property
    def port(self) -> int:
        return self.setup.port

    @property
    def family(self) -> list[int]:
        return [self.child.pid, *process.descendants(self.child.pid)]

    @property
    def others(self) -> list[int]:
        """Masters and helpers: all of its processes but the one that serves."""
        return [pid for pid in self.family if pid != self.worker]


@contextmanager
def running(peer: Peer, setup: Setup) -> Iterator[Running]:
    """`with running(peer, setup) as proxy`; raises RuntimeError with the proxy's own words when it does not come up."""
    setup.folder.mkdir(parents=True)
    with (setup.folder / "stderr").open("wb") as errors, _stdout(peer, setup) as output:
        child = process.start(
            peer.command(setup), process.PROXY_CORE, output=output, errors=errors, env=peer.environment()
        )
        proxy = Running(peer, setup, child)
        try:
            _wait_until_ready(proxy)
            yield proxy
        finally:
            process.stop(child)
            shutil.rmtree(setup.folder, ignore_errors=True)


def _stdout(peer: Peer, setup: Setup) -> IO[bytes]:
    target = setup.log_file if peer.log_to_stdout and setup.log else setup.folder / "stdout"
    return target.open("ab")


def _wait_until_ready(proxy: Running) -> None:
    deadline = time.monotonic() + proxy.peer.patience
    host, last = host_names(proxy.setup.hosts)[-1], "no answer"
    while time.monotonic() < deadline:
        if proxy.child.poll() is not None:
            raise RuntimeError(f"exit {proxy.child.returncode}: {_last_words(proxy.setup)}")
        try:
            last = _ask(proxy, host)
            if last == APPLICATION and proxy.worker:
                return
        except (OSError, http.client.HTTPException) as error:
            last = str(error)
        time.sleep(0.05)
    raise RuntimeError(f"not ready after {proxy.peer.patience:.0f} s ({last}): {_last_words(proxy.setup)}")


def _ask(proxy: Running, host: str) -> str:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=2) as connection:
        connection.sendall(f"GET /small HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        answer = connection.recv(65536).decode("latin-1")
        body = answer.partition("\r\n\r\n")[2] or connection.recv(65536).decode("latin-1")
        proxy.worker = serving_process(proxy.family, connection) or 0
    return f"{answer[9:12]} {body[:60]}"


def _last_words(setup: Setup) -> str:
    text = "".join((setup.folder / name).read_text(errors="replace") for name in ("stderr", "stdout"))
    lines = [line for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-3:])[:500] or "it said nothing"
