"""EnvoyFilter: what of it is not understood is told, with its path."""

from __future__ import annotations

from fastmesh.config.check.report import At
from fastmesh.config.read.envoy_patches import read_patches
from fastmesh.config.resource import AnyResource
from fastmesh.model.envoy_filter import EnvoyFilter


def check_envoy_filter(resource: AnyResource, spec: EnvoyFilter, at: At) -> None:
    if spec.workload_selector is not None and spec.target_refs:
        at["targetRefs"].error("stands beside workloadSelector, keep one of them")
    read_patches(spec, at.unheeded)
