"""The arena's numbers under the names that Envoy's `/stats` gives them, for whoever greps for those."""

from __future__ import annotations

import time

from fastmesh.config.plan import Plan
from fastmesh.server import words as names
from fastmesh.telemetry import overload
from fastmesh.telemetry.membership import members
from fastmesh.telemetry.readable import Entry, ReadableArena, signed, totals


def lines(arena: ReadableArena, plan: Plan | None = None) -> dict[str, int]:
    """Name to number. With the running plan, its clusters alone, those without a request included, and the members."""
    entries = list(arena.entries()) if hasattr(arena, "entries") else []
    found: dict[str, int] = {}
    clusters = {key: values for kind, key, values in entries if kind == names.ENTRY_CLUSTER}
    out, unwell, checks = _ejections(entries), _unwell(entries), _checks(entries)
    known = members(plan) if plan is not None else None
    present = known.clusters if known is not None else dict.fromkeys(clusters, None)
    for key, endpoints in present.items():
        prefix = f"cluster.{key.decode('utf-8', 'replace')}"
        values = clusters.get(key, (0,) * names.CLUSTER_ROW)
        _put(found, f"{prefix}.", values, names.CLUSTER_ROW, names.CLUSTER_WORDS)
        found[f"{prefix}.outlier_detection.ejections_total"] = found[
            f"{prefix}.outlier_detection.ejections_enforced_total"
        ]
        mine = out.get(key, set())
        away = len(mine) if endpoints is None else len(mine.intersection(endpoints))
        found[f"{prefix}.outlier_detection.ejections_active"] = away
        if endpoints is not None:
            found[f"{prefix}.membership_total"] = len(endpoints)
            unfit = mine | unwell.get(key, set())
            found[f"{prefix}.membership_healthy"] = len(endpoints) - len(unfit.intersection(endpoints))
        if known is not None and key in known.checked:
            found |= _health(f"{prefix}.health_check.", known.clusters[key], checks, unwell.get(key, set()))
    for kind, key, values in entries:
        if kind == names.ENTRY_GUARD and key in (clusters if known is None else known.guarded):
            name = key.decode("utf-8", "replace")
            found |= _guard(
                f"{name.replace('|', '.', 1)}." if name.startswith("route|") else f"cluster.{name}.", values
            )
        if kind == names.ENTRY_WORKER:
            _put(found, "", values, names.WORKER_ROW, names.WORKER_WORDS)
        elif kind == names.ENTRY_LIMIT:
            _put(found, f"rate_limit.{key.decode('utf-8', 'replace')}.", values, names.LIMIT_ROW, names.LIMIT_WORDS)
        elif kind == names.ENTRY_ROUTE:
            host, _, prefix = key.decode("utf-8", "replace").partition("\0")
            _put(found, f"vhost.{host}.route.{prefix}.", values, names.ROUTE_ROW, names.ROUTE_WORDS)
    found |= overload.lines(entries)
    return dict(sorted(found.items()))


def _put(found: dict[str, int], prefix: str, values: tuple[int, ...], width: int, words: dict[str, str]) -> None:
    for name, value in zip(words.values(), totals(values, width), strict=False):
        found[prefix + name] = signed(value)


def _ejections(entries: list[Entry]) -> dict[bytes, set[bytes]]:
    """The keys of ejected endpoints by their cluster."""
    now = time.monotonic() * 1000
    out: dict[bytes, set[bytes]] = {}
    for kind, key, values in entries:
        if kind == names.ENTRY_ENDPOINT and names.is_ejected(values, now):
            out.setdefault(key.partition(b"\0")[0], set()).add(key)
    return out


def _unwell(entries: list[Entry]) -> dict[bytes, set[bytes]]:
    """The keys of endpoints that do not pass their checks, by their cluster."""
    out: dict[bytes, set[bytes]] = {}
    for kind, key, values in entries:
        if kind == names.ENTRY_ENDPOINT and names.verdict(values):
            out.setdefault(key.partition(b"\0")[0], set()).add(key)
    return out


def _checks(entries: list[Entry]) -> dict[bytes, tuple[int, ...]]:
    return {key: values for kind, key, values in entries if kind == names.ENTRY_HEALTH}


def _health(
    prefix: str, endpoints: list[bytes], checks: dict[bytes, tuple[int, ...]], unwell: set[bytes]
) -> dict[str, int]:
    """Envoy's health_check.* of one cluster."""
    words = list(names.HEALTH_WORDS)
    found = {
        prefix + names.HEALTH_WORDS[word]: sum(
            values[words.index(word)] for key in endpoints if (values := checks.get(key)) is not None
        )
        for word in ("HC_ATTEMPT", "HC_SUCCESS", "HC_FAILURE", "HC_NETWORK_FAILURE")
    }
    return {**found, f"{prefix}healthy": len(endpoints) - len(unwell.intersection(endpoints))}


def _guard(prefix: str, values: tuple[int, ...]) -> dict[str, int]:
    """A Resilience's numbers; Envoy's names where it has one."""
    places = list(names.GUARD_WORDS)
    found = {prefix + names.GUARD_WORDS[word]: values[places.index(word)] for word in names.GUARD_SHOWN}
    return {**found, f"{prefix}breaker.open": int(values[places.index("BR_OPEN_UNTIL")] != 0)}
