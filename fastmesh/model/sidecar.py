# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""Sidecar: what one workload's proxy listens on and sees.

https://istio.io/latest/docs/reference/config/networking/sidecar/
"""

from __future__ import annotations

from typing import Literal

from fastmesh.model.base import LabelSelector, Port, Spec
from fastmesh.model.destination_rule import ConnectionPool
from fastmesh.model.gateway import ServerTLS
from fastmesh.model.virtual_service import Destination

CaptureMode = Literal["DEFAULT", "IPTABLES", "NONE"]


class IngressListener(Spec, frozen=True):
    port: Port
    bind: str = ""
    capture_mode: CaptureMode = "DEFAULT"
    default_endpoint: str = ""
    tls: ServerTLS | None = None
    connection_pool: ConnectionPool | None = None


class EgressListener(Spec, frozen=True):
    hosts: list[str]
    port: Port | None = None
    bind: str = ""
    capture_mode: CaptureMode = "DEFAULT"


class OutboundTrafficPolicy(Spec, frozen=True):
    """The zero value is REGISTRY_ONLY: an empty block means that, not the mesh default."""

    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY"] = "REGISTRY_ONLY"
    egress_proxy: Destination | None = None


class Sidecar(Spec, frozen=True):
    workload_selector: LabelSelector | None = None
    ingress: list[IngressListener] = []
    egress: list[EgressListener] = []
    inbound_connection_pool: ConnectionPool | None = None
    outbound_traffic_policy: OutboundTrafficPolicy | None = None
