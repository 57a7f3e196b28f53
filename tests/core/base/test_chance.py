"""The random numbers are xoshiro256++'s, and `below` is uniform."""

from __future__ import annotations

import pytest

from fastmesh.core.base.base_probe import Chance


def test_the_authors_numbers() -> None:
    chance = Chance(state=(1, 2, 3, 4))
    wanted = [41943041, 58720359, 3588806011781223, 3591011842654386, 9228616714210784205, 9973669472204895162]
    assert [chance.next() for _ in wanted] == wanted


def test_seeding_is_splitmix64() -> None:
    assert Chance(0).state == (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC)
    assert Chance(1).state != Chance(2).state


@pytest.mark.parametrize("bound", [1, 2, 3, 7, 100, 1_000_000, 2**32 - 1])
def test_below_stays_below(bound: int) -> None:
    chance = Chance(7)
    assert all(0 <= chance.below(bound) < bound for _ in range(10_000))


def test_below_is_uniform() -> None:
    chance, counts = Chance(42), [0] * 10
    for _ in range(100_000):
        counts[chance.below(10)] += 1
    assert sum((count - 10_000) ** 2 / 10_000 for count in counts) < 27.9  # chi-squared, 9 degrees, p = 0.001
