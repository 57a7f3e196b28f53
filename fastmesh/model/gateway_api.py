# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""Gateway and the routes of the Kubernetes Gateway API.

https://gateway-api.sigs.k8s.io/reference/spec/
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from fastmesh.model.base import Duration, Int32, Spec, UInt32
from fastmesh.model.gateway_api_tls import Backend, GatewayTLS, ListenerTLS, TLSBackendRef

GROUP = "gateway.networking.k8s.io"


class ParentRef(Spec, frozen=True):
    """A Gateway (traffic from outside), or a Service (`group` "") for traffic inside the mesh."""

    name: str
    group: str = GROUP
    kind: str = "Gateway"
    namespace: str = ""
    section_name: str = ""
    port: UInt32 = 0


class PathMatch(Spec, frozen=True):
    """PathPrefix works on whole segments."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: str = "/"


class ValueMatch(Spec, frozen=True):
    """Of a header (the name in any case) or a query parameter."""

    name: str
    value: str
    type: Literal["Exact", "RegularExpression"] = "Exact"


class RouteMatch(Spec, frozen=True):
    path: PathMatch | None = None
    headers: list[ValueMatch] = []
    query_params: list[ValueMatch] = []
    method: str = ""


class Header(Spec, frozen=True):
    name: str
    value: str


class HeaderModifier(Spec, frozen=True):
    set: list[Header] = []
    add: list[Header] = []
    remove: list[str] = []


class PathModifier(Spec, frozen=True):
    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: str | None = None
    replace_prefix_match: str | None = None


class RequestRedirect(Spec, frozen=True):
    scheme: Literal["http", "https"] | None = None
    hostname: str = ""
    path: PathModifier | None = None
    port: UInt32 = 0
    status_code: Literal[301, 302, 303, 307, 308] = 302


class URLRewrite(Spec, frozen=True):
    hostname: str = ""
    path: PathModifier | None = None


class MirrorRef(Spec, frozen=True):
    name: str
    group: str = ""
    kind: str = "Service"
    namespace: str = ""
    port: UInt32 = 0


class Fraction(Spec, frozen=True):
    numerator: Int32
    denominator: Int32 = 100


class RequestMirror(Spec, frozen=True):
    """At most one of `percent` and `fraction`; without both every request is copied."""

    backend_ref: MirrorRef
    percent: Int32 | None = None
    fraction: Fraction | None = None


class HTTPCORSFilter(Spec, frozen=True):
    """`max_age` in seconds."""

    allow_origins: list[str] = []
    allow_credentials: bool | None = None
    allow_methods: list[str] = []
    allow_headers: list[str] = []
    expose_headers: list[str] = []
    max_age: Int32 = 5


class Filter(Spec, frozen=True):
    """One member fits `type`; what this version does not act on stays as written."""

    type: str
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_redirect: RequestRedirect | None = None
    url_rewrite: URLRewrite | None = msgspec.field(name="urlRewrite", default=None)
    request_mirror: RequestMirror | None = None
    cors: HTTPCORSFilter | None = None
    external_auth: Any = None
    extension_ref: Any = None


class BackendRef(Spec, frozen=True):
    """Share = weight / sum of weights; 0 takes nothing."""

    name: str
    group: str = ""
    kind: str = "Service"
    namespace: str = ""
    port: UInt32 = 0
    weight: Int32 = 1
    filters: list[Filter] = []


class Timeouts(Spec, frozen=True):
    """0s switches a timeout off; `backend_request` is one try of `request`."""

    request: Duration | None = None
    backend_request: Duration | None = None


class Retry(Spec, frozen=True):
    codes: list[Int32] = []
    attempts: Int32 | None = None
    backoff: Duration | None = None


class SessionCookie(Spec, frozen=True):
    name: str = ""
    path: str = ""
    lifetime_type: Literal["Session", "Permanent"] = "Session"


class SessionHeader(Spec, frozen=True):
    name: str = ""


class SessionPersistence(Spec, frozen=True):
    """`session_name`, `idle_timeout` and `cookie_config` are what the API said before 1.6."""

    type: Literal["Cookie", "Header"] = "Cookie"
    absolute_timeout: Duration | None = None
    cookie: SessionCookie | None = None
    header: SessionHeader | None = None
    session_name: str = ""
    idle_timeout: Duration | None = None
    cookie_config: SessionCookie | None = None


class HTTPRouteRule(Spec, frozen=True):
    name: str = ""
    matches: list[RouteMatch] = []
    filters: list[Filter] = []
    backend_refs: list[BackendRef] = []
    timeouts: Timeouts | None = None
    retry: Retry | None = None
    session_persistence: SessionPersistence | None = None


class HTTPRoute(Spec, frozen=True):
    parent_refs: list[ParentRef] = []
    hostnames: list[str] = []
    rules: list[HTTPRouteRule] = []
    use_default_gateways: str = ""


class GRPCMethod(Spec, frozen=True):
    """Without a service every service, without a method every method."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    service: str = ""
    method: str = ""


