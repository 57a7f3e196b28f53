# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""What listens, and what becomes of the connections that come in."""

from __future__ import annotations

from typing import Literal

from fastmesh.config.plan.parts import PlanPart
from fastmesh.config.plan.routes import DestinationPlan
from fastmesh.config.plan.tls import ServerTLSPlan


class DomainPlan(PlanPart, frozen=True):
    """`domain` is lower case: a name, "*.suffix", "*" or an IP literal (IPv6 in brackets). `port` 0 answers a Host
    without a port."""

    domain: str
    port: int
    vhost: int  # index of Plan.vhosts


class ChainPlan(PlanPart, frozen=True):
    """What happens to the connections of a listener that begin in one way (Envoy: a filter chain).

    A connection takes the first chain that fits what it begins with; `server_names` are compared like hosts: a name
    before `*.suffix`, the longest suffix first, no names fit last. No chain: the connection is closed.

    A request is for the chain whose names fit its Host best. When that is another one than the connection's, the answer
    is 421: the other one may demand a certificate that this one does not. Two `shared` chains with equal `tls` are one
    to a client: it may use a connection for the hosts of both (RFC 9113 section 9.1.1).

    Where it is known which address a client wanted to reach (a redirect of the kernel, a PROXY header), the chains of
    that `port` and of the longest prefix of `to` count alone, as in Envoy: nobody looks at the others. Chains without
    both are for all other clients.
    """

    name: str
    transport: Literal["any", "plaintext", "tls"] = "any"
    mesh_alpn: bool = False  # only TLS whose ALPN offers begin with "istio"
    server_names: list[str] = []  # SNI in lower case: "name" or "*.suffix"; empty: all, and none
    tls: ServerTLSPlan | None = None  # TLS ends here; None with transport "tls": it is passed on as it is (kind "tcp")
    kind: Literal["http", "tcp"] = "http"
    shared: bool = False
    destinations: list[DestinationPlan] = []  # of kind "tcp": clusters by weight
    port: int = 0  # only for clients that wanted to reach this port; 0: every port
    to: list[str] = []  # and one of these blocks of addresses; empty: every address

    @property
    def by_place(self) -> bool:
        """Only for clients of which it is known where they wanted to go."""
        return bool(self.port or self.to)


class ListenerPlan(PlanPart, frozen=True):
    """One listening socket. A mesh listener routes by Host and port; the others by Host alone (all ports 0)."""

    name: str  # "mesh", "0.0.0.0_8080" for gateways, "inbound_15006" for the side of the application
    role: Literal["mesh", "gateway", "inbound", "egress"]  # egress: a mesh listener for one port, of a Sidecar
    port: int  # the port of the configuration (Gateway server port); 0 for the mesh listener
    address: str  # where it is bound: HOST:PORT
    domains: list[DomainPlan] = []
    unknown: Literal["passthrough", "blackhole", "404"] = "404"  # what an unknown host gets
    https_redirect: list[str] = []  # domains whose requests are redirected to https (Gateway tls.httpsRedirect)
    origins: list[str] = []  # gateways "ns/name" served here
    chains: list[ChainPlan] = []  # empty: plaintext HTTP for everybody
    proxy_protocol: bool = False  # connections begin with a PROXY header, version 1 or 2
    filters: list[int] = []  # indexes of Plan.filters: of requests that no rule takes
