"""The finished form of the configuration: what `compile` makes and what the data plane runs.

A plan is plain data: every name is resolved, every default is filled in, every rule is in the order in which it is
tried. The data plane (`fastmesh.core.route.snapshot`) reads a plan item by item and never sees the YAML. On the wire
between the master and its workers a plan is a sequence of msgpack items `[kind, body]`, each preceded by its length, so
that a worker can take it over in small slices; `encode` and `iterate` below are the two ends of that road.

Over 600 lines: it is one vocabulary, which the compiler writes and the data plane reads from end to end.

Units: times are integer milliseconds, sizes are bytes. `None` means "not set" where a field is optional.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Literal

import msgspec


class PlanPart(msgspec.Struct, kw_only=True, frozen=True):
    """Base of every part of a plan."""


class Origin(PlanPart, frozen=True):
    """Where a rule was written; shown by `explain`, `/config_dump` and the log."""

    kind: str  # "VirtualService", "Service", "RateLimit", ...
    namespace: str
    name: str
    route: str = ""  # HTTPRoute.name as the access log shows it (`route.match` is made at run time from match names)
    file: str = ""
    line: int = 0


class StringMatchPlan(PlanPart, frozen=True):
    """One comparison. `value` is in lower case when `ignore_case` is set; a regex matches the whole value (RE2)."""

    kind: Literal["exact", "prefix", "suffix", "regex", "present"]
    value: str = ""
    ignore_case: bool = False


class NamedMatchPlan(PlanPart, frozen=True):
    """A comparison of a header or query parameter. Header names are lower case; pseudo headers keep their colon."""

    name: str
    match: StringMatchPlan
    invert: bool = False  # withoutHeaders: a missing header counts as empty, but the presence form wants it absent
    claim: list[str] = []  # of a validated token, from the outside in: then `name` is no header


class MatchPlan(PlanPart, frozen=True):
    """One HTTPMatchRequest, static parts (port, gateways, sourceLabels, sourceNamespace) decided: AND of all fields."""

    name: str = ""
    path: StringMatchPlan | None = None  # on the path without query; "prefix" is a raw string prefix
    path_segments: bool = False  # Gateway API PathPrefix: the prefix ends at a segment border
    scheme: StringMatchPlan | None = None
    method: StringMatchPlan | None = None
    authority: StringMatchPlan | None = None  # raw Host header, port included
    headers: list[NamedMatchPlan] = []
    query: list[NamedMatchPlan] = []
    stat_prefix: str = ""


class SegmentPlan(PlanPart, frozen=True):
    """A piece of a header value that is put together for each message: a word of `read/substitutions`."""

    word: str
    text: str = ""
    other: str = ""
    limit: int = 0  # at most so many bytes; 0 = all


class HeaderOpsPlan(PlanPart, frozen=True):
    """Header operations of one level, in the order remove, set, add. Names are lower case; values are literal text,
    but for those of `set_made` and `add_made`."""

    remove: list[str] = []
    set: list[tuple[str, str]] = []
    add: list[tuple[str, str]] = []
    set_made: list[tuple[str, list[SegmentPlan]]] = []
    add_made: list[tuple[str, list[SegmentPlan]]] = []


class RewritePlan(PlanPart, frozen=True):
    """Path rewrite. "matched": replace what the path match matched (prefix: the prefix; exact, regex: the whole path;
    no path match: the implied prefix `/`). "regex": replace every match of `regex` by `value` (captures `\\1`)."""

    kind: Literal["matched", "regex"]
    value: str
    regex: str = ""


class RedirectPlan(PlanPart, frozen=True):
    code: int
    scheme: str | None = None
    authority: str | None = None
    port: int | None = None
    port_from: Literal["", "protocol", "request"] = ""
    path: str | None = None  # full path replacement
    prefix: str | None = None  # replacement of the matched prefix


class DestinationPlan(PlanPart, frozen=True):
    """One weighted destination. `cluster` names a ClusterPlan or, when `missing`, one that does not exist (503 NC)."""

    cluster: str
    weight: int
    request_headers: list[HeaderOpsPlan] = []  # applied in order; the compiler decides route/destination order
    response_headers: list[HeaderOpsPlan] = []
    authority: str | None = None  # authority rewrite of this destination
    missing: bool = False
    missing_status: int = 503  # what `missing` answers: 500 for routes of the Gateway API
    redirect: RedirectPlan | None = None  # the answer of this destination's share
    rewrite: RewritePlan | None = None  # in place of the rule's
    mirrors: list[int] = []  # those of the rule that are for the requests of this destination alone


class DirectPlan(PlanPart, frozen=True):
    status: int
    body: bytes = b""
    content_type: str = "text/plain"
    headers: list[tuple[str, str]] = []


class RetryPlan(PlanPart, frozen=True):
    """`attempts` is the number of retries after the first try; 0 switches retries off."""

    attempts: int
    retry_on: list[str]  # Istio's vocabulary without the numeric codes; normalised, no blanks
    status_codes: list[int] = []
    per_try_timeout: int | None = None
    backoff: int = 25
    ignore_previous_hosts: bool = True
    leaves_hash: bool = False  # also where a hash decides: somebody wrote retryIgnorePreviousHosts
    remote_localities: bool = False
    written: list[str] = []  # the list as explain shows it: policies first, then codes as text


class FaultPlan(PlanPart, frozen=True):
    """Percentages are per million (0.0001 % = 1)."""

    delay: int = 0
    delay_share: int = 0
    abort_status: int = 0
    abort_grpc: int | None = None  # numeric grpc-status
    abort_share: int = 0


class CorsPlan(PlanPart, frozen=True):
    """What browsers are told of other origins. Lists are joined with commas, as they are sent; empty: not said."""

    origins: list[StringMatchPlan]
    methods: str = ""
    headers: str = ""
    exposed: str = ""
    max_age: str = ""  # seconds
    credentials: bool = False
    forward: bool = (
        True  # preflights of other origins go to the application; else they get an answer that allows nothing
    )
    echo: bool = False  # a star is answered with what was asked for


class MirrorPlan(PlanPart, frozen=True):
    """Copies of requests for another cluster. Of `destination` only the cluster counts."""

    destination: DestinationPlan
    share: int  # per million
    picky: bool = False  # only for destinations that name it


class HashPlan(PlanPart, frozen=True):
    """What of a request is hashed and, for consistentHash, the table that leads from a hash to an endpoint."""

    source: Literal["", "header", "cookie", "source_ip", "query"] = ""
    name: str = ""
    cookie: str | None = None  # what stands behind `name="value"` of a cookie that the proxy makes; None: it makes none
    table: Literal["ring", "maglev"] = "ring"
    size: int = 1024  # least points of the ring, places of the maglev table


class FallbackPlan(PlanPart, frozen=True):
    """Where a request goes when its destination fails it with one of these response flags: one of the two is set."""

    flags: list[str]
    destination: DestinationPlan | None = None
    direct: DirectPlan | None = None


class RefusalPlan(PlanPart, frozen=True):
    """The face of the proxy's own answers with one of `flags`; none: of all. Status 0 keeps the one it would have."""

    flags: list[str]
    direct: DirectPlan


