"""The sockets of the admin interface and of the status servers, bound once and handed on by upgrades."""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING

from fastmesh.server.admin import AdminPages
from fastmesh.server.guard import HostGuard
from fastmesh.server.http import HttpServer
from fastmesh.server.settings import ProxySettings
from fastmesh.server.sockets import BindError, Bound, bind, parse_address, remove

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastmesh.server.pages import ProxyView


log = logging.getLogger("fastmesh.admin")


class AdminSockets:
    """`bound` is by what the banner calls them: "admin", "status"."""

    def __init__(self, view: ProxyView) -> None:
        self._view = view
        self._servers: list[HttpServer] = []
        self._passed: dict[str, Bound] = {}
        self.bound: dict[str, Bound] = {}

    def adopt(self, passed: Iterable[Bound]) -> None:
        """Sockets of the last program image: used again when the settings still want them."""
        self._passed = {item.asked: item for item in passed}

    async def bind(self, settings: ProxySettings) -> None:
        """Bind and serve; BindError names the flag."""
        wanted = [("--admin", "admin", settings.admin)] if settings.admin != "off" else []
        wanted += [("--status", f"status{i or ''}", address) for i, address in enumerate(settings.status)]
        try:
            for flag, name, asked in wanted:
                self._take(flag, name, asked)
        finally:
            for left in self._passed.values():
                left.sock.close()
            self._passed = {}
        for name, item in self.bound.items():
            if name == "admin" and not _is_local(item):
                log.warning("the admin interface on %s can stop the proxy: let only operators reach it", item.address)
            guard = HostGuard([parse_address(item.asked).host]) if name == "admin" else None
            server = HttpServer(AdminPages(self._view, guard).answer)
            await server.start(item.sock)
            self._servers.append(server)

    def _take(self, flag: str, name: str, asked: str) -> None:
        old = self._passed.pop(asked, None)
        try:
            sock = old.sock if old is not None else bind(asked)
        except BindError as error:
            raise BindError(
                f"{error} ({flag} chooses another address{', or off' if name == 'admin' else ''})"
            ) from None
        self.bound[name] = Bound(0, name, asked, sock)

    async def close(self) -> None:
        for server in self._servers:
            await server.close()
        for item in self.bound.values():
            remove(item)


def _is_local(bound: Bound) -> bool:
    address = parse_address(bound.address)
    return bool(address.path) or ipaddress.ip_address(address.host).is_loopback
