"""Ring hash and Maglev: everybody has the same table, shares follow weights, and a change moves as little as can be."""

from __future__ import annotations

import collections
import random

import pytest

from fastmesh.core.base.arena import Arena
from fastmesh.core.route.route_probe import hash_of
from tests.core.route.picking import addresses, ejecting, endpoints, hashing

TABLES = ["ring", "maglev"]
CHANCE = random.Random(3)
HASHES = [CHANCE.getrandbits(64) for _ in range(4000)]


@pytest.mark.parametrize(
    ("data", "seed", "hashed"),
    [
        (b"", 0, 0xEF46DB3751D8E999),
        (b"a", 0, 0xD24EC4F1A98C6E5B),
        (b"abc", 1, 0xBEA9CA8199328908),
        (b"10.0.0.1:80_7", 0, 0x4ABE204356F68C82),
        (b"x" * 32, 0, 0xE2DF261FC2EC30EB),
        (b"Nobody inspects the spammish repetition", 0, 0xFBCEA83C8A378BF1),
        (bytes(range(100)), 7, 0x80653E7E9B887CDD),
    ],
)
def test_xxh64(data: bytes, seed: int, hashed: int) -> None:
    assert hash_of(data, seed) == hashed


def test_the_ring_is_the_one_of_envoy() -> None:
    """Points are XXH64 of `address_number`; a hash belongs to the next point. Made here in the slowest way."""
    hosts = addresses(5)
    points = sorted((hash_of(f"{host}:80_{number}".encode()), f"{host}:80") for host in hosts for number in range(205))
    ring = hashing(endpoints(*hosts))
    assert ring.table() == [owner for _, owner in points]
    for hashed in [*HASHES, 0, 2**64 - 1, points[0][0], points[-1][0], points[7][0] + 1]:
        owner = next((owner for point, owner in points if point >= hashed), points[0][1])
        assert ring.pick(hashed) == owner


def test_a_small_maglev_table() -> None:
    """The table of the algorithm as the paper has it, made in the slowest way."""
    hosts, size = addresses(3), 13
    names = sorted(f"{host}:80" for host in hosts)
    orders = {}
    for name in names:
        offset, skip = hash_of(name.encode()) % size, hash_of(name.encode(), 1) % (size - 1) + 1
        orders[name] = [(offset + skip * number) % size for number in range(size)]
    table: list[str] = [""] * size
    while "" in table:
        for name in names:
            if "" in table:
                table[next(place for place in orders[name] if not table[place])] = name
    assert hashing(endpoints(*hosts), table="maglev", size=size).table() == table


@pytest.mark.parametrize("table", TABLES)
def test_the_order_of_endpoints_means_nothing(table: str) -> None:
    hosts = addresses(12)
    one = hashing(endpoints(*hosts), table=table)
    CHANCE.shuffle(hosts)
    assert hashing(endpoints(*hosts), table=table).table() == one.table()


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_is_built_in_slices_is_the_same(table: str) -> None:
    hosts = addresses(40)
    whole = hashing(endpoints(*hosts), table=table, size=65537)
    sliced = hashing(endpoints(*hosts), table=table, size=65537, slice_ns=1)
    assert whole.slices == 1
    assert sliced.slices > 15
    assert sliced.table() == whole.table()


@pytest.mark.parametrize("table", TABLES)
def test_shares_follow_weights(table: str) -> None:
    hosts = addresses(4)
    one = hashing(endpoints(*hosts, weights={hosts[0]: 5}), table=table, size=65537)
    counts = collections.Counter(one.table())
    whole = sum(counts.values())
    assert counts[f"{hosts[0]}:80"] / whole == pytest.approx(5 / 8, abs=0.001)
    assert counts[f"{hosts[1]}:80"] / whole == pytest.approx(1 / 8, abs=0.001)
    got = collections.Counter(one.pick(hashed) for hashed in HASHES)
    assert got[f"{hosts[0]}:80"] / len(HASHES) == pytest.approx(5 / 8, abs=0.05)


@pytest.mark.parametrize(("table", "lost"), [("ring", 0.0), ("maglev", 0.03)])
def test_a_new_endpoint_takes_only_its_share(table: str, lost: float) -> None:
    hosts = addresses(10)
    before, after = hashing(endpoints(*hosts), table=table), hashing(endpoints(*hosts, "10.9.9.9"), table=table)
    moved = [(before.pick(hashed), after.pick(hashed)) for hashed in HASHES]
    taken = sum(now == "10.9.9.9:80" for _, now in moved)
    others = sum(then != now != "10.9.9.9:80" for then, now in moved)
    assert 0.05 < taken / len(HASHES) < 0.16
    # The ring of eleven has fewer points of each (94 instead of 103): what those owned moves, too
    assert others / len(HASHES) <= (0.1 if table == "ring" else lost)


@pytest.mark.parametrize("table", TABLES)
def test_only_the_requests_of_an_ejected_endpoint_move(table: str) -> None:
    hosts = addresses(5)
    arena = Arena.create(1 << 20, 4)
    one, other = (
        hashing(endpoints(*hosts), arena=arena, slot=slot, table=table, outlier=ejecting()) for slot in (0, 1)
    )
    before = [one.pick(hashed) for hashed in HASHES]
    out = f"{hosts[2]}:80"
    assert one.report(out, 500)
    after = [other.pick(hashed) for hashed in HASHES]  # the other worker knows
    assert all(now == then for then, now in zip(before, after, strict=True) if then != out)
    instead = collections.Counter(now for then, now in zip(before, after, strict=True) if then == out)
    assert out not in instead
    assert len(instead) == 4, "they go to all the others, not to one"
    assert [one.pick(hashed, now=1000 + 30_000) for hashed in HASHES] == before, "and they come back"


@pytest.mark.parametrize("table", TABLES)
def test_nobody_left(table: str) -> None:
    assert hashing([], table=table).pick(7) is None
    hosts = addresses(2)
    one = hashing(endpoints(*hosts), table=table, outlier=ejecting())
    for host in hosts:
        assert one.report(f"{host}:80", 500)
    assert one.pick(7) is None
    panicking = hashing(endpoints(*hosts), table=table, outlier=ejecting(panic=50))
    for host in hosts:
        panicking.report(f"{host}:80", 500)
    assert panicking.pick(7) in {f"{host}:80" for host in hosts}


def test_who_was_tried_is_passed_by_along_the_table_and_no_hash_goes_anywhere() -> None:
    """Whether a retry says whom it tried is the rule's matter: by default it stays with the hash."""
    one = hashing(endpoints(*addresses(4)))
    first = one.pick(99)
    second = one.pick(99, tried=(first,))
    assert second != first
    assert one.pick(99, tried=(first,)) == second
    assert one.pick(99, tried=(first, second)) not in (first, second)
    assert one.pick(99, tried=tuple(f"{host}:80" for host in addresses(4))) == first
    assert len({one.pick() for _ in range(200)}) == 4
