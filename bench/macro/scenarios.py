"""What is asked of every proxy. A scenario starts it afresh, loads it, and gives back one round's figures."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from . import load
from .load import Outcome, Shape
from .measure import memory_of
from .peers import DOMAIN, MANY_HOSTS, Peer, Running, Setup, running

KIB = 1024
MIB = 1024 * 1024
IDLE = 10_000
LOG_LINE = 200  # bytes: no line with Istio's keys is shorter
Figures = dict[str, float]


@dataclass
class Bench:
    """What the rounds share."""

    folder: Path
    upstream: int
    duration: float
    warmup: float
    rate: int
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def setup(self, *, hosts: int = 1, log: bool = False) -> Setup:
        return Setup(self.folder / str(next(self.numbers)), self.upstream, hosts=hosts, log=log)

    def load(self, proxy: Running, shape: Shape) -> Outcome:
        outcome = load.run(shape, proxy.port, proxy.worker, proxy.others, self.warmup, self.duration)
        outcome.counts["uncounted"] = proxy.peer.uncounted(proxy.setup, outcome.counts["requests"])
        return outcome


@dataclass(frozen=True)
class Scenario:
    """`figure` names the value that decides; `better` says which way."""

    name: str
    says: str
    run: Callable[[Bench, Peer], Figures]
    figure: str
    unit: str
    better: str = "less"


def _figures(outcome: Outcome) -> Figures:
    counts, requests = outcome.counts, max(1, outcome.counts["requests"])
    return {
        "cpu_us": outcome.worker.total / requests * 1e6,
        "user_us": outcome.worker.user / requests * 1e6,
        "system_us": outcome.worker.system / requests * 1e6,
        "others_us": outcome.others.total / requests * 1e6,
        "rps": counts["requests"] / counts["seconds"],
        "busy": outcome.worker.total / counts["seconds"],
        "foreign": outcome.foreign,
        "requests": counts["requests"],
        "errors": outcome.errors,
        "uncounted": outcome.counts["uncounted"],
    }


def _memory(proxy: Running, when: str) -> Figures:
    worker, family = memory_of([proxy.worker]), memory_of(proxy.family)
    return {f"rss_{when}": worker.rss, f"pss_{when}": worker.pss, f"pss_{when}_all": family.pss}


def _loaded(shape: Shape) -> Callable[[Bench, Peer], Figures]:
    def run(bench: Bench, peer: Peer) -> Figures:
        with running(peer, bench.setup()) as proxy:
            outcome = bench.load(proxy, shape)
            figures = _figures(outcome) | _memory(proxy, "after")
        figures["mib_per_cpu_s"] = outcome.counts["bytes"] / MIB / max(outcome.worker.total, 1e-9)
        return figures

    return run


def _latency(bench: Bench, peer: Peer) -> Figures:
    with running(peer, bench.setup()) as proxy:
        outcome = bench.load(proxy, Shape("open", rate=bench.rate))
        memory = _memory(proxy, "after")
    tail = {name: float(outcome.counts[name]) for name in ("p50_us", "p99_us", "p999_us", "max_us", "late")}
    return _figures(outcome) | memory | tail


def _at_rest(bench: Bench, peer: Peer) -> Figures:
    with running(peer, bench.setup()) as proxy:
        time.sleep(1.0)
        return _memory(proxy, "rest") | {"rss_rest_mib": memory_of([proxy.worker]).rss / MIB, "errors": 0}


def _idle(bench: Bench, peer: Peer) -> Figures:
    with running(peer, bench.setup()) as proxy:
        load.run(Shape(), proxy.port, proxy.worker, proxy.others, 0.2, 0.3)
        time.sleep(0.5)
        before = memory_of([proxy.worker])
        with load.held(Shape("hold", connections=IDLE), proxy.port, 60) as finish:
            time.sleep(1.0)
            after = memory_of([proxy.worker])
            counts = finish()
    kept = max(1, int(counts["held"]))
    return {
        "rss_each": (after.rss - before.rss) / kept,
        "pss_each": (after.pss - before.pss) / kept,
        "rss_before": before.rss,
        "rss_after": after.rss,
        "held": kept,
        "errors": IDLE - int(counts["held"]),
    }


def _pair(bench: Bench, peer: Peer, plain: tuple[Setup, Shape], other: tuple[Setup, Shape]) -> tuple[Figures, Figures]:
    """Two forms of one proxy, one right after the other; who goes first alternates, so that drift cancels out."""
    found: dict[bool, Figures] = {}
    for is_other in (True, False) if next(bench.numbers) % 2 else (False, True):
        setup, shape = other if is_other else plain
        with running(peer, setup) as proxy:
            found[is_other] = _figures(bench.load(proxy, shape)) | _memory(proxy, "after")
            if setup.log:
                found[is_other] |= _logged(setup, found[is_other])
    return found[False], found[True]


def _logged(setup: Setup, figures: Figures) -> Figures:
    """A log that was not written has no price: all of the round's requests count as errors."""
    written = setup.log_file.stat().st_size if setup.log_file.exists() else 0
    each = written / max(1.0, figures["requests"])
    return {"log_bytes": each, "errors": figures["errors"] + (figures["requests"] if each < LOG_LINE else 0)}


def _many_hosts(bench: Bench, peer: Peer) -> Figures:
    many_shape = Shape(hosts=MANY_HOSTS, host=DOMAIN)
    one, many = _pair(bench, peer, (bench.setup(), Shape()), (bench.setup(hosts=MANY_HOSTS), many_shape))
    return many | {"cpu_us_plain": one["cpu_us"], "change_percent": (many["cpu_us"] / one["cpu_us"] - 1) * 100}


def _access_log(bench: Bench, peer: Peer) -> Figures:
    off, on = _pair(bench, peer, (bench.setup(), Shape()), (bench.setup(log=True), Shape()))
    return on | {"cpu_us_plain": off["cpu_us"], "price_us": on["cpu_us"] - off["cpu_us"]}


SCENARIOS = (
    Scenario("keepalive_small", "64 kept connections, 13-byte body", _loaded(Shape()), "cpu_us", "us/req"),
    Scenario("body_10k", "the same, 10 KiB body", _loaded(Shape(path="/10k")), "cpu_us", "us/req"),
    Scenario("body_1m", "the same, 1 MiB body", _loaded(Shape(path="/1m")), "mib_per_cpu_s", "MiB/CPU s", "more"),
    Scenario("new_connection", "one connection a request", _loaded(Shape("close")), "cpu_us", "us/req"),
    Scenario("latency", "open loop, from the intended send time", _latency, "p99_us", "us p99"),
    Scenario("idle_10k", "10,000 idle connections, RSS of each", _idle, "rss_each", "B/conn"),
    Scenario("hosts_10k", "10,000 hosts, random, against one", _many_hosts, "change_percent", "% CPU"),
    Scenario("access_log", "JSON log to tmpfs, against none", _access_log, "price_us", "us/req"),
    Scenario("at_rest", "a worker that has served one request", _at_rest, "rss_rest_mib", "MiB RSS"),
)
