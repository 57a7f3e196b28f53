"""What a compile found that the owner of the configuration has to know, beyond what single objects say."""

from __future__ import annotations

from fastmesh.config.routes.grpc_route import request_routes
from fastmesh.config.routes.http_route import MODIFIERS
from fastmesh.config.services.role import Role
from fastmesh.config.store import ConfigSet
from fastmesh.errors import Problem


def findings(config: ConfigSet, role: Role) -> list[Problem]:
    return _filters(config) + (_elsewhere(config) if role.kind == "mesh" else [])


def _elsewhere(config: ConfigSet) -> list[Problem]:
    """What protects applications, told by a proxy that stands before none."""
    message = "is enforced by sidecars (--role sidecar); this proxy only follows it as a client"
    return [policy.problem((), message, "note", "unenforced") for policy in config.peer_authentications]


def _filters(config: ConfigSet) -> list[Problem]:
    """Parts of HTTPRoutes and GRPCRoutes that nothing acts on yet."""
    found = []
    for route in request_routes(config):
        for number, rule in enumerate(route.spec.rules):
            path = ("spec", "rules", number)
            for number_of, backend in enumerate(rule.backend_refs):
                for index, item in enumerate(backend.filters):
                    if item.type not in MODIFIERS:
                        message = f"{item.type} of one backend is valid but not served yet: its requests fail"
                        where = (*path, "backendRefs", number_of, "filters", index)
                        found.append(route.problem(where, message, "warning", "unserved"))
            if rule.session_persistence is not None:
                message = "sessionPersistence is valid but not served yet"
                found.append(route.problem((*path, "sessionPersistence"), message, "warning", "unserved"))
    return found
