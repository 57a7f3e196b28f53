"""The proxies' own numbers, read from their admin interfaces as an operator would."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fastmesh.demo.client import Client

OUT = "failed_outlier_check"


@dataclass(slots=True)
class Endpoint:
    """One replica, added up over the clusters that it is in and the proxies that call it."""

    requests: int = 0
    success: int = 0
    ejections: int = 0
    out: bool = False


@dataclass(slots=True)
class Numbers:
    """What one or more proxies counted since they started."""

    endpoints: dict[str, Endpoint] = field(default_factory=dict)  # by address
    stats: dict[str, int] = field(default_factory=dict)  # by Envoy's dotted name

    def total(self, prefix: str, suffix: str) -> int:
        return sum(value for name, value in self.stats.items() if name.startswith(prefix) and name.endswith(suffix))

    def add_clusters(self, clusters: list[dict[str, Any]]) -> None:
        for cluster in clusters:
            for host in cluster["host_statuses"]:
                place = host["address"]["socket_address"]
                known = self.endpoints.setdefault(f"{place['address']}:{place['port_value']}", Endpoint())
                counted = {stat["name"]: stat["value"] for stat in host["stats"]}
                known.requests += counted.get("rq_total", 0)
                known.success += counted.get("rq_success", 0)
                known.ejections += host.get("ejections", 0)
                known.out = known.out or bool(host["health_status"].get(OUT))


class Admins:
    """The admin interfaces of some proxies, asked together."""

    def __init__(self, *addresses: str) -> None:
        self._clients = [Client(address) for address in addresses]

    async def numbers(self) -> Numbers:
        numbers = Numbers()
        for client in self._clients:
            numbers.add_clusters((await client.get("/clusters?format=json")).json()["cluster_statuses"])
            for stat in (await client.get("/stats?format=json")).json()["stats"]:
                numbers.stats[stat["name"]] = numbers.stats.get(stat["name"], 0) + int(stat["value"])
        return numbers

    def close(self) -> None:
        for client in self._clients:
            client.close()
