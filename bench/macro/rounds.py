"""What the rounds share, and how a load's outcome becomes the figures of one round."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import load
from .certificates import Certificates
from .load import Outcome, Shape
from .measure import memory_of
from .peers import Running, Setup

MIB = 1024 * 1024
Figures = dict[str, float]


@dataclass
class Bench:
    """`upstreams` are the ports of the applications, by protocol."""

    folder: Path
    upstreams: dict[str, int]
    certificates: Certificates
    duration: float
    warmup: float
    rate: int
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def setup(self, **wanted: Any) -> Setup:
        """A fresh setup, of the application that it names; the fields of Setup are the words."""
        upstream = wanted.pop("upstream", self.upstreams[wanted.get("app", "h1")])
        return Setup(self.folder / str(next(self.numbers)), upstream, **wanted)

    def load(self, proxy: Running, shape: Shape) -> Outcome:
        outcome = load.run(shape, proxy, self.warmup, self.duration)
        outcome.counts["uncounted"] = proxy.uncounted(outcome.counts["requests"])
        return outcome


Form = Callable[[Bench], tuple[Setup, ...]]


def figures_of(outcome: Outcome) -> Figures:
    counts, requests = outcome.counts, max(1, outcome.counts["requests"])
    return {
        "cpu_us": outcome.workers.total / requests * 1e6,
        "user_us": outcome.workers.user / requests * 1e6,
        "system_us": outcome.workers.system / requests * 1e6,
        "others_us": outcome.others.total / requests * 1e6,
        "per_cpu_s": requests / max(outcome.workers.total, 1e-9),
        "mib_per_cpu_s": counts["bytes"] / MIB / max(outcome.workers.total, 1e-9),
        "rps": counts["requests"] / counts["seconds"],
        "busy": outcome.workers.total / counts["seconds"],
        "foreign": outcome.foreign,
        "requests": counts["requests"],
        "errors": outcome.errors,
        "uncounted": counts["uncounted"],
    }


def memory(proxy: Running, when: str) -> Figures:
    workers, family = memory_of(proxy.workers), memory_of(proxy.family)
    return {f"rss_{when}": workers.rss, f"pss_{when}": workers.pss, f"pss_{when}_all": family.pss}