class PolicyPlan(PlanPart, frozen=True):
    """What RoutePolicies and the MeshPolicy add to a rule."""

    resend: list[str] | None = None  # methods of requests that may be sent a second time; None: all
    fallback: FallbackPlan | None = None
    refusals: list[RefusalPlan] = []
    hedge: int = 0  # ms after which a second attempt starts; 0: none does
    sticky: HashPlan | None = None  # chooses among several destinations; None: chance does


class SessionPlan(PlanPart, frozen=True):
    """sessionPersistence: the endpoint that answers a client first answers it until the session is over."""

    kind: Literal["cookie", "header"]
    name: str
    cookie: str = ""  # what stands behind `name=value` of the cookie
    absolute: int = 0  # seconds, like `idle`; 0 = no limit
    idle: int = 0


class RulePlan(PlanPart, frozen=True):
    """One rule of a virtual host. Rules are tried in order; the first one with a matching clause decides."""

    origin: Origin
    matches: list[MatchPlan] = []  # OR; empty = always
    destinations: list[DestinationPlan] = []  # weight-0 ones dropped already; empty only with redirect or direct
    redirect: RedirectPlan | None = None
    direct: DirectPlan | None = None
    rewrite: RewritePlan | None = None
    authority: str | None = None
    response_headers: list[HeaderOpsPlan] = []  # route level, also on replies that the proxy makes for this rule
    timeout: int | None = None  # 0: it says that there is none
    retry: RetryPlan | None = None
    fault: FaultPlan | None = None
    cors: CorsPlan | None = None
    session: SessionPlan | None = None
    mirrors: list[MirrorPlan] = []
    policy: PolicyPlan | None = None
    limits: list[int] = []  # indexes of Plan.limits, in the order in which they are asked
    filters: list[int] = []  # indexes of Plan.filters, in the order of their hooks for requests


