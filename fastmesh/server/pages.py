"""What each admin page says. A page is a function of what the master knows (`ProxyView`) and the request."""

from __future__ import annotations

import re
import time
from typing import Any, Protocol

import msgspec

import fastmesh
from fastmesh.config.plan import Plan
from fastmesh.discovery.dns import Resolver
from fastmesh.security.material import CertificateFacts
from fastmesh.server import log as log_lines
from fastmesh.server import redact, statistics
from fastmesh.server.crew import Crew, SharedArena
from fastmesh.server.http import Request, Response
from fastmesh.server.leases import Leases
from fastmesh.server.reload import Reloader
from fastmesh.server.rotation import Rotation
from fastmesh.server.settings import ProxySettings
from fastmesh.server.sockets import ListenerSet


class ProxyView(Protocol):
    """The master, as the pages see it."""

    settings: ProxySettings
    crew: Crew
    reloader: Reloader
    rotation: Rotation
    listeners: ListenerSet
    arena: SharedArena
    leases: Leases | None
    resolver: Resolver
    started: float
    image_started: float
    epoch: int

    @property
    def state(self) -> str: ...  # PRE_INITIALIZING, INITIALIZING, LIVE, DRAINING: Envoy's words
    def plan(self) -> Plan | None: ...
    def set_log_level(self, level: str) -> None: ...
    def stop(self) -> None: ...
    def drain_listeners(self) -> None: ...


STOP = 3
TOLD = (
    "",
    "under pressure, answers end their connections",
    "under pressure, requests of low priority are refused",
    "under pressure, nothing new is taken",
)


def _json(value: Any) -> Response:
    body = msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"
    return Response(200, body, "application/json")


def ready(view: ProxyView, request: Request) -> Response:
    """Under pressure it says what is done; not ready is a proxy of which no worker takes a connection."""
    state, told = view.state, ""
    if state == "LIVE":
        levels = statistics.pressure_levels(view)
        told = "".join(f"worker {index}: {TOLD[level]}\n" for index, level in levels.items() if level)
        state = "OVERLOADED" if levels and all(level == STOP for level in levels.values()) else state
    return Response(200 if state == "LIVE" else 503, f"{state}\n{told}".encode())


def server_info(view: ProxyView, request: Request) -> Response:
    now = time.time()
    plan = view.plan()
    return _json(
        {
            "version": f"fastmesh/{fastmesh.__version__}",
            "state": view.state,
            "uptime_current_epoch": f"{int(now - view.image_started)}s",
            "uptime_all_epochs": f"{int(now - view.started)}s",
            "restart_epoch": view.epoch,
            "config_version": plan.mesh.version if plan is not None else None,
            "command_line_options": redact.redacted(msgspec.to_builtins(view.settings)),
            "workers": [
                {
                    "index": member.index,
                    "pid": member.pid,
                    "stage": member.stage.value,
                    "generation": member.generation,
                    "connections": member.connections,
                    "active_requests": member.active,
                }
                for member in view.crew.members
            ],
            "worker_restarts": view.crew.restarts,
        }
    )


def stats(view: ProxyView, request: Request) -> Response:
    form = request.query.get("format", "text")
    if form == "prometheus":
        return prometheus(view, request)
    try:
        wanted = re.compile(request.query.get("filter", ""))
    except re.error as error:
        raise ValueError(f"filter: {error}") from None
    values = [(name, value) for name, value in statistics.flat(view) if wanted.search(name)]
    if "usedonly" in request.query:
        values = [(name, value) for name, value in values if value]
    match form:
        case "text":
            return Response(200, "".join(f"{name}: {value}\n" for name, value in values).encode())
        case "json":
            return _json({"stats": [{"name": name, "value": value} for name, value in values]})
    raise ValueError("format is text, json or prometheus")


def prometheus(view: ProxyView, request: Request) -> Response:
    kind, text = statistics.prometheus(view, request.headers.get("accept", ""))
    return Response(200, text, kind)


def clusters(view: ProxyView, request: Request) -> Response:
    found = statistics.clusters(view)
    if request.query.get("format") == "json":
        return _json({"cluster_statuses": found})
    return Response(200, statistics.clusters_text(found).encode())


def config_dump(view: ProxyView, request: Request) -> Response:
    reloader = view.reloader
    compiled = reloader.current
    dump = {
        "version": compiled.plan.mesh.version if compiled is not None else None,
        "last_reload": reloader.last,
        "reloads": {
            "accepted": reloader.accepted,
            "refused": reloader.refused,
            "unchanged": reloader.unchanged,
        },
        "errors": compiled.errors if compiled is not None else [],
        "warnings": [*compiled.warnings, *compiled.loaded.warnings] if compiled is not None else [],
        "objects": compiled.objects if compiled is not None else [],
        "plan": redact.redacted(msgspec.to_builtins(compiled.plan.shown())) if compiled is not None else None,
    }
    return _json(dump)


def listeners(view: ProxyView, request: Request) -> Response:
    bound = view.listeners.bound.values()
    if request.query.get("format") == "json":
        return _json({"listener_statuses": [{"name": item.name, "local_address": item.address} for item in bound]})
    return Response(200, "".join(f"{item.name}::{item.address}\n" for item in bound).encode())


def certs(view: ProxyView, request: Request) -> Response:
    """Envoy's form, a group for each credential. Keys are not in what this page has."""
    compiled = view.reloader.current
    materials = compiled.loaded.materials.values() if compiled is not None else ()
    groups = [
        {
            "ca_cert": [_certificate(each) for each in material.shown_roots],
            "cert_chain": [_certificate(each) for each in material.shown_chain],
        }
        for material in materials
    ]
    return _json({"certificates": groups})


def _certificate(facts: CertificateFacts) -> dict[str, Any]:
    names = [{kind: name} for kind, some in facts.names.items() for name in some]
    return {
        "path": facts.file,
        "serial_number": facts.serial,
        "subject_alt_names": names,
        "days_until_expiration": str(max(0, int(facts.valid_until - time.time()) // 86400)),
        "valid_from": _timestamp(facts.valid_from),
        "expiration_time": _timestamp(facts.valid_until),
    }


def _timestamp(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def log_level(view: ProxyView, request: Request) -> Response:
    return Response(200, f"active loggers:\n  fastmesh: {log_lines.current_level()}\n".encode())


def set_log_level(view: ProxyView, request: Request) -> Response:
    level = request.query.get("level", "")
    if level not in log_lines.LEVELS:
        raise ValueError(f"level is one of {', '.join(log_lines.LEVELS)}")
    view.set_log_level(level)
    return log_level(view, request)


def drain_listeners(view: ProxyView, request: Request) -> Response:
    view.drain_listeners()
    return Response(200, b"OK\n")


def quit_proxy(view: ProxyView, request: Request) -> Response:
    view.stop()
    return Response(200, b"OK\n")
