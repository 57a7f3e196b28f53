"""Parts of a plan in words: a clause, what a rule does, how a cluster is spoken to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from fastmesh.config.plan import (
    ClusterPlan,
    DestinationPlan,
    FilterPlan,
    LimitPlan,
    MatchPlan,
    NamedMatchPlan,
    Origin,
    ResiliencePlan,
    RulePlan,
    StringMatchPlan,
)
from fastmesh.config.resource import WRITTEN

_DEFAULTS = ClusterPlan(name="")
# What tells which destination it is, or is told in words of its own.
_TOLD = frozenset((
    "name", "kind", "host", "port", "subset", "service_name", "service_namespace", "endpoints", "balancer", "http",
    "outlier", "tls", "origin", "resilience",
))  # fmt: skip


def place(origin: Origin | None) -> str:
    """`VirtualService shop/reviews route canary (mesh.yaml:20)`."""
    if origin is None:
        return ""
    route = f" route {origin.route}" if origin.route else ""
    where = f" ({origin.file}:{origin.line})" if origin.file else ""
    return f"{WRITTEN.get(origin.kind, origin.kind)} {origin.namespace}/{origin.name}{route}{where}"


def clause(match: MatchPlan) -> str:
    parts = []
    if match.path is not None:
        kind = "segments" if match.path_segments and match.path.kind == "prefix" else match.path.kind
        parts.append(f"path {kind} {match.path.value}{_case(match.path)}")
    for name, value in (("method", match.method), ("scheme", match.scheme), ("authority", match.authority)):
        if value is not None:
            parts.append(f"{name} {_value(value)}")
    parts += [f"header {_named(each)}" for each in match.headers]
    parts += [f"query {_named(each)}" for each in match.query]
    return ", ".join(parts) or "every request"


def _case(match: StringMatchPlan) -> str:
    return " (any case)" if match.ignore_case else ""


def _value(match: StringMatchPlan) -> str:
    return "present" if match.kind == "present" else f"{match.kind} {match.value}{_case(match)}"


def _named(match: NamedMatchPlan) -> str:
    return f"{'not ' if match.invert else ''}{match.name} {_value(match.match)}"


def action(rule: RulePlan) -> str:
    if rule.direct is not None:
        return f"answers {rule.direct.status}"
    if rule.redirect is not None:
        return f"redirects with {rule.redirect.code}"
    return f"goes to {weights(rule.destinations)}" if rule.destinations else "answers 500, it has no destination"


def weights(destinations: Sequence[DestinationPlan]) -> str:
    total = sum(each.weight for each in destinations) or 1
    return ", ".join(
        each.cluster
        + (f" {100 * each.weight / total:.4g} %" if len(destinations) > 1 else "")
        + (f" (missing, {each.missing_status})" if each.missing else "")
        for each in destinations
    )


def extras(rule: RulePlan) -> Iterator[str]:
    """What else a rule does."""
    if rule.timeout is not None:
        yield f"timeout {rule.timeout} ms"
    if rule.retry is not None and rule.retry.attempts:
        policies = rule.retry.written or rule.retry.retry_on
        yield f"retries {rule.retry.attempts} on {', '.join(policies)}"
    if rule.fault is not None and rule.fault.delay_share:
        yield f"delays {rule.fault.delay_share / 10_000:g} % by {rule.fault.delay} ms"
    if rule.fault is not None and rule.fault.abort_share:
        status = rule.fault.abort_status or f"gRPC {rule.fault.abort_grpc}"
        yield f"aborts {rule.fault.abort_share / 10_000:g} % with {status}"
    if rule.rewrite is not None:
        yield f"rewrites the path to {rule.rewrite.value}"
    if rule.authority is not None:
        yield f"rewrites the authority to {rule.authority}"
    for mirror in rule.mirrors:
        yield f"mirrors {mirror.share / 10_000:g} % to {mirror.destination.cluster}"
    if rule.guard is not None:
        yield f"{place(rule.guard.origin)}: {'; '.join(_resilience(rule.guard))}"
    if rule.cors is not None:
        yield "answers browsers of other origins (CORS)"


def filtered(plan: FilterPlan) -> str:
    when = f" of {' or '.join(clause(match) for match in plan.matches)}" if plan.matches else ""
    hosts = f" for {', '.join(host or '*' for host in plan.hosts)}" if plan.hosts else ""
    fails = "open" if plan.passes else "closed"
    return f"filter {plan.name} sees requests{hosts}{when}: {plan.function}, fails {fails} ({place(plan.origin)})"


def shape(cluster: ClusterPlan) -> Iterator[str]:
    """How a destination is spoken to: its balancer, and what is not a default."""
    yield f"balancer {cluster.balancer}"
    for name in cluster.__struct_fields__:
        value = getattr(cluster, name)
        if name not in _TOLD and value != getattr(_DEFAULTS, name):
            yield f"{name.replace('_', ' ')} {_plain(value)}"
    if cluster.http != "http1":
        yield f"protocol {cluster.http}"
    if cluster.outlier is not None:
        yield f"ejects endpoints: {_plain(cluster.outlier)}"
    if cluster.resilience is not None:
        yield f"{place(cluster.resilience.origin)}: {'; '.join(_resilience(cluster.resilience))}"
    tls = cluster.tls
    if tls is not None:
        how = (
            "mutual TLS where the endpoint has a sidecar"
            if tls.auto
            else "mutual TLS of the mesh"
            if tls.mesh
            else "TLS"
        )
        yield how + (f" with the server name {tls.sni}" if tls.sni else "") + ("" if tls.verify else ", not verified")


def _resilience(plan: ResiliencePlan) -> Iterator[str]:
    if plan.weighted_floor is not None:
        yield f"weights by health, {plan.weighted_floor} % at least"
    breaker, concurrency = plan.breaker, plan.concurrency
    if breaker is not None:
        then = breaker.backup or f"answers {breaker.answer.status}"
        yield f"breaker opens at {breaker.threshold / 10_000:g} % errors for {breaker.open_for} ms, then {then}"
    if concurrency is not None:
        what = f"{concurrency.limit} requests at a time" if concurrency.limit else "as many requests as latency allows"
        shares = ", ".join(f"{each.name} {each.share} %" for each in concurrency.priorities)
        yield what + (f" ({shares})" if shares else "")
    if plan.max_wait:
        yield f"waits for a connection for {plan.max_wait} ms"


def limit(plan: LimitPlan) -> str:
    keys = f" for each {', '.join(f'{kind} {name}'.strip() for kind, name in plan.keys)}" if plan.keys else ""
    when = f" of {' or '.join(clause(match) for match in plan.matches)}" if plan.matches else ""
    return (
        f"{plan.requests} requests each {plan.period} ms, at most {plan.burst} at once{keys}{when}, then {plan.status}"
    )


def _plain(value: Any) -> str:
    """A value of a plan, without what is nothing."""
    told = msgspec.to_builtins(value)
    return ", ".join(f"{name} {each}" for name, each in told.items() if each) if isinstance(told, dict) else str(told)
