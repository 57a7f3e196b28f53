"""Which clusters and endpoints the running plan has: the arena also remembers those that are gone."""

from __future__ import annotations

from fastmesh.config.plan import EndpointPlan, Plan


class Members:
    """`clusters`: cluster name to the arena keys of its endpoints."""

    def __init__(self, clusters: dict[bytes, list[bytes]]) -> None:
        self.clusters = clusters
        self._endpoints = {key for keys in clusters.values() for key in keys}

    def has_cluster(self, key: bytes) -> bool:
        return key in self.clusters

    def has_endpoint(self, key: bytes) -> bool:
        return key in self._endpoints


def members(plan: Plan) -> Members:
    return Members(
        {
            cluster.name.encode(): [
                f"{cluster.name}\0{address_text(endpoint)}".encode() for endpoint in cluster.endpoints
            ]
            for cluster in plan.clusters
        }
    )


def address_text(endpoint: EndpointPlan) -> str:
    """As logs and the arena write it."""
    if endpoint.address.startswith("unix://"):
        return endpoint.address
    host = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    return f"{host}:{endpoint.port}"
