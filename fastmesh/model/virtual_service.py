# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""VirtualService: how requests for a host are matched and where they go.

https://istio.io/latest/docs/reference/config/networking/virtual-service/
"""

from __future__ import annotations

from typing import Literal

from fastmesh.model.base import Duration, Int32, Percent, PortSelector, Spec, StringMatch, UInt32


class Destination(Spec, frozen=True):
    """Where requests go. `host` may be a short name (expanded with the namespace of the rule)."""

    host: str
    subset: str = ""
    port: PortSelector | None = None


class HeaderOperations(Spec, frozen=True):
    """Order of application: remove, set, add."""

    set: dict[str, str] = {}
    add: dict[str, str] = {}
    remove: list[str] = []


class Headers(Spec, frozen=True):
    request: HeaderOperations | None = None
    response: HeaderOperations | None = None


class HTTPRouteDestination(Spec, frozen=True):
    """`weight` is a share of the sum of weights; a sole destination gets everything whatever its weight."""

    destination: Destination
    weight: Int32 = 0
    headers: Headers | None = None


class HTTPMatchRequest(Spec, frozen=True):
    """AND of everything that is present. In the maps an empty StringMatch is the presence test."""

    name: str = ""
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: dict[str, StringMatch] = {}
    port: UInt32 = 0
    source_labels: dict[str, str] = {}
    gateways: list[str] = []
    query_params: dict[str, StringMatch] = {}
    ignore_uri_case: bool = False
    without_headers: dict[str, StringMatch] = {}
    source_namespace: str = ""
    stat_prefix: str = ""


class HTTPRedirect(Spec, frozen=True):
    """`redirect_code` 0 means 301."""

    uri: str = ""
    prefix_rewrite: str = ""
    authority: str = ""
    scheme: str = ""
    port: UInt32 | None = None
    derive_port: Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None = None
    redirect_code: UInt32 = 0


class HTTPBody(Spec, frozen=True):
    """One of text and base64."""

    string: str | None = None
    bytes: str | None = None


class HTTPDirectResponse(Spec, frozen=True):
    status: UInt32
    body: HTTPBody | None = None


class Delegate(Spec, frozen=True):
    name: str = ""
    namespace: str = ""


class RegexRewrite(Spec, frozen=True):
    """RE2 search and replace of all matches over the path; captures are `\\1`."""

    match: str = ""
    rewrite: str = ""


class HTTPRewrite(Spec, frozen=True):
    uri: str = ""
    authority: str = ""
    uri_regex_rewrite: RegexRewrite | None = None


class HTTPRetry(Spec, frozen=True):
    """`attempts` is the number of retries after the first try; a block without it switches retries off."""

    attempts: Int32 = 0
    per_try_timeout: Duration | None = None
    retry_on: str = ""
    retry_remote_localities: bool | None = None
    retry_ignore_previous_hosts: bool | None = None
    backoff: Duration | None = None


class FaultDelay(Spec, frozen=True):
    """No percentage means nobody is delayed."""

    percent: Int32 = 0
    fixed_delay: Duration | None = None
    exponential_delay: Duration | None = None
    percentage: Percent | None = None


class FaultAbort(Spec, frozen=True):
    """No percentage means nobody is aborted."""

    http_status: Int32 | None = None
    grpc_status: str = ""
    http2_error: str = ""
    percentage: Percent | None = None


class HTTPFaultInjection(Spec, frozen=True):
    delay: FaultDelay | None = None
    abort: FaultAbort | None = None


class HTTPMirrorPolicy(Spec, frozen=True):
    """No percentage means every request is mirrored."""

    destination: Destination
    percentage: Percent | None = None


class CorsPolicy(Spec, frozen=True):
    allow_origin: list[str] = []
    allow_origins: list[StringMatch] = []
    allow_methods: list[str] = []
    allow_headers: list[str] = []
    expose_headers: list[str] = []
    max_age: Duration | None = None
    allow_credentials: bool | None = None
    unmatched_preflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] = "UNSPECIFIED"


class HTTPRoute(Spec, frozen=True):
    """One rule: matches (OR; none = always) and one of route, redirect, directResponse, delegate.

    `retries` None means the mesh default (two retries); a written block replaces it, `{}` switches retries off.
    """

    name: str = ""
    match: list[HTTPMatchRequest] = []
    route: list[HTTPRouteDestination] = []
    redirect: HTTPRedirect | None = None
    direct_response: HTTPDirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: HTTPRewrite | None = None
    timeout: Duration | None = None
    retries: HTTPRetry | None = None
    fault: HTTPFaultInjection | None = None
    mirror: Destination | None = None
    mirrors: list[HTTPMirrorPolicy] = []
    mirror_percent: UInt32 | None = None
    mirror_percentage: Percent | None = None
    cors_policy: CorsPolicy | None = None
    headers: Headers | None = None


class RouteDestination(Spec, frozen=True):
    """A weighted destination of a TCP or TLS route."""

    destination: Destination
    weight: Int32 = 0


class TLSMatchAttributes(Spec, frozen=True):
    sni_hosts: list[str]
    destination_subnets: list[str] = []
    port: UInt32 = 0
    source_labels: dict[str, str] = {}
    gateways: list[str] = []
    source_namespace: str = ""


class TLSRoute(Spec, frozen=True):
    match: list[TLSMatchAttributes]
    route: list[RouteDestination] = []


class L4MatchAttributes(Spec, frozen=True):
    destination_subnets: list[str] = []
    port: UInt32 = 0
    source_subnet: str = ""
    source_labels: dict[str, str] = {}
    gateways: list[str] = []
    source_namespace: str = ""


class TCPRoute(Spec, frozen=True):
    match: list[L4MatchAttributes] = []
    route: list[RouteDestination] = []


class VirtualService(Spec, frozen=True):
    """`gateways` empty means `[mesh]`; `exportTo` empty means everywhere."""

    hosts: list[str] = []
    gateways: list[str] = []
    http: list[HTTPRoute] = []
    tls: list[TLSRoute] = []
    tcp: list[TCPRoute] = []
    export_to: list[str] = []
