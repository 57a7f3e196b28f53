"""The promises of the project as sums over the medians of one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .summary import Summary

SUBJECT = "fastmesh"
KEEPALIVE = ("keepalive_small", "cpu_us")
LARGE = ("body_1m", "mib_per_cpu_s")
KIB = 1024
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


def _own(scenario: str, figure: str, unit: float = 1) -> Measured:
    def measured(summary: Summary) -> float | None:
        ours = summary.median(scenario, SUBJECT, figure)
        return None if ours is None else ours / unit

    return measured


GOALS: tuple[Goal, ...] = (
    Goal("keep-alive CPU, against the better of nginx and HAProxy", 1.0, _ratio(*KEEPALIVE, "nginx", "haproxy")),
    Goal("keep-alive CPU, against Envoy", 0.40, _ratio(*KEEPALIVE, "envoy")),
    Goal("1 MiB bodies, bytes per CPU second against HAProxy", 0.9, _ratio(*LARGE, "haproxy"), at_least=True),
    *(
        Goal(f"{says} CPU, against {rival}", limit, _ratio(scenario, "cpu_us", rival.lower()))
        for scenario, says, envoys_share in (
            ("h2_to_h1", "HTTP/2 to HTTP/1.1", 0.30),
            ("h2_to_h2", "HTTP/2 to HTTP/2", 0.50),
            ("grpc_unary", "unary gRPC", 0.50),
        )
        for rival, limit in (("HAProxy", 1.0), ("Envoy", envoys_share))
    ),
    Goal("TLS 1.3 keep-alive CPU, against nginx", 1.0, _ratio("tls_keepalive", "cpu_us", "nginx")),
    *(
        Goal(
            f"new TLS connections a CPU second, {says}, against nginx",
            0.95,
            _ratio(scenario, "per_cpu_s", "nginx"),
            True,
        )
        for scenario, says in (("tls_new_ecdsa", "P-256"), ("tls_new_rsa", "RSA 2048"), ("tls_resumed", "resumed"))
    ),
    Goal("pair of mTLS sidecars, CPU against Envoy's", 0.5, _ratio("mtls_pair", "cpu_us", "envoy")),
    Goal("pair of mTLS sidecars, p99 against Envoy's", 0.5, _ratio("mtls_pair_latency", "p99_us", "envoy")),
    Goal("an idle TLS connection", 48, _own("idle_tls_10k", "rss_each", KIB), unit="KiB"),
    Goal("an idle HTTP/2 connection", 64, _own("idle_h2_10k", "rss_each", KIB), unit="KiB"),
    Goal("JSON access log", 1.0, _own("access_log", "price_us"), unit="us"),
    Goal("a header filter in Python", 2.0, _own("filter", "times")),
    Goal("a RateLimit", 0.3, _own("limit", "price_us"), unit="us"),
    Goal("1,000 rules on a host: CPU over one rule", 10.0, _own("rules_1k", "change_percent"), unit="%"),
    Goal("a mirror: its own request and nothing else", 2.0, _own("mirror", "times")),
    Goal("consistent hash on a header", 0.5, _own("hash", "price_us"), unit="us"),
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
