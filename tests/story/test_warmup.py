"""warmup and retryBudget with traffic: a replica that is new gets little at first; retries are a share of requests."""

from __future__ import annotations

import collections
import time
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
    reload,
    replicas,
    replicas_of,
    stats,
    thing,
    together,
    virtual_service,
)


def mesh(made: list[Replica], simple: str, duration: str) -> str:
    policy = {"loadBalancer": {"simple": simple, "warmup": {"duration": duration, "minimumPercent": 0}}}
    return replicas_of("app", *(replica.port for replica in made)) + destination_rule("app", policy)


def met(proxy: Proxy, times: int = 400) -> collections.Counter[str]:
    def some() -> list[str]:
        with Client(proxy.port, "app") as client:
            return [client.ask().text for _ in range(times // 4)]

    return collections.Counter(name for names in together([some] * 4) for name in names)


@pytest.mark.parametrize("simple", ["ROUND_ROBIN", "LEAST_REQUEST"])
def test_a_new_replica_gets_little_at_first(tmp_path: Path, simple: str) -> None:
    """In a warm-up of an hour replicas are worth what they are old: the third one is younger than the others."""
    with replicas("a", "b", "c") as made, Proxy(tmp_path, mesh(made[:2], simple, "1h"), workers=2) as proxy:
        began = time.monotonic()
        counts = met(proxy)
        assert counts["a"] == pytest.approx(200, abs=60), "both are new: both are equal"
        eventually(lambda: met(proxy, 40) and time.monotonic() - began > 1.5)
        reload(proxy, mesh(made, simple, "1h"))
        assert met(proxy, 200)["c"] < 50
        reload(proxy, mesh(made, simple, "1h") + replicas_of("other", made[0].port))
        assert met(proxy, 200)["c"] < 55, "another reload does not make the others new"
        reload(proxy, mesh(made, simple, "1ms"))
        assert met(proxy, 300)["c"] == pytest.approx(100, abs=35)


def test_retries_are_a_share_of_requests(tmp_path: Path) -> None:
    """All answers are 503 and retries wait at a gate: one of them may, whatever asks."""
    policy = {"retryBudget": {"percent": 0, "minRetryConcurrency": 1}}
    with replicas("a", "b") as made:
        gate = Gate()
        for replica in made:
            replica.act = lambda request: (
                503 if request.headers["x-envoy-attempt-count"] == "1" else gate(request) or 200
            )
        yaml = replicas_of("app", *(replica.port for replica in made)) + destination_rule("app", policy)
        yaml += virtual_service("app", {"retries": {"attempts": 1, "retryOn": "5xx", "backoff": "1ms"}})
        with Proxy(tmp_path, yaml, workers=2) as proxy:

            def one() -> int:
                return ask(proxy).status

            def opened() -> int:
                eventually(lambda: gate.held == 1 and sum(stats(proxy, "app.*retry_overflow").values()) == 9)
                gate.opened.set()
                return 0

            answers = collections.Counter(together([opened, *[one] * 10]))
    assert answers == {0: 1, 200: 1, 503: 9}


def test_retries_go_to_other_localities(tmp_path: Path) -> None:
    """retryRemoteLocalities: after two tries the next priority is asked, though the first one is healthy."""
    places = {"here": "eu/a/1", "there": "us/a/1"}
    with replicas(*places) as made:
        made[0].act = lambda request: 503

        def yaml(remote: bool) -> str:
            retries = {"attempts": 3, "retryOn": "5xx", "backoff": "1ms", "retryRemoteLocalities": remote}
            text = replicas_of("app") + virtual_service("app", {"retries": retries})
            text += destination_rule("app", {"outlierDetection": {"consecutive5xxErrors": 100}})
            for replica in made:
                entry = {"address": "127.0.0.1", "ports": {"http": replica.port}, "labels": {"app": "app"}}
                text += thing("WorkloadEntry", replica.name, {**entry, "locality": places[replica.name]})
            return text

        with Proxy(tmp_path, yaml(True), "--locality", "eu/a/1") as proxy:
            assert ask(proxy).text == "there"
            assert [replica.count() for replica in made] == [2, 1]
            reload(proxy, yaml(False))
            assert ask(proxy).status == 503
