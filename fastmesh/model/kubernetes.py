# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""Kubernetes' core kinds, as far as a mesh reads them; other fields are passed over.

https://kubernetes.io/docs/reference/kubernetes-api/
"""

from __future__ import annotations

import base64
from typing import Any, Literal

import msgspec

from fastmesh.model.base import Lenient


class ServicePort(Lenient, frozen=True):
    """`target_port` None means `port`; a text names a container port."""

    port: int
    name: str = ""
    protocol: str = "TCP"  # or UDP, SCTP
    app_protocol: str = ""
    target_port: int | str | None = None
    node_port: int = 0


class Service(Lenient, frozen=True):
    """`cluster_ip` "None" is headless. No selector: endpoints are given by hand."""

    ports: list[ServicePort] = []
    selector: dict[str, str] = {}
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    cluster_ip: str = msgspec.field(name="clusterIP", default="")
    cluster_ips: list[str] = msgspec.field(name="clusterIPs", default_factory=list)
    external_name: str = ""
    external_ips: list[str] = msgspec.field(name="externalIPs", default_factory=list)
    publish_not_ready_addresses: bool = False
    internal_traffic_policy: str = ""
    traffic_distribution: str = ""


class ContainerPort(Lenient, frozen=True):
    container_port: int
    name: str = ""
    protocol: str = "TCP"


class Container(Lenient, frozen=True):
    name: str = ""
    image: str = ""
    ports: list[ContainerPort] = []


class PodSpec(Lenient, frozen=True):
    containers: list[Container] = []
    service_account_name: str = ""
    node_name: str = ""


class Meta(Lenient, frozen=True):
    """metadata of any object, and of a pod template."""

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    generation: int = 0


class PodTemplate(Lenient, frozen=True):
    metadata: Meta = Meta()
    spec: PodSpec = PodSpec()


class Selector(Lenient, frozen=True):
    match_labels: dict[str, str] = {}


class Deployment(Lenient, frozen=True):
    """Deployment and StatefulSet: a declaration of labels, ports and a number of replicas (default 1)."""

    replicas: int = 1
    selector: Selector = Selector()
    template: PodTemplate = PodTemplate()
    service_name: str = ""


class StatefulSet(Deployment, frozen=True):
    """`service_name` is the governing headless Service."""


class PodStatus(Lenient, frozen=True):
    pod_ip: str = msgspec.field(name="podIP", default="")
    phase: str = ""


class Pod(Lenient, frozen=True):
    """The whole object: spec and, when a cluster wrote it, status."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Namespace(Lenient, frozen=True):
    """Only the labels matter."""


class ServiceAccount(Lenient, frozen=True):
    """Only the name matters."""


class Secret(Lenient, frozen=True):
    """The whole object. Its values are typed by nobody but `check_secret`, whose messages never show one."""

    type: str = "Opaque"
    data: Any = None  # name -> base64
    string_data: Any = None  # name -> text, stronger than data

    def __repr__(self) -> str:
        return f"Secret({', '.join(self.names())})"

    def names(self) -> list[str]:
        """The names of the entries, whatever they hold."""
        return list({**_mapping(self.data), **_mapping(self.string_data)})

    def entry(self, name: str) -> bytes:
        """One value, decoded; nothing when it is not there. For objects that `check_secret` has accepted."""
        text = _mapping(self.string_data).get(name)
        return base64.b64decode(_mapping(self.data).get(name) or "") if text is None else str(text).encode()


class ConfigMap(Lenient, frozen=True):
    """The whole object."""

    data: dict[str, str] = {}


def _mapping(written: Any) -> dict[str, Any]:
    return written if isinstance(written, dict) else {}


class ObjectReference(Lenient, frozen=True):
    kind: str = ""
    name: str = ""
    namespace: str = ""


class EndpointAddress(Lenient, frozen=True):
    ip: str
    hostname: str = ""
    node_name: str = ""
    target_ref: ObjectReference | None = None


class EndpointPort(Lenient, frozen=True):
    """`name` equals the NAME of the service port."""

    port: int
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str = ""


class EndpointSubset(Lenient, frozen=True):
    addresses: list[EndpointAddress] = []
    not_ready_addresses: list[EndpointAddress] = []
    ports: list[EndpointPort] = []


class Endpoints(Lenient, frozen=True):
    """The whole object; its name is the Service's."""

    subsets: list[EndpointSubset] = []


class EndpointConditions(Lenient, frozen=True):
    """None counts as ready (and serving, and not terminating)."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(Lenient, frozen=True):
    addresses: list[str]
    conditions: EndpointConditions = EndpointConditions()
    hostname: str = ""
    node_name: str = ""
    zone: str = ""
    target_ref: ObjectReference | None = None


class SlicePort(Lenient, frozen=True):
    port: int | None = None
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str = ""


class EndpointSlice(Lenient, frozen=True):
    """The whole object; label `kubernetes.io/service-name` names the Service."""

    address_type: Literal["IPv4", "IPv6", "FQDN"] = "IPv4"
    endpoints: list[Endpoint] = []
    ports: list[SlicePort] = []
