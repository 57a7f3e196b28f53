"""Clauses of a rule: what can be decided now is decided now (port, gateways, source), the rest becomes a MatchPlan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from fastmesh.config.gateway_names import gateway_name
from fastmesh.config.plan import MatchPlan, NamedMatchPlan, RulePlan, StringMatchPlan
from fastmesh.config.read.claims import claim_names
from fastmesh.config.selectors import selects
from fastmesh.model.base import StringMatch
from fastmesh.model.virtual_service import HTTPMatchRequest


@dataclass(slots=True, frozen=True)
class Scope:
    """For whom rules are compiled: the port that clients connect to, the gateways in question, the workload."""

    port: int
    gateways: frozenset[str]  # "mesh", or "namespace/name"
    namespace: str  # of the client's workload
    labels: Mapping[str, str]

    def at(self, port: int) -> Scope:
        return Scope(port, self.gateways, self.namespace, self.labels)


def applies(match: HTTPMatchRequest, scope: Scope, namespace: str) -> bool:
    """The static part. `gateways` of a clause switches its source conditions off."""
    if match.port and match.port != scope.port:
        return False
    if match.gateways:
        return any(gateway_name(name, namespace) in scope.gateways for name in match.gateways)
    if not selects(match.source_labels, scope.labels):
        return False
    return match.source_namespace in ("", scope.namespace)


def clauses(matches: Iterable[HTTPMatchRequest], scope: Scope, namespace: str) -> list[MatchPlan] | None:
    """The clauses for this scope up to the first one that fits always; [] = always, None = never."""
    found: list[MatchPlan] = []
    written = list(matches)
    for match in written:
        if not applies(match, scope, namespace):
            continue
        found.append(clause(match))
        if is_catch_all(found[-1]):
            break
    return found if found or not written else None


def clause(match: HTTPMatchRequest) -> MatchPlan:
    headers = [_header(name, value, False) for name, value in match.headers.items()]
    headers += [_header(name, value, True) for name, value in match.without_headers.items()]
    return MatchPlan(
        name=match.name,
        path=optional(match.uri, match.ignore_uri_case),
        scheme=optional(match.scheme),
        method=optional(match.method),
        authority=optional(match.authority),
        headers=headers,
        query=[NamedMatchPlan(name=name, match=comparison(value)) for name, value in match.query_params.items()],
        stat_prefix=match.stat_prefix,
    )


def _header(name: str, value: StringMatch | None, invert: bool) -> NamedMatchPlan:
    """Names of claims keep their case."""
    claim = claim_names(name)
    key = name if claim else name.lower()
    return NamedMatchPlan(name=key, match=comparison(value), invert=invert, claim=claim)


def optional(match: StringMatch | None, ignore_case: bool = False) -> StringMatchPlan | None:
    return None if match is None else comparison(match, ignore_case)


def comparison(match: StringMatch | None, ignore_case: bool = False) -> StringMatchPlan:
    """`ignore_case` holds for exact and prefix only; nothing to compare with means "is there"."""
    if match is None or match.is_presence:
        return StringMatchPlan(kind="present")
    if match.exact is not None:
        return StringMatchPlan(
            kind="exact", value=match.exact.lower() if ignore_case else match.exact, ignore_case=ignore_case
        )
    if match.prefix is not None:
        return StringMatchPlan(
            kind="prefix", value=match.prefix.lower() if ignore_case else match.prefix, ignore_case=ignore_case
        )
    return StringMatchPlan(kind="regex", value=match.regex or "")


def is_catch_all(match: MatchPlan) -> bool:
    """No condition but a path that every request has: prefix `/` or regex `.*`, as Istio counts it."""
    if match.headers or match.query or match.method or match.authority or match.scheme:
        return False
    path = match.path
    if path is None:
        return True
    return (path.kind == "prefix" and path.value == "/") or (path.kind == "regex" and path.value == ".*")


def catch_all_last(rules: list[RulePlan]) -> list[RulePlan]:
    """What fits always moves behind everything else; a rule's own clauses are parted for it."""
    ordinary: list[RulePlan] = []
    last: list[RulePlan] = []
    for rule in rules:
        if not rule.matches or (len(rule.matches) == 1 and is_catch_all(rule.matches[0])):
            last.append(rule)
        elif is_catch_all(rule.matches[-1]):
            ordinary.append(msgspec.structs.replace(rule, matches=rule.matches[:-1]))
            last.append(msgspec.structs.replace(rule, matches=rule.matches[-1:]))
        else:
            ordinary.append(rule)
    return ordinary + last
