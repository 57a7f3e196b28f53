"""What is known about the workload behind an address: its labels, and the facts that metrics show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastmesh.config.plan import WorkloadPlan
from fastmesh.config.resource import Resource
from fastmesh.config.selectors import LabelIndex
from fastmesh.model.kubernetes import Pod, PodSpec, PodTemplate

# The tails that Kubernetes puts behind a Deployment's name (replica set, pod) and a StatefulSet's (ordinal).
_POD_TAIL = re.compile(r"(-[a-z0-9]{5,10}-[a-z0-9]{5}|-[0-9]+|-[a-z0-9]{5})\Z")

UNKNOWN = WorkloadPlan()
DEFAULT_ACCOUNT = "default"  # Kubernetes gives it to a pod that names none


@dataclass(frozen=True, slots=True)
class Workload:
    """Who stands behind an address: its name, labels and service account, as far as somebody wrote them down."""

    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    account: str = ""
    principal: str = ""  # when it is known by more than the account: from its own certificate

    def principal_in(self, trust_domain: str, namespace: str) -> str:
        return self.principal or (principal_of(trust_domain, namespace, self.account) if self.account else "")


def principal_of(trust_domain: str, namespace: str, account: str) -> str:
    """The SPIFFE id of a service account."""
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{account}"


def facts(name: str, namespace: str, labels: Mapping[str, str], principal: str = "") -> WorkloadPlan:
    """A workload's facts by Istio's rules: labels first, then the workload's own name."""
    app = labels.get("app", "")
    canonical = labels.get("service.istio.io/canonical-name") or labels.get("app.kubernetes.io/name") or app or name
    revision = (
        labels.get("service.istio.io/canonical-revision")
        or labels.get("app.kubernetes.io/version")
        or labels.get("version")
        or "latest"
    )
    return WorkloadPlan(
        name=name or "unknown",
        namespace=namespace or "unknown",
        app=app or "unknown",
        version=labels.get("version") or "unknown",
        canonical_service=canonical or "unknown",
        canonical_revision=revision,
        principal=principal or "unknown",
    )


class WorkloadTable:
    """The distinct workloads of a plan; index 0 is the unknown one."""

    def __init__(self, trust_domain: str) -> None:
        self.trust_domain = trust_domain
        self.plans: list[WorkloadPlan] = [UNKNOWN]
        self._index: dict[tuple[object, ...], int] = {}

    def put(self, workload: Workload, namespace: str) -> int:
        name, labels = workload.name, workload.labels
        if not name and not labels:
            return 0
        key = (name, namespace, workload.account, workload.principal, tuple(sorted(labels.items())))
        found = self._index.get(key)
        if found is None:
            found = self._index[key] = len(self.plans)
            principal = workload.principal_in(self.trust_domain, namespace)
            self.plans.append(facts(name, namespace, labels, principal))
        return found


class Templates:
    """Deployments, StatefulSets and Pods of the configuration, to find a pod's labels by its name or address."""

    def __init__(self, deployments: Iterable[Resource[Any]], pods: Iterable[Resource[Pod]]) -> None:
        self._deployments = {(item.namespace, item.name): item.spec.template for item in deployments}
        self._pods = {(item.namespace, item.name): item for item in pods}
        self._addresses = {item.spec.status.pod_ip: item for item in self._pods.values() if item.spec.status.pod_ip}
        self._by_label: LabelIndex[PodSpec] = LabelIndex()
        for (namespace, _), template in self._deployments.items():
            self._by_label.add(namespace, template.metadata.labels, template.spec)

    def pod(self, namespace: str, name: str, address: str) -> Resource[Pod] | None:
        return self._pods.get((namespace, name)) or self._addresses.get(address)

    def owner(self, namespace: str, pod_name: str) -> tuple[str, PodTemplate | None]:
        """The name of the workload that a pod belongs to, by how Kubernetes names pods, and its template."""
        found = self._deployments.get((namespace, pod_name))
        if found is not None:
            return pod_name, found
        short = _POD_TAIL.sub("", pod_name)
        return short, self._deployments.get((namespace, short))

    def behind(self, namespace: str, pod_name: str, address: str) -> Workload:
        """The workload of the pod that stands behind an address; an empty one when nobody wrote it down."""
        pod = self.pod(namespace, pod_name, address)
        if pod is not None:
            account = pod.spec.spec.service_account_name or DEFAULT_ACCOUNT
            return Workload(self.owner(namespace, pod.name)[0], pod.labels, account)
        if not pod_name:
            return Workload()
        name, template = self.owner(namespace, pod_name)
        if template is None:
            return Workload(name)
        return Workload(name, template.metadata.labels, template.spec.service_account_name or DEFAULT_ACCOUNT)

    @property
    def pods(self) -> Iterable[Resource[Pod]]:
        return self._pods.values()

    def named_port(self, namespace: str, labels: Mapping[str, str], port: str) -> int | None:
        """The number of a container port by its name, in a template whose labels include these."""
        for spec in self._by_label.select(namespace, labels):
            number = port_named(spec, port)
            if number is not None:
                return number
        return None


def port_named(spec: PodSpec, name: str) -> int | None:
    for container in spec.containers:
        for port in container.ports:
            if port.name == name:
                return port.container_port
    return None
