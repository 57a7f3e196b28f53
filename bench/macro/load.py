"""Runs the load generator against a proxy, and reads the proxy's CPU at its "begin" and at its end."""

from __future__ import annotations

import json
import select
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from . import build, process
from .measure import Cpu, core_busy, cpu_of
from .peers import Running


@dataclass(frozen=True)
class Shape:
    """What the clients do: see generator.h for the modes. With `streams` they speak HTTP/2."""

    mode: str = "closed"
    path: str = "/small"
    host: str = "bench"
    hosts: int = 1
    connections: int = 64
    rate: int = 5000
    streams: int = 0
    grpc: bool = False
    tls: bool = False
    resume: bool = False

    def command(self, port: int, warmup: float, duration: float) -> list[str]:
        options = {
            "-c": self.connections,
            "-m": self.streams or 1,
            "-r": self.rate,
            "-p": self.path,
            "-H": self.host,
            "-n": self.hosts,
            "-w": warmup,
            "-d": duration,
        }
        words = [str(word) for pair in options.items() for word in pair]
        flags = {"-g": self.grpc, "-T": self.tls, "-R": self.resume}
        program = build.program("load_h2" if self.streams else "load")
        return [str(program), self.mode, str(port), *words, *(flag for flag, wanted in flags.items() if wanted)]


@dataclass(frozen=True)
class Outcome:
    """The generator's own counts, and what the proxy's processes spent meanwhile."""

    counts: dict[str, Any]
    workers: Cpu
    others: Cpu
    proxy_core: float  # share of the core that was busy
    foreign: float  # share of the proxy's core taken by processes that are not the proxy's

    @property
    def errors(self) -> int:
        return int(sum(self.counts[name] for name in ("bad_status", "broken", "refused")))


def _line(child: subprocess.Popen[bytes], patience: float) -> str:
    assert child.stdout
    if not select.select([child.stdout], [], [], patience)[0]:
        raise RuntimeError("the load generator is stuck")
    line = child.stdout.readline().decode().strip()
    if not line:
        assert child.stderr
        raise RuntimeError(child.stderr.read().decode().strip()[:300] or "the load generator died")
    return line


def run(shape: Shape, proxy: Running, warmup: float, duration: float) -> Outcome:
    """One measured run; raises RuntimeError when the proxy does not answer."""
    port, workers, others = proxy.port, proxy.workers, proxy.others
    command = shape.command(port, warmup, duration)
    child = process.start(command, process.LOAD_CORE, output=subprocess.PIPE, errors=subprocess.PIPE)
    try:
        _line(child, warmup + 20)
        before, before_others, core = cpu_of(workers), cpu_of(others), core_busy(process.PROXY_CORE)
        counts = json.loads(_line(child, duration + 20))
        spent, spent_others = cpu_of(workers).since(before), cpu_of(others).since(before_others)
        busy, elapsed = (now - then for now, then in zip(core_busy(process.PROXY_CORE), core, strict=True))
    finally:
        process.stop(child)
    ours = spent.total + spent_others.total
    share = busy / elapsed if elapsed else 0.0
    return Outcome(counts, spent, spent_others, share, max(0.0, share - ours / counts["seconds"]))


@contextmanager
def held(shape: Shape, port: int, limit: float) -> Iterator[Callable[[], dict[str, Any]]]:
    """Connections that made one request and stay idle while the block lasts; yields what asks for the final counts."""
    command = shape.command(port, 0, limit)
    child = process.start(
        command, process.LOAD_CORE, output=subprocess.PIPE, errors=subprocess.PIPE, stdin=subprocess.PIPE
    )

    def finish() -> dict[str, Any]:
        assert child.stdin
        child.stdin.close()
        counts: dict[str, Any] = json.loads(_line(child, 20))
        return counts

    try:
        _line(child, 90)
        yield finish
    finally:
        process.stop(child)
