"""Who gets the next request: exact where it can be, within chance where it is drawn."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.running import Proxy
from tests.traffic import (
    Client,
    Gate,
    Replica,
    ask,
    destination_rule,
    eventually,
    replicas,
    replicas_of,
    to,
    together,
    virtual_service,
)


def policy(simple: str) -> dict[str, object]:
    return {"loadBalancer": {"simple": simple}}


@pytest.fixture(scope="module")
def made() -> Iterator[list[Replica]]:
    with replicas("a", "b", "c") as three:
        yield three


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, made: list[Replica]) -> Iterator[Proxy]:
    ports, versions = [one.port for one in made], ("v1", "v2", "v2")
    yaml = ""
    for host, simple in (("turns", "ROUND_ROBIN"), ("chance", "RANDOM"), ("load", "LEAST_REQUEST")):
        yaml += replicas_of(host, *ports) + destination_rule(host, policy(simple))
    for host, simple in (("heavy", "ROUND_ROBIN"), ("heavy-chance", "RANDOM"), ("heavy-load", "LEAST_REQUEST")):
        yaml += replicas_of(host, *ports, weights=(1, 3, 0)) + destination_rule(host, policy(simple))
    yaml += replicas_of("split", *ports, versions=versions) + destination_rule("split", None, "v1", "v2")
    shares = [{**to("split", "v1")[0], "weight": 80}, {**to("split", "v2")[0], "weight": 20}]
    yaml += virtual_service("split", {"route": shares})
    yaml += replicas_of("odd", *ports, versions=versions) + destination_rule("odd", policy("ROUND_ROBIN"), "v1", "v2")
    shares = [{**to("odd", "v1")[0], "weight": 1}, {**to("odd", "v2")[0], "weight": 2}, {**to("split", "v1")[0]}]
    yaml += virtual_service("odd", {"route": shares})
    with Proxy(tmp_path_factory.mktemp("balancing"), yaml, workers=2) as one:
        yield one


def spread(proxy: Proxy, host: str, times: int, clients: int = 6) -> collections.Counter[str]:
    """Who answered, over several connections, so that both workers take part."""

    def some() -> list[str]:
        with Client(proxy.port, host) as client:
            return [client.ask().text for _ in range(times // clients)]

    return collections.Counter(name for names in together([some] * clients) for name in names)


def test_round_robin_is_exact_over_two_workers(proxy: Proxy) -> None:
    for _ in range(3):
        assert spread(proxy, "turns", 300) == {"a": 100, "b": 100, "c": 100}


def test_random_spreads(proxy: Proxy) -> None:
    counts = spread(proxy, "chance", 1200)
    assert sum((counts[name] - 400) ** 2 / 400 for name in "abc") < 18.4  # chi-squared, 2 degrees, p = 0.0001


def test_weights_of_workloads(proxy: Proxy) -> None:
    """1, 3 and the default, which is 1."""
    assert spread(proxy, "heavy", 300) == {"a": 60, "b": 180, "c": 60}
    counts = spread(proxy, "heavy-chance", 1200)
    assert abs(counts["b"] - 720) < 70
    assert abs(counts["a"] - 240) < 60
    counts = spread(proxy, "heavy-load", 1200)
    print(counts)
    assert counts["b"] > counts["a"] * 1.8
    assert counts["b"] > counts["c"] * 1.8


def test_shares_of_subsets(proxy: Proxy) -> None:
    counts = spread(proxy, "split", 2000, 8)
    assert abs(counts["a"] - 1600) < 75
    assert abs(counts["b"] - counts["c"]) < 90


def test_weights_need_not_make_a_hundred(proxy: Proxy) -> None:
    counts = spread(proxy, "odd", 900)
    assert abs(counts["a"] - 300) < 65
    assert abs(counts["b"] - counts["c"]) <= 2, "round robin in the subset"


def test_least_request_avoids_the_busy_one(proxy: Proxy, made: list[Replica]) -> None:
    gate = Gate()
    old, made[0].act = made[0].act, gate
    with ThreadPoolExecutor(60) as threads:
        try:
            held = []
            while gate.held < 5:  # busy with five, whichever worker sent them
                held.append(threads.submit(ask, proxy, host="load"))
                eventually(lambda: held[-1].done() or sum(not one.done() for one in held) == gate.held)
            made_before = [one.count() for one in made]
            answers = [threads.submit(ask, proxy, host="load") for _ in range(30)]
            eventually(lambda: sum(one.done() for one in answers) + gate.held - 5 >= 30)
            got = [one.count() - before for one, before in zip(made, made_before, strict=True)]
        finally:
            made[0].act = old
            gate.opened.set()
    print(got)
    assert got[0] <= 9  # drawn twice in a row: one of nine; by chance alone it would be ten
    assert min(got[1:]) >= 7


def test_a_worker_that_knows_nothing_deals_on(tmp_path: Path) -> None:
    """One request per connection: each may meet the other worker, and the order goes on."""
    with replicas("a", "b", "c", "d") as four:
        yaml = replicas_of("app", *(one.port for one in four)) + destination_rule("app", policy("ROUND_ROBIN"))
        with Proxy(tmp_path, yaml, workers=2) as proxy:
            names = [ask(proxy).text for _ in range(40)]
    assert names == names[:4] * 10
    assert len(set(names[:4])) == 4
