# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""ServiceEntry, WorkloadEntry and WorkloadGroup: services and workloads that Kubernetes does not know.

https://istio.io/latest/docs/reference/config/networking/service-entry/ and .../workload-entry/, .../workload-group/
"""

from __future__ import annotations

from typing import Literal

from fastmesh.model.base import Int32, LabelSelector, Spec, UInt32


class ServicePort(Spec, frozen=True):
    """`target_port` 0 means `number`; an empty protocol is sniffed."""

    number: UInt32
    name: str
    protocol: str = ""
    target_port: UInt32 = 0


class WorkloadEntry(Spec, frozen=True):
    """`ports` maps a service port NAME to the endpoint's port; `weight` 0 means 1; `locality`: region/zone/subzone."""

    address: str = ""
    ports: dict[str, UInt32] = {}
    labels: dict[str, str] = {}
    network: str = ""
    locality: str = ""
    weight: UInt32 = 0
    service_account: str = ""


class ServiceEntry(Spec, frozen=True):
    """An endpoint's port is endpoint.ports[portName], else port.targetPort, else port.number."""

    hosts: list[str]
    addresses: list[str] = []
    ports: list[ServicePort] = []
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    resolution: Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"] = "NONE"
    endpoints: list[WorkloadEntry] = []
    workload_selector: LabelSelector | None = None
    export_to: list[str] = []
    subject_alt_names: list[str] = []


class ObjectMeta(Spec, frozen=True):
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class ProbeHeader(Spec, frozen=True):
    name: str = ""
    value: str = ""


class HTTPProbe(Spec, frozen=True):
    port: UInt32
    path: str = ""
    host: str = ""
    scheme: str = ""
    http_headers: list[ProbeHeader] = []


class TCPProbe(Spec, frozen=True):
    port: UInt32
    host: str = ""


class ExecProbe(Spec, frozen=True):
    command: list[str]


class GRPCProbe(Spec, frozen=True):
    port: UInt32 = 0
    service: str = ""


class ReadinessProbe(Spec, frozen=True):
    """Times in seconds; 0 means the default (timeout 1, period 10, successes 1, failures 3)."""

    initial_delay_seconds: Int32 = 0
    timeout_seconds: Int32 = 0
    period_seconds: Int32 = 0
    success_threshold: Int32 = 0
    failure_threshold: Int32 = 0
    http_get: HTTPProbe | None = None
    tcp_socket: TCPProbe | None = None
    exec: ExecProbe | None = None
    grpc: GRPCProbe | None = None


class WorkloadGroup(Spec, frozen=True):
    template: WorkloadEntry
    metadata: ObjectMeta | None = None
    probe: ReadinessProbe | None = None
