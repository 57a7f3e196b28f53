"""What Istio's validation refuses in one object; objects among each other are the business of `references`.

Each kind has a file `check_KIND`; this one knows which. All of them report through a cursor and never stop at the first
mistake.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fastmesh.config.check.api_route import check_api_route, check_tcp_route
from fastmesh.config.check.authorization_policy import DRY_RUN, check_authorization_policy
from fastmesh.config.check.capacity_model import check_capacity_model
from fastmesh.config.check.destination_rule import check_destination_rule
from fastmesh.config.check.envoy_filter import check_envoy_filter
from fastmesh.config.check.filter import check_filter
from fastmesh.config.check.gateway import check_gateway
from fastmesh.config.check.gateway_api import (
    check_api_gateway,
    check_backend_tls_policy,
    check_gateway_class,
    check_reference_grant,
)
from fastmesh.config.check.health_check import check_health_check
from fastmesh.config.check.kubernetes import check_deployment, check_endpoint_slice, check_endpoints, check_service
from fastmesh.config.check.peer_authentication import check_peer_authentication
from fastmesh.config.check.rate_limit import check_rate_limit
from fastmesh.config.check.report import At
from fastmesh.config.check.request_authentication import check_request_authentication
from fastmesh.config.check.resilience import check_resilience
from fastmesh.config.check.route_policy import check_mesh_policy, check_route_policy
from fastmesh.config.check.secret import check_secret
from fastmesh.config.check.service_entry import check_service_entry, check_workload_entry, check_workload_group
from fastmesh.config.check.sidecar import check_sidecar
from fastmesh.config.check.telemetry import check_proxy_config, check_telemetry
from fastmesh.config.check.virtual_service import check_virtual_service
from fastmesh.config.kinds import READ
from fastmesh.config.resource import AnyResource
from fastmesh.errors import Problem

_CHECKS: dict[str, Callable[[AnyResource, Any, At], None]] = {
    "APIGateway": check_api_gateway,
    "AuthorizationPolicy": check_authorization_policy,
    "BackendTLSPolicy": check_backend_tls_policy,
    "CapacityModel": check_capacity_model,
    "Deployment": check_deployment,
    "DestinationRule": check_destination_rule,
    "EndpointSlice": check_endpoint_slice,
    "Endpoints": check_endpoints,
    "EnvoyFilter": check_envoy_filter,
    "Filter": check_filter,
    "GRPCRoute": check_api_route,
    "Gateway": check_gateway,
    "GatewayClass": check_gateway_class,
    "HTTPRoute": check_api_route,
    "HealthCheck": check_health_check,
    "MeshPolicy": check_mesh_policy,
    "PeerAuthentication": check_peer_authentication,
    "ProxyConfig": check_proxy_config,
    "RateLimit": check_rate_limit,
    "ReferenceGrant": check_reference_grant,
    "RequestAuthentication": check_request_authentication,
    "RoutePolicy": check_route_policy,
    "Resilience": check_resilience,
    "Secret": check_secret,
    "Service": check_service,
    "ServiceEntry": check_service_entry,
    "Sidecar": check_sidecar,
    "StatefulSet": check_deployment,
    "TCPRoute": check_tcp_route,
    "TLSRoute": check_api_route,
    "Telemetry": check_telemetry,
    "VirtualService": check_virtual_service,
    "WorkloadEntry": check_workload_entry,
    "WorkloadGroup": check_workload_group,
}
_WHOLE = {kind.name for kind in READ.values() if kind.whole}

# Istio puts these on objects that a controller is to refuse or that only AuthorizationPolicy understands.
_BOOLEANS = ("1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False")
_REFUSED_ANNOTATIONS = {
    "internal.istio.io/webhook-always-reject": "refuses this object, remove the annotation",
    DRY_RUN: "is for AuthorizationPolicy only, remove the annotation",
}


_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?\Z")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")


def check_object(resource: AnyResource, problems: list[Problem]) -> None:
    """Append everything that is wrong with one decoded object."""
    _check_names(resource, problems)
    if resource.annotations:
        for name, message in _REFUSED_ANNOTATIONS.items():
            if name in resource.annotations and (name, resource.kind) != (DRY_RUN, "AuthorizationPolicy"):
                At(resource, problems, ("metadata", "annotations", name)).error(message)
        if resource.annotations.get(DRY_RUN, "true") not in _BOOLEANS:
            At(resource, problems, ("metadata", "annotations", DRY_RUN)).error('is neither "true" nor "false"')
    check = _CHECKS.get(resource.kind)
    if check is not None:
        check(resource, resource.spec, At(resource, problems, () if resource.kind in _WHOLE else ("spec",)))


def _check_names(resource: AnyResource, problems: list[Problem]) -> None:
    """As Kubernetes wants them: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/"""
    name, namespace = resource.name, resource.namespace
    if not _NAME.match(name) or len(name) > 253:
        message = f"{name} is not a name, use lower case letters, digits, - and . (at most 253)"
        At(resource, problems, ("metadata", "name")).error(message)
    if namespace and not (_LABEL.match(namespace) and len(namespace) <= 63):
        message = f"{namespace} is not a namespace, use lower case letters, digits and - (at most 63)"
        At(resource, problems, ("metadata", "namespace")).error(message)
