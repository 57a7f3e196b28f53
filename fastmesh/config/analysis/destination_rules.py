"""DestinationRules: servers whose certificate nobody checks, and subsets that select nothing."""

from __future__ import annotations

from fastmesh.config.analysis.workloads import Workload, Workloads
from fastmesh.config.check.report import At
from fastmesh.config.hosts import covers, fqdn
from fastmesh.config.resource import Resource
from fastmesh.config.selectors import selects
from fastmesh.config.store import ConfigSet
from fastmesh.errors import Problem
from fastmesh.model.destination_rule import ClientTLS, DestinationRule

# Labels that a pod gets from where it runs, not from its author.
_OF_THE_NODE = frozenset((
    "topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone",
    "topology.istio.io/network", "topology.istio.io/cluster", "kubernetes.io/hostname",
))  # fmt: skip


def analyze_destination_rules(config: ConfigSet, workloads: Workloads, problems: list[Problem]) -> None:
    for rule in config.destination_rules:
        at, policy = At(rule, problems), rule.spec.traffic_policy
        if policy is not None:
            owned = rule.spec.workload_selector is not None
            _unverified(policy.tls, owned, at["trafficPolicy"]["tls"], "IST0128")
            for index, port in enumerate(policy.port_level_settings):
                _unverified(port.tls, owned, at["trafficPolicy"]["portLevelSettings"][index]["tls"], "IST0129")
        _subsets(rule, config, workloads, at)


def _unverified(tls: ClientTLS | None, owned: bool, at: At, cause: str) -> None:
    if tls is None or tls.mode not in ("SIMPLE", "MUTUAL") or tls.ca_certificates:
        return
    if not (tls.credential_name and owned):
        at.found(cause, f"mode {tls.mode} without caCertificates trusts whomever the system trusts, name the roots")


def _subsets(rule: Resource[DestinationRule], config: ConfigSet, workloads: Workloads, at: At) -> None:
    selector = _selector(rule, config)
    if selector is None:
        return
    namespace, labels = selector
    found = workloads.selected(labels, namespace)
    for index, subset in enumerate(rule.spec.subsets):
        if not any(_fits(subset.labels, workload) for workload in found):
            shown = ",".join(f"{name}={value}" for name, value in subset.labels.items())
            message = f"{subset.name} selects no workload of {rule.spec.host} ({shown}), requests to it get 503"
            at["subsets"][index].found("IST0173", message)


def _fits(labels: dict[str, str], workload: Workload) -> bool:
    placed = {name: value for name, value in labels.items() if name not in _OF_THE_NODE or value == ""}
    return selects(placed, workload.labels)


def _selector(rule: Resource[DestinationRule], config: ConfigSet) -> tuple[str, dict[str, str]] | None:
    """Namespace and labels of the workloads of the host; nothing when it has endpoints of another kind."""
    host = fqdn(rule.spec.host, rule.namespace)
    for service in config.services:
        if fqdn(service.name, service.namespace) == host:
            return (service.namespace, service.spec.selector) if service.spec.selector else None
    for entry in config.service_entries:
        if any(covers(name.lower(), host) for name in entry.spec.hosts):
            wanted = entry.spec.workload_selector
            return (entry.namespace, wanted.labels) if wanted is not None else None
    return None
