"""The arena's numbers under the names that Envoy's `/stats` gives them, for whoever greps for those."""

from __future__ import annotations

import time

from fastmesh.config.plan import Plan
from fastmesh.server import words as names
from fastmesh.telemetry.membership import members
from fastmesh.telemetry.readable import Entry, ReadableArena, signed, totals


def lines(arena: ReadableArena, plan: Plan | None = None) -> dict[str, int]:
    """Name to number. With the running plan, its clusters alone, those without a request included, and the members."""
    entries = list(arena.entries()) if hasattr(arena, "entries") else []
    found: dict[str, int] = {}
    clusters = {key: values for kind, key, values in entries if kind == names.ENTRY_CLUSTER}
    out = _ejections(entries)
    present = members(plan).clusters if plan is not None else dict.fromkeys(clusters, None)
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
            found[f"{prefix}.membership_healthy"] = len(endpoints) - away
    for kind, key, values in entries:
        if kind == names.ENTRY_WORKER:
            _put(found, "", values, names.WORKER_ROW, names.WORKER_WORDS)
        elif kind == names.ENTRY_LIMIT:
            _put(found, f"rate_limit.{key.decode('utf-8', 'replace')}.", values, names.LIMIT_ROW, names.LIMIT_WORDS)
        elif kind == names.ENTRY_ROUTE:
            host, _, prefix = key.decode("utf-8", "replace").partition("\0")
            _put(found, f"vhost.{host}.route.{prefix}.", values, names.ROUTE_ROW, names.ROUTE_WORDS)
    return dict(sorted(found.items()))


def _put(found: dict[str, int], prefix: str, values: tuple[int, ...], width: int, words: dict[str, str]) -> None:
    for name, value in zip(words.values(), totals(values, width), strict=False):
        found[prefix + name] = signed(value)


def _ejections(entries: list[Entry]) -> dict[bytes, set[bytes]]:
    """The keys of ejected endpoints by their cluster."""
    now = time.monotonic() * 1000
    out: dict[bytes, set[bytes]] = {}
    for kind, key, values in entries:
        if kind == names.ENTRY_ENDPOINT and values[names.OUT_EJECTED_UNTIL] > now:
            out.setdefault(key.partition(b"\0")[0], set()).add(key)
    return out
