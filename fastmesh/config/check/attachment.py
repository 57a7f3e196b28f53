"""Whom a policy is about: a selector of workloads or references to objects, not both.

https://istio.io/latest/docs/reference/config/type/workload-selector/
"""

from __future__ import annotations

import re
from typing import Protocol

from fastmesh.config.check.report import At
from fastmesh.config.check.shared import check_selector
from fastmesh.model.base import MatchLabels, TargetReference

# Group and kind of what a policy can refer to.
TARGETS = (
    ("", "Service"), ("core", "Service"), ("networking.istio.io", "ServiceEntry"),
    ("gateway.networking.k8s.io", "Gateway"), ("gateway.networking.k8s.io", "GatewayClass"),
)  # fmt: skip
MAX_TARGETS = 16
_GROUP = re.compile(r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?\Z")
_KIND = re.compile(r"[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?\Z")


class Attached(Protocol):
    """AuthorizationPolicy, RequestAuthentication, Telemetry."""

    @property
    def selector(self) -> MatchLabels | None: ...
    @property
    def target_ref(self) -> TargetReference | None: ...
    @property
    def target_refs(self) -> list[TargetReference]: ...


def check_attachment(spec: Attached, at: At) -> None:
    given = {"selector": spec.selector is not None, "targetRef": spec.target_ref is not None,
             "targetRefs": bool(spec.target_refs)}  # fmt: skip
    names = [name for name, there in given.items() if there]
    if len(names) > 1:
        at[names[1]].error(f"only one of targetRefs or selector can be set, remove {' or '.join(names)}")
    if spec.selector is not None:
        labels = spec.selector.match_labels
        check_selector(labels, at["selector"]["matchLabels"], "it selects all workloads of the namespace")
    if spec.target_ref is not None:
        _check_target(spec.target_ref, at["targetRef"])
    if len(spec.target_refs) > MAX_TARGETS:
        at["targetRefs"].error(f"has {len(spec.target_refs)} references, at most {MAX_TARGETS} are allowed")
    for index, target in enumerate(spec.target_refs):
        _check_target(target, at["targetRefs"][index])


def _check_target(target: TargetReference, at: At) -> None:
    if not target.name:
        at["name"].error("is empty, name the object that the policy is about")
    if target.namespace:
        at["namespace"].error("cross namespace referencing is not supported, put the policy into that namespace")
    if len(target.group) > 253 or not _GROUP.match(target.group):
        at["group"].error(f'"{target.group}" is not an API group, write one such as gateway.networking.k8s.io')
    elif len(target.kind) > 63 or not _KIND.match(target.kind):
        at["kind"].error(f'"{target.kind}" is not a kind, write Service, ServiceEntry, Gateway or GatewayClass')
    elif (target.group, target.kind) not in TARGETS:
        owners = [group for group, kind in TARGETS if kind == target.kind]
        right = f'write group: "{owners[0]}"' if owners else "write Service, ServiceEntry, Gateway or GatewayClass"
        place = at["group"] if owners else at["kind"]
        place.error(f'a policy cannot be about {target.kind} of "{target.group}", {right}')
