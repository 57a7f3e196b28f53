"""The memory that workers share: one entry per key whoever asks first, gauges that die with their worker."""

from __future__ import annotations

import os

import pytest

from fastmesh.core.base.arena import Arena
from fastmesh.core.base.base_probe import Words, hash

CLUSTER, ENDPOINT, BUCKET, WORKER = 1, 2, 3, 6
CLUSTER_ROW, ENDPOINT_ROW, OUTLIER_WORDS = 32, 8, 8


def test_words_are_shared_by_mappings_and_start_at_zero() -> None:
    arena = Arena.create(8 << 20, 4)
    first = Words(arena, CLUSTER, b"a", 64)
    second = Words(Arena.attach(arena.fd), CLUSTER, b"a", 64)
    assert [first[i] for i in range(64)] == [0] * 64
    first[63] = 2**64 - 1
    assert second[63] == 2**64 - 1
    assert arena.usage[2] == 1


def test_keys_kinds_and_prefixes_are_different_entries() -> None:
    arena = Arena.create(8 << 20, 2)
    keys = [(kind, key) for kind in (CLUSTER, BUCKET) for key in (b"", b"a", b"ab", b"a\0", b"\0a", b"a" * 300)]
    made = [Words(arena, kind, key, 8) for kind, key in keys]
    for number, words in enumerate(made):
        words[0] = number + 1
    assert [words[0] for words in made] == list(range(1, len(made) + 1))
    assert sorted((kind, key) for kind, key, _ in arena.entries()) == sorted(keys)
    assert arena.usage[2:] == (len(keys), 0)


def test_ten_thousand_entries() -> None:
    arena = Arena.create(64 << 20, 2)
    for number in range(10_000):
        Words(arena, ENDPOINT, b"outbound|80||%d" % number, 24)[0] = number
    assert all(Words(arena, ENDPOINT, b"outbound|80||%d" % number, 24)[0] == number for number in range(10_000))
    assert arena.usage[2:] == (10_000, 0)


def test_processes_that_ask_at_once_get_the_same_words() -> None:
    arena = Arena.create(16 << 20, 8)
    children = []
    for slot in range(4):
        child = os.fork()
        if child == 0:
            mine = Arena.attach(arena.fd)
            for round in range(300):
                words = Words(mine, CLUSTER, b"cluster-%d" % round, CLUSTER_ROW * 8)
                words.add(1, 100)
                words.bump(slot * CLUSTER_ROW + 4, 100)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    for round in range(300):
        words = Words(arena, CLUSTER, b"cluster-%d" % round, CLUSTER_ROW * 8)
        assert words[1] == 400
        assert words.sum_rows(4, CLUSTER_ROW, 8) == 400
    assert arena.usage[2:] == (300, 0)


def test_a_full_arena_says_so_and_breaks_nothing() -> None:
    arena = Arena.create(2 << 20, 2)
    before = Words(arena, CLUSTER, b"before", 64)
    before[0] = 7
    for number in range(20_000):
        Words(arena, CLUSTER, b"%d" % number, 64)[1] = 1
    _, _, made, full = arena.usage
    assert full > 0
    assert made + full >= 20_001
    assert len(arena.entries()) == made
    assert Words(arena, CLUSTER, b"before", 64)[0] == before[0] == 7
    assert Words(arena, CLUSTER, b"0", 64)[1] == 1


def test_a_dead_worker_holds_nothing() -> None:
    arena = Arena.create(8 << 20, 3)
    cluster = Words(arena, CLUSTER, b"c", CLUSTER_ROW * 3)
    endpoint = Words(arena, ENDPOINT, b"e", OUTLIER_WORDS + ENDPOINT_ROW * 3)
    for words in (cluster, endpoint):
        for i in range(words.count):
            words[i] = 9
    arena.release_slot(1)
    rows = [[cluster[slot * CLUSTER_ROW + i] for i in range(CLUSTER_ROW)] for slot in range(3)]
    assert rows == [[9] * 32, [0] * 4 + [9] * 28, [9] * 32]
    assert [endpoint[i] for i in range(OUTLIER_WORDS)] == [9] * OUTLIER_WORDS  # shared: no worker's own
    rows = [[endpoint[OUTLIER_WORDS + slot * ENDPOINT_ROW + i] for i in range(ENDPOINT_ROW)] for slot in range(3)]
    assert rows == [[9] * 8, [0, 0] + [9] * 6, [9] * 8]


def test_another_layout_is_refused() -> None:
    fd = os.memfd_create("not-an-arena")
    os.ftruncate(fd, 1 << 20)
    with pytest.raises(ValueError, match="another layout"):
        Arena.attach(fd)
    os.close(fd)


def test_hash_tells_near_keys_apart() -> None:
    keys = {
        hash(b"outbound|80|v%d|reviews.default.svc.cluster.local\0%d" % (a, b)) for a in range(100) for b in range(100)
    }
    assert len(keys) == 10_000
    assert len({key & 0xFFFF for key in keys}) > 8_000
    assert hash(b"a", 1) != hash(b"a", 2)
    assert hash(b"a") != hash(b"a\0")
