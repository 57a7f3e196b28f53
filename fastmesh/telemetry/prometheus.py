"""What Prometheus scrapes: Istio's standard metrics, the proxy's own, and those of the master process."""

from __future__ import annotations

from collections.abc import Iterable

from fastmesh.config.plan import Plan
from fastmesh.telemetry import exposition, istio, overload, process, proxy_metrics
from fastmesh.telemetry.exposition import Family, content_type
from fastmesh.telemetry.readable import ReadableArena

__all__ = ["collect", "content_type", "render"]


def render(arena: ReadableArena, accept: str = "", plan: Plan | None = None, more: Iterable[Family] = ()) -> bytes:
    """All metrics as text, in the format of `content_type(accept)`.

    With the running plan, clusters and endpoints that it no longer has are left out. `more` are the caller's own.
    """
    return exposition.write([*collect(arena, plan), *more], accept)


def collect(arena: ReadableArena, plan: Plan | None = None) -> list[Family]:
    if not hasattr(arena, "entries"):  # the server's own tests run without a data plane
        return process.families()
    entries = list(arena.entries())
    return [
        *istio.families(entries),
        *proxy_metrics.families(entries, plan),
        *overload.families(entries),
        *proxy_metrics.arena_families(arena.usage),
        *process.families(),
    ]
