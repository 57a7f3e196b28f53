# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""Filter (fastmesh.io/v1alpha1): Python code of the user's that sees requests and responses. fastmesh's own kind."""

from __future__ import annotations

from typing import Any, Literal

from fastmesh.model.base import Duration, Int32, MatchLabels, Spec, UInt32
from fastmesh.model.virtual_service import HTTPMatchRequest

TIMEOUT = Duration(200)  # of one call of a hook, as Envoy's ext_proc has it for a message
BODY_LIMIT = 1 << 20


class FilterTarget(Spec, frozen=True):
    """Whose requests: those of a service, of the rules of a route (or of one of them), or of a gateway."""

    kind: Literal["Service", "ServiceEntry", "VirtualService", "HTTPRoute", "GRPCRoute", "Gateway"]
    name: str
    group: str = ""
    namespace: str = ""
    section_name: str = ""


class Filter(Spec, frozen=True):
    """All that is written must fit. No `target_refs`: every request of the proxies of the namespace."""

    function: str  # module:function, a factory that is called once a worker with `config`
    config: dict[str, Any] = {}
    selector: MatchLabels | None = None
    target_refs: list[FilterTarget] = []
    hosts: list[str] = []
    match: list[HTTPMatchRequest] = []
    mode: Literal["CLIENT_AND_SERVER", "CLIENT", "SERVER"] = "CLIENT_AND_SERVER"
    order: Int32 = 0
    failure_mode: Literal["closed", "open"] = "closed"
    timeout: Duration = TIMEOUT
    body_limit: UInt32 = BODY_LIMIT
