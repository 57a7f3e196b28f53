"""How much of the proxy is used up, from the rows that the workers keep: of several the worst one counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fastmesh.server import words as names
from fastmesh.telemetry.exposition import Family, label_text
from fastmesh.telemetry.readable import Entry

_PLACES = list(names.PRESSURE_WORDS)
_LEVEL = _PLACES.index("PR_LEVEL")
_ACTIONS = ("disable_http_keepalive", "shed_requests", "stop_accepting_requests")
RESOURCES = {"PR_MEMORY": "memory", "PR_CONNECTIONS": "connections", "PR_LAG": "lag"}


def rows(entries: Iterable[Entry]) -> list[tuple[int, ...]]:
    """One of each slot of the arena; zeros where nobody is, or nothing is limited."""
    found = next((values for kind, _, values in entries if kind == names.ENTRY_PRESSURE), ())
    return [found[at : at + names.PRESSURE_ROW] for at in range(0, len(found), names.PRESSURE_ROW)]


def families(entries: Iterable[Entry]) -> Iterator[Family]:
    found = rows(entries)
    pressure = Family(
        "fastmesh_overload_pressure", "gauge", "Share of what may be that is used; the worst worker counts."
    )
    for word, resource in RESOURCES.items():
        pressure.add(_worst(found, _PLACES.index(word)) / 1000, label_text(["resource"], [resource]))
    workers = Family("fastmesh_overload_workers", "gauge", "Workers that do something about their pressure, by what.")
    for level, name in enumerate(names.PRESSURE_LEVELS[1:], 1):
        workers.add(sum(row[_LEVEL] == level for row in found), label_text(["does"], [name]))
    yield from (pressure, workers)


def lines(entries: Iterable[Entry]) -> dict[str, int]:
    """For /stats: percent, and Envoy's names of what is done."""
    found = rows(entries)
    if not found:
        return {}
    told = {names.PRESSURE_WORDS[word]: _worst(found, _PLACES.index(word)) // 10 for word in RESOURCES}
    level = _worst(found, _LEVEL)
    for number, action in enumerate(_ACTIONS, 1):
        told[f"overload.envoy.overload_actions.{action}.active"] = int(level >= number)
    return told


def _worst(found: list[tuple[int, ...]], place: int) -> int:
    return max((row[place] for row in found), default=0)
