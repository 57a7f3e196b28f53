"""Active checks and observed probability: thresholds, first results, decay, who has the duty. Time is an argument."""

from __future__ import annotations

import pytest

from fastmesh.core.guard.guard_probe import Duty, Host


def host(**thresholds: int) -> Host:
    made = Host(base=1000, interval=1000)
    made.begin(**thresholds)
    return made


def test_an_endpoint_waits_for_its_first_check_which_decides_alone() -> None:
    for passed, change, verdict in ((True, "up", ""), (False, "down", "failed")):
        made = host()
        assert made.verdict == "pending"
        assert made.is_out(0)
        assert not made.is_ejected(0)
        assert made.check(passed) == change
        assert made.verdict == verdict
        assert made.is_out(10**12) is not passed


def test_thresholds_count_in_a_row() -> None:
    made = host(healthy=2, unhealthy=3)
    made.check(True)
    assert [made.check(passed) for passed in (False, False, True, False, False)] == [""] * 5
    assert made.check(False) == "down"
    assert [made.check(passed) for passed in (False, True, False, True)] == [""] * 4
    assert made.check(True) == "up"
    assert made.check(True) == ""
    assert not made.is_out(0)


def test_an_ejection_and_a_verdict_do_not_touch_each_other() -> None:
    made = host(healthy=1, unhealthy=1)
    made.check(True)
    assert made.eject(500)
    assert made.check(False) == "down"
    assert made.is_ejected(1000)
    assert not made.is_ejected(2000)
    assert made.is_out(2000)
    assert made.check(True) == "up"
    assert made.is_out(1000)  # still ejected
    assert not made.is_out(2000)


def test_nobody_checks_any_more() -> None:
    made = host()
    made.check(False)
    made.forget()
    assert not made.is_out(0)
    made.begin()  # checks are back: what was known is not unknown
    assert made.verdict == ""


def test_probability_is_passed_of_observed_and_the_past_fades() -> None:
    made = Host()
    assert made.chance(0, 1000) == (1, 0)
    for passed in (True, True, True, False):
        made.note(passed, 5000, 1000)
    assert made.chance(5000, 1000) == (0.75, 4)
    made.note(False, 6000, 1000)  # what was before counts half
    p, observed = made.chance(6000, 1000)
    assert (p, observed) == (pytest.approx(1.5 / 3), 3)
    assert made.chance(6000 + 30_000, 1000) == (1, 0)


def test_many_observations_keep_their_share() -> None:
    made = Host()
    for number in range(2_000):
        for _ in range(1_000):
            made.note(number % 10 != 0, 1000, 60_000)
    assert made.chance(1000, 60_000)[0] == pytest.approx(0.9, abs=0.02)


def test_a_clock_that_is_a_moment_behind_takes_nothing_back() -> None:
    made = Host()
    made.note(False, 10_000, 1000)
    made.note(True, 9_999, 1000)
    assert made.chance(10_000, 1000)[1] >= 1


def test_one_has_the_duty_until_it_is_silent_or_gives_it_up() -> None:
    duty = Duty()
    assert duty.take(3, 10_000)
    assert not duty.take(0, 11_000)
    assert duty.take(3, 11_000)
    assert not duty.take(0, 12_900)
    assert duty.take(0, 13_001)  # two seconds of silence
    assert not duty.take(3, 13_001)
    duty.drop(3)
    assert not duty.take(3, 13_001)
    duty.drop(0)
    assert duty.take(3, 13_001)
