"""What a compile found that the owner of the configuration has to know, beyond what single objects say."""

from __future__ import annotations

from fastmesh.config.api_listeners import own_classes
from fastmesh.config.routes.grpc_route import request_routes
from fastmesh.config.routes.http_route import OF_BACKENDS, SERVED
from fastmesh.config.services.role import Role
from fastmesh.config.store import ConfigSet
from fastmesh.errors import Problem


def findings(config: ConfigSet, role: Role) -> list[Problem]:
    return _filters(config) + _classes(config) + (_elsewhere(config) if role.kind == "mesh" else [])


def _elsewhere(config: ConfigSet) -> list[Problem]:
    """What protects applications, told by a proxy that stands before none."""
    message = "is enforced by sidecars (--role sidecar); this proxy only follows it as a client"
    return [policy.problem((), message, "note", "unenforced") for policy in config.peer_authentications]


def _classes(config: ConfigSet) -> list[Problem]:
    """Gateways of others."""
    ours = own_classes(config.gateway_classes)
    controllers = {item.name: item.spec.controller_name for item in config.gateway_classes}
    found = []
    for gateway in config.api_gateways:
        name = gateway.spec.gateway_class_name
        if name not in ours:
            whose = f"is for {controllers[name]}" if name in controllers else "is not known here"
            message = f"class {name} {whose}, so this Gateway is left to others"
            found.append(gateway.problem(("spec", "gatewayClassName"), message, "note", "reference"))
    return found


def _filters(config: ConfigSet) -> list[Problem]:
    """Parts of HTTPRoutes and GRPCRoutes that nothing acts on yet."""
    found = []
    for route in request_routes(config):
        for number, rule in enumerate(route.spec.rules):
            path = ("spec", "rules", number)
            for index, item in enumerate(rule.filters):
                if item.type not in SERVED:
                    message = f"filter {item.type} is not served: it cannot be passed over, so its requests fail"
                    found.append(route.problem((*path, "filters", index), message, "warning", "unserved"))
            for number_of, backend in enumerate(rule.backend_refs):
                for index, item in enumerate(backend.filters):
                    if item.type not in OF_BACKENDS:
                        message = f"{item.type} of one backend is valid but not served yet: its requests fail"
                        where = (*path, "backendRefs", number_of, "filters", index)
                        found.append(route.problem(where, message, "warning", "unserved"))
    return found
