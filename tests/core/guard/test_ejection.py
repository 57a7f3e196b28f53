"""Slow endpoints, and trials of ejected ones: windows, bounds, places. Time is an argument."""

from __future__ import annotations

import pytest

from fastmesh.core.guard.guard_probe import Host, Slowness

NOW, MS = 5_000_000, 1000


@pytest.mark.parametrize(
    ("percentile", "answers", "says"),
    [
        (50, [10 * MS] * 20, 10),
        (50, [10 * MS] * 19 + [5000 * MS], 10),  # one answer moves nothing
        (50, [10 * MS] * 9 + [800 * MS] * 11, 800),
        (90, [10 * MS] * 17 + [800 * MS] * 3, 800),
        (100, [10 * MS] * 19 + [5000 * MS], 5000),
        (50, [10 * MS] * 9, 0),  # too few
    ],
)
def test_a_window_says_its_percentile(percentile: int, answers: list[int], says: int) -> None:
    assert Slowness(percentile=percentile).window(*answers) / MS == pytest.approx(says, rel=0.04)


def test_a_window_with_few_samples_goes_on_and_a_new_one_knows_nothing() -> None:
    one = Slowness(samples=4)
    assert one.window(10, 10, 10) == 0
    assert one.window(10) > 0
    assert one.window(10, 10, 10) == 0


@pytest.mark.parametrize(
    ("above", "times", "least", "peers", "bound"),
    [
        (500, 0, 10, 100, 500),
        (0, 3, 10, 100, 300),
        (0, 3, 10, 0, 0),  # nobody to compare with
        (500, 3, 10, 0, 500),
        (500, 3, 10, 100, 300),  # the lower one
        (200, 3, 10, 100, 200),
        (0, 3, 10, 1, 10),  # as fast as that is never slow
    ],
)
def test_bounds(above: int, times: float, least: int, peers: int, bound: int) -> None:
    assert Slowness(above=above, times=times, least=least).bound(peers) == bound


def test_it_has_to_be_slow_for_windows_in_a_row() -> None:
    one = Slowness(above=100, windows=3)
    assert [one.judge(took) for took in (101, 101, 100, 101, 101, 101, 101)] == [False] * 5 + [True] * 2
    other = Slowness(times=3, windows=2)
    assert [other.judge(400, peers) for peers in (100, 0, 100)] == [False, False, True], "alone it says nothing"


def test_time_does_not_bring_back_who_has_to_pass_trials() -> None:
    host = Host(base=1000, interval=1000)
    assert host.eject(NOW, True)
    assert host.try_one(NOW + 999) is None
    assert host.is_out(NOW + 10**9)
    assert host.is_ejected(NOW + 10**9)
    later = NOW + 1000
    assert host.try_one(later) == 0
    assert host.try_one(later) is None, "one at a time"
    host.end_trial(0, later)
    assert [host.tried(True, later) for _ in range(3)] == ["", "", "back"]
    assert not host.is_out(later)
    assert host.tried(True, later) == ""


def test_a_failed_trial_begins_anew_and_takes_longer_however_late_it_is() -> None:
    host = Host(base=1000, interval=1000)
    host.eject(NOW, True)
    later = NOW + 3_600_000
    assert [host.tried(passed, later) for passed in (True, True, False)] == ["", "", "failed"]
    assert host.eject(later, True)
    assert host.ejections == 2, "an hour on trial was no healthy hour"
    assert host.tried(False, later) == "", "it was decided already"
    assert host.try_one(later + 1999) is None
    assert [host.tried(True, later + 2000) for _ in range(3)] == ["", "", "back"]


def test_places_of_trials() -> None:
    host = Host(base=1000, interval=1000)
    host.eject(NOW, True)
    later = NOW + 1000
    assert [host.try_one(later, 2) for _ in range(3)] == [0, 1, None]
    host.end_trial(0, later + 1)
    assert host.try_one(later, 2) is None, "a place is given back by who holds it"
    assert host.try_one(later + 60_001, 2) == 0, "who says nothing for a minute has lost it"
    host.end_trial(0, later)
    assert host.try_one(later + 60_001, 1) is None


def test_trials_and_checks() -> None:
    host = Host(base=1000, interval=1000)
    host.begin(healthy=1, unhealthy=1)
    host.check(True)
    host.eject(NOW, True)
    host.check(False)
    assert host.try_one(NOW + 1000) is None, "it fails its checks"
    assert host.check(True) == "up"
    assert host.try_one(NOW + 1000) == 0


def test_a_reload_without_trials() -> None:
    host = Host(base=1000, interval=1000)
    host.eject(NOW, True)
    host.forget_trials()
    assert host.is_out(NOW + 999)
    assert not host.is_out(NOW + 1000)
