"""Numbers for the admin pages: what the arena holds, under names, and what the master knows of itself."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import fastmesh
from fastmesh.config.plan import ClusterPlan, EndpointPlan
from fastmesh.security.material import Material
from fastmesh.server import words
from fastmesh.server.configure import ACCEPTED, REFUSED
from fastmesh.telemetry import envoy_stats
from fastmesh.telemetry import overload as pressure
from fastmesh.telemetry import prometheus as telemetry
from fastmesh.telemetry.exposition import Family, label_text

if TYPE_CHECKING:
    from fastmesh.server.pages import ProxyView

STATES = {"LIVE": 0, "DRAINING": 1, "PRE_INITIALIZING": 2, "INITIALIZING": 3}  # Envoy's server.state


def _own(view: ProxyView) -> list[tuple[str, int]]:
    reloader = view.reloader
    return [
        ("server.concurrency", view.crew.wanted),
        ("server.live", int(view.state == "LIVE")),
        ("server.state", STATES[view.state]),
        ("server.uptime", int(time.time() - view.image_started)),
        ("server.restart_epoch", view.epoch),
        ("server.workers", len(view.crew.serving())),
        ("server.worker_restarts", view.crew.restarts),
        ("server.total_connections", sum(member.connections for member in view.crew.members)),
        ("config.reload_accepted", reloader.accepted),
        ("config.reload_refused", reloader.refused),
        ("config.reload_unchanged", reloader.unchanged),
        *((f"config.objects_{status}", number) for status, number in _objects(view).items()),
        *((f"dns.questions_{result}", number) for result, number in view.resolver.questions.items()),
        *((f"dns.names_{status}", number) for status, number in view.resolver.names().items()),
        *_days_left(view),
    ]


def _objects(view: ProxyView) -> dict[str, int]:
    """Objects of what runs: those that are served, and those that were left out (--per-object)."""
    compiled = view.reloader.current
    refused = compiled.refused() if compiled is not None else 0
    return {ACCEPTED: len(compiled.objects) - refused if compiled is not None else 0, REFUSED: refused}


def _days_left(view: ProxyView) -> list[tuple[str, int]]:
    """Envoy's number, absent without certificates."""
    ends = [material.not_after for material in _materials(view) if material.not_after]
    return [("server.days_until_first_cert_expiring", int(min(ends) - time.time()) // 86400)] if ends else []


def _materials(view: ProxyView) -> list[Material]:
    compiled = view.reloader.current
    return list(compiled.loaded.materials.values()) if compiled is not None else []


def flat(view: ProxyView) -> list[tuple[str, int]]:
    """Every number under Envoy's dotted name, sorted by name."""
    return sorted([*_own(view), *envoy_stats.lines(view.arena, view.plan()).items()])


def pressure_levels(view: ProxyView) -> dict[int, int]:
    """What each worker that serves does about its pressure: a PressureLevel by its slot."""
    if not hasattr(view.arena, "find"):  # the server's own tests run without a data plane
        return {}
    found = pressure.rows([(words.ENTRY_PRESSURE, b"", view.arena.find(words.ENTRY_PRESSURE, b"workers"))])
    level = list(words.PRESSURE_WORDS).index("PR_LEVEL")
    return {member.index: found[member.index][level] for member in view.crew.serving() if member.index < len(found)}


# ---- /clusters


def clusters(view: ProxyView) -> list[dict[str, Any]]:
    """Envoy's cluster_statuses: each destination with its endpoints, their numbers and their health."""
    plan = view.plan()
    if plan is None:
        return []
    known = {key: values for kind, key, values in view.arena.entries() if kind == words.ENTRY_ENDPOINT}
    now = time.monotonic() * 1000
    return [_cluster(cluster, known, now) for cluster in plan.clusters]


def _cluster(cluster: ClusterPlan, known: dict[bytes, tuple[int, ...]], now: float) -> dict[str, Any]:
    return {
        "name": cluster.name,
        "circuit_breakers": {
            "max_connections": cluster.max_connections,
            "max_pending_requests": cluster.max_pending,
            "max_requests": cluster.max_requests,
            "max_retries": cluster.max_retries,
        },
        "host_statuses": [_endpoint(cluster, endpoint, known, now) for endpoint in cluster.endpoints],
    }


def _endpoint(
    cluster: ClusterPlan, endpoint: EndpointPlan, known: dict[bytes, tuple[int, ...]], now: float
) -> dict[str, Any]:
    where = address_text(endpoint)
    values = known.get(f"{cluster.name}\0{where}".encode(), ())
    stats = words.summed(values, words.ENDPOINT_ROW, words.ENDPOINT_WORDS, words.OUTLIER_WORDS)
    region, zone, sub_zone = [*endpoint.locality.split("/"), "", "", ""][:3]
    return {
        "address": {"socket_address": {"address": endpoint.address, "port_value": endpoint.port}},
        "text": where,
        "stats": [{"name": name, "value": value} for name, value in stats],
        "health_status": {"eds_health_status": "HEALTHY", **_health(values, cluster.health is not None, now)},
        "ejections": values[words.OUT_EJECTIONS] if values else 0,
        "weight": endpoint.weight,
        "locality": {"region": region, "zone": zone, "sub_zone": sub_zone},
    }


_FLAGS = ("failed_active_health_check", "pending_active_hc", "failed_outlier_check")  # Envoy's, in its order


def _health(values: tuple[int, ...], checked: bool, now: float) -> dict[str, bool]:
    verdict = words.verdict(values) if checked and values else ""
    found = (verdict == "failed", verdict == "pending", bool(values) and words.is_ejected(values, now))
    return {flag: True for flag, holds in zip(_FLAGS, found, strict=True) if holds}


def address_text(endpoint: EndpointPlan) -> str:
    if endpoint.address.startswith("unix://"):
        return endpoint.address
    host = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    return f"{host}:{endpoint.port}"


_IN_TEXT = {"failed_active_health_check": "failed_active_hc"}


def clusters_text(found: list[dict[str, Any]]) -> str:
    """Envoy's text form of /clusters: `cluster::what::value` lines."""
    lines = []
    for cluster in found:
        name = cluster["name"]
        for word, value in cluster["circuit_breakers"].items():
            lines.append(f"{name}::default_priority::{word}::{value}")
        for host in cluster["host_statuses"]:
            flags = "".join(f"/{_IN_TEXT.get(flag, flag)}" for flag in _FLAGS if flag in host["health_status"])
            pairs = [(stat["name"], stat["value"]) for stat in host["stats"]]
            pairs += [("health_flags", flags or "healthy"), ("weight", host["weight"])]
            pairs += list(host["locality"].items())
            lines += [f"{name}::{host['text']}::{word}::{value}" for word, value in pairs]
    return "".join(f"{line}\n" for line in lines)


# ---- Prometheus


def prometheus(view: ProxyView, accept: str) -> tuple[str, bytes]:
    """Content type and text: the data plane's metrics, and the master's own."""
    text = telemetry.render(view.arena, accept, view.plan(), _master(view))
    return telemetry.content_type(accept), text


def _master(view: ProxyView) -> Iterator[Family]:
    rows: list[tuple[str, Literal["counter", "gauge"], str, float]] = [
        ("fastmesh_live", "gauge", "1 while the proxy is ready for traffic.", int(view.state == "LIVE")),
        ("fastmesh_workers", "gauge", "Workers that serve.", len(view.crew.serving())),
        ("fastmesh_workers_wanted", "gauge", "Workers that should serve.", view.crew.wanted),
        ("fastmesh_worker_restarts", "counter", "Workers that died and were replaced.", view.crew.restarts),
        ("fastmesh_restart_epoch", "gauge", "In-place upgrades so far.", view.epoch),
        ("fastmesh_start_time_seconds", "gauge", "When the first program image started.", view.started),
    ]
    for name, kind, text, value in rows:
        family = Family(name, kind, text)
        family.add(value)
        yield family
    yield _build()
    reloads = Family("fastmesh_config_reloads", "counter", "Reloads by result.")
    for result in ("accepted", "refused", "unchanged"):
        reloads.add(getattr(view.reloader, result), label_text(["result"], [result]))
    yield reloads
    objects = Family("fastmesh_config_objects", "gauge", "Objects of the configuration that runs, and those left out.")
    for status, number in _objects(view).items():
        objects.add(number, label_text(["status"], [status]))
    yield objects
    yield from _names(view)
    yield from _certificates(view)
    yield from _redis(view)


def _names(view: ProxyView) -> Iterator[Family]:
    questions = Family("fastmesh_dns_questions", "counter", "Questions for addresses of names, by result.")
    for result, number in view.resolver.questions.items():
        questions.add(number, label_text(["result"], [result]))
    names = Family("fastmesh_dns_names", "gauge", "Names by what is known: stale ones keep their last good answer.")
    for status, number in view.resolver.names().items():
        names.add(number, label_text(["status"], [status]))
    yield from (questions, names)


def _certificates(view: ProxyView) -> Iterator[Family]:
    ends = Family("fastmesh_certificate_expiry_timestamp_seconds", "gauge", "When a certificate of the proxy ends.")
    failures = Family(
        "fastmesh_certificate_reload_failures", "counter", "New key material that was bad: the old stays."
    )
    renewals = Family("fastmesh_certificate_renewals", "counter", "New key material that the workers took.")
    for material in _materials(view):
        name = label_text(["name"], [material.name])
        failures.add(view.rotation.failures[material.name], name)
        renewals.add(view.rotation.renewals[material.name], name)
        if material.not_after:
            ends.add(material.not_after, label_text(["name", "serial"], [material.name, material.serial]))
    yield from (ends, failures, renewals)


def _redis(view: ProxyView) -> Iterator[Family]:
    up = Family("fastmesh_redis_up", "gauge", "1 while the Redis of global limits answers.")
    rows: list[tuple[Family, str]] = [
        (Family("fastmesh_redis_failures", "counter", "Connections to it that failed or ended."), "failures"),
        (Family("fastmesh_redis_questions", "counter", "Leases of tokens that were asked for."), "questions"),
        (Family("fastmesh_redis_tokens_granted", "counter", "Tokens that were taken ahead."), "granted"),
        (Family("fastmesh_redis_tokens_returned", "counter", "Of those, given back unspent."), "returned"),
        (Family("fastmesh_redis_tokens_overdrawn", "counter", "Requests on credit beyond the limit."), "overdrawn"),
    ]
    for store in view.leases.stores.values() if view.leases is not None else ():
        name = label_text(["address"], [str(store.address)])
        up.add(int(store.up), name)
        for family, word in rows:
            family.add(getattr(store, word), name)
    yield from (up, *(family for family, _ in rows))


def _build() -> Family:
    family = Family("fastmesh_build_info", "gauge", "Version of the proxy.")
    python = ".".join(map(str, sys.version_info[:3]))
    family.add(1, label_text(["version", "python"], [fastmesh.__version__, python]))
    return family
