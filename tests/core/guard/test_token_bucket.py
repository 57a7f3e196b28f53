"""Token buckets by a clock of the test's own: what passes, what is left, at which instant the next token comes."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmesh.core.base.arena import Arena
from fastmesh.core.guard.guard_probe import Bucket, Table

SECOND = 10**9
START = 7_777_777_777_777  # a machine that has been up for two hours


def test_default_burst_passes_what_a_period_allows() -> None:
    bucket = Bucket(100, SECOND)
    assert bucket.peek(START) == 100
    assert bucket.take_many(START, 500) == 100
    assert bucket.peek(START) == 0
    assert bucket.take_many(START + SECOND - 1, 10) == 0
    assert bucket.take_many(START + SECOND, 500) == 100
    assert bucket.take_many(START + 2 * SECOND - 1, 1) == 0
    assert bucket.take_many(START + 3 * SECOND, 500) == 100  # what was not used in between is not saved up


def test_borders_count_from_the_first_use() -> None:
    bucket = Bucket(10, SECOND)
    assert bucket.take(START + 123_456)
    assert bucket.take_many(START + 123_456 + SECOND - 1, 20) == 9
    assert bucket.take_many(START + 123_456 + SECOND, 20) == 10


def test_a_burst_over_the_rate_is_a_saved_store() -> None:
    bucket = Bucket(100, SECOND, 250)
    assert bucket.take_many(START, 999) == 250
    assert bucket.take_many(START + SECOND, 999) == 100
    assert bucket.take_many(START + 3 * SECOND, 999) == 200
    assert bucket.take_many(START + 100 * SECOND, 999) == 250


def test_a_burst_under_the_rate_refills_evenly() -> None:
    bucket = Bucket(100, SECOND, 20)
    assert bucket.take_many(START, 99) == 20
    assert bucket.take_many(START + 9_999_999, 1) == 0
    assert bucket.take_many(START + 10_000_000, 2) == 1
    assert bucket.take_many(START + 65_000_000, 9) == 5
    assert bucket.take_many(START + 60 * SECOND, 99) == 20


def test_one_a_day() -> None:
    day = 86_400 * SECOND
    bucket = Bucket(1, day)
    assert bucket.take(START)
    assert not bucket.take(START + day - 1)
    assert bucket.take(START + day)


def test_a_clock_that_is_behind_takes_nothing_back() -> None:
    """Workers read the clock, then reach the bucket in another order."""
    for burst in (100, 20):
        bucket = Bucket(100, SECOND, burst)
        bucket.take(START)
        late = START + 5 * SECOND
        assert bucket.take_many(late, 999) == burst
        assert bucket.take_many(late - 1, 999) == 0
        assert bucket.take_many(late - 3 * SECOND, 999) == 0
        assert bucket.peek(late - 1) == 0
        assert bucket.peek(late - SECOND) == 0


RULES = st.tuples(st.integers(1, 1000), st.integers(1, 5000), st.sampled_from([1, 60]))


@given(RULES, st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(1, 300)), max_size=40))
def test_peek_says_what_take_does_and_no_window_passes_more(
    rule: tuple[int, int, int], uses: list[tuple[int, int]]
) -> None:
    requests, burst, seconds = rule
    bucket = Bucket(requests, seconds * SECOND, burst)
    now, passed = START, 0
    for pause, wanted in uses:
        now += pause
        left = bucket.peek(now)
        assert left <= burst
        got = bucket.take_many(now, wanted)
        assert got == min(left, wanted)
        passed += got
    assert passed <= burst + requests * ((now - START) // (seconds * SECOND) + 1)


@pytest.mark.parametrize("burst", [100, 20])
def test_many_processes_take_from_one_bucket(burst: int) -> None:
    arena = Arena.create(8 << 20, 4)
    writers = []
    for _ in range(4):
        read, write = os.pipe()
        if os.fork() == 0:
            bucket = Bucket(100, SECOND, burst, Arena.attach(arena.fd), b"limit")
            passed = sum(bucket.take_many(START + n * SECOND, 1000) for n in range(50))
            os.write(write, b"%d" % passed)
            os._exit(0)
        os.close(write)
        writers.append(read)
    total = sum(int(os.read(read, 20)) for read in writers)
    for _ in writers:
        assert os.wait()[1] == 0
    for read in writers:
        os.close(read)
    assert total == burst * 50


def test_keys_have_buckets_of_their_own() -> None:
    table = Table(64, 5, SECOND)
    for key in range(1, 100):
        assert [table.take(key, START)[0] for _ in range(6)] == [True] * 5 + [False]


def test_a_full_set_gives_up_the_bucket_that_rested_longest() -> None:
    table = Table(1, 1, SECOND)
    for key, at in ((1, 10), (2, 20), (3, 30), (4, 40)):
        assert table.take(key, START + at) == (True, False)
    assert table.take(1, START + 50) == (False, False)  # used again: now 2 rested longest
    assert table.take(5, START + 60) == (True, True)
    assert [table.take(key, START + 70) for key in (1, 3, 4, 5)] == [(False, False)] * 4
    assert table.take(2, START + 80) == (True, True)  # new to the table


def test_a_table_never_lets_one_key_pass_twice_while_it_has_room() -> None:
    table, chance = Table(256, 3, SECOND), random.Random(1)
    passed: dict[int, int] = {}
    for n in range(20_000):
        key = chance.randrange(300) * 0x9E3779B97F4A7C15 % 2**64 or 1
        taken, evicted = table.take(key, START + n)
        assert not evicted
        passed[key] = passed.get(key, 0) + taken
    assert set(passed.values()) == {3}
