"""Priorities: who serves while how many are healthy. The sums are Envoy's (its page on priority levels)."""

from __future__ import annotations

import collections

import pytest

from fastmesh.config.plan import ZonesPlan
from fastmesh.core.base.arena import Arena
from fastmesh.core.route.route_probe import Picker, loads
from tests.core.route.picking import addresses, ejecting, endpoints, hashing, picker

FIRST, SECOND = addresses(20)[:10], addresses(20)[10:]


@pytest.mark.parametrize(
    ("healthy", "wanted"),
    [
        # Two levels of 100 endpoints: the table of Envoy's page
        ([100, 100], [100, 0]),
        ([72, 100], [100, 0]),
        ([71, 100], [99, 1]),
        ([50, 100], [70, 30]),
        ([25, 100], [35, 65]),
        ([0, 100], [0, 100]),
        ([25, 25], [50, 50]),
        # Three levels
        ([100, 100, 100], [100, 0, 0]),
        ([50, 50, 100], [70, 30, 0]),
        ([20, 30, 100], [28, 42, 30]),
        ([0, 0, 100], [0, 0, 100]),
        ([1, 0, 0], [100, 0, 0]),
        ([0, 0, 0], [100, 0, 0]),  # nobody: it is said of the first that it has none
    ],
)
def test_loads(healthy: list[int], wanted: list[int]) -> None:
    found = loads([(100, each) for each in healthy])
    assert [load for load, _ in found] == wanted
    assert not any(panics for _, panics in found)


@pytest.mark.parametrize(
    ("healthy", "panic", "wanted"),
    [
        ([80, 0], 50, [(100, False), (0, False)]),  # the first level alone is enough
        ([40, 60], 50, [(56, False), (44, False)]),  # 56 + 84 % can be served: nobody panics
        ([40, 20], 50, [(50, True), (50, True)]),  # 56 + 28: all do, and size decides
        ([51, 10], 50, [(84, False), (16, True)]),
        ([71, 0], 80, [(50, True), (50, True)]),
        ([72, 0], 80, [(100, False), (0, False)]),  # 1.4 times 72 % serve everything, whatever the threshold
    ],
)
def test_panic(healthy: list[int], panic: int, wanted: list[tuple[int, bool]]) -> None:
    assert loads([(100, each) for each in healthy], panic) == wanted


def test_one_level_alone_panics_below_its_threshold() -> None:
    assert loads([(10, 7)], 80) == [(100, True)]
    assert loads([(10, 8)], 90) == [(100, False)], "80 % times 1.4 are enough"
    assert loads([(10, 0)], 0) == [(100, False)]
    assert loads([(0, 0)], 50) == [(100, False)]


def two_levels(arena: Arena | None = None, slot: int = 0, panic: int = 0) -> Picker:
    made = endpoints(*FIRST, priority=0) + endpoints(*SECOND, priority=1)
    return picker(made, arena, slot, outlier=ejecting(panic=panic))


def shares(one: Picker, times: int = 2000, now: int = 1000) -> collections.Counter[str]:
    counts: collections.Counter[str] = collections.Counter()
    for _ in range(times):
        met = one.pick(now=now)
        counts["none" if met is None else "first" if met[:-3] in FIRST else "second"] += 1
    return counts


def test_requests_spill_over_as_endpoints_are_ejected_and_come_back() -> None:
    arena = Arena.create(1 << 20, 4)
    one, other = two_levels(arena), two_levels(arena, 1)
    assert shares(one) == {"first": 2000}
    for host in FIRST[:2]:
        one.report(f"{host}:80", 500)
    assert shares(other) == {"first": 2000}, "80 % of the first level serve everything"
    for host in FIRST[2:5]:
        one.report(f"{host}:80", 500)
    assert shares(other)["first"] == pytest.approx(1400, abs=90), "50 % times 1.4"
    for host in FIRST[5:]:
        one.report(f"{host}:80", 500)
    assert shares(other) == {"second": 2000}
    assert shares(one, now=1000 + 30_000) == {"first": 2000}


def test_nobody_and_panic() -> None:
    for panic, wanted in ((0, {"none"}), (50, {"first", "second"})):
        one = two_levels(panic=panic)
        for host in FIRST + SECOND:
            one.report(f"{host}:80", 500)
        assert set(shares(one)) == wanted


def test_localities_share_by_weight_and_health() -> None:
    made = endpoints(*FIRST, locality="a") + endpoints(*SECOND[:2], locality="b")
    one = picker(made, localities=[(0, "a", 20), (0, "b", 80)], outlier=ejecting())
    assert shares(one)["second"] == pytest.approx(1600, abs=90)
    one.report(f"{SECOND[0]}:80", 500)  # 50 % times 1.4: 80 counts as 56
    assert shares(one)["second"] == pytest.approx(2000 * 56 / 76, abs=90)
    one.report(f"{SECOND[1]}:80", 500)
    assert shares(one) == {"first": 2000}


