"""Which clusters and endpoints the running plan has: the arena also remembers those that are gone."""

from __future__ import annotations

from fastmesh.config.plan import EndpointPlan, Origin, Plan


class Members:
    """`clusters`: cluster name to the arena keys of its endpoints; `checked` are those with a HealthCheck, `guarded`
    those with a Resilience.
    """

    def __init__(
        self,
        clusters: dict[bytes, list[bytes]],
        checked: frozenset[bytes] = frozenset(),
        guarded: frozenset[bytes] = frozenset(),
    ) -> None:
        self.clusters = clusters
        self.checked = checked
        self.guarded = guarded
        self._endpoints = {key for keys in clusters.values() for key in keys}

    def has_cluster(self, key: bytes) -> bool:
        return key in self.clusters

    def has_endpoint(self, key: bytes) -> bool:
        return key in self._endpoints

    def is_checked(self, key: bytes) -> bool:
        return key in self._endpoints and key.partition(b"\0")[0] in self.checked


def members(plan: Plan) -> Members:
    return Members(
        {
            cluster.name.encode(): [
                f"{cluster.name}\0{address_text(endpoint)}".encode() for endpoint in cluster.endpoints
            ]
            for cluster in plan.clusters
        },
        frozenset(cluster.name.encode() for cluster in plan.clusters if cluster.health is not None),
        frozenset(
            [
                *(cluster.name.encode() for cluster in plan.clusters if cluster.resilience is not None),
                *(f"route|{place.namespace}/{place.name}".encode() for place in _of_rules(plan)),
            ]
        ),
    )


def _of_rules(plan: Plan) -> list[Origin]:
    """The Resiliences of rules; the arena has their words under such a name."""
    return [rule.guard.origin for vhost in plan.vhosts for rule in vhost.rules if rule.guard is not None]


def address_text(endpoint: EndpointPlan) -> str:
    """As logs and the arena write it."""
    if endpoint.address.startswith("unix://"):
        return endpoint.address
    host = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    return f"{host}:{endpoint.port}"
