"""One rule of an HTTPRoute (Gateway API) as rules of a plan, one for each match, and the order in which they go."""

from __future__ import annotations

import msgspec

from fastmesh.config.credentials.grants import Grants
from fastmesh.config.hosts import DOMAIN
from fastmesh.config.origins import origin
from fastmesh.config.place import Path
from fastmesh.config.plan import (
    DestinationPlan,
    DirectPlan,
    HeaderOpsPlan,
    MatchPlan,
    MirrorPlan,
    NamedMatchPlan,
    RedirectPlan,
    RetryPlan,
    RewritePlan,
    RulePlan,
    StringMatchPlan,
)
from fastmesh.config.resource import AnyResource, Resource
from fastmesh.config.routes.cors import of_filter
from fastmesh.config.routes.matches import Scope
from fastmesh.config.routes.retries import DEFAULT as DEFAULT_RETRY
from fastmesh.config.routes.sessions import session_plan
from fastmesh.config.services.clusters import Clusters
from fastmesh.errors import Problem
from fastmesh.model.gateway_api import (
    BackendRef,
    Filter,
    HeaderModifier,
    HTTPRoute,
    HTTPRouteRule,
    MirrorRef,
    PathModifier,
    RequestRedirect,
    RouteMatch,
    URLRewrite,
    ValueMatch,
)
from fastmesh.model.gateway_api_tls import TLSBackendRef

Order = tuple[int, int, int, int, int]
Reference = BackendRef | MirrorRef | TLSBackendRef
MODIFIERS = frozenset({"RequestHeaderModifier", "ResponseHeaderModifier"})
OF_BACKENDS = MODIFIERS | {"RequestRedirect", "URLRewrite", "RequestMirror"}  # what a backend's own filters may be
SERVED = OF_BACKENDS | {"CORS"}
# Istio's list, and `reset`: where a retry is written the API wants disconnects, resets and time-outs tried again.
RETRY_ON = ["connect-failure", "refused-stream", "reset", "unavailable", "cancelled"]
ALWAYS = RouteMatch()


def order(match: RouteMatch) -> Order:
    """Exact paths, long prefixes, expressions; a method; more headers; more query parameters. Smaller goes first."""
    path = match.path
    kind = 1 if path is None else ("Exact", "PathPrefix", "RegularExpression").index(path.type)
    size = 1 if path is None else len(path.value)
    return (kind, -size, 0 if match.method else 1, -len(match.headers), -len(match.query_params))


def rules_of(
    written: Resource[HTTPRoute], number: int, backends: Backends, scope: Scope
) -> list[tuple[Order, RulePlan]]:
    rule = written.spec.rules[number]
    plan = _rule(written, number, rule, backends, scope)
    return [(order(match), msgspec.structs.replace(plan, matches=_clause(match))) for match in rule.matches or [ALWAYS]]


def _rule(written: Resource[HTTPRoute], number: int, rule: HTTPRouteRule, backends: Backends, scope: Scope) -> RulePlan:
    filters = {item.type: item for item in rule.filters}
    place = origin(written, rule.name, ("spec", "rules", number))
    response = _operations(filters, "ResponseHeaderModifier")
    cors = of_filter(filters["CORS"].cors) if "CORS" in filters else None
    redirect = filters["RequestRedirect"].request_redirect if "RequestRedirect" in filters else None
    if redirect is not None:
        return RulePlan(origin=place, redirect=_redirect(redirect, scope.port), response_headers=response, cors=cors)
    if filters.keys() - SERVED or not any(backend.weight for backend in rule.backend_refs):
        # A filter that cannot be run must not be passed over, and a rule without a backend has no other answer.
        return RulePlan(origin=place, direct=DirectPlan(status=_missing(written)), response_headers=response, cors=cors)
    rewrite = filters["URLRewrite"].url_rewrite if "URLRewrite" in filters else None
    request = _operations(filters, "RequestHeaderModifier")
    timeout = rule.timeouts.request if rule.timeouts is not None else None
    mirrors, of_backends = _mirrors(written, number, rule, backends)
    return RulePlan(
        origin=place,
        destinations=[
            msgspec.structs.replace(
                backends.destination(written, number, index, request, response, scope.port),
                mirrors=of_backends.get(index, []),
            )
            for index, backend in enumerate(rule.backend_refs)
            if backend.weight
        ],
        rewrite=_rewrite(rewrite),
        authority=(rewrite.hostname or None if rewrite is not None else None) or _host(filters),
        response_headers=response,
        timeout=int(timeout) if timeout is not None else None,
        retry=_retry(rule, backends.default_retry),
        cors=cors,
        session=session_plan(rule.session_persistence, written, number),
        mirrors=mirrors,
    )


