# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""Rules: what they match, what they do with a request, where they send it; limits and filters that they name."""

from __future__ import annotations

from typing import Any, Literal

from fastmesh.config.plan.clusters import ResiliencePlan
from fastmesh.config.plan.parts import HashPlan, MatchPlan, Origin, PlanPart, StringMatchPlan


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
    guard: ResiliencePlan | None = None  # of its requests, wherever they go: `concurrency` alone
    limits: list[int] = []  # indexes of Plan.limits, in the order in which they are asked
    filters: list[int] = []  # indexes of Plan.filters, in the order of their hooks for requests


class VirtualHostPlan(PlanPart, frozen=True):
    """The rules of one host. `limits` apply to requests of this host also when no rule matches (before the 404)."""

    name: str  # e.g. "reviews.default.svc.cluster.local:9080"
    rules: list[RulePlan]
    origin: Origin | None = None
    limits: list[int] = []


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
