"""What a workload's port accepts, by all PeerAuthentications together.

The most specific level that says something counts: port, workload, namespace, mesh; nothing anywhere is PERMISSIVE. At
each level the oldest policy alone is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from fastmesh.config.hosts import ROOT_NAMESPACE
from fastmesh.config.resource import Resource
from fastmesh.config.selectors import selects
from fastmesh.model.security import MTLSMode, PeerAuthentication

Mode = Literal["DISABLE", "PERMISSIVE", "STRICT"]
Written = Resource[PeerAuthentication]


class PeerAuthentications:
    def __init__(self, policies: Iterable[Written], root: str = ROOT_NAMESPACE) -> None:
        self._root = root
        self._whole: dict[str, Written] = {}  # by namespace; the root namespace's is the mesh's
        self._chosen: dict[str, list[tuple[Mapping[str, str], Written]]] = {}
        for policy in policies:
            labels = policy.spec.selector.match_labels if policy.spec.selector is not None else {}
            if not labels:
                self._whole.setdefault(policy.namespace, policy)
            elif policy.namespace != root:
                self._chosen.setdefault(policy.namespace, []).append((labels, policy))

    def __bool__(self) -> bool:
        return bool(self._whole or self._chosen)

    def mode(self, namespace: str, labels: Mapping[str, str], *ports: int | str) -> tuple[Mode, Written | None]:
        """What the workload accepts on the first of these ports that a policy names, and the policy that says so."""
        mode: Mode = "PERMISSIVE"
        decided = None
        chosen = next((each for own, each in self._chosen.get(namespace, ()) if selects(own, labels)), None)
        for policy in (self._whole.get(self._root), self._whole.get(namespace), chosen):
            if policy is not None and policy.spec.mtls is not None and policy.spec.mtls.mode != "UNSET":
                mode, decided = policy.spec.mtls.mode, policy
        if chosen is not None:
            written = _of_port(chosen, ports)
            if written is not None and written != "UNSET":
                return written, chosen
        return mode, decided


def _of_port(policy: Written, ports: Iterable[int | str]) -> MTLSMode | None:
    levels = policy.spec.port_level_mtls or {}
    return next((levels[str(port)].mode for port in ports if str(port) in levels), None)
