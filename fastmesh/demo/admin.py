"""The proxies' own numbers, read from their admin interfaces as an operator would."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from fastmesh.demo.client import Client

OUT = "failed_outlier_check"
REQUESTS = "istio_requests_total"


@dataclass(slots=True)
class Endpoint:
    """One replica, added up over the clusters that it is in and the proxies that call it."""

    attempts: int = 0  # requests that were sent to it, retries among them
    out: bool = False  # ejected now


class Received(NamedTuple):
    service: str
    protocol: str
    status: str
    caller: str
    policy: str


@dataclass(slots=True)
class Numbers:
    """What one or more proxies counted since they started."""

    endpoints: dict[str, Endpoint] = field(default_factory=dict)  # by address
    stats: dict[str, int] = field(default_factory=dict)  # by Envoy's dotted name
    # Of Istio's metric, by service, version and status: what clients were answered,
    requests: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    # and by service, protocol, status, caller and security policy: what the sidecars in front of replicas saw.
    received: Counter[Received] = field(default_factory=Counter)

    def total(self, prefix: str, suffix: str) -> int:
        return sum(value for name, value in self.stats.items() if name.startswith(prefix) and name.endswith(suffix))

    def of(self, service: str, version: str, status: str = "") -> int:
        """Requests that a version of a service answered for good: an attempt that was retried is not among them."""
        return sum(n for key, n in self.requests.items() if key[:2] == (service, version) and status in ("", key[2]))

    def add_metrics(self, text: str) -> None:
        lines = [line for line in text.splitlines() if line.startswith(REQUESTS)]
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            for sample in family.samples:
                known = sample.labels
                service, status = known["destination_service_name"], known["response_code"]
                if known["reporter"] == "source":
                    self.requests[service, known["destination_version"], status] += int(sample.value)
                else:
                    whom = known["source_principal"], known["connection_security_policy"]
                    self.received[Received(service, known["request_protocol"], status, *whom)] += int(sample.value)

    def add_clusters(self, clusters: list[dict[str, Any]]) -> None:
        for cluster in clusters:
            for host in cluster["host_statuses"]:
                place = host["address"]["socket_address"]
                known = self.endpoints.setdefault(f"{place['address']}:{place['port_value']}", Endpoint())
                counted = {stat["name"]: stat["value"] for stat in host["stats"]}
                known.attempts += counted.get("rq_total", 0)
                known.out = known.out or bool(host["health_status"].get(OUT))


class Admins:
    """The admin interfaces of some proxies, asked together."""

    def __init__(self, *addresses: str) -> None:
        self._clients = [Client(address) for address in addresses]

    async def numbers(self) -> Numbers:
        numbers = Numbers()
        for client in self._clients:
            numbers.add_clusters((await client.get("/clusters?format=json")).json()["cluster_statuses"])
            numbers.add_metrics((await client.get("/stats/prometheus")).body.decode())
            for stat in (await client.get("/stats?format=json")).json()["stats"]:
                numbers.stats[stat["name"]] = numbers.stats.get(stat["name"], 0) + int(stat["value"])
        return numbers

    def close(self) -> None:
        for client in self._clients:
            client.close()
