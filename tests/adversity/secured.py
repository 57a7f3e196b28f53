"""A gateway in plaintext, TLS and mutual TLS before one upstream, and clients of both versions of HTTP."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

from tests.interop.h2_client import H2Client, context
from tests.interop.legs import LEGS, Place
from tests.interop.meshes import gateway_yaml, upstream
from tests.interop.peers import Ports
from tests.interop.pki import SERVER, Authority
from tests.running import DEADLINE, Proxy
from tests.traffic import virtual_service

MAPS = ("--map", "80={plain}", "--map", "443={tls}")


class Front:
    """The doors of one gateway."""

    def __init__(self, proxy: Proxy, place: Place) -> None:
        self.proxy, self.place = proxy, place
        self.tls = {alpn: context(place.pki, alpn=(alpn,)) for alpn in ("h2", "http/1.1")}

    def h2(self, door: str, **sizes: int) -> H2Client:
        return H2Client(self.port(door), self.tls["h2"] if door == "tls" else None, SERVER, **sizes)

    def h1(self, door: str) -> socket.socket:
        """A connection of HTTP/1.1."""
        raw = socket.create_connection(("127.0.0.1", self.port(door)), DEADLINE)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.secure(raw, "http/1.1") if door == "tls" else raw

    def secure(self, raw: socket.socket, alpn: str) -> ssl.SSLSocket:
        return self.tls[alpn].wrap_socket(raw, server_hostname=SERVER, suppress_ragged_eofs=False)

    def port(self, door: str) -> int:
        return self.place.ports[f"gateway-{door}"]

    @property
    def worker(self) -> int:
        (pid,) = self.proxy.workers()
        return pid


@contextlib.contextmanager
def front(folder: Path, port: int, *flags: str, leg: str = "h1") -> Iterator[Front]:
    """A gateway before the upstream at `port`, which is spoken to over the leg."""
    place = Place(folder, Ports(), Authority(folder / "pki"), port)
    yaml = gateway_yaml(place, ("plain", "tls"))
    if leg != "h1":
        route = {"route": [{"destination": {"host": "other"}}]}
        yaml += upstream(place, "other", LEGS[leg], port)
        yaml += virtual_service("other", route, hosts=[SERVER], gateways=["gate"])
    doors = {"plain": place.ports["gateway-plain"], "tls": place.ports["gateway-tls"]}
    maps = [word.format(**doors) for word in MAPS]
    with Proxy(folder, yaml, "--role", "gateway", "--bind", "127.0.0.1", *maps, *flags, role="gateway") as proxy:
        yield Front(proxy, place)
