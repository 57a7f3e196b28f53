"""Consecutive errors eject, time brings back: Envoy's rules, by a clock of the test's own."""

from __future__ import annotations

import pytest

from fastmesh.core.guard.guard_probe import Host

NOW = 5_000_000


def test_the_fifth_error_in_a_row_ejects() -> None:
    host = Host()
    assert [host.status(500) for _ in range(5)] == [False] * 4 + [True]


def test_a_success_starts_the_count_again() -> None:
    host = Host()
    for status in (500, 503, 502, 500, 200, 500, 500, 404, 500):
        assert not host.status(status)
    assert host.errors == 1


def test_zero_switches_off() -> None:
    host = Host(consecutive_5xx=0)
    assert not any(host.status(500) for _ in range(100))
    assert not any(host.local() for _ in range(100))


def test_local_failures_count_as_5xx_unless_split() -> None:
    host = Host()
    assert [host.local() for _ in range(5)] == [False] * 4 + [True]
    host = Host()
    assert [host.status(500), host.local(), host.status(503), host.local(), host.status(500)] == [False] * 4 + [True]


def test_split_local_failures_count_apart() -> None:
    host = Host(split_local=True, consecutive_local=3, consecutive_5xx=4)
    for _ in range(2):
        assert not host.local()
    for _ in range(3):
        assert not host.status(500)  # an answer: the way to the host is good again
    for _ in range(2):
        assert not host.local()
    assert host.local()
    assert host.status(500)


def test_gateway_errors_have_a_threshold_of_their_own() -> None:
    host = Host(consecutive_5xx=0, consecutive_gateway=3)
    assert not any(host.status(500) for _ in range(10))
    assert [host.status(status) for status in (502, 503, 504)] == [False, False, True]
    assert [host.status(status) for status in (502, 503, 500, 504, 502)] == [False] * 5  # 500 breaks the row
    assert host.local()


def test_gateway_threshold_under_the_other_one() -> None:
    host = Host(consecutive_5xx=5, consecutive_gateway=2)
    assert [host.status(status) for status in (500, 503, 500, 503, 503)] == [False] * 4 + [True]


def test_codes_of_ones_own_replace_5xx() -> None:
    host = Host(consecutive_5xx=2, codes=(429, 404))
    assert not any(host.status(500) for _ in range(5))
    assert [host.status(429), host.status(404)] == [False, True]


def test_ejections_grow_with_their_number() -> None:
    host = Host(interval=10_000, base=30_000)
    now = NOW
    for count in (1, 2, 3):
        assert host.eject(now)
        assert (host.ejections, host.until) == (count, now + 30_000 * count)
        assert host.is_out(now)
        assert host.is_out(host.until - 1)
        assert not host.is_out(host.until)
        assert not host.eject(host.until - 1)
        now = host.until + 5_000  # ejected again before one interval has gone by


def test_healthy_intervals_make_it_shorter_again() -> None:
    host = Host(interval=10_000, base=30_000)
    for _ in range(3):
        assert host.eject(host.until or NOW)
    assert host.ejections == 3
    assert host.eject(host.until + 20_000)
    assert host.ejections == 2
    assert host.eject(host.until + 3_600_000)
    assert host.ejections == 1


@pytest.mark.parametrize(("base", "longest"), [(30_000, 300_000), (600_000, 600_000)])
def test_longest_ejection(base: int, longest: int) -> None:
    host = Host(interval=10_000, base=base)
    now = NOW
    for _ in range(30):
        assert host.eject(now)
        assert host.until - now <= longest
        now = host.until
    assert host.eject(now)
    assert host.until - now == longest


def test_a_long_row_of_ejections_is_paid_off_in_time() -> None:
    """The number grows no further than the longest ejection, so that healthy intervals bring it down soon."""
    host = Host(interval=10_000, base=30_000)
    now = NOW
    for _ in range(50):
        assert host.eject(now)
        now = host.until
    assert host.ejections == 11
    assert host.eject(now + 50_000)
    assert host.ejections == 7


def test_hosts_come_back_at_a_sweep() -> None:
    host = Host(interval=10_000, base=1_000)
    host.eject(NOW)
    assert 1_000 <= host.until - NOW <= 10_000


def test_a_host_that_returns_starts_from_nothing() -> None:
    """Errors that were under way when it was ejected are not held against it later."""
    host = Host(consecutive_5xx=5, consecutive_gateway=3)
    assert [host.status(status) for status in (500, 503, 503, 503)] == [False, False, False, True]
    assert host.eject(NOW)
    assert [host.status(500) for _ in range(4)] == [False] * 4


@pytest.mark.parametrize(
    ("percent", "total", "most"),
    [(10, 1, 0), (10, 2, 0), (10, 5, 0), (10, 9, 0), (10, 10, 1), (10, 20, 2), (10, 29, 2), (50, 2, 1), (50, 3, 1),
     (34, 3, 1), (33, 3, 0), (67, 3, 2), (100, 1, 1), (100, 3, 3), (0, 10, 0)],
)  # fmt: skip
def test_share_that_may_be_out(percent: int, total: int, most: int) -> None:
    host, out = Host(max_percent=percent), 0
    while host.may_eject(out, total):
        out += 1
    assert out == most
