"""Timers by a clock of the test's own: each fires once, at its tick, however far away; none is ever early."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmesh.core.base.base_probe import Bell, Clock

MINUTE = 60_000
PHASES = [255, 123_456_789, 0, 1, 100, 200, 256, 16_383, 16_384, (1 << 20) - 1, 1 << 20, (1 << 26) - 1]
DELAYS = [0, 1, 54, 55, 56, 57, 100, 200, 254, 255, 256, 257, 300, 511, 512, 1000, 4000, 16_127, 16_128, 16_129, 16_384,
          75_000, 5 * MINUTE, 1_032_191, 1_032_192, 20 * MINUTE, 60 * MINUTE, (1 << 26) - 1, 1 << 26]  # fmt: skip


@pytest.mark.parametrize("delay", DELAYS)
def test_fires_once_at_its_tick(delay: int) -> None:
    for phase in PHASES[: 12 if delay < MINUTE * 60 else 3]:
        clock = Clock(phase)
        bell = Bell(clock)
        bell.start(delay)
        clock.advance(phase + delay)
        assert bell.rung == []
        clock.advance(phase + delay + 1)
        assert bell.rung == [phase + delay + 1]
        assert (clock.pending, clock.asks_for, bell.running) == (0, 0, False)
        clock.advance(phase + 4 * delay + 1000)
        assert len(bell.rung) == 1


def test_a_timer_behind_the_border_is_not_forgotten() -> None:
    """A tick of the next round of 256 lies in the same slots as one of this round."""
    for phase in range(1, 600, 7):
        clock = Clock(phase)
        far = Bell(clock)
        far.start(10_000)
        for delay in (20, 100, 150, 255):
            bell = Bell(clock)
            bell.start(delay)
            clock.advance(clock.now + delay + 1)
            assert bell.rung == [clock.now]
        assert far.rung == []


def test_waits_for_long_timers_with_few_calls() -> None:
    clock = Clock(5)
    Bell(clock).start(4_000)
    idle = Bell(clock)
    idle.start(75_000)
    clock.advance(80_000)
    assert len(idle.rung) == 1
    assert clock.calls < 40


def test_starting_again_moves_it() -> None:
    clock = Clock(1000)
    bell = Bell(clock)
    for _ in range(100):
        bell.start(50)
        clock.advance(clock.now + 40)
    assert bell.rung == []
    assert clock.pending == 1
    clock.advance(clock.now + 20)
    assert len(bell.rung) == 1


def test_cancel() -> None:
    clock = Clock(1000)
    bell, other = Bell(clock), Bell(clock)
    bell.cancel()
    bell.start(10)
    other.start(10)
    bell.cancel()
    bell.cancel()
    clock.advance(2000)
    assert (bell.rung, other.rung) == ([], [1011])


def test_timers_that_start_and_cancel_timers() -> None:
    clock = Clock(77)
    log: list[str] = []
    victim = Bell(clock, lambda bell: log.append("victim"))

    def first(bell: Bell) -> None:
        log.append("first")
        victim.cancel()
        if len(bell.rung) < 5:
            bell.start(0 if len(bell.rung) % 2 else 300)

    bell = Bell(clock, first)
    bell.start(20)
    victim.start(20)
    clock.advance(2000)
    assert log == ["first"] * 5
    assert bell.rung == [98, 99, 400, 401, 702]


@pytest.mark.parametrize("late", [1, 30, 300, 20_000, 2_000_000])
def test_a_busy_loop_calls_late_and_nothing_is_lost(late: int) -> None:
    chance = random.Random(late)
    clock = Clock(chance.randrange(1 << 30))
    bells = [Bell(clock) for _ in range(200)]
    for bell in bells:
        bell.start(chance.choice([chance.randrange(300), chance.randrange(30_000), chance.randrange(3_000_000)]))
    clock.advance(clock.now + 3_000_000 + 2 * late, late)
    for bell in bells:
        assert len(bell.rung) == 1
        assert bell.deadline <= bell.rung[0] <= bell.deadline + 2 * late


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["start", "start", "cancel", "advance"]),
        st.integers(0, 5),
        st.one_of(st.integers(0, 600), st.integers(0, 40_000), st.integers(0, 3_000_000)),
    ),
    max_size=60,
)


@given(st.integers(0, 1 << 40), STEPS)
def test_like_a_list_of_deadlines(begin: int, steps: list[tuple[str, int, int]]) -> None:
    clock = Clock(begin)
    bells = [Bell(clock) for _ in range(6)]
    due: dict[int, int] = {}
    wanted: list[list[int]] = [[] for _ in bells]
    for step, which, amount in steps:
        if step == "start":
            bells[which].start(amount)
            due[which] = clock.now + amount + 1
        elif step == "cancel":
            bells[which].cancel()
            due.pop(which, None)
        else:
            until = clock.now + amount
            clock.advance(until)
            for bell in [bell for bell, deadline in due.items() if deadline <= until]:
                wanted[bell].append(due.pop(bell))
        assert clock.pending == len(due)
        assert [bell.rung for bell in bells] == wanted
