"""The floods of test_http2_attacks.py as long as the advisories have them, beside a client in a process of its own.

An attack goes on for some seconds, on connection after connection, as the proxy ends each of them soon.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adversity.bystander import Bystander
from tests.adversity.test_bodies import rss
from tests.adversity.test_http2_attacks import ROWS, Arena, Row, flood, one_byte_frames
from tests.http2 import SETTINGS, Http2
from tests.running import Proxy
from tests.traffic import eventually, replicas_of

pytestmark = pytest.mark.slow

FRAMES = 1_000_000  # in all, at least
EACH = 100_000  # offered on one connection, of which it takes as many as the limits allow
SECONDS = 4.0  # of attack at least: enough requests beside it for a p99


class Crowd:
    """Two proxies of which one is attacked, and the client of both."""

    def __init__(self, folder: Path, bystander: Bystander) -> None:
        self.bystander = bystander
        calm = replicas_of("calm", bystander.port)
        self.arena = Arena(folder, more=calm)
        (folder / "other").mkdir()
        self.other = Proxy(folder / "other", calm)

    def attacked(self) -> contextlib.AbstractContextManager[None]:
        return self.bystander.unnoticed(self.arena.proxy.port, self.other.port)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    with Bystander() as bystander:
        made = Crowd(tmp_path_factory.mktemp("floods"), bystander)
        with made.arena.app, made.arena.proxy, made.other:
            yield made


def attack(arena: Arena, row: Row) -> float:
    """One connection until the proxy has ended it; how long that took."""
    began = time.monotonic()
    with Http2(arena.proxy.port) as client:
        client.until(SETTINGS)
        flood(arena, client, row.frames(client), EACH, row.read)
        assert client.closed
    return time.monotonic() - began


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_floods_of_a_million(crowd: Crowd, row: Row) -> None:
    arena = crowd.arena
    with arena.measured():  # once, so that the memory that such streams need is there
        attack(arena, row)
    eventually(lambda: arena.counter("http2.streams_active") == 0)
    before, memory = arena.counter(row.counter), rss(arena.worker)
    took: list[float] = []
    with crowd.attacked(), arena.measured() as costs:
        began = time.monotonic()
        while len(took) < FRAMES / EACH or time.monotonic() - began < SECONDS:
            took.append(attack(arena, row))
    eventually(lambda: arena.counter(row.counter) == before + len(took))
    cost, grown = costs[0], rss(arena.worker) - memory
    print(f"{len(took)} connections, each ended within {max(took):.2f} s; RSS {grown:+} KiB")
    assert cost.victim_failed == 0
    assert cost.proxy_cpu <= 10 * cost.own_cpu
    assert cost.upstream <= len(took) * row.upstream
    assert grown <= (4096 if row.upstream else 1024)


def test_a_million_one_byte_frames(crowd: Crowd) -> None:
    with crowd.attacked():
        one_byte_frames(crowd.arena, 1_000_000)
