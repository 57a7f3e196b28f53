# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""RateLimit (fastmesh.io/v1alpha1): exact token buckets shared by all workers. fastmesh's own kind."""

from __future__ import annotations

from typing import Literal

import msgspec

from fastmesh.model.base import Int32, Spec, UInt32
from fastmesh.model.virtual_service import HTTPMatchRequest

UNIT_MILLISECONDS = {"second": 1_000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000}


class TargetRef(Spec, frozen=True):
    """What is limited. `section_name` names a route of a VirtualService; `namespace` defaults to the object's."""

    kind: Literal["Service", "ServiceEntry", "VirtualService", "Gateway"]
    name: str
    namespace: str = ""
    section_name: str = ""


class LimitKey(Spec, frozen=True):
    """One part of the key of a bucket: exactly one of these, `{header: x-user}` or `{path: true}`."""

    header: str = ""
    query_param: str = ""
    path: bool = False
    method: bool = False
    client_address: bool = False
    source_principal: bool = False


class Limit(Spec, frozen=True):
    """`requests` tokens come per unit; a bucket holds `burst` (default: `requests`). No keys: one bucket for all."""

    requests: UInt32
    per: Literal["second", "minute", "hour", "day"] = "second"
    burst: UInt32 | None = None
    match: list[HTTPMatchRequest] = []
    keys: list[LimitKey] = []
    name: str = ""


class LimitResponse(Spec, frozen=True):
    """`headers` None means retry-after, with the seconds until the next token. `limit_headers`: x-ratelimit-* too."""

    status: Int32 = 429
    body: str = ""
    headers: dict[str, str] | None = None
    limit_headers: bool = False


class GlobalCounts(Spec, frozen=True):
    """Counts in a Redis, together with all proxies that have the same `domain` (default: namespace/name)."""

    redis: str = ""
    domain: str = ""
    failure_mode_deny: bool = False


class RateLimit(Spec, frozen=True):
    """No `target_ref`: every request of the namespace."""

    limits: list[Limit]
    target_ref: TargetRef | None = None
    global_: GlobalCounts | None = msgspec.field(name="global", default=None)
    response: LimitResponse | None = None
