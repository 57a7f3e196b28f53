"""One table for the terminal, the same in Markdown, and everything in JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .goals import judge
from .scenarios import SCENARIOS, Scenario
from .summary import Summary

NOISE = 0.05
RIVALS = ("nginx", "haproxy", "envoy")
HEAD = (
    "scenario", "peer", "figure", "min-max", "unit", "x nginx", "x haproxy", "x envoy",
    "cpu us", "user", "system", "others", "req/s", "p50 us", "p99 us", "p99.9 us",
    "RSS MiB", "PSS MiB", "busy", "foreign", "errors", "note",
)  # fmt: skip
DETAILS = (
    ("cpu_us", 1, "{:.1f}"), ("user_us", 1, "{:.1f}"), ("system_us", 1, "{:.1f}"), ("others_us", 1, "{:.2f}"),
    ("rps", 1, "{:,.0f}"), ("p50_us", 1, "{:.0f}"), ("p99_us", 1, "{:.0f}"), ("p999_us", 1, "{:.0f}"),
    ("rss_after", 1 << 20, "{:.1f}"), ("pss_after", 1 << 20, "{:.1f}"),
    ("busy", 0.01, "{:.0f}%"), ("foreign", 0.01, "{:.0f}%"),
)  # fmt: skip
Rows = list[Sequence[str]]


def table(summary: Summary) -> Rows:
    rows: Rows = [HEAD]
    for scenario in SCENARIOS:
        rows += [_row(summary, scenario, peer) for peer in summary.rounds.get(scenario.name, {})]
        for peer, reason in summary.left_out.get(scenario.name, {}).items():
            if peer not in summary.rounds.get(scenario.name, {}):
                rows.append([scenario.name, peer, *["-"] * (len(HEAD) - 3), f"left out: {reason[:150]}"])
    return rows


def _row(summary: Summary, scenario: Scenario, peer: str) -> list[str]:
    values = summary.values(scenario.name, peer, scenario.figure)
    ratios = [_ratio(summary, scenario, peer, rival) for rival in RIVALS]
    errors = sum(summary.values(scenario.name, peer, "errors"))
    median = summary.median(scenario.name, peer, scenario.figure)
    return [
        scenario.name,
        peer,
        _short(median),
        f"{_short(min(values))}-{_short(max(values))}",
        scenario.unit,
        *ratios,
        *(_detail(summary.median(scenario.name, peer, name), by, form) for name, by, form in DETAILS),
        f"{errors:.0f}",
        _note(summary, scenario.name, peer),
    ]


def _note(summary: Summary, scenario: str, peer: str) -> str:
    """What takes from a row's worth: answers that failed, requests that its metrics miss, others on its core."""
    if sum(summary.values(scenario, peer, "errors")):
        return "INVALID"
    if sum(summary.values(scenario, peer, "uncounted")):
        return "NO METRICS"
    return "noisy" if (summary.median(scenario, peer, "foreign") or 0.0) > NOISE else ""


def _ratio(summary: Summary, scenario: Scenario, peer: str, rival: str) -> str:
    if scenario.name in (
        "hosts_10k",
        "access_log",
        "hash",
        "filter",
        "limit",
        "rules_1k",
        "mirror",
    ):  # differences: what compares is the whole
        ours, theirs = (summary.median(scenario.name, name, "cpu_us") for name in (peer, rival))
    else:
        ours, theirs = (summary.median(scenario.name, name, scenario.figure) for name in (peer, rival))
    return f"{ours / theirs:.2f}" if ours is not None and theirs and peer != rival else "-"


def _detail(value: float | None, by: float, form: str) -> str:
    return "-" if value is None else form.format(value / by)


def _short(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def goals(summary: Summary) -> Rows:
    rows: Rows = [("goal", "measured", "")]
    for verdict in judge(summary):
        rows.append((verdict.says, f"{_short(verdict.measured)} {verdict.unit}", verdict.mark))
    return rows


def as_text(rows: Rows) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def as_markdown(rows: Rows) -> str:
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def write(summary: Summary, about: dict[str, Any], json_path: Path) -> Path:
    """JSON at the path, Markdown beside it; returns the Markdown's path."""
    json_path.parent.mkdir(parents=True, exist_ok=True)
    verdicts = [asdict(verdict) for verdict in judge(summary)]
    everything = {"about": about, "goals": verdicts, "left_out": summary.left_out, "rounds": summary.rounds}
    everything["failures"] = summary.failures
    json_path.write_text(json.dumps(everything, indent=1) + "\n")
    text = [f"# Bench of {about['date']}", "", "How it is measured: `bench/README.md`. Medians of the rounds.", ""]
    text += [f"- {name}: {value}" for name, value in about.items()]
    text += ["", "## Goals", "", as_markdown(goals(summary)), "", "## Figures", "", as_markdown(table(summary))]
    text += ["", *(f"- failed: {failure}" for failure in summary.failures)]
    markdown = json_path.with_suffix(".md")
    markdown.write_text("\n".join(text).rstrip() + "\n")
    return markdown
