"""ReferenceGrants: which objects of other namespaces may be referred to. Inside a namespace nothing needs a grant."""

from __future__ import annotations

from collections.abc import Iterable

from fastmesh.config.resource import WRITTEN, AnyResource, Resource
from fastmesh.model.gateway_api import GROUP
from fastmesh.model.gateway_api_tls import ReferenceGrant


class Grants:
    def __init__(self, written: Iterable[Resource[ReferenceGrant]]) -> None:
        self._by_target: dict[str, list[ReferenceGrant]] = {}
        for grant in written:
            self._by_target.setdefault(grant.namespace, []).append(grant.spec)

    def permit(self, by: AnyResource, group: str, kind: str, namespace: str, name: str) -> bool:
        """Whether an object of the Gateway API may refer to this one."""
        if not namespace or namespace == by.namespace:
            return True
        own = WRITTEN.get(by.kind, by.kind)
        return any(
            any((each.group, each.kind, each.namespace) == (GROUP, own, by.namespace) for each in grant.from_)
            and any(
                each.kind == kind and _core(each.group) == _core(group) and each.name in ("", name) for each in grant.to
            )
            for grant in self._by_target.get(namespace, ())
        )


def _core(group: str) -> str:
    return "" if group == "core" else group
