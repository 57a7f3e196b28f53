"""Istio's Gateways: for which workloads, on which ports, with which certificates, and against which other Gateways."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastmesh.config.analysis.workloads import INGRESS, Workload, Workloads
from fastmesh.config.check.report import At
from fastmesh.config.resource import Resource
from fastmesh.config.selectors import selects
from fastmesh.config.store import ConfigSet
from fastmesh.errors import Problem
from fastmesh.model.gateway import Gateway, Server, ServerTLS
from fastmesh.model.kubernetes import Secret

Written = Resource[Gateway]
CheckSecret = Callable[[Resource[Secret]], str]

# Of the ingress gateway of an installation: its Service's ports and where they lead (80 to 8080, 443 to 8443).
_INGRESS_PORTS = frozenset((80, 443, 8080, 8443, 15021, 15443, 31400))


def analyze_gateways(config: ConfigSet, workloads: Workloads, problems: list[Problem]) -> None:
    for gateway in config.gateways:
        selected = workloads.gateways(gateway.spec.selector)
        if gateway.spec.selector and not selected:
            shown = _shown(gateway.spec.selector)
            message = f"no workload here has the labels {shown}; a proxy that is to serve it needs --labels {shown}"
            At(gateway, problems)["selector"].found("IST0101", message)
        elif gateway.spec.selector:
            _ports(gateway, selected, config, problems)
        _conflicts(gateway, config, workloads, problems)
        _same_certificate(gateway, config, problems)


def _shown(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


# ---- ports


def _ports(gateway: Written, selected: list[Workload], config: ConfigSet, problems: list[Problem]) -> None:
    """Kubernetes brings nobody to a port that no Service has. Workloads without a Service are not Kubernetes'."""
    ports: set[int] = set()
    known = False
    for workload in selected:
        if workload.labels is INGRESS:
            known, ports = True, ports | _INGRESS_PORTS
        for service in config.services:
            if service.namespace == workload.namespace and selects(service.spec.selector, workload.labels):
                known = True
                for port in service.spec.ports:
                    ports.update((port.port, port.target_port if isinstance(port.target_port, int) else port.port))
    for index, server in enumerate(gateway.spec.servers):
        if known and server.port.number not in ports:
            place = At(gateway, problems)["servers"][index]["port"]["number"]
            has = ", ".join(map(str, sorted(ports)))
            place.found("IST0162", f"no Service of these workloads has the port {server.port.number}, they have {has}")


# ---- conflicts


def _conflicts(gateway: Written, config: ConfigSet, workloads: Workloads, problems: list[Problem]) -> None:
    rivals = [
        other
        for other in config.gateways
        if other is not gateway and _meet(gateway.spec.selector, other.spec.selector, workloads)
    ]
    for index, server in enumerate(gateway.spec.servers):
        names = [f"{other.namespace}/{other.name}" for other in rivals if _same_place(server, other)]
        if names:
            hosts = ", ".join(server.hosts)
            message = f"{', '.join(sorted(names))} has port {server.port.number} with {hosts} for the same workloads"
            At(gateway, problems)["servers"][index].found("IST0145", f"{message}; only the oldest serves them")


def _meet(one: Mapping[str, str], other: Mapping[str, str], workloads: Workloads) -> bool:
    """Whether two selectors may select the same workload; one that is wider needs a workload that proves it."""
    if one == other:
        return True
    if not (one.items() <= other.items() or other.items() <= one.items()):
        return False
    return any(pod.source is not None for pod in workloads.gateways({**one, **other}))


def _same_place(server: Server, other: Written) -> bool:
    return any(
        server.port.number == theirs.port.number
        and server.bind == theirs.bind
        and set(server.hosts) & set(theirs.hosts)
        for theirs in other.spec.servers
    )


# ---- certificates


def _same_certificate(gateway: Written, config: ConfigSet, problems: list[Problem]) -> None:
    """A client that has a connection for one host may use it for the other: the certificate says that it can."""
    for other in config.gateways:
        if other is gateway or not selects(gateway.spec.selector, other.spec.selector):
            continue
        for index, server in enumerate(gateway.spec.servers):
            if any(_same(server.tls, theirs.tls) for theirs in other.spec.servers):
                name = f"{other.namespace}/{other.name}"
                message = f"{name} has the same certificate, and a client may use one connection for hosts of both"
                At(gateway, problems)["servers"][index]["tls"].found("IST0138", message)


def _same(one: ServerTLS | None, other: ServerTLS | None) -> bool:
    if one is None or other is None:
        return False
    if one.credential_name or other.credential_name:
        return one.credential_name == other.credential_name
    pair = (one.server_certificate, one.private_key)
    return all(pair) and pair == (other.server_certificate, other.private_key)


def analyze_credentials(
    config: ConfigSet, workloads: Workloads, check: CheckSecret | None, problems: list[Problem]
) -> None:
    """A Secret is looked for in the namespace of the workload. `check` looks into it."""
    for gateway in config.gateways:
        selected = workloads.gateways(gateway.spec.selector)
        namespace = selected[0].namespace if selected else gateway.namespace
        for index, server in enumerate(gateway.spec.servers):
            name = server.tls.credential_name if server.tls is not None else ""
            place = At(gateway, problems)["servers"][index]["tls"]["credentialName"]
            if not name or not selected:
                continue
            secret = config.get("Secret", namespace, name)
            if secret is None:
                place.found("IST0101", f"there is no Secret {namespace}/{name}, and handshakes of this server fail")
            else:
                complaint = check(secret) if check is not None else ""
                if complaint:
                    place.found("IST0161", f"Secret {namespace}/{name} {complaint}")