class VirtualHostPlan(PlanPart, frozen=True):
    """The rules of one host. `limits` apply to requests of this host also when no rule matches (before the 404)."""

    name: str  # e.g. "reviews.default.svc.cluster.local:9080"
    rules: list[RulePlan]
    origin: Origin | None = None
    limits: list[int] = []


class WorkloadPlan(PlanPart, frozen=True):
    """The peer's facts that metrics show; "unknown" where nothing is known."""

    name: str = "unknown"
    namespace: str = "unknown"
    app: str = "unknown"
    version: str = "unknown"
    canonical_service: str = "unknown"
    canonical_revision: str = "latest"
    principal: str = "unknown"
    cluster: str = "Kubernetes"


class CredentialSourcePlan(PlanPart, frozen=True):
    """Where the material of a credential lies. It stays with the master and holds no material itself.

    A place is `file:PATH`, `secret:NS/NAME` or `configmap:NS/NAME`; a Secret knows its chain, key, roots and list.
    """

    name: str  # of the CredentialPlan that is to be made of it
    origin: Origin  # the first object that asks for it
    field: str = ""  # where in it
    mesh: bool = False  # the proxy's own identity: what --certs names
    chain: str = ""
    key: str = ""
    roots: list[str] = []  # several count together
    crl: str = ""


class CredentialPlan(PlanPart, frozen=True):
    """Key material under the name that the other parts use. It goes to the workers only; `Plan.shown` hides it.

    `bundles` are the roots of each trust domain, of mesh identities: the trust domain in a peer's name chooses them.
    A name that the other parts use and that no CredentialPlan has means: there is no material, every handshake fails.
    """

    name: str  # "secret:NS/NAME", "file:CHAIN", "mesh"; with what peers are checked against "file:CHAIN+ca=file:ROOTS"
    chain: bytes = b""  # PEM, the leaf first; empty where only peers are checked
    key: bytes = b""  # PEM
    roots: bytes = b""  # PEM; empty: the system's
    crl: bytes = b""  # PEM
    staple: bytes = b""  # an OCSP response, DER
    bundles: dict[str, bytes] = {}  # trust domain -> PEM
    serial: str = ""  # of the leaf, for /certs
    not_after: int = 0  # seconds since 1970, of the leaf

    def __repr__(self) -> str:
        return f"CredentialPlan({self.name}, serial {self.serial})"  # nobody prints keys by accident


class ServerTLSPlan(PlanPart, frozen=True):
    """How TLS from clients ends. `mesh`: the client's certificate must be an SVID of one of `trust_domains`."""

    credentials: list[str]  # names of CredentialPlan, one a kind of key; the first one's roots check clients
    client: Literal["none", "optional", "required"] = "none"  # a certificate of the client
    mesh: bool = False
    trust_domains: list[str] = []
    accept_unverified: bool = False  # ask for a certificate, look at it, accept whatever it is
    min_version: Literal["TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"] = "TLSV1_2"
    max_version: Literal["TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"] = "TLSV1_3"
    ciphers: list[str] = []  # of TLS 1.2, OpenSSL's names; empty: the proxy's own choice
    curves: list[str] = []  # of the key exchange; empty: the proxy's own choice
    alpn: list[str] = []  # in the order of preference
    sans: list[str] = []  # what the client's certificate must name one of; empty: anything
    hashes: list[str] = []  # SHA-256 of the client's certificate, hex; it or one of `spkis` must fit
    spkis: list[str] = []  # SHA-256 of its public key, base64


