"""Rules and clauses of a virtual host that no request reaches, by the compiled form: merged, sorted, of all objects.

A clause is never used when one clause of an earlier rule asks for nothing that this one does not ask for as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import re2

from fastmesh.config.plan import MatchPlan, NamedMatchPlan, RulePlan, StringMatchPlan

_EVERYTHING = MatchPlan()


def shadows(rules: Sequence[RulePlan]) -> list[list[int | None]]:
    """For each clause of each rule the number of the earlier rule that takes its requests; a rule without has one."""
    found: list[list[int | None]] = []
    earlier: list[tuple[int, MatchPlan]] = []
    for number, rule in enumerate(rules):
        clauses = rule.matches or [_EVERYTHING]
        found.append([_taker(clause, earlier) for clause in clauses])
        earlier += [(number, clause) for clause in clauses]
    return found


def _taker(clause: MatchPlan, earlier: Sequence[tuple[int, MatchPlan]]) -> int | None:
    return next((number for number, wider in earlier if covers(wider, clause)), None)


def covers(wider: MatchPlan, clause: MatchPlan) -> bool:
    """Whether every request of `clause` is one of `wider`."""
    return (
        _path(wider, clause)
        and all(
            _within(theirs, own)
            for theirs, own in (
                (wider.scheme, clause.scheme),
                (wider.method, clause.method),
                (wider.authority, clause.authority),
            )
        )
        and all(_named(each, clause.headers) for each in wider.headers)
        and all(_named(each, clause.query) for each in wider.query)
    )


def _path(wider: MatchPlan, clause: MatchPlan) -> bool:
    theirs, own = wider.path, clause.path
    if theirs is None or (theirs.kind == "prefix" and theirs.value in ("", "/")):
        return True
    if own is None:
        return False
    if not wider.path_segments:
        return _within(theirs, own)
    border, text = theirs.value.rstrip("/"), own.value
    inside = text.startswith(border + "/") or (text == border and (own.kind == "exact" or clause.path_segments))
    return own.kind in ("exact", "prefix") and theirs.ignore_case == own.ignore_case and inside


def _named(wanted: NamedMatchPlan, own: Sequence[NamedMatchPlan]) -> bool:
    return any(
        (each.name, each.invert, each.claim) == (wanted.name, wanted.invert, wanted.claim)
        and (each.match == wanted.match or (not each.invert and _within(wanted.match, each.match)))
        for each in own
    )


def _within(wider: StringMatchPlan | None, own: StringMatchPlan | None) -> bool:
    if wider is None or wider == own or (wider.kind == "regex" and wider.value == ".*" and own is not None):
        return True
    if own is None:
        return False
    if wider.kind == "present":
        return True
    if own.ignore_case and not wider.ignore_case:
        return False
    theirs, text = (wider.value.lower(), own.value.lower()) if wider.ignore_case else (wider.value, own.value)
    match wider.kind, own.kind:
        case "exact", "exact":
            return theirs == text
        case "prefix", "exact" | "prefix":
            return text.startswith(theirs)
        case "suffix", "exact" | "suffix":
            return text.endswith(theirs)
        case "regex", "exact":
            return not wider.ignore_case and re2.fullmatch(wider.value, own.value) is not None
    return False
