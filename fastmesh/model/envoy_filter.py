# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""EnvoyFilter: patches of Envoy's own configuration. `config.read.envoy_patches` knows what of them is understood."""

from __future__ import annotations

from typing import Any

from fastmesh.model.base import Int32, LabelSelector, Spec


class EnvoyTargetRef(Spec, frozen=True):
    group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""


class Patch(Spec, frozen=True):
    operation: str = ""
    value: dict[str, Any] = {}
    filter_class: str = ""


class EnvoyConfigPatch(Spec, frozen=True):
    apply_to: str = ""
    match: dict[str, Any] = {}
    patch: Patch = Patch()


class EnvoyFilter(Spec, frozen=True):
    workload_selector: LabelSelector | None = None
    target_refs: list[EnvoyTargetRef] = []
    config_patches: list[EnvoyConfigPatch] = []
    priority: Int32 = 0