class ClientTLSPlan(PlanPart, frozen=True):
    """How connections to a cluster's endpoints are encrypted. `mesh`: the server's certificate must be an SVID.

    To a cluster with `http` "client" only those names of `alpn` are offered that fit the version of the connection:
    the ones that end in "h2", or the ones that end in "http/1.1"; "istio" fits both.
    """

    credential: str = ""  # own certificate, and the roots that servers are checked against; "": none, and the system's
    verify: bool = True
    mesh: bool = False
    trust_domains: list[str] = []
    sans: list[str] = []  # what the server's certificate must name one of; empty: `sni`, or with `mesh` anything
    sni: str = ""  # empty: the host of the request that opens the connection
    alpn: list[str] = []
    min_version: Literal["TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"] = "TLSV1_2"
    max_version: Literal["TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"] = "TLSV1_3"
    ciphers: list[str] = []
    auto: bool = False  # auto mTLS: only to endpoints with `mesh_tls`; the others get plaintext


class EndpointPlan(PlanPart, frozen=True):
    address: str  # IP literal, or "unix:///path"
    port: int
    weight: int = 1
    locality: str = ""
    workload: int = 0  # index of Plan.workloads
    priority: int = 0  # the healthy ones of 0 serve, then those of 1, ...; without gaps
    mesh_tls: bool = False  # a sidecar ends mTLS there, and the server's PeerAuthentication does not forbid it


class OutlierPlan(PlanPart, frozen=True):
    consecutive_5xx: int = 5  # 0 = off
    consecutive_gateway: int = 0
    split_local: bool = False
    consecutive_local: int = 5
    interval: int = 10_000
    base: int = 30_000
    max_percent: int = 10
    min_health_percent: int = 0
    codes: list[int] = []  # when given these replace "5xx"


class HealthCheckPlan(PlanPart, frozen=True):
    """How the endpoints of a cluster are asked whether they are well (HealthCheck)."""

    origin: Origin
    kind: Literal["http", "tcp", "grpc"]
    interval: int
    jitter: int
    timeout: int
    unhealthy: int
    healthy: int
    authority: str = ""
    path: str = "/"
    method: str = "GET"
    statuses: list[tuple[int, int]] = []  # the first and the last of each range
    headers: list[tuple[str, str]] = []
    service: str = ""  # that a gRPC server is asked about
    min_health_percent: int = 0  # fewer healthy endpoints than this: health is ignored; stands for the one of `outlier`


class OwnAnswerPlan(PlanPart, frozen=True):
    status: int
    body: bytes = b""
    headers: list[tuple[str, str]] = []


class BreakerPlan(PlanPart, frozen=True):
    threshold: int  # mean error rate, per million
    min_requests: int
    open_for: int
    probes: int
    answer: OwnAnswerPlan  # when there is no backup, or it does not exist
    backup: str | None = None  # names a ClusterPlan


class AdaptivePlan(PlanPart, frozen=True):
    min_concurrency: int
    max_concurrency: int
    percentile: int
    interval: int
    min_rtt_interval: int
    min_rtt_requests: int
    buffer_percent: int
    jitter_percent: int


class PriorityPlan(PlanPart, frozen=True):
    name: str
    share: int  # percent of the limit
    matches: list[MatchPlan] = []  # OR; empty = always


class ConcurrencyPlan(PlanPart, frozen=True):
    answer: OwnAnswerPlan
    limit: int = 0  # 0: `adaptive` finds it
    adaptive: AdaptivePlan | None = None
    priorities: list[PriorityPlan] = []  # the first one that fits counts; who fits none is of the last


class SlowPlan(PlanPart, frozen=True):
    """When an endpoint is slow; 0: there is no such bound."""

    above: int
    times: float  # what the others take
    least: int  # ms: who takes no longer is not slow by comparison
    percentile: int
    interval: int
    windows: int
    samples: int


class EjectionPlan(PlanPart, frozen=True):
    """`base` and `max_percent` are those of endpoints that are slow."""

    base: int
    max_percent: int
    latency: SlowPlan | None = None
    trials: int = 0  # at a time; 0: an ejected endpoint comes back when its time is over
    successes: int = 0
    by_checks: bool = False  # active checks are the trials, not requests


class ResiliencePlan(PlanPart, frozen=True):
    """What is done for a cluster that has too much or too many errors."""

    origin: Origin
    half_life: int
    weighted_floor: int | None = None  # percent; None: endpoints are not weighted by their health
    breaker: BreakerPlan | None = None
    concurrency: ConcurrencyPlan | None = None
    max_wait: int = 0
    ejection: EjectionPlan | None = None


