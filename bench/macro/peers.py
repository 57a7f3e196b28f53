"""Start and stop of one proxy, or of a pair of sidecars: ready when it answers through the upstream."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, ClassVar, Literal

import h2.exceptions

from . import process
from .ask import Question
from .certificates import Pem
from .measure import serving_process
from .upstream import free_port

MANY_HOSTS = 10_000
DOMAIN = "bench.example"
PATIENCE = (20.0, 90.0)  # seconds until a proxy answers: with one host, with 10,000
WRONG_FOR = 5.0  # seconds: a proxy that answers, but wrongly, is not waited for longer


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
    filtered: bool = False  # a filter in Python that reads and writes a header
    hashed: bool = False  # endpoints are picked by a hash of the user agent
    rules: int = 1  # of the host; the last one fits
    limited: bool = True  # a token bucket for the service
    mirrored: bool = False  # every request is copied to the same application
    clients: Literal["h1", "h2"] = "h1"
    app: Literal["h1", "h2", "grpc"] = "h1"  # what the upstream speaks; grpc: HTTP/2, and clients make calls
    raw: bool = False  # bytes are passed on, nobody reads requests
    tls: Pem | None = None  # what clients are shown; without it they come in plaintext
    side: Literal["", "outbound", "inbound"] = ""  # one of a pair of sidecars
    workload: Pem | None = None  # its name in the mesh
    port: int = field(default_factory=free_port)
    admin: int = field(default_factory=free_port)
    spare: int = field(default_factory=free_port)  # the listener of a sidecar that this pair does not use

    @property
    def log_file(self) -> Path:
        return self.folder / "access.log"

    @property
    def names(self) -> list[str]:
        return [DOMAIN] if self.tls else host_names(self.hosts)

    @property
    def question(self) -> Question:
        return Question(self.port, self.names[-1], self.clients, self.app, self.tls is not None)


class Peer(ABC):
    """A proxy that can take part."""

    name: str
    log_to_stdout = False  # the proxy writes its access log there, and we make that a file
    # Scenarios that it does not take part in, and why
    unable: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("hash", "filter", "rules_1k", "limit", "mirror"), "what fastmesh pays is asked, not what it does better"
    )

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
    """A proxy that answers: one process family a setup, two for a pair of sidecars, the clients' side first."""

    peer: Peer
    setups: tuple[Setup, ...]
    children: list[subprocess.Popen[bytes]]
    workers: list[int] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.setups[0].port

    @property
    def family(self) -> list[int]:
        return [pid for child in self.children for pid in _family(child)]

    @property
    def others(self) -> list[int]:
        """Masters and helpers: all of its processes but those that serve."""
        return [pid for pid in self.family if pid not in self.workers]

    def uncounted(self, requests: int) -> int:
        return sum(self.peer.uncounted(setup, requests) for setup in self.setups)


@contextmanager
def running(peer: Peer, *setups: Setup) -> Iterator[Running]:
    """`with running(peer, setup) as proxy`; raises RuntimeError with the proxy's own words when it does not come up."""
    with ExitStack() as stack:
        children = [stack.enter_context(_started(peer, setup)) for setup in reversed(setups)]
        proxy = Running(peer, setups, children[::-1])
        _wait_until_ready(proxy)
        yield proxy


@contextmanager
def _started(peer: Peer, setup: Setup) -> Iterator[subprocess.Popen[bytes]]:
    setup.folder.mkdir(parents=True)
    with (setup.folder / "stderr").open("wb") as errors, _stdout(peer, setup) as output:
        child = process.start(
            peer.command(setup), process.PROXY_CORE, output=output, errors=errors, env=peer.environment()
        )
        try:
            yield child
        finally:
            process.stop(child)
            shutil.rmtree(setup.folder, ignore_errors=True)


def _stdout(peer: Peer, setup: Setup) -> IO[bytes]:
    target = setup.log_file if peer.log_to_stdout and setup.log else setup.folder / "stdout"
    return target.open("ab")


def _family(child: subprocess.Popen[bytes]) -> list[int]:
    return [child.pid, *process.descendants(child.pid)]


def _wait_until_ready(proxy: Running) -> None:
    started, wrong_since, last = time.monotonic(), None, "no answer"
    patience = PATIENCE[proxy.setups[0].hosts > 1]
    while time.monotonic() - started < patience:
        for setup, child in zip(proxy.setups, proxy.children, strict=True):
            if child.poll() is not None:
                raise RuntimeError(f"exit {child.returncode}: {_last_words(setup)}")
        try:
            if (last := _ask(proxy)) == proxy.setups[0].question.wanted and all(proxy.workers):
                return
            wrong_since = wrong_since or time.monotonic()
        except (OSError, http.client.HTTPException, h2.exceptions.H2Error) as error:
            last = str(error) or type(error).__name__
        if wrong_since and time.monotonic() - wrong_since > WRONG_FOR:
            break
        time.sleep(0.05)
    words = " | ".join(_last_words(setup) for setup in proxy.setups)
    raise RuntimeError(f"not ready after {time.monotonic() - started:.0f} s ({last!r}): {words}")


def _ask(proxy: Running) -> str:
    question = proxy.setups[0].question
    with question.connect() as connection:
        answer = question.ask(connection)
        proxy.workers = _workers(proxy, connection)
    return answer


def _workers(proxy: Running, connection: socket.socket) -> list[int]:
    """Who holds the other end of this connection, and for the second of a pair: the connection that the first made."""
    first = serving_process(_family(proxy.children[0]), proxy.port, connection.getsockname()[1]) or 0
    pairs = zip(proxy.setups[1:], proxy.children[1:], strict=True)
    return [first, *(serving_process(_family(child), setup.port) or 0 for setup, child in pairs)]


def _last_words(setup: Setup) -> str:
    text = "".join((setup.folder / name).read_text(errors="replace") for name in ("stderr", "stdout"))
    lines = [line for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-3:])[:500] or "it said nothing"
