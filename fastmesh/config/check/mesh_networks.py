"""MeshNetworks by Istio's rules."""

from __future__ import annotations

import ipaddress

from fastmesh.config.check.report import At
from fastmesh.config.check.shared import check_port_number
from fastmesh.model.mesh_networks import MeshNetworks


def check_mesh_networks(spec: MeshNetworks, at: At) -> None:
    for name, network in spec.networks.items():
        place = at["networks"][name]
        for index, endpoints in enumerate(network.endpoints):
            if bool(endpoints.from_cidr) == bool(endpoints.from_registry):
                place["endpoints"][index].error("needs one of fromCidr and fromRegistry")
            elif endpoints.from_cidr and not _is_block(endpoints.from_cidr):
                message = f"{endpoints.from_cidr} is not a block of addresses, write one such as 10.0.0.0/8"
                place["endpoints"][index]["fromCidr"].error(message)
            elif endpoints.from_registry not in ("", "Kubernetes"):
                message = f"the registry {endpoints.from_registry}, other than Kubernetes (these files),"
                place["endpoints"][index]["fromRegistry"].unserved(message)
        for index, gateway in enumerate(network.gateways):
            if bool(gateway.address) == bool(gateway.registry_service_name):
                place["gateways"][index].error("needs one of address and registryServiceName")
            check_port_number(gateway.port, place["gateways"][index]["port"])


def _is_block(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text
