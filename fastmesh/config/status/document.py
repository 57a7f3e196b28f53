"""What the API wants to be told of its objects, for one proxy: the status of classes, Gateways, routes and policies.

https://gateway-api.sigs.k8s.io/guides/implementers/ (conditions)
"""

from __future__ import annotations

import hashlib

import msgspec

from fastmesh.config.api_listeners import CONTROLLERS, Place, own_gateways
from fastmesh.config.resource import AnyResource
from fastmesh.config.routes.grpc_route import request_routes
from fastmesh.config.services.role import Role
from fastmesh.config.status.conditions import Feature, ObjectStatus, Status, told, true
from fastmesh.config.status.features import SUPPORTED
from fastmesh.config.status.gateways import Gateways
from fastmesh.config.status.policies import policy_statuses
from fastmesh.config.status.routes import Routes
from fastmesh.config.store import ConfigSet

ROUTES = frozenset({"HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute"})


def statuses(config: ConfigSet, role: Role) -> list[ObjectStatus]:
    """A gateway tells of its Gateways and their routes, a mesh listener of the routes of Services."""
    gateways = own_gateways(config.api_gateways, role.labels, config.gateway_classes) if role.kind == "gateway" else []
    return status_of(config, gateways, mesh=role.kind != "gateway")


def status_of(config: ConfigSet, gateways: list[AnyResource], *, mesh: bool) -> list[ObjectStatus]:
    places = [Place(gateway, index) for gateway in gateways for index in range(len(gateway.spec.listeners))]
    routes = Routes(config, places, _routes(config), mesh=mesh)
    found = [
        told(item, _class_status(), _digest(item))
        for item in config.gateway_classes
        if item.spec.controller_name in CONTROLLERS
    ]
    known = Gateways(config, places, routes.attached)
    for gateway in gateways:
        own = [place for place in places if place.gateway is gateway]
        found.append(told(gateway, known.status(own), _digest(gateway)))
    found += [told(route, status, _digest(route)) for route, status in routes.statuses if status.parents]
    found += [told(policy, status, _digest(policy)) for policy, status in policy_statuses(config, routes.used)]
    return [_observed(item) for item in found]


def _routes(config: ConfigSet) -> list[AnyResource]:
    """The oldest first. GRPCRoutes are looked at in the form of HTTPRoutes, as the data plane has them."""
    as_http = {route.key: route for route in request_routes(config)}
    return [as_http.get(item.key, item) for item in config if item.kind in ROUTES]


def _class_status() -> Status:
    version = true("SupportedVersion", "SupportedVersion", "Every version of the API's kinds is read")
    accepted = true("Accepted", "Accepted", "Handled by fastmesh")
    return Status(conditions=[accepted, version], supported_features=[Feature(name=name) for name in SUPPORTED])


def _digest(resource: AnyResource) -> str:
    return hashlib.blake2b(repr(resource.spec).encode(), digest_size=8).hexdigest()


def _observed(item: ObjectStatus) -> ObjectStatus:
    return with_generation(item, item.metadata.generation or 1)


def with_generation(item: ObjectStatus, generation: int) -> ObjectStatus:
    """The same, with the generation that was looked at in every condition."""
    replace = msgspec.structs.replace
    status = item.status
    status = replace(
        status,
        conditions=[replace(each, observed_generation=generation) for each in status.conditions],
        listeners=[
            replace(each, conditions=[replace(one, observed_generation=generation) for one in each.conditions])
            for each in status.listeners
        ],
        parents=[
            replace(each, conditions=[replace(one, observed_generation=generation) for one in each.conditions])
            for each in status.parents
        ],
        ancestors=[
            replace(each, conditions=[replace(one, observed_generation=generation) for one in each.conditions])
            for each in status.ancestors
        ],
    )
    return replace(item, status=status, metadata=replace(item.metadata, generation=generation))
