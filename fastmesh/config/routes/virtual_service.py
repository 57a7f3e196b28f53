"""One HTTPRoute of a VirtualService as a rule: what it matches, where it sends, what it does on the way."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from fastmesh.config.hosts import fqdn
from fastmesh.config.origins import origin
from fastmesh.config.plan import (
    DestinationPlan,
    DirectPlan,
    FaultPlan,
    MatchPlan,
    MirrorPlan,
    Origin,
    RedirectPlan,
    RetryPlan,
    RewritePlan,
    RulePlan,
)
from fastmesh.config.resource import Resource
from fastmesh.config.routes import header_ops
from fastmesh.config.routes.cors import of_policy
from fastmesh.config.routes.delegates import Delegates
from fastmesh.config.routes.matches import Scope, clauses, is_catch_all
from fastmesh.config.routes.retries import DEFAULT as DEFAULT_RETRY
from fastmesh.config.routes.retries import retry_plan
from fastmesh.config.services.clusters import Clusters
from fastmesh.model.base import Percent
from fastmesh.model.virtual_service import (
    Destination,
    HTTPDirectResponse,
    HTTPFaultInjection,
    HTTPRedirect,
    HTTPRewrite,
    HTTPRoute,
    HTTPRouteDestination,
    VirtualService,
)

REDIRECT_CODES = frozenset({301, 302, 303, 307, 308})
GRPC_STATUS: Mapping[str, int] = {
    "OK": 0, "CANCELLED": 1, "UNKNOWN": 2, "INVALID_ARGUMENT": 3, "DEADLINE_EXCEEDED": 4, "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6, "PERMISSION_DENIED": 7, "RESOURCE_EXHAUSTED": 8, "FAILED_PRECONDITION": 9, "ABORTED": 10,
    "OUT_OF_RANGE": 11, "UNIMPLEMENTED": 12, "INTERNAL": 13, "UNAVAILABLE": 14, "DATA_LOSS": 15, "UNAUTHENTICATED": 16,
}  # fmt: skip


class Routes:
    """Rules of VirtualServices for one proxy, made per port because a port may be implied."""

    def __init__(self, clusters: Clusters, delegates: Delegates, retry: RetryPlan = DEFAULT_RETRY) -> None:
        self.default_retry = retry
        self._clusters = clusters
        self._delegates = delegates

    def of_virtual_service(self, written: Resource[VirtualService], scope: Scope) -> list[RulePlan]:
        """The rules for this scope, up to the first that fits always; empty: the VirtualService says nothing here."""
        found: list[RulePlan] = []
        for owner, path, route in self._delegates.rules_of(written):
            matches = clauses(route.match, scope, owner.namespace)
            if matches is None:
                continue
            # Istio takes other 3xx codes into the configuration and drops the rule.
            if route.redirect is None or (route.redirect.redirect_code or 301) in REDIRECT_CODES:
                place = origin(owner, route.name, path)
                found.append(self._rule(route, matches, place, owner.namespace, scope.port))
            if not matches or is_catch_all(matches[-1]):
                break
        return found

    def default(self, host: str, port: int, place: Origin) -> RulePlan:
        """The rule of a service that no VirtualService governs."""
        name, exists = self._clusters.use(host, port, "")
        destination = DestinationPlan(cluster=name, weight=1, missing=not exists)
        return RulePlan(origin=place, destinations=[destination], retry=self.default_retry)

    def _rule(self, route: HTTPRoute, matches: list[MatchPlan], place: Origin, owner: str, port: int) -> RulePlan:
        answers = route.redirect is not None or route.direct_response is not None
        authority = header_ops.authority(route.headers)
        if route.rewrite is not None and route.rewrite.authority:
            authority = route.rewrite.authority
        response = header_ops.level(route.headers.response) if route.headers is not None else None
        return RulePlan(
            origin=place,
            matches=matches,
            destinations=[] if answers else self._destinations(route, authority, owner, port),
            redirect=_redirect(route.redirect, port) if route.redirect is not None else None,
            direct=_direct(route),
            rewrite=_rewrite(route.rewrite),
            authority=None if answers else authority,
            response_headers=[response] if response is not None else [],
            timeout=int(route.timeout) if route.timeout is not None else None,
            retry=None if answers else retry_plan(route.retries, self.default_retry),
            fault=_fault(route.fault),
            cors=of_policy(route.cors_policy),
            mirrors=[] if answers else self._mirrors(route, owner, port),
        )

    def _destinations(self, route: HTTPRoute, authority: str | None, owner: str, port: int) -> list[DestinationPlan]:
        written = route.route
        if len(written) > 1:
            written = [destination for destination in written if destination.weight > 0]
        return [self._destination(route, item, authority, owner, port) for item in written]

    def _mirrors(self, route: HTTPRoute, owner: str, port: int) -> list[MirrorPlan]:
        """`mirror` with the newer or the older form of its percentage, or `mirrors` with their own; 0 is nobody."""
        written = [(each.destination, each.percentage) for each in route.mirrors]
        if route.mirror is not None:
            percentage = route.mirror_percentage
            if percentage is None and route.mirror_percent is not None:
                percentage = Percent(value=route.mirror_percent)
            written = [(route.mirror, percentage)]
        found = []
        for destination, percentage in written:
            name, exists = self.cluster(destination, owner, port)
            share = 1_000_000 if percentage is None else round(percentage.value * 10_000)
            if share:
                plan = DestinationPlan(cluster=name, weight=1, missing=not exists)
                found.append(MirrorPlan(destination=plan, share=share))
        return found

    def _destination(
        self, route: HTTPRoute, item: HTTPRouteDestination, authority: str | None, owner: str, port: int
    ) -> DestinationPlan:
        name, exists = self.cluster(item.destination, owner, port)
        above_request = route.headers.request if route.headers is not None else None
        above_response = route.headers.response if route.headers is not None else None
        request = item.headers.request if item.headers is not None else None
        response = item.headers.response if item.headers is not None else None
        alone = len(route.route) == 1
        return DestinationPlan(
            cluster=name,
            weight=1 if alone else item.weight,
            request_headers=header_ops.single(above_request, request)
            if alone
            else header_ops.several(request, above_request),
            response_headers=header_ops.single(above_response, response)
            if alone
            else header_ops.several(response, above_response),
            authority=header_ops.authority(item.headers) if authority is None else None,
            missing=not exists,
        )

    def cluster(self, destination: Destination, owner: str, port: int) -> tuple[str, bool]:
        """Without a port: the only port of the service, else the one that the client connected to."""
        host = fqdn(destination.host, owner)
        if destination.port is not None and destination.port.number:
            number = destination.port.number
        else:
            service = self._clusters.registry.get(host)
            number = service.ports[0].number if service is not None and len(service.ports) == 1 else port
        return self._clusters.use(host, number, destination.subset)


def _redirect(written: HTTPRedirect, port: int) -> RedirectPlan:
    scheme = written.scheme or None
    to_port = port if written.derive_port == "FROM_REQUEST_PORT" else written.port
    if (to_port, scheme or "http") in ((80, "http"), (443, "https")):
        to_port = None
    return RedirectPlan(
        code=written.redirect_code or 301,
        scheme=scheme,
        authority=written.authority or None,
        port=to_port or None,
        port_from="protocol" if written.derive_port == "FROM_PROTOCOL_DEFAULT" else "",
        path=None if written.prefix_rewrite else written.uri or None,
        prefix=written.prefix_rewrite or None,
    )


def _direct(route: HTTPRoute) -> DirectPlan | None:
    written = route.direct_response
    if written is None or route.redirect is not None:
        return None
    return DirectPlan(status=written.status, body=_body(written))


def _body(written: HTTPDirectResponse) -> bytes:
    if written.body is None:
        return b""
    if written.body.string is not None:
        return written.body.string.encode()
    return base64.b64decode(written.body.bytes or "")


def _rewrite(written: HTTPRewrite | None) -> RewritePlan | None:
    if written is None:
        return None
    if written.uri_regex_rewrite is not None:
        return RewritePlan(kind="regex", value=written.uri_regex_rewrite.rewrite, regex=written.uri_regex_rewrite.match)
    return RewritePlan(kind="matched", value=written.uri) if written.uri else None


def _fault(written: HTTPFaultInjection | None) -> FaultPlan | None:
    if written is None:
        return None
    delay, abort = written.delay, written.abort
    delay_share = abort_share = 0
    if delay is not None and delay.fixed_delay:
        delay_share = round(delay.percentage.value * 10_000) if delay.percentage is not None else delay.percent * 10_000
    if abort is not None and abort.percentage is not None:
        abort_share = round(abort.percentage.value * 10_000)
    plan = FaultPlan(
        delay=int(delay.fixed_delay or 0) if delay is not None and delay_share else 0,
        delay_share=delay_share,
        abort_status=(abort.http_status or 0) if abort is not None and abort_share else 0,
        abort_grpc=GRPC_STATUS.get(abort.grpc_status) if abort is not None and abort_share else None,
        abort_share=abort_share,
    )
    return plan if delay_share or abort_share else None
