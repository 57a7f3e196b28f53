"""Rounds in, medians out."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass, field

from .rounds import Figures


@dataclass
class Summary:
    """`rounds[scenario][peer]` is a list of figures, one a round; `failures` are rounds that gave none; `left_out` says
    why a peer has no rounds of a scenario."""

    rounds: dict[str, dict[str, list[Figures]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    failures: list[str] = field(default_factory=list)
    left_out: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, scenario: str, peer: str, figures: Figures) -> None:
        self.rounds[scenario][peer].append(figures)

    def values(self, scenario: str, peer: str, figure: str) -> list[float]:
        rounds = self.rounds.get(scenario, {}).get(peer, [])
        return [figures[figure] for figures in rounds if figure in figures]

    def median(self, scenario: str, peer: str, figure: str) -> float | None:
        values = self.values(scenario, peer, figure)
        return statistics.median(values) if values else None
