"""What runs, by its labels: pods, declarations of pods, WorkloadEntries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fastmesh.config.resource import AnyResource
from fastmesh.config.selectors import selects
from fastmesh.config.store import ConfigSet

# Istio assumes that its own ingress gateway is installed, and does not ask for its pods. Neither do we.
INGRESS = {"istio": "ingressgateway"}
INGRESS_NAMESPACE = "istio-system"


class Workload(NamedTuple):
    kind: str
    namespace: str
    name: str
    labels: Mapping[str, str]
    source: AnyResource | None = None


class Workloads:
    def __init__(self, config: ConfigSet) -> None:
        self._all = list(_workloads(config))
        self.pods = [workload for workload in self._all if workload.kind == "Pod"]

    def selected(self, labels: Mapping[str, str], namespace: str | None = None) -> list[Workload]:
        """Those with all of the labels, of one namespace or of all."""
        return [
            workload
            for workload in self._all
            if namespace in (None, workload.namespace) and selects(labels, workload.labels)
        ]

    def gateways(self, labels: Mapping[str, str]) -> list[Workload]:
        """Those that a Gateway with this selector is for, the ingress gateway of an installation among them."""
        found = self.selected(labels)
        if labels and selects(labels, INGRESS):
            found.append(Workload("Pod", INGRESS_NAMESPACE, "istio-ingressgateway", INGRESS))
        return found


def _workloads(config: ConfigSet) -> Iterator[Workload]:
    for pod in config.pods:
        yield Workload("Pod", pod.namespace, pod.name, pod.labels, pod)
    for entry in config.workload_entries:
        yield Workload("WorkloadEntry", entry.namespace, entry.name, {**entry.labels, **entry.spec.labels}, entry)
    declarations: list[AnyResource] = [*config.deployments, *config.stateful_sets]
    for declared in declarations:
        labels = declared.spec.template.metadata.labels
        yield Workload(declared.kind, declared.namespace, declared.name, labels, declared)
