"""For whom a plan is made: what a proxy does, where it stands, and which workload it stands for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fastmesh.config.hosts import TRUST_DOMAIN, is_address
from fastmesh.config.mesh import Mesh
from fastmesh.config.plan import WorkloadPlan
from fastmesh.config.resource import DEFAULT_NAMESPACE, Resource
from fastmesh.config.services.workloads import DEFAULT_ACCOUNT, UNKNOWN, Workload, facts
from fastmesh.config.store import ConfigSet
from fastmesh.errors import Problem, Severity
from fastmesh.model.kubernetes import Deployment, PodSpec, StatefulSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A proxy. Its workload is the client of every route, and of a sidecar also the server behind it."""

    kind: Literal["mesh", "gateway", "sidecar"] = "mesh"
    listen: str = "127.0.0.1:15001"  # mesh, sidecar: HOST:PORT of the side that clients of other services use
    inbound: tuple[tuple[str, str], ...] = ()  # sidecar: HOST:PORT to listen on, HOST:PORT of the application
    bind: str = "0.0.0.0"  # gateway: the address of ports without a `bind` of their own
    ports: Mapping[int, int] = field(default_factory=dict)  # gateway: port of the configuration -> port that is bound
    proxy_protocol: bool = False  # clients of the gateway, or of the mesh listener, begin with a PROXY header
    intercepts: bool = False  # the kernel redirects connections to the mesh listener
    name: str = ""  # of a WorkloadEntry, Pod, Deployment or StatefulSet in `namespace`
    namespace: str = DEFAULT_NAMESPACE
    locality: str = ""  # region/zone/subzone; empty: that of the workload of that name
    labels: Mapping[str, str] = field(default_factory=dict)  # besides those of the workload of that name
    workload: WorkloadPlan = UNKNOWN  # without a name: what metrics say of the proxy
    identity: bool = False  # whether the proxy has a certificate of the mesh (--certs)
    principal: str = ""  # the SPIFFE id of that certificate; "": what the service account says
    trust_domain: str = ""  # "": what MeshConfig says, else cluster.local
    believed: tuple[str, ...] = ()  # other trust domains whose clients are let in: --certs has their roots


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """The workload behind a sidecar."""

    workload: Workload
    namespace: str
    containers: PodSpec | None = None
    address: str = ""  # an IP, when somebody wrote it down


def stand_for(config: ConfigSet, role: Role, mesh: Mesh) -> tuple[Role, Own, list[Problem]]:
    """The role with what the configuration knows of its workload: labels, service account, the facts of metrics."""
    role = dataclasses.replace(role, trust_domain=role.trust_domain or mesh.trust_domain or TRUST_DOMAIN)
    problems = []
    found = find_workload(config, role.namespace, role.name) if role.name else None
    if role.name and found is None:
        message = "there is no WorkloadEntry, Pod, Deployment or StatefulSet of this name, so it has only --labels"
        problems.append(about_flag(f"--workload {role.name}.{role.namespace}", message, "warning"))
    known, containers, address = found or (Workload(role.name), None, "")
    told = known.principal_in(role.trust_domain, role.namespace)
    if role.principal and told and role.principal != told:
        message = f"the certificate of --certs is for {role.principal}; clients expect {told} by the service account"
        problems.append(about_flag(f"--workload {role.name}.{role.namespace}", message, "warning"))
    own = Workload(known.name, {**known.labels, **role.labels}, known.account, role.principal)
    if role.name:
        plan = facts(own.name, role.namespace, own.labels, own.principal_in(role.trust_domain, role.namespace))
        role = dataclasses.replace(role, labels=own.labels, workload=plan)
    return role, Own(workload=own, namespace=role.namespace, containers=containers, address=address), problems


def find_workload(config: ConfigSet, namespace: str, name: str) -> tuple[Workload, PodSpec | None, str] | None:
    """A WorkloadEntry, a Pod, a Deployment or a StatefulSet; with containers and address where they are known."""
    wanted = (namespace, name)
    for entry in config.workload_entries:
        if (entry.namespace, entry.name) == wanted:
            address = entry.spec.address if is_address(entry.spec.address) else ""
            return Workload(name, entry.spec.labels, entry.spec.service_account), None, address
    for pod in config.pods:
        if (pod.namespace, pod.name) == wanted:
            spec = pod.spec.spec
            account = spec.service_account_name or DEFAULT_ACCOUNT
            return Workload(name, pod.labels, account), spec, pod.spec.status.pod_ip
    templates: list[Resource[Deployment] | Resource[StatefulSet]] = [*config.deployments, *config.stateful_sets]
    for item in templates:
        if (item.namespace, item.name) == wanted:
            template = item.spec.template
            account = template.spec.service_account_name or DEFAULT_ACCOUNT
            return Workload(name, template.metadata.labels, account), template.spec, ""
    return None


def about_flag(flag: str, message: str, severity: Severity = "error") -> Problem:
    """A finding about how the proxy was started; the flag stands where a file would."""
    code: Literal["invalid", "reference"] = "invalid" if severity == "error" else "reference"
    return Problem(severity=severity, code=code, file=flag, line=0, message=message)