def _mirrors(
    written: Resource[HTTPRoute], number: int, rule: HTTPRouteRule, backends: Backends
) -> tuple[list[MirrorPlan], dict[int, list[int]]]:
    """One for each RequestMirror filter, and which of them are for the requests of one backend alone."""
    found: list[MirrorPlan] = []
    of_backends: dict[int, list[int]] = {}
    places: list[tuple[int, Path, Filter]] = [(-1, ("filters", index), item) for index, item in enumerate(rule.filters)]
    for place, backend in enumerate(rule.backend_refs):
        path: Path = ("backendRefs", place, "filters")
        places += [(place, (*path, index), item) for index, item in enumerate(backend.filters)]
    for place, where, item in places:
        mirror = item.request_mirror
        if item.type != "RequestMirror" or mirror is None:
            continue
        share = 1_000_000 if mirror.percent is None else mirror.percent * 10_000
        if mirror.fraction is not None:
            share = round(1_000_000 * mirror.fraction.numerator / mirror.fraction.denominator)
        path = ("spec", "rules", number, *where, "requestMirror", "backendRef")
        name, exists = backends.cluster(mirror.backend_ref, written, path)
        if share:
            if place >= 0:
                of_backends.setdefault(place, []).append(len(found))
            destination = DestinationPlan(cluster=name, weight=1, missing=not exists)
            found.append(MirrorPlan(destination=destination, share=share, picky=place >= 0))
    return found, of_backends


def _missing(written: Resource[HTTPRoute]) -> int:
    """What stands for a backend that is not there; 503 becomes UNAVAILABLE in gRPC's form."""
    return 503 if written.kind == "GRPCRoute" else 500


def is_hostname(backend: Reference) -> bool:
    """Istio's own kind of backend: a host of its registry, such as that of a ServiceEntry."""
    return (backend.group, backend.kind) == ("networking.istio.io", "Hostname")


class Backends:
    """Clusters of backendRefs. One of another namespace that nobody granted is as good as none, and is told."""

    def __init__(
        self,
        clusters: Clusters,
        grants: Grants,
        problems: list[Problem],
        retry: RetryPlan = DEFAULT_RETRY,
        *,
        mesh: bool = False,
    ) -> None:
        self.default_retry = retry
        self._mesh = mesh  # where nobody needs a grant, as with Istio
        self._clusters = clusters
        self._grants = grants
        self._problems = problems
        self._told: set[tuple[str, int]] = set()

    def destination(
        self,
        written: Resource[HTTPRoute],
        number: int,
        index: int,
        request: list[HeaderOpsPlan],
        response: list[HeaderOpsPlan],
        port: int,
    ) -> DestinationPlan:
        """Of one backend of a rule, with its own filters and the rule's header operations."""
        rule = written.spec.rules[number]
        backend = rule.backend_refs[index]
        name, exists = self.cluster(backend, written, ("spec", "rules", number, "backendRefs", index))
        filters = {item.type: item for item in backend.filters}
        rewrite = filters["URLRewrite"].url_rewrite if "URLRewrite" in filters else None
        redirect = filters["RequestRedirect"].request_redirect if "RequestRedirect" in filters else None
        return DestinationPlan(
            cluster=name,
            weight=backend.weight,
            request_headers=_operations(filters, "RequestHeaderModifier") + request,
            response_headers=_operations(filters, "ResponseHeaderModifier") + response,
            authority=(rewrite.hostname or None if rewrite is not None else None) or _host(filters),
            missing=not exists or bool(filters.keys() - OF_BACKENDS),
            missing_status=_missing(written),
            redirect=_redirect(redirect, port) if redirect is not None else None,
            rewrite=_rewrite(rewrite),
        )

    def cluster(self, backend: Reference, written: AnyResource, path: Path) -> tuple[str, bool]:
        """The name of a backend's cluster, and whether it may be used."""
        namespace = backend.namespace or written.namespace
        if is_hostname(backend):
            return self._clusters.use(backend.name.lower(), backend.port, "")
        name, exists = self._clusters.use(f"{backend.name}.{namespace}.svc.{DOMAIN}", backend.port, "")
        if backend.kind != "Service":
            return name, False
        if self._mesh or self._grants.permit(written, backend.group, backend.kind, namespace, backend.name):
            return name, exists
        message = f"no ReferenceGrant of {namespace} lets {written.kind}s of {written.namespace} use {backend.name}"
        problem = written.problem((*path, "namespace"), f"{message}, add one there", "warning", "reference")
        if (problem.file, problem.line) not in self._told:
            self._told.add((problem.file, problem.line))
            self._problems.append(problem)
        return name, False


