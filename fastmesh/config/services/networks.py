"""Endpoints of other networks: nobody reaches them but through their network's gateways, which pass mutual TLS on.

A network has gateways by MeshNetworks (the ConfigMap `istio`, under `meshNetworks`), or by Services with its name in
the label `topology.istio.io/network`. The server name of mutual TLS tells the gateway whom the client means.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping, Sequence

from fastmesh.config.hosts import fqdn, is_address
from fastmesh.config.resource import Resource
from fastmesh.config.store import ConfigSet
from fastmesh.errors import Problem
from fastmesh.model.kubernetes import Service

NETWORK = "topology.istio.io/network"
GATEWAY_PORT = "networking.istio.io/gatewayPort"
PORT = 15443
REGISTRY = "Kubernetes"

Gateway = tuple[str, int]  # address and port


class Networks:
    """`gateways`: of each network, in order. Without any, all networks are one."""

    def __init__(self, config: ConfigSet, root: str, resolve: Mapping[str, Sequence[str]]) -> None:
        self.problems: list[Problem] = []
        self.gateways: dict[str, list[Gateway]] = {}
        self._resolve = resolve
        self._blocks: list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, str]] = []
        spaces = (each for each in config.namespaces if each.name == root)
        self._usual = next((each.labels.get(NETWORK, "") for each in spaces), "")
        for written in config.mesh_networks[-1:]:
            for name, network in written.spec.networks.items():
                for endpoints in network.endpoints:
                    if endpoints.from_cidr:
                        self._blocks.append((ipaddress.ip_network(endpoints.from_cidr, strict=False), name))
                    elif endpoints.from_registry == REGISTRY:
                        self._usual = name
                for index, gateway in enumerate(network.gateways):
                    if gateway.address:
                        self._add(name, self._addresses(gateway.address), gateway.port)
                    elif not self._add(name, _of_host(config, gateway.registry_service_name), gateway.port):
                        path = ("networks", name, "gateways", index, "registryServiceName")
                        message = f"there is no Service {gateway.registry_service_name} with externalIPs"
                        self.problems.append(written.problem(path, message, "warning", "reference"))
        for service in config.services:
            name = service.labels.get(NETWORK, "")
            if name:
                port = service.labels.get(GATEWAY_PORT, "")
                self._add(name, service.spec.external_ips, int(port) if port.isdecimal() else PORT)

    def of(self, labels: Mapping[str, str], address: str) -> str:
        """The network of a workload of Kubernetes."""
        return labels.get(NETWORK, "") or self.at(address) or self._usual

    def at(self, address: str) -> str:
        """The network that has this address among its own, or ""."""
        if not self._blocks or not is_address(address):
            return ""
        own = ipaddress.ip_address(address)
        return next((name for block, name in self._blocks if own.version == block.version and own in block), "")

    def way(self, own: str, network: str) -> list[Gateway]:
        """The gateways to go through; none: endpoints there are reached at their own addresses."""
        return [] if own == network else self.gateways.get(network, [])

    @property
    def scale(self) -> int:
        """What weights are multiplied by, so that those of the gateways of each network are whole numbers."""
        return math.lcm(*(len(found) for found in self.gateways.values()))

    def _add(self, network: str, addresses: Sequence[str], port: int) -> bool:
        if addresses:
            found = self.gateways.setdefault(network, [])
            found += [(address, port) for address in addresses if (address, port) not in found]
        return bool(addresses)

    def _addresses(self, name: str) -> Sequence[str]:
        return (name,) if is_address(name) else self._resolve.get(name, ())


def gateway_names(config: ConfigSet) -> set[str]:
    """The names of gateways, whose addresses are asked of DNS."""
    networks = [network for each in config.mesh_networks[-1:] for network in each.spec.networks.values()]
    names = {gateway.address for network in networks for gateway in network.gateways}
    return {name for name in names if name and not is_address(name)}


def _of_host(config: ConfigSet, host: str) -> Sequence[str]:
    def is_it(service: Resource[Service]) -> bool:
        return fqdn(service.name, service.namespace) == host

    return next((service.spec.external_ips for service in config.services if is_it(service)), ())
