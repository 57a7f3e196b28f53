"""The admin interface: Envoy's paths, answered by the master from the arena, the running plan and the list of
workers.

State changes only by POST. The status server (Istio's 15021 and 15090) is the read-only part of the same table.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fastmesh.server import pages
from fastmesh.server.guard import HostGuard
from fastmesh.server.http import Request, Response
from fastmesh.server.pages import ProxyView


class Page(msgspec.Struct, frozen=True):
    path: str
    method: str  # GET also answers HEAD
    show: Callable[[ProxyView, Request], Response]
    help: str
    status: bool = False  # also on the status server


PAGES = (
    Page("/ready", "GET", pages.ready, "200 LIVE, or 503 while starting, draining or overloaded", status=True),
    Page("/healthz/ready", "GET", pages.ready, "the same under Istio's name", status=True),
    Page("/server_info", "GET", pages.server_info, "version, state, uptime, settings, workers"),
    Page("/stats", "GET", pages.stats, "counters and gauges; ?filter=REGEX&format=text|json|prometheus&usedonly"),
    Page("/stats/prometheus", "GET", pages.prometheus, "the same for Prometheus", status=True),
    Page("/clusters", "GET", pages.clusters, "destinations and their endpoints; ?format=json"),
    Page("/config_dump", "GET", pages.config_dump, "the running plan, the status of each object, the last reload"),
    Page("/certs", "GET", pages.certs, "certificates of the proxy and the roots that peers are checked against"),
    Page("/listeners", "GET", pages.listeners, "listening sockets; ?format=json"),
    Page("/logging", "GET", pages.log_level, "the log level"),
    Page("/logging", "POST", pages.set_log_level, "?level=debug|info|warning|error changes it"),
    Page("/drain_listeners", "POST", pages.drain_listeners, "stop accepting connections"),
    Page("/quitquitquit", "POST", pages.quit_proxy, "drain and exit"),
)


class AdminPages:
    """Answers a request from the table; `guard` is None on the status server, which changes nothing."""

    def __init__(self, view: ProxyView, guard: HostGuard | None) -> None:
        self._view = view
        self._guard = guard
        self._pages = [page for page in PAGES if guard is not None or page.status]

    def answer(self, request: Request) -> Response:
        refusal = self._guard.refusal(request) if self._guard is not None else ""
        if refusal:
            return Response(403, f"{refusal}\n".encode())
        if request.path == "/" and request.method in ("GET", "HEAD"):
            return self._index()
        found = [page for page in self._pages if page.path == request.path]
        if not found:
            return Response(404, b"no such page; / lists them\n")
        method = "GET" if request.method == "HEAD" else request.method
        page = next((page for page in found if page.method == method), None)
        if page is None:
            allowed = ", ".join(page.method for page in found)
            return Response(405, f"use {allowed}\n".encode(), headers=(("allow", allowed),))
        return page.show(self._view, request)

    def _index(self) -> Response:
        lines = [f"{page.method:5} {page.path:20} {page.help}" for page in self._pages]
        return Response(200, ("\n".join(lines) + "\n").encode())
