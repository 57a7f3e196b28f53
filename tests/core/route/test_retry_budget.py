"""How many retries may be under way, and where a retry goes."""

from __future__ import annotations

import pytest

from fastmesh.core.base.arena import Arena
from tests.core.route.picking import ejecting, endpoints, picker


@pytest.mark.parametrize(
    ("budget", "active", "most"),
    [
        ((0.2, 3, 0), 25, 5),  # the example of Istio's page
        ((0.2, 3, 0), 2, 3),
        ((0.2, 3, 0), 29, 5),
        ((0.2, 3, 0), 30, 6),
        ((0.0, 3, 0), 1000, 3),
        ((1.0, 1, 0), 7, 7),
    ],
)
def test_budget(budget: tuple[float, int, int], active: int, most: int) -> None:
    one = picker(endpoints("10.0.0.1"), retry_budget=budget, max_retries=1)  # the budget stands instead of it
    allowed = []
    for retries in range(1, 20):
        one.load(active, retries)
        allowed.append(one.retry_allowed())
    assert allowed == [retries <= most for retries in range(1, 20)]


def test_it_is_the_budget_of_all_workers() -> None:
    arena = Arena.create(1 << 20, 4)
    one, other = (picker(endpoints("10.0.0.1"), arena, slot, retry_budget=(0.2, 1, 0)) for slot in (0, 1))
    one.load(10, 1)
    other.load(10, 3)
    assert one.retry_allowed()
    other.load(10, 4)
    assert not one.retry_allowed()


def test_with_an_interval_requests_count_that_have_ended() -> None:
    one = picker(endpoints("10.0.0.1"), retry_budget=(0.1, 1, 1000))
    one.load(5, 1)
    assert one.retry_allowed(50_000)
    one.load(5, 10, ended=100)  # a hundred since: a tenth may be retries
    assert one.retry_allowed(50_500)
    one.load(5, 11, ended=100)
    assert not one.retry_allowed(50_500)
    one.load(5, 2, ended=100)
    assert one.retry_allowed(51_000), "the last interval counts while the next one fills"
    assert not one.retry_allowed(53_000), "and is forgotten"


def test_none_and_the_older_limit() -> None:
    one = picker(endpoints("10.0.0.1"))
    one.load(1, 1000)
    assert one.retry_allowed()
    limited = picker(endpoints("10.0.0.1"), max_retries=2)
    limited.load(1, 2)
    assert limited.retry_allowed()
    limited.load(1, 3)
    assert not limited.retry_allowed()


def test_a_retry_elsewhere_goes_to_another_priority() -> None:
    """retryRemoteLocalities: priorities that were tried are left out, and those where nobody is healthy."""
    made = endpoints("10.0.0.1") + endpoints("10.0.0.2", priority=1) + endpoints("10.0.0.3", priority=2)
    one = picker(made, outlier=ejecting())
    assert one.elsewhere(("10.0.0.1:80",)) == "10.0.0.2:80"
    assert one.elsewhere(("10.0.0.1:80", "10.0.0.2:80")) == "10.0.0.3:80"
    assert one.elsewhere(("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")) is None
    one.report("10.0.0.2:80", 500)
    assert one.elsewhere(("10.0.0.1:80",)) == "10.0.0.3:80"
