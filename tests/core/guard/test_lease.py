"""Leases by a clock of the test's own: what workers spend, and what they ask the master for."""

from __future__ import annotations

import pytest

from fastmesh.core.base.arena import Arena
from fastmesh.core.guard.guard_probe import LeaseHolder
from fastmesh.core.guard.lease_desk import LeaseDesk

PASS, CREDIT, REFUSED, GONE = range(4)
NOW = 7_777_777
KEY = b"limit"


class World:
    def __init__(self, credit: int = 2, keyed: bool = False) -> None:
        self.arena = Arena.create(16 << 20, 2)
        self.desk = LeaseDesk(self.arena)
        self.number = self.desk.open(KEY, keyed)
        self.worker = LeaseHolder(self.arena, KEY, keyed, credit)

    def take(self, now: int, times: int = 1, key: int = 0) -> list[int]:
        return [self.worker.take(key, now) for _ in range(times)]

    def grant(self, tokens: int, ends: int, debt: int = 0, dry: bool = False, low: int = 0, index: int = 0) -> None:
        tag = self.desk.look(self.number, index)[0]
        assert self.desk.grant(self.number, index, tag, ends, tokens, debt, dry, low, NOW)


def test_credit_until_the_first_grant_which_pays_for_it() -> None:
    world = World(credit=2)
    assert world.take(NOW, 4) == [CREDIT, CREDIT, REFUSED, REFUSED]
    assert world.desk.asks() == [(world.number, 0)]
    assert world.desk.look(world.number, 0)[6] == 2
    assert world.desk.seen(world.number, 0) == 4
    world.grant(3, NOW + 1000, debt=2)
    assert world.take(NOW + 1, 6) == [PASS] * 3 + [CREDIT, CREDIT, REFUSED]


def test_a_dry_window_has_no_credit_and_asks_again_only_after_a_while() -> None:
    world = World()
    world.take(NOW)
    world.desk.asks()
    world.grant(1, NOW + 60_000, debt=1, dry=True)
    assert world.take(NOW + 1, 3) == [PASS, REFUSED, REFUSED]
    assert world.desk.asks() == []
    assert world.take(NOW + 1001) == [REFUSED]
    assert world.desk.asks() == [(world.number, 0)]


def test_a_low_lease_asks_once() -> None:
    world = World()
    world.take(NOW)
    world.desk.asks()
    world.grant(10, NOW + 60_000, debt=1, low=5)
    world.take(NOW, 4)
    assert world.desk.asks() == []
    world.take(NOW, 3)
    assert world.desk.asks() == [(world.number, 0)]
    world.take(NOW + 99)
    assert world.desk.asks() == [], "the answer is on its way"
    world.take(NOW + 100)
    assert world.desk.asks() == [(world.number, 0)], "it was lost"


def test_the_next_window_is_asked_for_ahead_and_not_spent_before_it_begins() -> None:
    world = World(credit=0)
    world.desk.set_lead(world.number, 100)
    world.take(NOW)
    world.desk.asks()
    world.grant(5, NOW + 1000, dry=True)
    tag = world.desk.look(world.number, 0)[0]
    assert world.take(NOW + 899) == [PASS]
    assert world.desk.asks() == []
    assert world.take(NOW + 900) == [PASS]
    assert world.desk.asks() == [(world.number, 0)]
    assert world.desk.grant_ahead(world.number, 0, tag, NOW + 2000, 2, True, 0)
    assert world.take(NOW + 999, 4) == [PASS] * 3 + [REFUSED]
    assert world.take(NOW + 1000, 3) == [PASS, PASS, REFUSED]
    assert world.take(NOW + 2000) == [REFUSED], "no credit, and the window is over"


def test_without_redis_what_is_left_is_spent_first() -> None:
    world = World()
    world.take(NOW)
    world.grant(1, NOW + 1000, debt=1)
    world.desk.set_gone(world.number, True)
    assert world.take(NOW, 3) == [PASS, GONE, GONE]
    world.desk.set_gone(world.number, False)
    assert world.take(NOW) == [CREDIT]


def test_tokens_go_back_once() -> None:
    world = World()
    world.take(NOW)
    world.grant(7, NOW + 1000, debt=1)
    tag = world.desk.look(world.number, 0)[0]
    assert world.desk.take_back(world.number, 0, tag, NOW + 999) == 0
    assert world.desk.take_back(world.number, 0, tag, NOW + 1000) == 7
    assert world.desk.take_back(world.number, 0, tag, NOW + 1000) == 0
    assert world.take(NOW) == [CREDIT]


def test_keys_have_leases_of_their_own_and_the_oldest_gives_way() -> None:
    world = World(keyed=True, credit=1)
    keys = [1 + 4096 * i for i in range(5)]  # all of one set
    for key in keys[:4]:
        assert world.take(NOW + key, key=key) == [CREDIT]
    asked = world.desk.asks()
    assert len(set(asked)) == 4
    assert world.take(NOW + 99_999, key=keys[4]) == [CREDIT], "of a key that was not seen for the longest time"
    assert world.desk.look(*asked[0])[0] == keys[4]
    assert not world.desk.grant(*asked[0], keys[0], NOW + 100_999, 5, 0, False, 0, NOW), "it is another key's by now"


@pytest.mark.parametrize("many", [1023, 1024, 3000])
def test_a_full_ring_loses_nothing_for_long(many: int) -> None:
    world = World(keyed=True, credit=1)
    for key in range(1, many + 1):
        world.take(NOW, key=key)
    assert len(world.desk.asks()) == min(many, 1024)
    if many > 1024:
        for key in range(1, many + 1):
            world.take(NOW + 100, key=key)
        assert len(world.desk.asks()) == 1024