class GRPCMatch(Spec, frozen=True):
    method: GRPCMethod | None = None
    headers: list[ValueMatch] = []


class GRPCRouteRule(Spec, frozen=True):
    name: str = ""
    matches: list[GRPCMatch] = []
    filters: list[Filter] = []
    backend_refs: list[BackendRef] = []
    session_persistence: SessionPersistence | None = None


class GRPCRoute(Spec, frozen=True):
    parent_refs: list[ParentRef] = []
    hostnames: list[str] = []
    rules: list[GRPCRouteRule] = []
    use_default_gateways: str = ""


class TLSRouteRule(Spec, frozen=True):
    backend_refs: list[TLSBackendRef]
    name: str = ""


class TLSRoute(Spec, frozen=True):
    """Connections by server name: passed on as they are, or as bytes when the listener ends TLS."""

    parent_refs: list[ParentRef] = []
    hostnames: list[str] = []
    rules: list[TLSRouteRule] = []
    use_default_gateways: str = ""


class TCPRouteRule(Spec, frozen=True):
    backend_refs: list[TLSBackendRef]
    name: str = ""


class TCPRoute(Spec, frozen=True):
    """All connections of a listener; of several routes the oldest serves."""

    rules: list[TCPRouteRule]
    parent_refs: list[ParentRef] = []
    use_default_gateways: str = ""


class LabelExpression(Spec, frozen=True):
    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[str] = []


class NamespaceSelector(Spec, frozen=True):
    match_labels: dict[str, str] = {}
    match_expressions: list[LabelExpression] = []


class RouteNamespaces(Spec, frozen=True):
    from_: Literal["Same", "All", "Selector", "None"] = msgspec.field(name="from", default="Same")
    selector: NamespaceSelector | None = None


class RouteKind(Spec, frozen=True):
    kind: str
    group: str = GROUP


class AllowedRoutes(Spec, frozen=True):
    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: list[RouteKind] = []


class Listener(Spec, frozen=True):
    """No hostname: every host."""

    name: str
    port: UInt32
    protocol: str
    hostname: str = ""
    tls: ListenerTLS | None = None
    allowed_routes: AllowedRoutes = AllowedRoutes()


class GatewayClass(Spec, frozen=True):
    """Which controller serves the Gateways of a class."""

    controller_name: str
    description: str = ""
    parameters_ref: Any = None


class Gateway(Spec, frozen=True):
    gateway_class_name: str
    listeners: list[Listener] = []
    addresses: Any = None
    infrastructure: Any = None
    allowed_listeners: Any = None
    backend_tls: Backend | None = msgspec.field(name="backendTLS", default=None)  # the older place of tls.backend
    default_scope: str = ""
    tls: GatewayTLS | None = None
