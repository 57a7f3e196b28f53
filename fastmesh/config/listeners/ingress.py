"""The doors of a sidecar: where it listens for the mesh, and which port of the workload is behind.

`--inbound` says them one by one. When the workload's Sidecar has `ingress`, that says which ports there are and what
each speaks: a pair of `--inbound` for such a port keeps the place where it listens, a port without a pair is opened at
its `bind` (else at --bind), and a pair for another port is not opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fastmesh.config.listeners.addresses import reaches, split
from fastmesh.config.place import Path
from fastmesh.config.resource import Resource
from fastmesh.config.services.role import Role, about_flag
from fastmesh.errors import Problem
from fastmesh.model.destination_rule import ConnectionPool
from fastmesh.model.gateway import ServerTLS
from fastmesh.model.sidecar import IngressListener, Sidecar

UNIX = "unix:"
_LOOPBACK = {"127.0.0.1": "127.0.0.1", "[::1]": "::1"}
_INSTANCE = {"0.0.0.0": "127.0.0.1", "[::]": "::1", "": "127.0.0.1"}  # the workload's own address, when it is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    listen: str  # HOST:PORT
    address: str  # of the application, or unix:///path
    number: int  # its port; for policies and for the name of its cluster
    protocol: str = ""  # as written; empty: that of the service
    sidecar: Resource[Sidecar] | None = None
    path: Path = ()  # of the ingress listener
    tls: ServerTLS | None = None
    pool: ConnectionPool | None = None

    @property
    def outside(self) -> int:
        return split(self.listen)[1]

    @property
    def target(self) -> str:
        """What it forwards to, to be compared with where the proxy listens."""
        return self.address if self.address.startswith(UNIX) else at(self.address, self.number)


def at(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def doors(role: Role, sidecar: Resource[Sidecar] | None, own: str, problems: list[Problem]) -> list[Door]:
    """`own`: the workload's address, as far as somebody wrote it down."""
    pool = sidecar.spec.inbound_connection_pool if sidecar is not None else None
    pairs = {listen: split(target) for listen, target in role.inbound}
    if sidecar is None or not sidecar.spec.ingress:
        return [
            Door(listen=listen, address=address, number=number, sidecar=sidecar, pool=pool)
            for listen, (address, number) in pairs.items()
        ]
    found = []
    for index, ingress in enumerate(sidecar.spec.ingress):
        address, number = _behind(ingress, own)
        fitting = [listen for listen in pairs if _fits(ingress, split(listen)[1], pairs[listen][1], number)]
        for listen in fitting or [at(ingress.bind or role.bind, ingress.port.number)]:
            pairs.pop(listen, None)
            found.append(
                Door(
                    listen=listen,
                    address=address,
                    number=number,
                    protocol=ingress.port.protocol,
                    sidecar=sidecar,
                    path=("spec", "ingress", index),
                    tls=ingress.tls,
                    pool=ingress.connection_pool or pool,
                )
            )
    for listen in pairs:
        message = f"Sidecar {sidecar.namespace}/{sidecar.name} has no ingress for this port, so it is not opened"
        problems.append(about_flag(f"--inbound {listen}", message, "warning"))
    return found


def loops(listen: str, found: list[Door]) -> Iterator[tuple[Door, str]]:
    """The doors that forward to a listener of the proxy itself, and which one that is."""
    own = [address for address in (listen, *(door.listen for door in found)) if address]
    return ((door, each) for door in found for each in own if reaches(door.target, each))


def _fits(ingress: IngressListener, listens: int, pair_target: int, number: int) -> bool:
    """A pair is for the port of the listener itself, or for the port of the application behind it."""
    return ingress.port.number in (listens, pair_target) or (number != 0 and pair_target == number)


def _behind(ingress: IngressListener, own: str) -> tuple[str, int]:
    """Without a defaultEndpoint the application is at the same port."""
    written = ingress.default_endpoint
    if written.startswith(UNIX):
        return written, ingress.port.number
    host, _, port = written.rpartition(":")
    if host in _LOOPBACK:
        return _LOOPBACK[host], int(port)
    return own or _INSTANCE[host], int(port) if port else ingress.port.number
