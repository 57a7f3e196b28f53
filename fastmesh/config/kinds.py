"""Which kinds of object there are, by API group: read, read later, or somebody else's."""

from __future__ import annotations

import msgspec

from fastmesh.model import gateway_api, gateway_api_tls
from fastmesh.model.authorization_policy import AuthorizationPolicy
from fastmesh.model.capacity_model import CapacityModel
from fastmesh.model.destination_rule import DestinationRule
from fastmesh.model.envoy_filter import EnvoyFilter
from fastmesh.model.filter import Filter
from fastmesh.model.gateway import Gateway
from fastmesh.model.health_check import HealthCheck
from fastmesh.model.kubernetes import (
    ConfigMap,
    Deployment,
    Endpoints,
    EndpointSlice,
    Namespace,
    Pod,
    Secret,
    Service,
    ServiceAccount,
    StatefulSet,
)
from fastmesh.model.proxy_config import ProxyConfig
from fastmesh.model.rate_limit import RateLimit
from fastmesh.model.request_authentication import RequestAuthentication
from fastmesh.model.resilience import Resilience
from fastmesh.model.route_policy import MeshPolicy, RoutePolicy
from fastmesh.model.security import PeerAuthentication
from fastmesh.model.service_entry import ServiceEntry, WorkloadEntry, WorkloadGroup
from fastmesh.model.sidecar import Sidecar
from fastmesh.model.telemetry import Telemetry
from fastmesh.model.virtual_service import VirtualService

ISTIO = "networking.istio.io"
ISTIO_SECURITY = "security.istio.io"
ISTIO_TELEMETRY = "telemetry.istio.io"
GATEWAY_API = "gateway.networking.k8s.io"
OWN = "fastmesh.io"
ARTICLE = "istio.io"  # a group that Istio does not have; see read.deviations


class Kind(msgspec.Struct, frozen=True):
    """A kind that is read. `whole`: the typed part is the whole object, not its `spec`."""

    group: str
    name: str
    versions: tuple[str, ...]
    type: type[msgspec.Struct]
    whole: bool = False
    strict: bool = True  # unknown fields beside `spec` are errors
    bare: bool = False  # may be without a spec, which means an empty one
    namespaced: bool = True
    stored: str = ""  # its name inside fastmesh, when another group has a kind of the same name


_V1 = ("v1", "v1beta1", "v1alpha3")

_READ = [
    Kind(ISTIO, "VirtualService", _V1, VirtualService),
    Kind(ISTIO, "DestinationRule", _V1, DestinationRule),
    Kind(ISTIO, "ServiceEntry", _V1, ServiceEntry),
    Kind(ISTIO, "WorkloadEntry", _V1, WorkloadEntry),
    Kind(ISTIO, "WorkloadGroup", _V1, WorkloadGroup),
    Kind(ISTIO, "Gateway", _V1, Gateway),
    Kind(ISTIO, "Sidecar", _V1, Sidecar, bare=True),
    Kind(ISTIO_SECURITY, "PeerAuthentication", ("v1", "v1beta1"), PeerAuthentication, bare=True),
    Kind(ISTIO_SECURITY, "AuthorizationPolicy", ("v1", "v1beta1"), AuthorizationPolicy, bare=True),
    Kind(ISTIO_SECURITY, "RequestAuthentication", ("v1", "v1beta1"), RequestAuthentication, bare=True),
    Kind(ISTIO_TELEMETRY, "Telemetry", ("v1", "v1alpha1"), Telemetry, bare=True),
    Kind(ISTIO, "ProxyConfig", ("v1beta1",), ProxyConfig, bare=True),
    Kind(GATEWAY_API, "Gateway", ("v1", "v1beta1"), gateway_api.Gateway, stored="APIGateway"),
    Kind(GATEWAY_API, "GatewayClass", ("v1", "v1beta1"), gateway_api.GatewayClass, namespaced=False),
    Kind(GATEWAY_API, "HTTPRoute", ("v1", "v1beta1"), gateway_api.HTTPRoute),
    Kind(GATEWAY_API, "GRPCRoute", ("v1", "v1beta1", "v1alpha2"), gateway_api.GRPCRoute),
    Kind(GATEWAY_API, "TLSRoute", ("v1", "v1alpha3", "v1alpha2"), gateway_api.TLSRoute),
    Kind(GATEWAY_API, "TCPRoute", ("v1", "v1alpha2"), gateway_api.TCPRoute),
    Kind(GATEWAY_API, "ReferenceGrant", ("v1", "v1beta1", "v1alpha2"), gateway_api_tls.ReferenceGrant),
    Kind(GATEWAY_API, "BackendTLSPolicy", ("v1", "v1alpha3"), gateway_api_tls.BackendTLSPolicy),
    Kind(ISTIO, "EnvoyFilter", _V1, EnvoyFilter),
    Kind(OWN, "RateLimit", ("v1alpha1",), RateLimit),
    Kind(OWN, "Resilience", ("v1alpha1",), Resilience),
    Kind(OWN, "HealthCheck", ("v1alpha1",), HealthCheck),
    Kind(OWN, "RoutePolicy", ("v1alpha1",), RoutePolicy),
    Kind(OWN, "MeshPolicy", ("v1alpha1",), MeshPolicy),
    Kind(OWN, "Filter", ("v1alpha1",), Filter),
    Kind(OWN, "CapacityModel", ("v1alpha1",), CapacityModel),
    Kind("", "Service", ("v1",), Service, strict=False),
    Kind("", "Endpoints", ("v1",), Endpoints, whole=True, strict=False),
    Kind("", "Pod", ("v1",), Pod, whole=True, strict=False),
    Kind("", "Namespace", ("v1",), Namespace, strict=False, namespaced=False),
    Kind("", "ServiceAccount", ("v1",), ServiceAccount, strict=False),
    Kind("", "Secret", ("v1",), Secret, whole=True, strict=False),
    Kind("", "ConfigMap", ("v1",), ConfigMap, whole=True, strict=False),
    Kind("apps", "Deployment", ("v1", "v1beta1", "v1beta2"), Deployment, strict=False),
    Kind("apps", "StatefulSet", ("v1", "v1beta1", "v1beta2"), StatefulSet, strict=False),
    Kind("discovery.k8s.io", "EndpointSlice", ("v1", "v1beta1"), EndpointSlice, whole=True, strict=False),
]

READ: dict[tuple[str, str], Kind] = {(kind.group, kind.name): kind for kind in _READ}

# Known, and not acted on by this version.
UNSERVED = {
    ("extensions.istio.io", "WasmPlugin"),
    ("extensions.istio.io", "TrafficExtension"),
    *(
        (GATEWAY_API, name)
        for name in (
            "UDPRoute", "ListenerSet",
        )
    ),
    ("gateway.networking.x-k8s.io", "XListenerSet"),
    ("gateway.networking.x-k8s.io", "XBackendTrafficPolicy"),
    ("gateway.networking.x-k8s.io", "XMesh"),
}  # fmt: skip

DATAGRAMS = {"UDPRoute"}  # no proxy of ours will ever serve them

# Groups in which a kind that is not listed above is a mistake, not somebody else's object.
OURS = {ISTIO, ISTIO_SECURITY, "extensions.istio.io", ISTIO_TELEMETRY, GATEWAY_API, OWN, ARTICLE}


def known_names(group: str) -> list[str]:
    """Every kind that a group is known to have."""
    return sorted({name for owner, name in (*READ, *UNSERVED) if owner == group})


def groups_with(name: str) -> list[str]:
    """The groups that have a kind of this name."""
    return sorted({group for group, kind in (*READ, *UNSERVED) if kind == name})
