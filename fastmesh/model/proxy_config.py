# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""ProxyConfig: how the proxies of some workloads are started.

https://istio.io/latest/docs/reference/config/networking/proxy-config/
"""

from __future__ import annotations

from fastmesh.model.base import Int32, MatchLabels, Spec


class ProxyImage(Spec, frozen=True):
    image_type: str = ""


class ProxyConfig(Spec, frozen=True):
    """`concurrency` 0 means all cores, None what the next wider level says."""

    selector: MatchLabels | None = None
    concurrency: Int32 | None = None
    environment_variables: dict[str, str] = {}
    image: ProxyImage | None = None
