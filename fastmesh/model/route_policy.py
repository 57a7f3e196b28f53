# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""RoutePolicy and MeshPolicy (fastmesh.io/v1alpha1), fastmesh's own kinds: what users ask of Istio's routes in vain."""

from __future__ import annotations

from typing import Literal

import msgspec

from fastmesh.model.base import Duration, Int32, Spec, UInt32
from fastmesh.model.destination_rule import ConsistentHash, RetryBudget
from fastmesh.model.virtual_service import Destination

Method = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"]
# Response flags of answers that the proxy makes itself: https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage
Refused = Literal["NR", "NC", "UH", "UF", "UO", "UC", "UT", "UR", "URX", "UPE", "RL", "OM"]
Failed = Literal["NC", "UH", "UF", "UO", "UC", "UT", "UR", "UPE"]


class RouteTarget(Spec, frozen=True):
    """Whose rules are meant, in the policy's own namespace; `section_name` names one rule of them."""

    kind: Literal["VirtualService", "HTTPRoute", "GRPCRoute"]
    name: str
    section_name: str = ""


class Answer(Spec, frozen=True):
    """A fixed answer; `status` 0 keeps the one that the proxy would give."""

    status: Int32 = 0
    body: str = ""
    content_type: str = "text/plain"
    headers: dict[str, str] = {}


class Fallback(Spec, frozen=True):
    """Where a request goes when its destination fails it for one of these reasons: exactly one of the two."""

    on: list[Failed] = msgspec.field(default_factory=lambda: ["NC", "UH", "UO"])
    destination: Destination | None = None
    response: Answer | None = None


class Refusal(Spec, frozen=True):
    """The face of answers with one of these flags; no flags: of all."""

    response: Answer
    flags: list[Refused] = []


class Hedge(Spec, frozen=True):
    """When the first attempt has not answered by then, a second one starts elsewhere; the first answer counts."""

    after: Duration


class ProxyRetryBudget(Spec, frozen=True):
    """Over all destinations of a proxy: `percent` of its active requests, never below `min_retry_concurrency`."""

    percent: float = 20.0
    min_retry_concurrency: UInt32 = 3


class RoutePolicy(Spec, frozen=True):
    """No `target_ref`: all rules of the namespace. What it leaves out, the namespace's or the mesh's policy may say."""

    target_ref: RouteTarget | None = None
    timeout: Duration | None = None  # of rules that say nothing of one; 0s: there is none
    resend_methods: list[Method] | None = None
    fallback: Fallback | None = None
    refusals: list[Refusal] = []
    hedge: Hedge | None = None
    sticky: ConsistentHash | None = None


class MeshPolicy(Spec, frozen=True):
    """For every rule of the mesh; it stands in the root namespace. `timeout`: of rules that say nothing of one.

    `merge_virtual_services`: all that name a host on the mesh have a say, where Istio takes the oldest one alone.
    `retry_budget`: of destinations whose DestinationRule says nothing of how many retries there may be.
    """

    timeout: Duration | None = None
    resend_methods: list[Method] | None = None
    refusals: list[Refusal] = []
    merge_virtual_services: bool = False
    retry_budget: RetryBudget | None = None
    proxy_retry_budget: ProxyRetryBudget | None = None
