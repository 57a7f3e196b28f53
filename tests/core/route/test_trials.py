"""Endpoints on trial: who gets the trial, and that nobody else meets them. Weights by health, also with a warm-up."""

from __future__ import annotations

import collections
from typing import Any

import pytest

from fastmesh.config.plan import EjectionPlan, Origin, ResiliencePlan
from fastmesh.core.base.arena import Arena
from fastmesh.core.route.route_probe import Picker
from tests.core.route.picking import ejecting, endpoints, hashing, picker

BAD, GOOD = "10.0.0.1:80", "10.0.0.2:80"
START, TIME = 1_000_000, 30_000
WHERE = Origin(kind="Resilience", namespace="default", name="app")


def half_open(by_checks: bool = False) -> ResiliencePlan:
    plan = EjectionPlan(base=TIME, max_percent=100, trials=1, successes=2, by_checks=by_checks)
    return ResiliencePlan(origin=WHERE, half_life=1000, ejection=plan)


def ejected(**more: Any) -> Picker:
    made = picker(endpoints("10.0.0.1", "10.0.0.2"), outlier=ejecting(), resilience=half_open(), **more)
    assert made.report(BAD, 500, START)
    return made


def test_requests_go_elsewhere_until_trials_have_passed() -> None:
    one = ejected()
    assert one.try_one(START + TIME - 1) is None
    now = START + TIME
    assert {one.pick(now=now) for _ in range(50)} == {GOOD}
    assert one.try_one(now) == BAD
    assert one.tried(BAD, True, now) == ""
    assert {one.pick(now=now) for _ in range(50)} == {GOOD}
    assert one.tried(BAD, True, now) == "back"
    assert one.try_one(now) is None
    assert {one.pick(now=now) for _ in range(50)} == {GOOD, BAD}


def test_a_failure_ejects_again_for_longer() -> None:
    one = ejected()
    now = START + TIME
    assert one.tried(BAD, False, now) == "failed"
    assert one.try_one(now + 2 * TIME - 1) is None
    assert one.try_one(now + 2 * TIME) == BAD


def test_another_worker_finds_the_same() -> None:
    arena = Arena.create(1 << 20, 4)
    one, other = ejected(arena=arena), ejected_elsewhere(arena)
    now = START + TIME
    assert {other.pick(now=now) for _ in range(50)} == {GOOD}
    assert other.try_one(now) == BAD
    assert [one.tried(BAD, True, now), other.tried(BAD, True, now)] == ["", "back"]
    assert one.try_one(now) is None
    assert {one.pick(now=now) for _ in range(50)} == {GOOD, BAD}


def ejected_elsewhere(arena: Arena) -> Picker:
    return picker(endpoints("10.0.0.1", "10.0.0.2"), arena, 1, outlier=ejecting(), resilience=half_open())


def test_who_is_on_trial_is_out_for_the_share_that_may_be() -> None:
    one = picker(endpoints("10.0.0.1", "10.0.0.2"), outlier=ejecting(50), resilience=half_open())
    assert one.report(BAD, 500, START)
    assert not one.report(GOOD, 500, START + TIME)


def test_trials_also_where_nobody_else_is() -> None:
    one = picker(endpoints("10.0.0.1"), outlier=ejecting(), resilience=half_open())
    assert one.report(BAD, 500, START)
    assert one.try_one(START + TIME) == BAD


def test_a_priority_without_healthy_endpoints_is_tried_too() -> None:
    made = endpoints("10.0.0.1") + endpoints("10.0.0.2", priority=1)
    one = picker(made, outlier=ejecting(), resilience=half_open())
    assert one.report(BAD, 500, START)
    assert {one.pick(now=START + TIME) for _ in range(50)} == {GOOD}
    assert one.try_one(START + TIME) == BAD


@pytest.mark.parametrize("table", ["ring", "maglev"])
def test_a_hash_is_tried_by_requests_that_are_its_own(table: str) -> None:
    one = hashing(endpoints("10.0.0.1", "10.0.0.2"), table=table, outlier=ejecting(), resilience=half_open())
    hashes = [number * 0x9E3779B97F4A7C15 % 2**64 for number in range(1, 200)]
    owners = {each: one.pick(each, now=START) for each in hashes}
    assert one.report(BAD, 500, START)
    tried = {each: one.try_one(START + TIME, each) for each in hashes}
    assert {each for each in hashes if tried[each]} == {each for each in hashes if owners[each] == BAD}
    assert one.try_one(START + TIME) == BAD


def test_where_checks_are_the_trials_no_request_is() -> None:
    one = picker(endpoints("10.0.0.1", "10.0.0.2"), outlier=ejecting(), resilience=half_open(by_checks=True))
    assert one.report(BAD, 500, START)
    assert one.try_one(START + TIME) is None
    assert {one.pick(now=START + TIME) for _ in range(50)} == {GOOD}
    assert [one.tried(BAD, True, START + TIME) for _ in range(2)] == ["", "back"]


@pytest.mark.parametrize("balancer", ["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST"])
@pytest.mark.parametrize(("weight", "good", "share"), [(1, 10, 1 / 3), (1, 0, 1 / 21), (2, 10, 1 / 2)])
def test_shares_by_health(balancer: str, weight: int, good: int, share: float) -> None:
    made = endpoints("10.0.0.1", "10.0.0.2", weights={"10.0.0.1": weight})
    plan = ResiliencePlan(origin=WHERE, half_life=10_000, weighted_floor=5)
    one = picker(made, resilience=plan, balancer=balancer)
    one.healths([(good, 20 - good), (20, 0)])
    counts = collections.Counter(one.pick(now=1000) for _ in range(6000))
    assert counts[BAD] / 6000 == pytest.approx(share, abs=0.03)


def test_health_and_warm_up_together() -> None:
    plan = ResiliencePlan(origin=WHERE, half_life=10_000_000, weighted_floor=5)
    more: dict[str, Any] = {"resilience": plan, "warmup": (60_000, 0.1, 1.0), "balancer": "ROUND_ROBIN"}
    arena = Arena.create(1 << 20, 4)
    before = picker(endpoints("10.0.0.2"), arena, **more)
    before.greet(START)
    now = START + 600_000
    one = picker(endpoints("10.0.0.1", "10.0.0.2"), arena, **more)
    one.greet(now, before)
    one.healths([(10, 10), (20, 0)], now)
    counts = collections.Counter(one.pick(now=now + 30_000) for _ in range(6000))
    assert counts[BAD] / 6000 == pytest.approx(0.25 / 1.25, abs=0.03), "half warm, half well"
