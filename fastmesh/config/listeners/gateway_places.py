"""The servers of Gateways by the port that they share, and which of them give way.

On one port and address plaintext HTTP servers join, and servers with TLS join by their server names; a server for bytes
has its port for itself. Of what cannot stand together the older server is kept, and the other one is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fastmesh.config import protocols
from fastmesh.config.place import Path
from fastmesh.config.resource import Resource
from fastmesh.config.selectors import selects
from fastmesh.errors import Problem
from fastmesh.model.gateway import TERMINATES, Gateway, Server


@dataclass(slots=True)
class Place:
    """One server of a Gateway on a port."""

    gateway: Resource[Gateway]
    index: int

    @property
    def server(self) -> Server:
        return self.gateway.spec.servers[self.index]

    @property
    def name(self) -> str:
        return f"{self.gateway.namespace}/{self.gateway.name}"

    @property
    def path(self) -> Path:
        return ("spec", "servers", self.index)

    @property
    def at(self) -> str:
        return f"{self.gateway.source.file}:{self.gateway.line(self.path)}"

    @property
    def redirects(self) -> bool:
        return self.server.tls is not None and self.server.tls.https_redirect and not self.is_tls

    @property
    def protocol(self) -> str:
        return protocols.declared(self.server.port.protocol)

    @property
    def is_tls(self) -> bool:
        return self.protocol in protocols.TLS

    @property
    def is_tcp(self) -> bool:
        """Bytes in plaintext."""
        return self.protocol in protocols.TCP

    @property
    def mode(self) -> str:
        """Of a server with TLS."""
        return self.server.tls.mode if self.server.tls is not None else "PASSTHROUGH"

    @property
    def reads_requests(self) -> bool:
        return self.protocol in protocols.HTTP or (self.protocol == "HTTPS" and self.mode in TERMINATES)

    def hosts(self) -> list[str]:
        """The names alone, whoever may use them."""
        return list(dict.fromkeys(host.rpartition("/")[2].lower() for host in self.server.hosts))

    def hosts_for(self, namespace: str) -> list[str]:
        """The server's hosts that objects of this namespace may use."""
        found = []
        for written in self.server.hosts:
            owner, slash, host = written.rpartition("/")
            if not slash or owner in ("*", namespace) or (owner == "." and self.gateway.namespace == namespace):
                found.append(host.lower())
        return found


def chosen(gateways: Iterable[Resource[Gateway]], labels: Mapping[str, str]) -> list[Resource[Gateway]]:
    """The Gateways of this workload; without labels every Gateway is."""
    return [gateway for gateway in gateways if not labels or selects(gateway.spec.selector, labels)]


def places(
    gateways: Iterable[Resource[Gateway]], problems: list[Problem], targets: Mapping[int, int]
) -> dict[tuple[str, int], list[Place]]:
    """Servers that can be served, by bind address and port, older Gateways first. `targets`: see `gateway_ports`."""
    found: dict[tuple[str, int], list[Place]] = {}
    owners: dict[tuple[str, int], dict[str, Place]] = {}  # of the server names there
    for gateway in gateways:
        for index, server in enumerate(gateway.spec.servers):
            place = Place(gateway, index)
            if place.protocol not in protocols.HTTP | protocols.TLS | protocols.TCP:
                continue  # reported when it was read
            where = (server.bind, targets.get(server.port.number, server.port.number))
            others, taken = found.setdefault(where, []), owners.setdefault(where, {})
            reason = _conflict(place, others, taken)
            if reason is None:
                others.append(place)
                taken.update(dict.fromkeys(place.hosts(), place))
            else:
                problems.append(gateway.problem(place.path, f"{reason}; this server is left out", "warning", "advice"))
    return found


def _conflict(place: Place, others: list[Place], taken: Mapping[str, Place]) -> str | None:
    """Why a server cannot join the older ones of its port."""
    if not others:
        return None
    port, first = place.server.port, others[0]
    if first.is_tls != place.is_tls:
        older = f"{first.server.port.protocol} at {first.at}"
        return f"{port.protocol} cannot share port {port.number} with {older}, give it a port of its own"
    if place.is_tcp or first.is_tcp:
        older = f"{first.server.port.protocol} at {first.at}"
        return f"{port.protocol} cannot share port {port.number} with {older}: nothing tells their connections apart"
    if place.is_tls:
        for host in place.hosts():
            if host in taken:
                return f'"{host}" on port {port.number} is the server at {taken[host].at} already, keep one of them'
    return None
