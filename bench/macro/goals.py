"""The promises of the project as sums over the medians of one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .summary import Summary

SUBJECT = "fastmesh"
KEEPALIVE = ("keepalive_small", "cpu_us")
LARGE = ("body_1m", "mib_per_cpu_s")
Measured = Callable[[Summary], float | None]


@dataclass(frozen=True)
class Goal:
    says: str
    limit: float
    measured: Measured
    at_least: bool = False
    unit: str = "x"


@dataclass(frozen=True)
class Verdict:
    says: str
    measured: float | None
    limit: float
    unit: str
    mark: str  # met, missed, or not measured


def _ratio(scenario: str, figure: str, *rivals: str) -> Measured:
    """Ours over the least of theirs; None unless all of them were measured."""

    def measured(summary: Summary) -> float | None:
        ours = summary.median(scenario, SUBJECT, figure)
        theirs = [value for rival in rivals if (value := summary.median(scenario, rival, figure))]
        return ours / min(theirs) if ours is not None and len(theirs) == len(rivals) else None

    return measured


def _own(scenario: str, figure: str) -> Measured:
    return lambda summary: summary.median(scenario, SUBJECT, figure)


GOALS: tuple[Goal, ...] = (
    Goal("keep-alive CPU, against the better of nginx and HAProxy", 1.0, _ratio(*KEEPALIVE, "nginx", "haproxy")),
    Goal("keep-alive CPU, against Envoy", 0.40, _ratio(*KEEPALIVE, "envoy")),
    Goal("1 MiB bodies, bytes per CPU second against HAProxy", 0.9, _ratio(*LARGE, "haproxy"), at_least=True),
    Goal("JSON access log", 1.0, _own("access_log", "price_us"), unit="us"),
    Goal("an idle connection", 4096, _own("idle_10k", "rss_each"), unit="B"),
    Goal("10,000 hosts: CPU over one host", 10.0, _own("hosts_10k", "change_percent"), unit="%"),
    Goal("a worker at rest", 45.0, _own("at_rest", "rss_rest_mib"), unit="MiB"),
)


def _uncounted(summary: Summary) -> list[float]:
    """The promises are for a mesh that is on: all requests are in its metrics."""
    return [value for scenario in summary.rounds for value in summary.values(scenario, SUBJECT, "uncounted")]


def judge(summary: Summary) -> list[Verdict]:
    verdicts = []
    doubt = " (NO METRICS)" if any(_uncounted(summary)) else ""
    for goal in GOALS:
        value = goal.measured(summary)
        good = value is not None and (value >= goal.limit if goal.at_least else value <= goal.limit)
        mark = "not measured" if value is None else ("met" if good else "missed") + doubt
        sign = ">=" if goal.at_least else "<="
        verdicts.append(Verdict(f"{goal.says} {sign} {goal.limit:g} {goal.unit}", value, goal.limit, goal.unit, mark))
    return verdicts
