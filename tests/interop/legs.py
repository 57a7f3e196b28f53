"""The ways in which two proxies speak, and what each party is told about the ports of the others.

A leg is a version of HTTP over plaintext, over TLS, or over TLS with a certificate of the client as well. Each peer has
for each leg a port `PEER-out-LEG`, where plaintext HTTP/1.1 comes in that it sends to fastmesh over the leg, and a port
`PEER-in-LEG`, where it is spoken to over the leg and passes on to the origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.interop.peers import Ports
from tests.interop.pki import Authority


class Leg(NamedTuple):
    version: str  # h1, h2
    secured: str  # "", tls, mtls

    @property
    def name(self) -> str:
        return f"{self.version}-{self.secured}" if self.secured else self.version

    @property
    def gateway(self) -> str:
        """The port of fastmesh that takes it."""
        return f"gateway-{self.secured or 'plain'}"


LEGS = {leg.name: leg for leg in (Leg(version, secured) for secured in ("", "tls", "mtls") for version in ("h1", "h2"))}
PROXIES = ("nginx", "haproxy", "envoy")


@dataclass(frozen=True)
class Place:
    """Where a session of these tests lives."""

    folder: Path
    ports: Ports
    pki: Authority
    origin: int

    def all_of(self, peer: str) -> dict[str, int]:
        return {f"{peer}-{way}-{leg}": self.ports[f"{peer}-{way}-{leg}"] for way in ("out", "in") for leg in LEGS}
