"""Header operations of a rule and its destinations, in the order in which the data plane runs them."""

from __future__ import annotations

import msgspec

from fastmesh.config.plan import HeaderOpsPlan, SegmentPlan
from fastmesh.config.read import substitutions
from fastmesh.model.virtual_service import HeaderOperations, Headers


def _is_internal(name: str) -> bool:
    return name.startswith(":") or name.lower() == "host"


def _pairs(written: dict[str, str]) -> list[tuple[str, str]]:
    """Sorted by name, as Istio does: the order in a YAML map means nothing."""
    found = []
    for name, value in written.items():
        text = substitutions.literal(value)
        if text is not None and not _is_internal(name):
            found.append((name.lower(), text))
    return sorted(found)


def _made(written: dict[str, str]) -> list[tuple[str, list[SegmentPlan]]]:
    """The values with substitutions."""
    return [
        (name.lower(), [SegmentPlan(**segment._asdict()) for segment in substitutions.segments(value)])
        for name, value in sorted(written.items())
        if not _is_internal(name) and substitutions.literal(value) is None
    ]


def level(written: HeaderOperations | None) -> HeaderOpsPlan | None:
    """One level; the authority is not a header here, see `authority`."""
    if written is None:
        return None
    plan = HeaderOpsPlan(
        remove=[name.lower() for name in written.remove if not _is_internal(name)],
        set=_pairs(written.set),
        add=_pairs(written.add),
        set_made=_made(written.set),
        add_made=_made(written.add),
    )
    return plan if plan != HeaderOpsPlan() else None


def several(destination: HeaderOperations | None, route: HeaderOperations | None) -> list[HeaderOpsPlan]:
    """With several destinations the destination's operations run first, so the route's `set` has the last word."""
    return [plan for plan in (level(destination), level(route)) if plan is not None]


def single(route: HeaderOperations | None, destination: HeaderOperations | None) -> list[HeaderOpsPlan]:
    """With one destination both make one level: all removals first, then the route's values, then the destination's."""
    first, second = level(route), level(destination)
    if first is None or second is None:
        return [plan for plan in (first, second) if plan is not None]
    joined = msgspec.structs.replace(first, remove=first.remove + second.remove)
    return [joined, msgspec.structs.replace(second, remove=[])]


def authority(headers: Headers | None) -> str | None:
    """The authority rewrite that hides in request operations on `host` or `:authority`; `set` beats `add`. It is no
    header: percent signs mean nothing in it."""
    if headers is None or headers.request is None:
        return None
    for operations in (headers.request.set, headers.request.add):
        for name, value in operations.items():
            if name.lower() in ("host", ":authority") and value:
                return value
    return None
