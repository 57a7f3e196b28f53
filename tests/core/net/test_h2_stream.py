"""The table of streams against a set of ids: whatever comes and goes, those that are there are found, and no others."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fastmesh.core.net.h2.stream_probe import Streams


def check(streams: Streams, there: set[int], gone: set[int]) -> None:
    assert streams.count == len(there)
    assert all(streams.has(number) for number in there)
    assert not any(streams.has(number) for number in gone - there)
    told, counted = streams.astray
    assert told == counted


# Each step: this number comes when it is not there, else it goes. Few numbers with equal places, so that they collide.
@settings(max_examples=300)
@given(st.lists(st.integers(0, 5).flatmap(lambda low: st.sampled_from([low, low + 8, low + 16, low + 64, low + 1024]))))
def test_streams_come_and_go(steps: list[int]) -> None:
    streams = Streams()
    there: set[int] = set()
    for step in steps:
        number = step * 2 + 1
        if number in there:
            streams.remove(number)
        else:
            streams.put(number)
        there ^= {number}
        check(streams, there, {step * 2 + 1 for step in steps})


def test_an_old_stream_in_the_way_of_new_ones() -> None:
    # One long call stays while ids go round the table several times, 40 at a time
    streams = Streams()
    streams.put(1)
    under_way = {1}
    for number in range(3, 2001, 2):
        streams.put(number)
        under_way.add(number)
        if len(under_way) > 40:
            oldest = min(under_way - {1})
            streams.remove(oldest)
            under_way.remove(oldest)
        check(streams, under_way, {number + 2})
    for number in sorted(under_way):
        streams.remove(number)
    check(streams, set(), under_way)


def test_ids_that_follow_each_other_stand_in_their_own_places() -> None:
    streams = Streams()
    for number in range(1, 2001, 2):
        streams.put(number)
        if number > 200:
            streams.remove(number - 200)
            assert streams.astray == (0, 0)
