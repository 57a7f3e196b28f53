"""Annotations of Istio on Kubernetes' objects: unknown ones, on the wrong kind, with a value that means nothing.

https://istio.io/latest/docs/reference/config/annotations/
"""

from __future__ import annotations

import re
from collections.abc import Callable

from fastmesh.config.analysis.workloads import Workloads
from fastmesh.config.check.report import At
from fastmesh.config.read.shape import closest
from fastmesh.config.resource import AnyResource
from fastmesh.config.store import ConfigSet
from fastmesh.errors import Problem

_INGRESS = "kubernetes.io/ingress.class"  # Kubernetes' own, and in Istio's documents
_BY_OTHERS = ("sidecar.istio.io/status", "gateway.istio.io/controller-version", "istio.io/rev")  # written by machines
_INJECT = "sidecar.istio.io/inject"
_KINDS = ("Namespace", "Service", "Pod", "Deployment")

# By what stands before the slash.
_OF_PODS = {
    "prometheus.istio.io": (
        "merge-metrics",
    ),
    "sidecar.istio.io": (
        "inject", "status", "proxyImage", "rewriteAppHTTPProbers", "discoveryAddress", "proxyImageType",
        "proxyCPU", "proxyCPULimit", "proxyMemory", "userVolume", "proxyMemoryLimit", "interceptionMode",
        "bootstrapOverride", "statsInclusionPrefixes", "statsInclusionSuffixes", "statsFlushInterval",
        "statsInclusionRegexps", "statsHistogramBuckets", "statsEvictionInterval", "statsHistogramBins",
        "userVolumeMount", "logLevel", "componentLogLevel", "agentLogLevel", "nativeSidecar",
        "extraStatTags", "statsCompression",
    ),
    "status.sidecar.istio.io": (
        "port",
    ),
    "readiness.status.sidecar.istio.io": (
        "initialDelaySeconds", "periodSeconds", "failureThreshold", "applicationPorts",
    ),
    "traffic.sidecar.istio.io": (
        "includeOutboundIPRanges", "excludeOutboundIPRanges", "includeInboundPorts",
        "excludeInboundPorts", "includeOutboundPorts", "excludeOutboundPorts", "excludeInterfaces",
        "kubevirtInterfaces",
    ),
    "proxy.istio.io": (
        "config", "overrides",
    ),
    "istio.io": (
        "rev", "reroute-virtual-interfaces",
    ),
    "inject.istio.io": (
        "templates",
    ),
    "ambient.istio.io": (
        "redirection", "bypass-inbound-capture", "dns-capture",
    ),
}  # fmt: skip
_OF_SERVICES = (
    "alpha.istio.io/kubernetes-serviceaccounts", "alpha.istio.io/canonical-serviceaccounts",
    "networking.istio.io/exportTo", "traffic.istio.io/nodeSelector",
)  # fmt: skip
_OTHERS: dict[str, tuple[str, ...]] = {
    _INGRESS: ("Ingress",),
    "galley.istio.io/analyze-suppress": _KINDS,
    "gateway.istio.io/controller-version": _KINDS,
    "istio.io/dry-run": ("AuthorizationPolicy",),
    "istio.io/autoRegistrationGroup": ("WorkloadEntry",),
    "istio.io/workloadController": ("WorkloadEntry",),
    "istio.io/connectedAt": ("WorkloadEntry",),
    "istio.io/disconnectedAt": ("WorkloadEntry",),
    "topology.istio.io/controlPlaneClusters": ("Namespace",),
    "ambient.istio.io/waypoint-inbound-binding": ("GatewayClass", "Gateway"),
    "gateway.istio.io/service-account": ("Gateway",),
    "gateway.istio.io/name-override": ("Gateway",),
    "networking.istio.io/service-type": ("Gateway",),
    "networking.istio.io/traffic-distribution": ("Namespace", "Service", "ServiceEntry"),
    "istio.io/use-waypoint-canary-weight": ("Service", "ServiceEntry", "Namespace"),
}
_OWNERS: dict[str, tuple[str, ...]] = {
    **{f"{group}/{name}": ("Pod",) for group, names in _OF_PODS.items() for name in names},
    **dict.fromkeys(_OF_SERVICES, ("Service",)),
    **_OTHERS,
}
_DEPRECATED = frozenset((
    "alpha.istio.io/kubernetes-serviceaccounts", "alpha.istio.io/canonical-serviceaccounts",
    "sidecar.istio.io/inject", "sidecar.istio.io/discoveryAddress",
    "sidecar.istio.io/statsInclusionPrefixes", "sidecar.istio.io/statsInclusionSuffixes",
    "sidecar.istio.io/statsInclusionRegexps", "traffic.sidecar.istio.io/kubevirtInterfaces",
    "sidecar.istio.io/extraStatTags", "sidecar.istio.io/statsCompression",
))  # fmt: skip


