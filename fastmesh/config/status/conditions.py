"""The words of a status: conditions as Kubernetes writes them, and what one object says of itself.

https://gateway-api.sigs.k8s.io/geps/gep-1364/
"""

from __future__ import annotations

import msgspec

from fastmesh.config.resource import WRITTEN, AnyResource

CONTROLLER = "fastmesh.io/gateway-controller"


class Written(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of the parts of a status."""


class Condition(Written, frozen=True):
    """`reason` is one of the API's; `status` is a text, as Kubernetes has it."""

    type: str
    status: str
    reason: str
    message: str
    observed_generation: int = 0
    last_transition_time: str = ""


class RouteKindStatus(Written, frozen=True):
    group: str
    kind: str


class ListenerStatus(Written, frozen=True):
    name: str
    supported_kinds: list[RouteKindStatus]
    conditions: list[Condition]
    attached_routes: int = msgspec.field(name="attachedRoutes")


class ParentStatus(Written, frozen=True):
    """What one parent of a route makes of it."""

    parent_ref: dict[str, str | int]
    conditions: list[Condition]
    controller_name: str = msgspec.field(name="controllerName")


class AncestorStatus(Written, frozen=True):
    """What one Gateway makes of a policy."""

    ancestor_ref: dict[str, str | int]
    conditions: list[Condition]
    controller_name: str = msgspec.field(name="controllerName")


class Feature(Written, frozen=True):
    name: str


class Status(Written, frozen=True):
    """Of a GatewayClass, a Gateway, a route, or a policy."""

    conditions: list[Condition] = msgspec.field(default_factory=list)
    listeners: list[ListenerStatus] = msgspec.field(default_factory=list)
    parents: list[ParentStatus] = msgspec.field(default_factory=list)
    ancestors: list[AncestorStatus] = msgspec.field(default_factory=list)
    supported_features: list[Feature] = msgspec.field(default_factory=list)


class Metadata(Written, frozen=True):
    name: str
    namespace: str = ""
    generation: int = 0


class ObjectStatus(Written, frozen=True):
    """An object without its spec. `digest` tells whether the spec has changed."""

    api_version: str
    kind: str
    metadata: Metadata
    status: Status
    digest: str = ""
    generated: bool = False  # the object says its generation itself

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.metadata.namespace, self.metadata.name


def true(kind: str, reason: str, message: str = "") -> Condition:
    return Condition(type=kind, status="True", reason=reason, message=message)


def false(kind: str, reason: str, message: str = "") -> Condition:
    return Condition(type=kind, status="False", reason=reason, message=message)


def told(resource: AnyResource, status: Status, digest: str) -> ObjectStatus:
    """`status` as that of an object."""
    return ObjectStatus(
        api_version=resource.api_version,
        kind=WRITTEN.get(resource.kind, resource.kind),
        metadata=Metadata(name=resource.name, namespace=resource.namespace, generation=resource.generation),
        status=status,
        digest=digest,
        generated=resource.generation > 0,
    )
