"""ServiceEntry, WorkloadEntry and WorkloadGroup.

https://istio.io/latest/docs/reference/config/networking/service-entry/
"""

from __future__ import annotations

from fastmesh.config.check.report import At
from fastmesh.config.check.shared import check_export_to, check_labels, check_port_number, check_selector, say
from fastmesh.config.read import syntax
from fastmesh.config.resource import AnyResource
from fastmesh.model.service_entry import ReadinessProbe, ServiceEntry, WorkloadEntry, WorkloadGroup

_BY_ADDRESS = ("TCP", "TLS", "HTTPS", "MONGO", "REDIS", "MYSQL")  # a connection of these says its address only
_WAYPOINT = "istio.io/use-waypoint"
_BY_NAME = ("DNS", "DNS_ROUND_ROBIN")


def check_service_entry(resource: AnyResource, spec: ServiceEntry, at: At) -> None:
    """Everything Istio refuses in a ServiceEntry."""
    if spec.workload_selector is not None:
        check_selector(spec.workload_selector.labels, at["workloadSelector"]["labels"], "it selects nothing")
        if spec.endpoints:
            at["endpoints"].error("only one of workloadSelector and endpoints can be set, remove one")
    _check_hosts(spec, at["hosts"])
    for index, address in enumerate(spec.addresses):
        say(at["addresses"][index], syntax.subnet(address))
        if "/" in address and spec.resolution not in ("NONE", "STATIC"):
            message = f"{address} is a block, which only resolution NONE and STATIC can have; write one address"
            at["addresses"][index].error(message)
    _check_ports(spec, at["ports"])
    if not spec.addresses and any(port.protocol.upper() == "TCP" for port in spec.ports):
        at["addresses"].advice(
            "is empty: the port alone tells connections apart, give the hosts an address of their own"
        )
    _check_resolution(spec, at)
    waypoint = resource.labels.get(_WAYPOINT, "none").lower() not in ("", "none")
    if waypoint and spec.resolution == "DYNAMIC_DNS" and spec.location == "MESH_INTERNAL":
        at["location"].error(f"MESH_INTERNAL with DYNAMIC_DNS has no waypoint, remove the label {_WAYPOINT}")
    check_export_to(spec.export_to, resource.namespace, at["exportTo"], none=True)


def _check_hosts(spec: ServiceEntry, at: At) -> None:
    if not spec.hosts:
        at.error("is empty, name at least one host")
    for index, host in enumerate(spec.hosts):
        if host == "*":
            at[index].error("hostname cannot be wildcard, write the host's name or a part such as *.example.com")
        elif say(at[index], syntax.wildcard_domain(host)) or spec.resolution == "DYNAMIC_DNS":
            continue
        elif "*" in host and not host.startswith("*."):
            at[index].advice(f"{host} is a wildcard of a part of a label, write *.{host.lstrip('*-.')}")


def _check_ports(spec: ServiceEntry, at: At) -> None:
    names: set[str] = set()
    numbers: set[int] = set()
    for index, port in enumerate(spec.ports):
        place = at[index]
        if port.name in names:
            place["name"].error(f"{port.name} is the name of an earlier port, give each its own")
        if port.number in numbers:
            place["number"].error(f"port number cannot be duplicated, {port.number} is there twice")
        names.add(port.name)
        numbers.add(port.number)
        say(place["name"], syntax.label(port.name, "port name"))
        say(place["protocol"], syntax.protocol(port.protocol))
        check_port_number(port.number, place["number"])
        if port.target_port:
            check_port_number(port.target_port, place["targetPort"])
        protocol = port.protocol.upper()
        told_apart = protocol in syntax.HTTP_PROTOCOLS or protocol in syntax.TLS_PROTOCOLS
        if len(spec.hosts) > 1 and spec.resolution != "NONE" and not told_apart:
            shown = port.protocol or "a port without protocol"
            message = f"several hosts cannot be told apart on {shown}, write HTTP or TLS, or one entry for each host"
            place["protocol"].error(message)


def _check_resolution(spec: ServiceEntry, at: At) -> None:
    resolution = spec.resolution
    ports = {port.name for port in spec.ports}
    if resolution == "NONE":
        if spec.endpoints:
            at["endpoints"].error("NONE mode cannot set endpoints, write resolution: STATIC, or DNS for host names")
        if spec.workload_selector is not None:
            at["workloadSelector"].advice("has no effect with resolution NONE, write resolution: STATIC")
    elif resolution == "DYNAMIC_DNS":
        _check_dynamic(spec, at)
        return
    if resolution in _BY_NAME and not spec.endpoints:
        for index, host in enumerate(spec.hosts):
            if host.startswith("*"):
                message = f"{host} cannot be resolved, write a whole name or give endpoints"
                at["hosts"][index].error(message)
    by_port = any(port.protocol.upper() in _BY_ADDRESS for port in spec.ports)
    if resolution in _BY_NAME and len(spec.hosts) > 1 and spec.addresses and by_port:
        at["hosts"].advice("several hosts have the same addresses, which TCP and HTTPS cannot tell apart; split them")
    if resolution == "DNS_ROUND_ROBIN" and len(spec.endpoints) > 1:
        at["endpoints"].error("DNS_ROUND_ROBIN mode cannot have multiple endpoints, write resolution: DNS")
    for index, endpoint in enumerate(spec.endpoints):
        check_endpoint(endpoint, at["endpoints"][index], ports, by_name=resolution in _BY_NAME)


