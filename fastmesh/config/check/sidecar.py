"""Sidecar: listeners of a workload and what it imports.

https://istio.io/latest/docs/reference/config/networking/sidecar/
"""

from __future__ import annotations

from fastmesh.config.check.destination_rule import check_connection_pool
from fastmesh.config.check.gateway import check_namespaced_host, check_server_tls
from fastmesh.config.check.report import At
from fastmesh.config.check.shared import check_destination, check_port_number, check_selector, say
from fastmesh.config.read import syntax
from fastmesh.config.resource import AnyResource
from fastmesh.model.base import Port
from fastmesh.model.gateway import ServerTLS
from fastmesh.model.sidecar import EgressListener, IngressListener, OutboundTrafficPolicy, Sidecar

_LOCAL = ("", "127.0.0.1", "0.0.0.0", "[::1]", "[::]")
_NO_TLS = {
    "subjectAltNames": "subject_alt_names", "httpsRedirect": "https_redirect", "credentialName": "credential_name",
    "credentialNames": "credential_names", "tlsCertificates": "tls_certificates",
}  # fmt: skip


def check_sidecar(resource: AnyResource, spec: Sidecar, at: At) -> None:
    """Everything Istio refuses in a Sidecar."""
    if spec.workload_selector is not None:
        everything = "it selects all workloads of the namespace"
        check_selector(spec.workload_selector.labels, at["workloadSelector"]["labels"], everything)
    if not (spec.ingress or spec.egress or spec.outbound_traffic_policy or spec.inbound_connection_pool):
        at.error("is empty, add one of ingress, egress, outboundTrafficPolicy, inboundConnectionPool")
    numbers: set[int] = set()
    for index, ingress in enumerate(spec.ingress):
        _check_ingress(ingress, numbers, at["ingress"][index])
    if spec.inbound_connection_pool is not None:
        check_connection_pool(spec.inbound_connection_pool, at["inboundConnectionPool"])
    taken: set[int | str] = set()
    for index, egress in enumerate(spec.egress):
        if egress.port is None and index != len(spec.egress) - 1:
            at["egress"][index].error("a listener without port takes the rest and has to be the last one, move it")
        _check_egress(egress, taken, resource.namespace, at["egress"][index])
    if spec.outbound_traffic_policy is not None:
        _check_policy(spec.outbound_traffic_policy, at["outboundTrafficPolicy"])


def _check_port(port: Port, at: At) -> None:
    if port.name:
        say(at["name"], syntax.label(port.name, "port name"))
    say(at["protocol"], syntax.protocol(port.protocol))
    if port.target_port:
        at["targetPort"].error("has no effect on a Sidecar, remove it")


def _unique(key: int | str, taken: set[int | str] | set[int], at: At) -> None:
    if key in taken:
        at.error(f"{key} is taken by an earlier listener, give each its own")
    taken.add(key)  # type: ignore[arg-type]


def _check_ingress(ingress: IngressListener, numbers: set[int], at: At) -> None:
    _check_port(ingress.port, at["port"])
    check_port_number(ingress.port.number, at["port"]["number"])
    _unique(ingress.port.number, numbers, at["port"]["number"])
    if ingress.bind:
        say(at["bind"], syntax.address(ingress.bind))
    endpoint = ingress.default_endpoint
    if endpoint.startswith(syntax.UNIX):
        say(at["defaultEndpoint"], syntax.unix_address(endpoint.removeprefix(syntax.UNIX)))
    elif endpoint:
        host, _, port = endpoint.rpartition(":")
        if host not in _LOCAL or not port.isdecimal() or syntax.port(int(port)):
            message = (
                f"{endpoint} is not local, write 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix:///path"
            )
            at["defaultEndpoint"].error(message)
    if ingress.tls is not None:
        _check_tls(ingress.tls, ingress.port.protocol, at["tls"])
    if ingress.connection_pool is not None:
        check_connection_pool(ingress.connection_pool, at["connectionPool"])
        if ingress.connection_pool.http is not None and ingress.port.protocol.upper() not in syntax.HTTP_PROTOCOLS:
            at["connectionPool"]["http"].advice(f"has no effect on {ingress.port.protocol}, write tcp")


def _check_tls(tls: ServerTLS, protocol: str, at: At) -> None:
    for name, attribute in _NO_TLS.items():
        if getattr(tls, attribute):
            at[name].error("is not supported on a Sidecar, remove it")
    if tls.mode in ("ISTIO_MUTUAL", "AUTO_PASSTHROUGH"):
        at["mode"].error(f"{tls.mode} is not supported on a Sidecar, write SIMPLE or MUTUAL")
    if protocol.upper() not in syntax.TLS_PROTOCOLS:
        at.error(f"tls has no place with protocol {protocol}, write protocol: HTTPS")
    check_server_tls(tls, at)


def _check_egress(egress: EgressListener, taken: set[int | str], own: str, at: At) -> None:
    if egress.port is not None:
        _check_port(egress.port, at["port"])
        if egress.port.number:
            check_port_number(egress.port.number, at["port"]["number"])
            _unique(egress.port.number, taken, at["port"]["number"])
            if egress.bind:
                say(at["bind"], syntax.address(egress.bind))
        elif egress.bind.startswith(syntax.UNIX):
            say(at["bind"], syntax.unix_address(egress.bind.removeprefix(syntax.UNIX)))
            _unique(egress.bind, taken, at["bind"])
            if egress.capture_mode == "IPTABLES":
                at["captureMode"].error("IPTABLES cannot capture a socket, write NONE")
        else:
            at["port"]["number"].error("0 needs a socket, write bind: unix:///path or a port number")
    if not egress.hosts:
        at["hosts"].error('is empty, write at least one namespace/host such as "./*"')
    _check_imports(egress.hosts, own, at["hosts"])


def _check_imports(hosts: list[str], own: str, at: At) -> None:
    """An entry that another one covers imports nothing."""
    seen: dict[str, set[str]] = {}
    for index, entry in enumerate(hosts):
        check_namespaced_host(entry, at[index], gateway=False)
        namespace, _, host = entry.partition("/")
        names = seen.setdefault(own if namespace == "." else namespace, set())
        if host in names or "*" in names or (host == "*" and names):
            at[index].advice(f"{entry} is there already, keep one")
        names.add(host)
    if "*" in seen.get("*", ()) and len(seen) > 1:
        at.advice("*/* imports everything, the others add nothing")


def _check_policy(policy: OutboundTrafficPolicy, at: At) -> None:
    proxy = policy.egress_proxy
    if proxy is None:
        return
    if policy.mode != "ALLOW_ANY":
        at["egressProxy"].error("needs mode: ALLOW_ANY")
    if proxy.port is None:
        at["egressProxy"].error("port is required and missing, add port: {number: ...}")
    check_destination(proxy, at["egressProxy"])