def test_a_hash_keeps_its_level_and_its_locality_shares() -> None:
    made = endpoints(*FIRST, locality="a") + endpoints(*SECOND[:2], locality="b")
    one = hashing(made, localities=[(0, "a", 20), (0, "b", 80)])
    counts = collections.Counter(owner[:-3] in FIRST for owner in one.table())
    assert counts[False] / counts.total() == pytest.approx(0.8, abs=0.01)
    levels = hashing(endpoints(*FIRST) + endpoints(*SECOND, priority=1), outlier=ejecting())
    for host in FIRST[:5]:
        levels.report(f"{host}:80", 500)
    met = {hashed: levels.pick(hashed) for hashed in range(1, 10**18, 10**16 + 7)}
    assert met == {hashed: levels.pick(hashed) for hashed in met}
    assert len({where for where in met.values() if where and where[:-3] in SECOND}) > 5


def test_least_request_at_rest_follows_weights() -> None:
    hosts = addresses(3)
    one = picker(endpoints(*hosts, weights={hosts[1]: 3}))
    counts = collections.Counter(one.pick() for _ in range(3000))
    assert counts[f"{hosts[1]}:80"] == pytest.approx(1800, abs=120)
    one.busy(f"{hosts[1]}:80", 9)
    one.busy(f"{hosts[0]}:80", 1)
    one.busy(f"{hosts[2]}:80", 1)
    counts = collections.Counter(one.pick() for _ in range(3000))
    assert counts[f"{hosts[1]}:80"] == pytest.approx(3000 * 0.36, abs=120), "9 over 3 is more than 1 over 1"


def in_zones(callers: dict[str, int], least: int = 6, **many: int) -> tuple[Picker, dict[str, str]]:
    """A cluster with so many endpoints in each zone, as a proxy in zone `a` sees it; and where each endpoint stands."""
    stands = {}
    for host, zone in zip(addresses(100), (zone for zone, count in many.items() for _ in range(count)), strict=False):
        stands[host] = zone
    made = [each for host, zone in stands.items() for each in endpoints(host, locality=zone)]
    plan = ZonesPlan(own="a", callers=sorted(callers.items()), least=least)
    return picker(made, zones=plan, outlier=ejecting()), {f"{host}:80": zone for host, zone in stands.items()}


def zones_met(one: Picker, stands: dict[str, str], times: int = 4000) -> dict[str, float]:
    counts = collections.Counter(stands[str(one.pick())] for _ in range(times))
    return {zone: count / times for zone, count in counts.items()}


@pytest.mark.parametrize(
    ("callers", "many", "wanted"),
    [
        # Envoy's page on zone aware routing: as many endpoints as callers, or more, and nothing leaves the zone
        ({"a": 1, "b": 1}, {"a": 5, "b": 5}, {"a": 1}),
        ({"a": 1, "b": 3}, {"a": 3, "b": 5}, {"a": 1}),
        # 40, 40, 20 % of the callers and 25, 50, 25 % of the endpoints: 25/40 stay, the rest goes where there is room
        ({"a": 4, "b": 4, "c": 2}, {"a": 5, "b": 10, "c": 5}, {"a": 0.625, "b": 0.25, "c": 0.125}),
        ({"a": 1, "b": 1}, {"b": 4, "c": 4}, {"c": 1}),  # none in the own zone; b has what its own callers need
        ({"a": 1, "b": 1}, {"a": 2, "b": 3}, {"a": 0.4, "b": 0.6}),  # five are too few: all alike
        ({"a": 1, "b": 1}, {"a": 10}, {"a": 1}),
    ],
)
def test_the_own_zone_first(callers: dict[str, int], many: dict[str, int], wanted: dict[str, float]) -> None:
    found = zones_met(*in_zones(callers, **many))
    assert found.keys() == wanted.keys()
    assert all(found[zone] == pytest.approx(share, abs=0.03) for zone, share in wanted.items())


def test_zones_go_by_who_is_healthy() -> None:
    one, stands = in_zones({"a": 1, "b": 1}, a=10, b=10)
    assert zones_met(one, stands) == {"a": 1}
    own = [address for address, zone in stands.items() if zone == "a"]
    for address in own[:5]:
        one.report(address, 500)
    # a third of those that are left, for half of the callers
    assert zones_met(one, stands)["a"] == pytest.approx(0.667, abs=0.03)
    for address in own[5:]:
        one.report(address, 500)
    assert zones_met(one, stands) == {"b": 1}


def test_a_smaller_cluster_may_be_asked_for() -> None:
    assert zones_met(*in_zones({"a": 1, "b": 1}, least=1, a=1, b=1)) == {"a": 1}
