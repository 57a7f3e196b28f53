"""The gradient controller and the breaker. Time and chance are arguments."""

from __future__ import annotations

from fastmesh.core.guard.guard_probe import Breaker, Gradient

MS = 1000


def measured(rtt: int = 10 * MS, **rule: int) -> tuple[Gradient, int]:
    """One that has measured its min RTT, and the time at which it had."""
    made, now = Gradient(**rule), 1_000_000
    assert made.limit(now) == 3
    for _ in range(50):
        assert made.measuring
        made.sample(now, now + rtt)
        now += rtt
    assert not made.measuring
    return made, now


def load(made: Gradient, now: int, rtt: int, intervals: int) -> int:
    for _ in range(intervals):
        for _ in range(20):
            made.sample(now - rtt, now)
        now += 100 * MS
        made.sample(now - rtt, now)
    return now


def test_it_begins_by_measuring_what_requests_take_without_a_queue() -> None:
    made, _ = measured()
    assert 9.3 * MS < made.min_rtt < 10.7 * MS


def test_samples_from_before_the_measurement_do_not_count() -> None:
    made = Gradient(requests=2)
    made.limit(1_000_000)
    for _ in range(5):
        made.sample(1, 1_000_000)
    assert made.measuring


def test_the_limit_grows_while_nothing_waits_and_shrinks_when_it_does() -> None:
    made, now = measured(most=200)
    now = load(made, now, 10 * MS, 30)
    assert made.limit(now) == 200
    now = load(made, now, 40 * MS, 4)
    assert made.limit(now) < 60
    now = load(made, now, 10 * MS, 20)
    assert made.limit(now) == 200


def test_five_intervals_at_the_least_measure_anew_and_time_does_too() -> None:
    made, now = measured()
    now = load(made, now, 500 * MS, 12)
    assert made.measuring
    made, now = measured(measure=1_000 * MS)
    now = load(made, now, 10 * MS, 5)
    limit = made.limit(now)
    assert limit > 3
    now = load(made, now, 10 * MS, 8)
    assert made.measuring
    assert made.limit(now) == 3


def test_jitter_moves_the_next_measurement() -> None:
    for chance, measuring in ((0, True), (99, False)):
        made, now = Gradient(requests=1, measure=1_000 * MS, jitter=100), 1_000_000
        made.limit(now)
        made.sample(now, now + MS, chance)
        made.sample(now + 1_500 * MS, now + 1_501 * MS)
        assert made.measuring is measuring


def test_the_breaker_opens_waits_probes_and_closes() -> None:
    breaker = Breaker(open_for=1000, probes=2)
    assert breaker.admit(0) == "pass"
    assert not breaker.judge(499_999, 100, 10)
    assert not breaker.judge(900_000, 19, 10)
    assert breaker.judge(500_000, 20, 10)
    assert not breaker.judge(500_000, 20, 10)
    assert breaker.state(1009) == "open"
    assert breaker.admit(1009) == "no"
    assert breaker.state(1010) == "half-open"
    assert [breaker.admit(1010), breaker.admit(1010)] == ["probe", "no"]
    assert breaker.probed(True, 1020) == 0
    assert breaker.admit(1021) == "probe"
    assert breaker.probed(True, 1030) == 1
    assert breaker.state(1030) == "closed"
    assert breaker.admit(1030) == "pass"


def test_a_bad_probe_opens_it_again_and_a_lost_one_blocks_nobody() -> None:
    breaker = Breaker(open_for=1000, probes=1)
    breaker.judge(10**6, 100, 0)
    assert breaker.admit(1000) == "probe"
    assert breaker.probed(False, 1001) == -1
    assert breaker.state(2000) == "open"
    assert breaker.opened == 2
    assert breaker.admit(2001) == "probe"
    breaker.let_go()
    assert breaker.admit(2002) == "probe"
    assert breaker.admit(2003) == "no"
    assert breaker.admit(2002 + 60_001) == "probe"  # the one before was never heard of again