class ZonesPlan(PlanPart, frozen=True):
    """Of the first priority, the own zone serves as much as its share of this proxy's replicas lets it."""

    own: str  # locality
    callers: list[tuple[str, int]]  # localities of this proxy's replicas, and how many stand there; `own` is one
    least: int  # healthy endpoints; with fewer, zones mean nothing


class ClusterPlan(PlanPart, frozen=True):
    """One destination: service + port + subset, with its endpoints and its limits (0 = no limit)."""

    name: str  # outbound|80|v1|reviews.default.svc.cluster.local
    kind: Literal["endpoints", "original_dst", "passthrough", "blackhole"] = "endpoints"  # passthrough: clients choose
    host: str = ""
    port: int = 0
    subset: str = ""
    service_name: str = "unknown"
    service_namespace: str = "unknown"
    endpoints: list[EndpointPlan] = []
    addresses: list[str] = []  # of the service itself, that clients may name where they choose
    balancer: Literal["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST", "PASSTHROUGH"] = "LEAST_REQUEST"
    hash: HashPlan | None = None  # instead of `balancer`
    localities: list[tuple[int, str, int]] = []  # that share a priority by weight: priority, locality, weight
    zones: ZonesPlan | None = None  # then `localities` is empty
    connect_timeout: int = 10_000
    max_connections: int = 0
    max_pending: int = 0
    max_requests: int = 0
    max_retries: int = 0
    # Instead: the share of requests that may be retries, the least number, ms in which requests count (0: under way)
    retry_budget: tuple[float, int, int] | None = None
    warmup: tuple[int, float, float] | None = None  # ms, the part of its weight that one starts with, aggression
    max_requests_per_connection: int = 0
    idle_timeout: int | None = None  # None: the proxy's own default, shorter than the application's
    max_connection_duration: int | None = None
    tcp_idle: int | None = None  # of a connection of a tcp chain; None: the proxy's own default, 0: for ever
    proxy_protocol: Literal[0, 1, 2] = 0  # version of the PROXY header that connections begin with
    tunnel: str = ""  # HTTP/1.1 request that has a 2xx before the bytes of a tcp chain; of a POST they are the body
    keepalive: tuple[int, int, int] | None = None  # probes, time s, interval s (0 = the system's)
    tls: ClientTLSPlan | None = None
    http: Literal["http1", "http2", "client"] = "http1"  # "client": the version of the request that is sent on
    max_streams: int = 0  # of one HTTP/2 connection, besides what the endpoint says; 0 = no own limit
    h2_ping: tuple[int, int] | None = None  # interval ms, time-out ms of keep-alive pings
    outlier: OutlierPlan | None = None
    health: HealthCheckPlan | None = None
    resilience: ResiliencePlan | None = None
    origin: Origin | None = None  # the DestinationRule that shaped it


class SharedPlan(PlanPart, frozen=True):
    """The counts of a global limit, in Redis, in windows of its period."""

    domain: str  # what its keys begin with: proxies with the same one count together
    redis: str = ""  # HOST:PORT; empty: --redis
    fails_closed: bool = False  # when Redis is gone
    lease: int = 1  # the most tokens that one proxy takes ahead
    credit: int = 1  # the most requests that it passes before Redis has answered


class LimitPlan(PlanPart, frozen=True):
    """One token bucket family of a RateLimit. `requests` tokens come back every `period`; at most `burst` are kept.

    `traits` are exact conditions (kind, name, "is" | "not" | "present" | "absent", value); kinds are those of `keys`.
    """

    name: str  # ns/name/index: the key of its state, which survives reloads
    origin: Origin
    requests: int
    period: int  # ms
    burst: int
    matches: list[MatchPlan] = []
    traits: list[tuple[str, str, str, str]] = []
    keys: list[tuple[str, str]] = []  # ("header", "x-user"), ("queryParam", "k"), ("path", ""), ("method", ""), ...
    shared: SharedPlan | None = None  # None: local
    enabled: int = 1_000_000  # of a million requests: so many are counted,
    enforced: int = 1_000_000  # and so many of those without a token refused
    told: bool = False  # answers have x-ratelimit-limit, -remaining and -reset
    status: int = 429
    grpc_status: int | None = None
    details: str = "request_rate_limited"
    body: bytes = b""
    headers: list[tuple[str, str]] = []
    retry_after: bool = True  # besides `headers`: when the next token comes


