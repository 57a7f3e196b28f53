"""The index of a host with many rules: it names every rule that fits, in their order, and few that do not."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from fastmesh.config.plan import MatchPlan, StringMatchPlan
from fastmesh.core.route.route_probe import Paths

WORDS = ("a", "b", "ab", "shop", "shop-2", "item", "x" * 40)


def clause(kind: Any = None, value: str = "", *, segments: bool = False, ignore_case: bool = False) -> dict[str, Any]:
    path = StringMatchPlan(kind=kind, value=value, ignore_case=ignore_case) if kind else None
    made: dict[str, Any] = msgspec.to_builtins(MatchPlan(path=path, path_segments=segments))
    return made


def some_path(chance: random.Random) -> str:
    return "/" + "/".join(chance.choices(WORDS, k=chance.randint(0, 4))) + chance.choice(("", "", "/"))


def some_clause(chance: random.Random) -> dict[str, Any]:
    kind = chance.choice(("exact", "prefix", "prefix", "prefix", "suffix", "regex", None))
    if kind == "regex":
        return clause("regex", chance.choice(("/a.*", "/shop/[a-z]+")))
    value = some_path(chance)
    return clause(kind, value, segments=kind == "prefix" and chance.random() < 0.5, ignore_case=chance.random() < 0.1)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_fits_is_a_candidate(seed: int) -> None:
    chance = random.Random(seed)
    rules = [[some_clause(chance) for _ in range(chance.choice((1, 1, 1, 2, 3)))] for _ in range(chance.randint(1, 60))]
    paths = Paths(rules)
    for _ in range(200):
        path = some_path(chance).encode()
        candidates = paths.candidates(path)
        if candidates is None:
            continue  # every rule may fit any path
        assert candidates == sorted(set(candidates))
        assert set(paths.fitting(path)) <= set(candidates)


def test_prefixes_of_more_sizes_than_are_looked_up() -> None:
    rules = [[clause("prefix", "/" + "p" * size)] for size in range(1, 200)]
    paths = Paths(rules)
    for size in (0, 1, 2, 31, 32, 33, 100, 199, 300):
        path = b"/" + b"p" * size
        assert set(paths.fitting(path)) <= set(paths.candidates(path) or ())
    assert paths.candidates(b"/x") == []


def test_a_thousand_rules_leave_one() -> None:
    paths = Paths([[clause("prefix", f"/shop/{number:03}/")] for number in range(999)] + [[clause("prefix", "/")]])
    assert paths.candidates(b"/shop/500/x") == [500, 999]
    assert paths.candidates(b"/index.html") == [999]


def test_a_rule_without_clauses_fits_always() -> None:
    paths = Paths([[clause("exact", "/a")], []])
    assert (paths.candidates(b"/a"), paths.candidates(b"*")) == ([0, 1], [1])


def test_no_index_where_it_would_not_help() -> None:
    assert Paths([[], [clause("regex", "/.*")]]).candidates(b"/a") is None