def _check_dynamic(spec: ServiceEntry, at: At) -> None:
    for index, host in enumerate(spec.hosts):
        if not host.startswith("*"):
            at["hosts"][index].error(f"{host} is no wildcard, which DYNAMIC_DNS needs; write resolution: DNS")
    for name in ("addresses", "endpoints"):
        if getattr(spec, name):
            at[name].error("has no place with DYNAMIC_DNS, which asks for the host of each request; remove it")
    for index, port in enumerate(spec.ports):
        if port.protocol.upper() not in ("HTTP", "HTTP2", "GRPC", "TLS"):
            at["ports"][index]["protocol"].error("DYNAMIC_DNS serves HTTP, HTTP2, GRPC and TLS only")


def check_workload_entry(resource: AnyResource, spec: WorkloadEntry, at: At) -> None:
    check_endpoint(spec, at, None, by_name=True)


def check_endpoint(endpoint: WorkloadEntry, at: At, ports: set[str] | None, *, by_name: bool) -> None:
    """`ports`: the names that the service has, None when unknown; `by_name`: a host name is an address."""
    address = endpoint.address
    if not address:
        if not endpoint.network:
            at.error("address is required and missing, add address: ...")
        else:
            at["network"].advice(
                f"has no address beside it: only the gateways of network {endpoint.network} lead there"
            )
    elif address.startswith(syntax.UNIX):
        _check_socket(endpoint, at, ports, by_name=by_name and ports is not None)
    elif not syntax.is_address(address):
        if not by_name:
            at["address"].error(f'"{address}" is not an IP address, write one or set resolution: DNS')
        elif syntax.fqdn(address):
            at["address"].error(f'"{address}" is not an address, write an IP address or a host name')
    for name, port in endpoint.ports.items():
        if ports is not None and name not in ports:
            known = ", ".join(sorted(ports)) or "none"
            at["ports"][name].error(f"{name} is not the name of a port of the service, which has {known}")
        say(at["ports"][name], syntax.label(name, "port name") or syntax.port(port))
    check_labels(endpoint.labels, at["labels"])


def _check_socket(endpoint: WorkloadEntry, at: At, ports: set[str] | None, *, by_name: bool) -> None:
    if by_name:
        at["address"].error("a socket needs no name service, write resolution: STATIC")
    say(at["address"], syntax.unix_address(endpoint.address.removeprefix(syntax.UNIX)))
    if endpoint.ports:
        at["ports"].error("a socket has no ports, remove them")
    if ports is not None and len(ports) != 1:
        at["address"].error(f"a socket serves exactly one port, the service has {len(ports)}")


def check_workload_group(resource: AnyResource, spec: WorkloadGroup, at: At) -> None:
    if spec.metadata is not None:
        check_labels(spec.metadata.labels, at["metadata"]["labels"])
    for name, port in spec.template.ports.items():
        say(at["template"]["ports"][name], syntax.label(name, "port name") or syntax.port(port))
    if spec.probe is not None:
        _check_probe(spec.probe, at["probe"])


def _check_probe(probe: ReadinessProbe, at: At) -> None:
    for name, value in (
        ("periodSeconds", probe.period_seconds), ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds), ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ):  # fmt: skip
        if value < 0:
            at[name].error(f"{value} is negative, write 0 (the default) or more")
    methods = {"httpGet": probe.http_get, "tcpSocket": probe.tcp_socket, "exec": probe.exec, "grpc": probe.grpc}
    given = [name for name, value in methods.items() if value is not None]
    if len(given) != 1:
        at.error(f"needs one way to probe, write one of {', '.join(methods)}")
    if probe.http_get is not None:
        check_port_number(probe.http_get.port, at["httpGet"]["port"])
        if probe.http_get.scheme not in ("", "HTTP", "HTTPS"):
            at["httpGet"]["scheme"].error(f"{probe.http_get.scheme} is not a scheme here, write HTTP or HTTPS")
        for index, header in enumerate(probe.http_get.http_headers):
            say(at["httpGet"]["httpHeaders"][index]["name"], syntax.header_name(header.name))
    if probe.tcp_socket is not None:
        check_port_number(probe.tcp_socket.port, at["tcpSocket"]["port"])
    if probe.grpc is not None and probe.grpc.port:
        check_port_number(probe.grpc.port, at["grpc"]["port"])
    if probe.exec is not None and not probe.exec.command:
        at["exec"]["command"].error("is empty, write the command")