def analyze_annotations(config: ConfigSet, workloads: Workloads, problems: list[Problem]) -> None:
    resources: list[AnyResource] = [*config.namespaces, *config.services, *config.pods, *config.deployments]
    for resource in resources:
        for name, value in resource.annotations.items():
            if (name == _INGRESS or name.partition("/")[0].endswith("istio.io")) and name not in _BY_OTHERS:
                at = At(resource, problems, ("metadata", "annotations", name))
                _check(name, value, resource, at)


def _check(name: str, value: str, resource: AnyResource, at: At) -> None:
    owners = _OWNERS.get(name)
    if owners is None:
        at.found("IST0108", f"is not an annotation of Istio{closest(name, _OWNERS) or ', remove it'}")
        return
    if name in _DEPRECATED and not (name == _INJECT and _INJECT in resource.labels):
        at.found("IST0135", "is deprecated" + (", use the label of that name" if name == _INJECT else ""))
    if resource.kind not in owners:
        where = " or ".join(owners) + (", the template of its pods" if resource.kind == "Deployment" else "")
        at.found("IST0107", f"has no effect on a {resource.kind}, put it on {where}")
        return
    rule = _VALUES.get(name)
    complaint = rule(value) if rule is not None else ""
    if complaint:
        at.found("IST0125", f'"{value}" {complaint}')


# ---- values


def _number(text: str) -> str:
    right = text.isascii() and text.isdecimal() and int(text) < 2**32
    return "" if right else "is not a number, write one such as 10"


def _port(text: str) -> str:
    return "" if text.isascii() and text.isdecimal() and int(text) <= 65535 else "is not a port"


def _ports(text: str) -> str:
    wrong = [each for each in text.split(",") if each.strip() and _port(each.strip())]
    return f"has {wrong[0]}, which is not a port" if wrong else ""


def _some_ports(text: str) -> str:
    return "" if text == "*" else _ports(text)


def _mode(text: str) -> str:
    return "" if text in ("REDIRECT", "TPROXY", "NONE") else "is not a mode, write REDIRECT or TPROXY"


def _boolean(text: str) -> str:
    return "" if text.lower() in ("1", "t", "true", "0", "f", "false") else "is neither true nor false"


def _quantity(text: str) -> str:
    right = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?", text)
    return "" if right else "is not a quantity, write one such as 100m or 128Mi"


_VALUES: dict[str, Callable[[str], str]] = {
    "sidecar.istio.io/interceptionMode": _mode,
    "status.sidecar.istio.io/port": _port,
    "readiness.status.sidecar.istio.io/initialDelaySeconds": _number,
    "readiness.status.sidecar.istio.io/periodSeconds": _number,
    "readiness.status.sidecar.istio.io/failureThreshold": _number,
    "traffic.sidecar.istio.io/includeInboundPorts": _some_ports,
    "traffic.sidecar.istio.io/excludeInboundPorts": _ports,
    "traffic.sidecar.istio.io/excludeOutboundPorts": _ports,
    "prometheus.istio.io/merge-metrics": _boolean,
    "sidecar.istio.io/proxyCPU": _quantity,
    "sidecar.istio.io/proxyCPULimit": _quantity,
    "sidecar.istio.io/proxyMemory": _quantity,
    "sidecar.istio.io/proxyMemoryLimit": _quantity,
}