class FilterPlan(PlanPart, frozen=True):
    """Python of the user's. `source` is the code itself, as the master has read it: all workers run the same, also one
    that starts later than a change of the file.
    """

    name: str  # namespace/name
    origin: Origin
    function: str  # module:function
    config: dict[str, Any] = {}
    hosts: list[str] = []  # lower case: a name, `.suffix`, or empty for all
    matches: list[MatchPlan] = []
    passes: bool = False  # failureMode open
    timeout: int = 200  # ms
    body_limit: int = 1 << 20
    file: str = ""  # of the module; it and `source` are filled in where the code is read (server.filters)
    source: bytes = b""


class DomainPlan(PlanPart, frozen=True):
    """`domain` is lower case: a name, "*.suffix", "*" or an IP literal (IPv6 in brackets). `port` 0 answers a Host
    without a port."""

    domain: str
    port: int
    vhost: int  # index of Plan.vhosts


class ChainPlan(PlanPart, frozen=True):
    """What happens to the connections of a listener that begin in one way (Envoy: a filter chain).

    A connection takes the first chain that fits what it begins with; `server_names` are compared like hosts: a name
    before `*.suffix`, the longest suffix first, no names fit last. No chain: the connection is closed.

    A request is for the chain whose names fit its Host best. When that is another one than the connection's, the answer
    is 421: the other one may demand a certificate that this one does not. Two `shared` chains with equal `tls` are one
    to a client: it may use a connection for the hosts of both (RFC 9113 section 9.1.1).

    Where it is known which address a client wanted to reach (a redirect of the kernel, a PROXY header), the chains of
    that `port` and of the longest prefix of `to` count alone, as in Envoy: nobody looks at the others. Chains without
    both are for all other clients.
    """

    name: str
    transport: Literal["any", "plaintext", "tls"] = "any"
    mesh_alpn: bool = False  # only TLS whose ALPN offers begin with "istio"
    server_names: list[str] = []  # SNI in lower case: "name" or "*.suffix"; empty: all, and none
    tls: ServerTLSPlan | None = None  # TLS ends here; None with transport "tls": it is passed on as it is (kind "tcp")
    kind: Literal["http", "tcp"] = "http"
    shared: bool = False
    destinations: list[DestinationPlan] = []  # of kind "tcp": clusters by weight
    port: int = 0  # only for clients that wanted to reach this port; 0: every port
    to: list[str] = []  # and one of these blocks of addresses; empty: every address

    @property
    def by_place(self) -> bool:
        """Only for clients of which it is known where they wanted to go."""
        return bool(self.port or self.to)


class ListenerPlan(PlanPart, frozen=True):
    """One listening socket. A mesh listener routes by Host and port; the others by Host alone (all ports 0)."""

    name: str  # "mesh", "0.0.0.0_8080" for gateways, "inbound_15006" for the side of the application
    role: Literal["mesh", "gateway", "inbound", "egress"]  # egress: a mesh listener for one port, of a Sidecar
    port: int  # the port of the configuration (Gateway server port); 0 for the mesh listener
    address: str  # where it is bound: HOST:PORT
    domains: list[DomainPlan] = []
    unknown: Literal["passthrough", "blackhole", "404"] = "404"  # what an unknown host gets
    https_redirect: list[str] = []  # domains whose requests are redirected to https (Gateway tls.httpsRedirect)
    origins: list[str] = []  # gateways "ns/name" served here
    chains: list[ChainPlan] = []  # empty: plaintext HTTP for everybody
    proxy_protocol: bool = False  # connections begin with a PROXY header, version 1 or 2
    filters: list[int] = []  # indexes of Plan.filters: of requests that no rule takes


class MeshPlan(PlanPart, frozen=True):
    """What holds for the whole proxy."""

    version: str  # hash of the sources, shown in /server_info and /config_dump
    workload: WorkloadPlan  # this proxy's own identity: the source_* labels
    trust_domain: str = "cluster.local"
    trust_domain_aliases: list[str] = []  # their names mean the same: the same roots are asked
    domain: str = "cluster.local"
    http10: bool = True
    path_normalization: Literal["NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"] = "BASE"
    server_name: str = "istio-envoy"
    refusals: list[RefusalPlan] = []  # of requests that no rule takes
    namespace_limits: list[int] = []  # RateLimits without targetRef: asked for every request
    # The share of all requests under way that may be retries, the least number; None: destinations alone decide
    retry_budget: tuple[float, int] | None = None


