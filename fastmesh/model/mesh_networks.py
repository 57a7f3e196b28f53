# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""MeshNetworks: which endpoints stand in which network, and the gateways that lead into it.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshNetworks
"""

from __future__ import annotations

from fastmesh.model.base import Spec, UInt32


class NetworkEndpoints(Spec, frozen=True):
    """One of both: a block of addresses, or all of a registry ("Kubernetes": of these files)."""

    from_cidr: str = ""
    from_registry: str = ""


class NetworkGateway(Spec, frozen=True):
    """One of address (IP or name) and registry_service_name."""

    port: UInt32
    registry_service_name: str = ""
    address: str = ""
    locality: str = ""


class Network(Spec, frozen=True):
    endpoints: list[NetworkEndpoints] = []
    gateways: list[NetworkGateway] = []


class MeshNetworks(Spec, frozen=True):
    networks: dict[str, Network] = {}