def _clause(match: RouteMatch) -> list[MatchPlan]:
    if match == ALWAYS:
        return []
    path, segments = _path(match)
    return [
        MatchPlan(
            path=path,
            path_segments=segments,
            method=StringMatchPlan(kind="exact", value=match.method) if match.method else None,
            headers=_named(match.headers, lower=True),
            query=_named(match.query_params, lower=False),
        )
    ]


def _path(match: RouteMatch) -> tuple[StringMatchPlan | None, bool]:
    if match.path is None:
        return None, False
    if match.path.type == "Exact":
        return StringMatchPlan(kind="exact", value=match.path.value), False
    if match.path.type == "RegularExpression":
        return StringMatchPlan(kind="regex", value=match.path.value), False
    return StringMatchPlan(kind="prefix", value=match.path.value.rstrip("/") or "/"), True


def _named(written: list[ValueMatch], lower: bool) -> list[NamedMatchPlan]:
    """Of equal names only the first counts."""
    found: dict[str, NamedMatchPlan] = {}
    for item in written:
        name = item.name.lower() if lower else item.name
        kind = StringMatchPlan(kind="exact" if item.type == "Exact" else "regex", value=item.value)
        found.setdefault(name, NamedMatchPlan(name=name, match=kind))
    return list(found.values())


def _modifier(filters: dict[str, Filter], kind: str) -> HeaderModifier | None:
    if kind not in filters:
        return None
    return filters[kind].request_header_modifier or filters[kind].response_header_modifier


def _operations(filters: dict[str, Filter], kind: str) -> list[HeaderOpsPlan]:
    written = _modifier(filters, kind)
    if written is None:
        return []
    return [
        HeaderOpsPlan(
            remove=[name.lower() for name in written.remove],
            set=[(item.name.lower(), item.value) for item in written.set if item.name.lower() != "host"],
            add=[(item.name.lower(), item.value) for item in written.add if item.name.lower() != "host"],
        )
    ]


def _host(filters: dict[str, Filter]) -> str | None:
    written = _modifier(filters, "RequestHeaderModifier")
    if written is None:
        return None
    return next((item.value for item in (*written.set, *written.add) if item.name.lower() == "host"), None)


def _redirect(written: RequestRedirect, port: int) -> RedirectPlan:
    """The port: as written, else the one that the written scheme implies, else the listener's; never a needless one."""
    to_port = written.port or (0 if written.scheme is not None else port)
    if (to_port, written.scheme or "http") in ((80, "http"), (443, "https")):
        to_port = 0
    full, prefix = _replacement(written.path)
    return RedirectPlan(
        code=written.status_code,
        scheme=written.scheme,
        authority=written.hostname or None,
        port=to_port or None,
        port_from="" if to_port else "protocol",
        path=full,
        prefix=prefix,
    )


def _replacement(written: PathModifier | None) -> tuple[str | None, str | None]:
    if written is None:
        return None, None
    if written.type == "ReplaceFullPath":
        return written.replace_full_path, None
    return None, written.replace_prefix_match or "/"


def _rewrite(written: URLRewrite | None) -> RewritePlan | None:
    full, prefix = _replacement(written.path) if written is not None else (None, None)
    if full is not None:
        return RewritePlan(kind="regex", value=full.replace("\\", "\\\\"), regex="(?s)^.+$")
    return RewritePlan(kind="matched", value=prefix) if prefix is not None else None


def _retry(rule: HTTPRouteRule, otherwise: RetryPlan) -> RetryPlan:
    tried = rule.timeouts.backend_request if rule.timeouts is not None else None
    per_try = int(tried) if tried else None
    written = rule.retry
    if written is None:
        return msgspec.structs.replace(otherwise, per_try_timeout=per_try)
    return RetryPlan(
        attempts=2 if written.attempts is None else written.attempts,
        retry_on=[*RETRY_ON, "retriable-status-codes"] if written.codes else RETRY_ON,
        status_codes=written.codes,
        per_try_timeout=per_try,
        backoff=int(written.backoff or 25),
        written=[*RETRY_ON, *map(str, written.codes)],
    )