class Plan(PlanPart, frozen=True):
    mesh: MeshPlan
    workloads: list[WorkloadPlan]  # index 0 is the all-unknown one
    limits: list[LimitPlan]
    clusters: list[ClusterPlan]
    vhosts: list[VirtualHostPlan]
    listeners: list[ListenerPlan]
    credentials: list[CredentialPlan] = []
    filters: list[FilterPlan] = []
    sources: list[CredentialSourcePlan] = []  # of the credentials; `credentials.sources.collect` finds the material

    def shown(self) -> Plan:
        """The plan without key material, for dumps and for people."""
        hidden = [msgspec.structs.replace(each, key=b"[redacted]" if each.key else b"") for each in self.credentials]
        filters = [msgspec.structs.replace(each, source=b"") for each in self.filters]
        return msgspec.structs.replace(self, credentials=hidden, filters=filters)


DOMAINS_AT_ONCE = 200
CHAINS_AT_ONCE = 20
WORKLOADS_AT_ONCE = 500
_LENGTH = struct.Struct("<I")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()


def encode(plan: Plan) -> bytes:
    """The plan as length-prefixed msgpack items `[kind, body]`, in the order in which the snapshot needs them."""
    out = bytearray()
    for kind, bodies in (
        ("mesh", [plan.mesh]),
        ("filter", plan.filters),
        ("credential", plan.credentials),
        ("workloads", _chunks(plan.workloads)),
        ("limit", plan.limits),
        ("cluster", plan.clusters),
        ("vhost", plan.vhosts),
        ("listener", plan.listeners),
    ):
        for body in bodies:
            for item in _items(kind, body):
                encoded = _encoder.encode(item)
                out += _LENGTH.pack(len(encoded))
                out += encoded
    return bytes(out)


def _chunks(workloads: list[WorkloadPlan]) -> list[list[WorkloadPlan]]:
    return [workloads[start : start + WORKLOADS_AT_ONCE] for start in range(0, len(workloads), WORKLOADS_AT_ONCE)]


def _items(kind: str, body: Any) -> Iterator[tuple[str, Any]]:
    """A part of the plan as items; a listener's chains and domains follow it in slices: no item takes long to build.
    Clusters and workloads stay packed in the workers until a request needs them."""
    if isinstance(body, ClusterPlan):
        yield kind, {"name": body.name, "tls": body.tls, "packed": _encoder.encode(body)}
        return
    if kind == "workloads":
        facts = WorkloadPlan.__struct_fields__
        packed = [_encoder.encode([getattr(workload, name) for name in facts]) for workload in body]
        yield kind, {"facts": facts, "packed": packed}
        return
    if not isinstance(body, ListenerPlan):
        yield kind, body
        return
    fields = {name: getattr(body, name) for name in body.__struct_fields__ if name not in ("domains", "chains")}
    by_place = sum(chain.by_place for chain in body.chains)
    counts = {"chain_count": len(body.chains) - by_place, "place_count": by_place}
    yield kind, {**fields, "domain_count": len(body.domains), **counts}
    for start in range(0, len(body.chains), CHAINS_AT_ONCE):
        yield "chains", {"listener": body.name, "chains": body.chains[start : start + CHAINS_AT_ONCE]}
    for start in range(0, len(body.domains), DOMAINS_AT_ONCE):
        yield "domains", {"listener": body.name, "domains": body.domains[start : start + DOMAINS_AT_ONCE]}


def iterate(encoded: bytes | memoryview) -> Iterator[tuple[str, dict[str, Any]]]:
    """The items of `encode`'s result as `(kind, fields)` with plain dicts, lazily."""
    view = memoryview(encoded)
    offset = 0
    while offset < len(view):
        (size,) = _LENGTH.unpack_from(view, offset)
        offset += _LENGTH.size
        kind, body = _decoder.decode(view[offset : offset + size])
        yield kind, body
        offset += size
