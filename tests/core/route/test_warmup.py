"""Slow start: an endpoint that is new gets little at first, from every worker, and a reload does not begin anew."""

from __future__ import annotations

import collections

import pytest

from fastmesh.core.base.arena import Arena
from fastmesh.core.route.route_probe import Picker
from tests.core.route.picking import addresses, endpoints, picker

OLD, NEW = "10.0.0.1", "10.0.0.2"
START, MINUTE = 5_000_000, 60_000


def cluster(*hosts: str, arena: Arena, slot: int = 0, balancer: str = "ROUND_ROBIN", **more: object) -> Picker:
    warmup = more.pop("warmup", (MINUTE, 0.1, 1.0))
    return picker(endpoints(*hosts), arena, slot, warmup=warmup, balancer=balancer, **more)


def share(one: Picker, host: str, now: int, times: int = 4000) -> float:
    counts = collections.Counter(one.pick(now=now) for _ in range(times))
    return counts[f"{host}:80"] / times


@pytest.mark.parametrize("balancer", ["ROUND_ROBIN", "LEAST_REQUEST"])
@pytest.mark.parametrize(
    ("warmup", "age", "worth"),
    [
        ((MINUTE, 0.1, 1.0), 0, 0.1),
        ((MINUTE, 0.1, 1.0), 3_000, 0.1),  # 5 % is less than the minimum
        ((MINUTE, 0.1, 1.0), 15_000, 0.25),
        ((MINUTE, 0.1, 1.0), 30_000, 0.5),
        ((MINUTE, 0.1, 1.0), 60_000, 1.0),
        ((MINUTE, 0.1, 1.0), 600_000, 1.0),
        ((MINUTE, 0.1, 2.0), 15_000, 0.5),  # a larger aggression: faster at first
        ((MINUTE, 0.1, 0.5), 30_000, 0.25),
        ((MINUTE, 0.5, 1.0), 15_000, 0.5),
    ],
)
def test_it_grows(balancer: str, warmup: tuple[int, float, float], age: int, worth: float) -> None:
    arena = Arena.create(1 << 20, 4)
    before = cluster(OLD, arena=arena)
    before.greet(START)
    now = START + 10 * MINUTE
    one = cluster(OLD, NEW, arena=arena, balancer=balancer, warmup=warmup)
    one.greet(now, before)
    assert share(one, NEW, now + age) == pytest.approx(worth / (1 + worth), abs=0.03)


def test_all_new_is_all_equal() -> None:
    one = cluster(*addresses(4), arena=Arena.create(1 << 20, 4))
    one.greet(START)
    counts = collections.Counter(one.pick(now=START + 1) for _ in range(4000))
    assert set(counts.values()) == {1000}, "round robin as ever: nobody is worth more than another"


def test_a_reload_and_another_worker_go_on() -> None:
    arena = Arena.create(1 << 20, 4)
    first = cluster(OLD, arena=arena)
    first.greet(START)
    added = START + 10 * MINUTE
    second = cluster(OLD, NEW, arena=arena)
    second.greet(added, first)
    reloaded = cluster(OLD, NEW, arena=arena)
    reloaded.greet(added + 30_000, second)
    assert share(reloaded, NEW, added + 30_000) == pytest.approx(1 / 3, abs=0.03)
    restarted = cluster(OLD, NEW, arena=arena, slot=1)
    restarted.greet(added + 30_000)
    assert share(restarted, NEW, added + 30_000) == pytest.approx(1 / 3, abs=0.03)


def test_who_was_gone_is_new_again() -> None:
    arena = Arena.create(1 << 20, 4)
    both = cluster(OLD, NEW, arena=arena)
    both.greet(START)
    alone = cluster(OLD, arena=arena)
    alone.greet(START + MINUTE, both)
    again = cluster(OLD, NEW, arena=arena)
    again.greet(START + 9 * MINUTE, alone)
    assert share(again, NEW, START + 9 * MINUTE) == pytest.approx(0.1 / 1.1, abs=0.03)


def test_one_that_is_busy_gets_less_also_when_it_is_new() -> None:
    arena = Arena.create(1 << 20, 4)
    before = cluster(OLD, "10.0.0.3", arena=arena)
    before.greet(START)
    one = cluster(OLD, "10.0.0.3", NEW, arena=arena, balancer="LEAST_REQUEST")
    one.greet(START + 10 * MINUTE, before)
    one.busy(f"{OLD}:80", 50)
    assert share(one, OLD, START + 10 * MINUTE + 30_000) < 0.25
