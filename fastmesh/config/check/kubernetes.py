"""Service, Endpoints and EndpointSlice: what the Kubernetes API server refuses and a mesh would trip over."""

from __future__ import annotations

from fastmesh.config.check.report import At
from fastmesh.config.check.shared import check_port_number, say
from fastmesh.config.read import syntax
from fastmesh.config.resource import AnyResource
from fastmesh.model.kubernetes import Deployment, Endpoints, EndpointSlice, Service

_TRANSPORTS = ("TCP", "UDP", "SCTP")
SERVICE_NAME = "kubernetes.io/service-name"


def check_service(resource: AnyResource, spec: Service, at: At) -> None:
    if not spec.ports and spec.type != "ExternalName" and spec.cluster_ip != "None":
        at["ports"].error("is empty, a Service needs at least one port")
    if spec.type == "ExternalName":
        say(at["externalName"], syntax.fqdn(spec.external_name))
    names: set[str] = set()
    for index, port in enumerate(spec.ports):
        place = at["ports"][index]
        check_port_number(port.port, place["port"])
        if port.protocol not in _TRANSPORTS:
            place["protocol"].error(f"{port.protocol} is not a transport, write TCP and appProtocol: {port.protocol}")
        if isinstance(port.target_port, int):
            check_port_number(port.target_port, place["targetPort"])
        if len(spec.ports) > 1 and not port.name:
            place.error("name is required beside other ports and missing, add name: http")
        elif port.name in names:
            place["name"].error(f"{port.name} is the name of an earlier port, give each its own")
        names.add(port.name)
    if spec.cluster_ip not in ("", "None"):
        say(at["clusterIP"], syntax.address(spec.cluster_ip))


def check_endpoints(resource: AnyResource, spec: Endpoints, at: At) -> None:
    for index, subset in enumerate(spec.subsets):
        place = at["subsets"][index]
        for name, addresses in (("addresses", subset.addresses), ("notReadyAddresses", subset.not_ready_addresses)):
            for number, address in enumerate(addresses):
                say(place[name][number]["ip"], syntax.address(address.ip))
        for number, port in enumerate(subset.ports):
            check_port_number(port.port, place["ports"][number]["port"])


def check_endpoint_slice(resource: AnyResource, spec: EndpointSlice, at: At) -> None:
    if SERVICE_NAME not in resource.labels:
        at["metadata"]["labels"].advice(f"belongs to no Service, add the label {SERVICE_NAME}: NAME")
    for index, endpoint in enumerate(spec.endpoints):
        place = at["endpoints"][index]["addresses"]
        if not endpoint.addresses:
            place.error("is empty, write an address")
        for number, address in enumerate(endpoint.addresses):
            rule = syntax.fqdn if spec.address_type == "FQDN" else syntax.address
            say(place[number], rule(address))
    for index, port in enumerate(spec.ports):
        if port.port is not None:
            check_port_number(port.port, at["ports"][index]["port"])


def check_deployment(resource: AnyResource, spec: Deployment, at: At) -> None:
    if spec.replicas < 0:
        at["replicas"].error(f"{spec.replicas} is negative, the number of replicas is 0 or more")
    labels = spec.template.metadata.labels
    for name, value in spec.selector.match_labels.items():
        if labels.get(name) != value:
            place = at["selector"]["matchLabels"][name]
            place.error(f"does not select its own template, add the label {name}: {value} to it")
