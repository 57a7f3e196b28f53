"""Certificates and roots that objects of the Gateway API refer to: their own, or with a grant another namespace's."""

from __future__ import annotations

from collections.abc import Iterable

from fastmesh.config.credentials.grants import Grants
from fastmesh.config.credentials.names import Credentials
from fastmesh.config.place import Path
from fastmesh.config.resource import AnyResource
from fastmesh.model.gateway_api_tls import CARef, SecretRef


class Material:
    """Answers places of a credential."""

    def __init__(self, credentials: Credentials, grants: Grants) -> None:
        self._credentials = credentials
        self._grants = grants

    def pair(self, ref: SecretRef, written: AnyResource, path: Path) -> str | None:
        """A Secret with a certificate and its key; None after its lack, or the lack of a grant, was told."""
        namespace = ref.namespace or written.namespace
        if not self._grants.permit(written, ref.group, ref.kind, namespace, ref.name):
            self._credentials.refuse(written, (*path, "namespace"), _not_granted(ref, namespace))
            return None
        return self._credentials.pair_place(namespace, ref.name, written, path)

    def roots(self, refs: Iterable[CARef], written: AnyResource, path: Path) -> list[str | None]:
        found: list[str | None] = []
        for index, ref in enumerate(refs):
            at, namespace = (*path, "caCertificateRefs", index), ref.namespace or written.namespace
            if not self._grants.permit(written, ref.group, ref.kind, namespace, ref.name):
                self._credentials.refuse(written, (*at, "namespace"), _not_granted(ref, namespace))
                found.append(None)
            elif ref.kind == "Secret":
                found.append(self._credentials.roots_place(namespace, ref.name, written, at))
            elif ref.group or ref.kind != "ConfigMap":
                found.append(None)  # told when it was read
            else:
                found.append(self._credentials.map_place(namespace, ref.name, written, at))
        return found


def _not_granted(ref: SecretRef | CARef, namespace: str) -> str:
    return f"no ReferenceGrant of {namespace} lets this object use {ref.kind} {ref.name}, add one there"
