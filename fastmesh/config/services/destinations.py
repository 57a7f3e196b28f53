"""Which DestinationRule shapes the traffic to a host, and what it says for one port and subset.

A client looks in its own namespace, then in the service's, then in the root namespace, and stops at the first one that
has a rule for the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from fastmesh.config.hosts import HostIndex, fqdn
from fastmesh.config.mesh import Mesh
from fastmesh.config.place import Path
from fastmesh.config.resource import Resource
from fastmesh.config.selectors import selects
from fastmesh.model.destination_rule import (
    ClientTLS,
    ConnectionPool,
    DestinationRule,
    LoadBalancer,
    OutlierDetection,
    ProxyProtocol,
    RetryBudget,
    Subset,
    TrafficPolicy,
    Tunnel,
)

MESH = Mesh()

Place = tuple[Resource[DestinationRule], Path]  # where something was written


@dataclass(slots=True)
class MergedRule:
    """The rules of one host and namespace that count as one; the oldest gives the policy and its name."""

    written: Resource[DestinationRule]
    export_to: frozenset[str]
    selector: Mapping[str, str]
    policy: TrafficPolicy | None
    policy_from: Resource[DestinationRule]
    subsets: dict[str, Subset] = field(default_factory=dict)
    subset_places: dict[str, Place] = field(default_factory=dict)

    @property
    def is_private(self) -> bool:
        return self.export_to in ({"."}, {self.written.namespace})

    def take(self, other: Resource[DestinationRule]) -> None:
        if self.policy is None and other.spec.traffic_policy is not None:
            self.policy, self.policy_from = other.spec.traffic_policy, other
        for index, subset in enumerate(other.spec.subsets):
            if subset.name not in self.subsets:
                self.subsets[subset.name] = subset
                self.subset_places[subset.name] = other, ("spec", "subsets", index, "trafficPolicy")


@dataclass(slots=True, frozen=True)
class Policy:
    """The blocks that hold for one port and subset; None = Istio's default."""

    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLS | None = None
    tls_place: Place | None = None
    retry_budget: RetryBudget | None = None
    tunnel: Tunnel | None = None
    proxy_protocol: ProxyProtocol | None = None


class DestinationRules:
    def __init__(
        self,
        rules: Iterable[Resource[DestinationRule]],
        namespace: str,
        labels: Mapping[str, str],
        mesh: Mesh = MESH,
    ) -> None:
        self._mesh = mesh
        self._namespace = namespace
        self._labels = labels
        self._by_namespace: dict[str, HostIndex[list[MergedRule]]] = {}
        visible = [
            rule for rule in rules if mesh.destination_rules.seen(rule.spec.export_to, rule.namespace, namespace)
        ]
        for rule in sorted(visible, key=lambda rule: not _selector(rule)):
            self._add(rule)
        self._private_root = _private(self._by_namespace.get(mesh.root))

    def policy(self, rule: MergedRule | None, port: int, subset: Subset | None) -> Policy:
        """What holds for a port and subset: by the rule, else by the mesh."""
        policy = policy_for(rule, port, subset) if rule is not None else Policy()
        return replace(
            policy,
            connection_pool=policy.connection_pool or self._mesh.connection_pool,
            outlier_detection=policy.outlier_detection or self._mesh.outlier_detection,
        )

    def find(self, host: str, service_namespace: str) -> MergedRule | None:
        """The rule for a host of the registry as this client sees it."""
        found = self._found(host, service_namespace)
        return self._choose(found, self._labels) if found is not None else None

    def find_for_all(self, host: str, service_namespace: str) -> MergedRule | None:
        """The same without rules for chosen workloads: those are for what a workload calls."""
        found = self._found(host, service_namespace)
        return self._choose(found, {}) if found is not None else None

    def _found(self, host: str, service_namespace: str) -> list[MergedRule] | None:
        own = self._private_root if self._namespace == self._mesh.root else self._by_namespace.get(self._namespace)
        for index in (own, self._by_namespace.get(service_namespace), self._by_namespace.get(self._mesh.root)):
            found = index.most_specific(host) if index is not None else None
            if found is not None:
                return found
        return None

    def _add(self, written: Resource[DestinationRule]) -> None:
        """Merged into an older one that is seen by the same, or by fewer; then it also stands for itself. A rule for
        chosen workloads is its namespace's alone, and rules for all are merged into it as well."""
        selector = _selector(written)
        if selector and written.namespace != self._namespace:
            return
        index = self._by_namespace.setdefault(written.namespace, HostIndex())
        host = fqdn(written.spec.host, written.namespace)
        rules = index.get(host)
        if rules is None:
            rules = []
            index.put(host, rules)
        export_to = frozenset(["."] if selector else self._mesh.destination_rules.of(written.spec.export_to))
        apart = True
        for rule in rules:
            if export_to >= rule.export_to and not (selector and rule.selector != selector):
                apart = apart and (export_to != rule.export_to or rule.selector != selector)
                rule.take(written)
        if not apart:
            return
        merged = MergedRule(written, export_to, selector, written.spec.traffic_policy, written)
        merged.take(written)
        rules.append(merged)

    def _choose(self, rules: list[MergedRule], labels: Mapping[str, str]) -> MergedRule | None:
        """A rule that selects this workload beats one for all; of several for all the last counts, as in Istio."""
        for rule in rules:
            if rule.selector and selects(rule.selector, labels):
                return rule
        return next((rule for rule in reversed(rules) if not rule.selector), None)


def _selector(written: Resource[DestinationRule]) -> Mapping[str, str]:
    return written.spec.workload_selector.match_labels if written.spec.workload_selector is not None else {}


def _private(index: HostIndex[list[MergedRule]] | None) -> HostIndex[list[MergedRule]]:
    """The rules of a namespace that only it sees."""
    found: HostIndex[list[MergedRule]] = HostIndex()
    for host in index or ():
        rules = [rule for rule in (index.get(host) if index else None) or () if rule.is_private]
        if rules:
            found.put(host, rules)
    return found


def policy_for(rule: MergedRule, port: int, subset: Subset | None) -> Policy:
    """Subset port level, else subset block, else port level of the rule, else the rule's block."""
    policy = _overlay(Policy(), rule.policy, port, (rule.policy_from, ("spec", "trafficPolicy")))
    if subset is None:
        return policy
    return _overlay(policy, subset.traffic_policy, port, rule.subset_places[subset.name])


def _overlay(base: Policy, policy: TrafficPolicy | None, port: int, place: Place) -> Policy:
    """A port-level entry replaces all four blocks, also by nothing; other blocks replace one by one."""
    if policy is None:
        return base
    written, path = place
    tunnel, proxy_protocol = policy.tunnel or base.tunnel, policy.proxy_protocol or base.proxy_protocol
    retry_budget = policy.retry_budget or base.retry_budget  # not one of the four, either
    for index, entry in enumerate(policy.port_level_settings):
        if entry.port is not None and entry.port.number == port:
            at = written, (*path, "portLevelSettings", index, "tls")
            return Policy(
                entry.load_balancer,
                entry.connection_pool,
                entry.outlier_detection,
                entry.tls,
                at,
                retry_budget=retry_budget,
                tunnel=tunnel,
                proxy_protocol=proxy_protocol,
            )
    return Policy(
        policy.load_balancer or base.load_balancer,
        policy.connection_pool or base.connection_pool,
        policy.outlier_detection or base.outlier_detection,
        policy.tls or base.tls,
        (written, (*path, "tls")) if policy.tls else base.tls_place,
        retry_budget=retry_budget,
        tunnel=tunnel,
        proxy_protocol=proxy_protocol,
    )
