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

    def grant(self, tokens: int, ends: int, left: int = 1000, low: int = 0, index: int = 0) -> int:
        tag = self.desk.look(self.number, index)[0]
        unpaid = self.desk.grant(self.number, index, tag, ends, tokens, left, low, NOW)
        assert unpaid >= 0
        return unpaid

    def owed(self) -> int:
        return self.desk.look(self.number, 0)[6]


def test_credit_until_the_first_grant_which_pays_for_it() -> None:
    world = World(credit=2)
    assert world.take(NOW, 4) == [CREDIT, CREDIT, REFUSED, REFUSED]
    assert world.desk.asks() == [(world.number, 0)]
    assert world.desk.look(world.number, 0)[6] == 2
    assert world.desk.seen(world.number, 0) == 4
    assert world.grant(5, NOW + 1000) == 0
    assert world.take(NOW + 1, 6) == [PASS] * 3 + [CREDIT, CREDIT, REFUSED]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
@pytest.mark.parametrize("late", range(5))
def test_alone_it_never_passes_more_than_the_limit(limit: int, late: int) -> None:
    """However many requests come while an answer is under way: Redis is played by two numbers."""
    world = World(credit=limit)
    passed = taken = 0
    for round_ in range(20):
        asked = 1 + world.owed()  # what the master writes into its question
        passed += sum(verdict in (PASS, CREDIT) for verdict in world.take(NOW + round_, late))
        granted = min(asked, limit - taken)
        taken += granted
        assert world.grant(granted, NOW + 60_000, left=limit - taken) == 0
        passed += world.take(NOW + round_, 1) in ([PASS], [CREDIT])
        assert passed <= limit
    assert passed == limit


def test_what_others_took_is_owed_in_this_window_and_void_in_the_next() -> None:
    world = World(credit=3)
    assert world.take(NOW, 4) == [CREDIT] * 3 + [REFUSED]
    assert world.grant(1, NOW + 1000, left=0) == 2
    assert world.take(NOW + 1) == [REFUSED]
    assert world.grant(0, NOW + 1000, left=0) == 0, "told once"
    assert (world.grant(1, NOW + 1000, left=5), world.owed()) == (0, 1), "others gave some back: it pays first"
    assert world.take(NOW + 2, 3) == [CREDIT, CREDIT, REFUSED], "so there is credit for so many less"
    assert world.grant(0, NOW + 1000, left=0) == 3
    world.desk.set_slack(world.number, 10)
    assert world.take(NOW + 1009) == [REFUSED], "Redis may still count this in the old window"
    assert world.take(NOW + 1010, 4) == [CREDIT] * 3 + [REFUSED]


def test_the_window_behind_brings_its_own_room() -> None:
    world = World(credit=9)
    tag = (world.take(NOW), world.desk.look(world.number, 0)[0])[1]
    assert world.grant(1, NOW + 1000, left=0) == 0
    assert world.desk.grant_ahead(world.number, 0, tag, NOW + 2000, 1, 2, 0)
    assert world.take(NOW + 1, 2) == [REFUSED] * 2
    assert world.take(NOW + 1000, 5) == [PASS, CREDIT, CREDIT, REFUSED, REFUSED]
    assert world.grant(2, NOW + 2000, left=0) == 0


def test_what_goes_back_may_be_passed_on_credit() -> None:
    """The last tokens, given back: the next request is not refused for a window that is not dry any more."""
    world = World(credit=3)
    tag = (world.take(NOW), world.desk.look(world.number, 0)[0])[1]
    world.grant(3, NOW + 60_000, left=0)
    assert world.desk.take_back(world.number, 0, tag, NOW + 60_000) == 2
    assert world.take(NOW + 1, 3) == [CREDIT, CREDIT, REFUSED]


def test_a_dry_window_has_no_credit_and_asks_again_only_after_a_while() -> None:
    world = World()
    world.take(NOW)
    world.desk.asks()
    world.grant(2, NOW + 60_000, left=0)
    assert world.take(NOW + 1, 3) == [PASS, REFUSED, REFUSED]
    assert world.desk.asks() == []
    assert world.take(NOW + 1001) == [REFUSED]
    assert world.desk.asks() == [(world.number, 0)]


def test_a_low_lease_asks_once() -> None:
    world = World()
    world.take(NOW)
    world.desk.asks()
    world.grant(11, NOW + 60_000, low=5)
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
    world.grant(5, NOW + 1000, left=0)
    tag = world.desk.look(world.number, 0)[0]
    assert world.take(NOW + 899) == [PASS]
    assert world.desk.asks() == []
    assert world.take(NOW + 900) == [PASS]
    assert world.desk.asks() == [(world.number, 0)]
    assert world.desk.grant_ahead(world.number, 0, tag, NOW + 2000, 2, 0, 0)
    assert world.take(NOW + 999, 4) == [PASS] * 3 + [REFUSED]
    assert world.take(NOW + 1000, 3) == [PASS, PASS, REFUSED]
    assert world.take(NOW + 2000) == [REFUSED], "no credit, and the window is over"


def test_without_redis_what_is_left_is_spent_first() -> None:
    world = World()
    world.take(NOW)
    world.grant(2, NOW + 1000)
    world.desk.set_gone(world.number, True)
    assert world.take(NOW, 3) == [PASS, GONE, GONE]
    world.desk.set_gone(world.number, False)
    assert world.take(NOW) == [CREDIT]


def test_tokens_go_back_once() -> None:
    world = World()
    world.take(NOW)
    world.grant(8, NOW + 1000)
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
    assert not world.desk.grant(*asked[0], keys[0], NOW + 100_999, 5, 9, 0, NOW) >= 0, "it is another key's by now"


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
