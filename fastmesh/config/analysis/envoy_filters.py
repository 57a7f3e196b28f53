"""EnvoyFilters whose patches depend on what other patches did before, or that Envoy would pass over.

https://istio.io/latest/docs/reference/config/networking/envoy-filter/#EnvoyFilter-Patch
"""

from __future__ import annotations

from collections.abc import Iterable

from fastmesh.config.analysis.raw import Raw
from fastmesh.config.kinds import ISTIO
from fastmesh.config.place import Path, Source
from fastmesh.errors import Problem

_WITHOUT_ADD = ("ROUTE_CONFIGURATION", "HTTP_ROUTE")
_REPLACED = ("NETWORK_FILTER", "HTTP_FILTER", "VIRTUAL_HOST")
_RELATIVE = ("INSERT_BEFORE", "INSERT_AFTER", "REMOVE", "REPLACE")


def analyze_envoy_filters(documents: Iterable[Source], problems: list[Problem]) -> None:
    versioned: set[str] = set()  # filters that a patch for some versions of the proxy has touched
    for raw in map(Raw, documents):
        if (raw.group, raw.kind) != (ISTIO, "EnvoyFilter"):
            continue
        for index, _ in enumerate(raw.items("spec", "configPatches")):
            path: Path = ("spec", "configPatches", index)
            if not isinstance(raw.get(*path, "patch"), dict):
                break
            name = _filter(raw, path)
            found = _found(raw, path, name in versioned)
            if found is not None:
                problems.append(raw.found((*path, "patch", "operation"), *found))
            if raw.get(*path, "match", "proxy", "proxyVersion"):
                versioned.add(name)


def _filter(raw: Raw, path: Path) -> str:
    """What the patch brings, by name, or else what it is about."""
    if not isinstance(raw.get(*path, "patch", "value"), dict):
        return ""
    own = raw.get(*path, "patch", "value", "name")
    return str(own or raw.get(*path, "match", "listener", "filterChain", "filter", "name") or "")


def _found(raw: Raw, path: Path, versioned: bool) -> tuple[str, str] | None:
    operation, applied = raw.get(*path, "patch", "operation"), raw.get(*path, "applyTo")
    if operation == "ADD" and applied in _WITHOUT_ADD:
        return "IST0153", f"ADD is passed over for {applied}, write INSERT_FIRST for a route of a virtual host"
    if operation == "REMOVE" and applied in _WITHOUT_ADD:
        return "IST0154", f"REMOVE is passed over for {applied}, remove it"
    if operation == "REPLACE" and applied not in _REPLACED:
        return "IST0152", f"REPLACE is for {', '.join(_REPLACED)} and not for {applied}, write MERGE"
    if operation not in _RELATIVE or raw.get("spec", "priority"):
        return None
    if versioned:
        return "IST0155", f"{operation} depends on a patch for one version of the proxy, say priority or INSERT_FIRST"
    return "IST0151", f"{operation} depends on the order of EnvoyFilters, say priority or write INSERT_FIRST or ADD"
