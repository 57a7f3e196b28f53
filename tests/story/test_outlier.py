"""outlierDetection with traffic: who fails is left out, for as long as was asked, by all workers at once."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.running import Proxy, reset
from tests.traffic import (
    Action,
    Replica,
    Request,
    Story,
    ask,
    destination_rule,
    eventually,
    replicas,
    replicas_of,
    stats,
    together,
    virtual_service,
)

EJECTED = "ejections_active"


class Sick:
    """What a replica does: 200 until told otherwise."""

    def __init__(self) -> None:
        self.action: Action | Callable[[Request], Action] = 200

    def __call__(self, request: Request) -> Action:
        return self.action(request) if callable(self.action) else self.action


def mesh(made: list[Replica], *, retries: int = 0, **detection: Any) -> str:
    policy = {
        "outlierDetection": {"interval": "100ms", "baseEjectionTime": "500ms", "maxEjectionPercent": 100, **detection},
        "loadBalancer": {"simple": "ROUND_ROBIN"},
    }
    yaml = replicas_of("app", *(replica.port for replica in made)) + destination_rule("app", policy)
    return yaml + virtual_service("app", {"retries": {"attempts": retries}})


def asked(proxy: Proxy, times: int) -> collections.Counter[int]:
    return collections.Counter(ask(proxy).status for _ in range(times))


def counts(made: list[Replica], do: Callable[[], object]) -> list[int]:
    before = [replica.count() for replica in made]
    do()
    return [replica.count() - count for replica, count in zip(made, before, strict=True)]


@pytest.mark.quiet
def test_the_fifth_5xx_in_a_row_ejects_and_time_brings_back(tmp_path: Path) -> None:
    with replicas("a", "b", "c") as made, Story(tmp_path, mesh(made)) as story:
        sick = Sick()
        made[0].act = sick
        sick.action = 500
        assert asked(story.proxy, 15)[500] == 5
        assert sum(story.stats(EJECTED).values()) == 1
        began = time.monotonic()
        assert counts(made, lambda: asked(story.proxy, 20)) == [0, 10, 10]
        sick.action = 200
        before = made[0].count()
        eventually(lambda: ask(story.proxy).status == 200 and made[0].count() > before)
        assert 0.4 < time.monotonic() - began < 0.9
        assert counts(made, lambda: asked(story.proxy, 30)) == [10, 10, 10]
        assert sum(story.stats(EJECTED).values()) == 0


@pytest.mark.quiet
def test_each_ejection_is_longer(tmp_path: Path) -> None:
    with (
        replicas("a", "b") as made,
        Story(tmp_path, mesh(made, consecutive5xxErrors=1, baseEjectionTime="300ms", interval="300ms")) as story,
    ):
        made[0].act = lambda request: 500
        times = []
        for _ in range(3):
            before = made[0].count()
            eventually(lambda before=before: ask(story.proxy) and made[0].count() > before)  # type: ignore[misc]
            times.append(time.monotonic())
        assert 0.25 < times[1] - times[0] < 0.5
        assert 0.55 < times[2] - times[1] < 0.85


def test_a_success_in_between_keeps_it(tmp_path: Path) -> None:
    with replicas("a", "b") as made, Story(tmp_path, mesh(made)) as story:
        made[0].act = lambda request: 200 if request.replica.count() % 5 == 0 else 500
        assert asked(story.proxy, 60)[500] == 24
        assert sum(story.stats(EJECTED).values()) == 0


@pytest.mark.parametrize("how", ["refused", "closed", "reset", "junk", "timeout"])
def test_failures_of_the_way_count_as_5xx(tmp_path: Path, how: str) -> None:
    def fail(request: Request) -> Action:
        if how == "reset":
            reset(request.connection)
            raise ConnectionResetError
        if how == "timeout":
            time.sleep(0.3)
        return b"junk\r\n\r\n" if how == "junk" else None

    with replicas("a", "b") as made:
        made[0].act = fail
        if how == "refused":
            made[0].port = free_port()
        yaml = mesh(made, consecutive5xxErrors=3, baseEjectionTime="60s")
        yaml = yaml.replace('"attempts": 0', '"attempts": 0}, "timeout": "100ms", "headers": {')
        with Story(tmp_path, yaml) as story:
            seen = collections.Counter(ask(story.proxy, "/", "POST").status for _ in range(30))
            assert seen == {200: 27, {"timeout": 504, "junk": 502}.get(how, 503): 3}
            assert sum(story.stats(EJECTED).values()) == 1


def test_gateway_errors_only(tmp_path: Path) -> None:
    yaml_of = {"consecutive5xxErrors": 0, "consecutiveGatewayErrors": 3}
    with replicas("a", "b") as made, Story(tmp_path, mesh(made, **yaml_of)) as story:
        made[0].act = lambda request: 500
        assert asked(story.proxy, 40)[500] == 20
        made[0].act = lambda request: 503
        assert asked(story.proxy, 10)[503] == 3


def test_split_local_errors(tmp_path: Path) -> None:
    split = {"splitExternalLocalOriginErrors": True, "consecutiveLocalOriginFailures": 2, "consecutive5xxErrors": 4}
    with replicas("a", "b") as made, Story(tmp_path, mesh(made, **split)) as story:
        made[0].act = lambda request: (500, 500, 500, 200)[request.replica.count() % 4]
        assert asked(story.proxy, 40)[500] == 15
        made[0].act = lambda request: None
        assert collections.Counter(ask(story.proxy, "/", "POST").status for _ in range(20))[503] == 2


@pytest.mark.parametrize(("hosts", "sick", "ejected"), [(2, 1, 0), (5, 2, 0), (10, 1, 1), (10, 3, 1)])
def test_ten_per_cent(tmp_path: Path, hosts: int, sick: int, ejected: int) -> None:
    """The candidate counts: of fewer than ten hosts none may go."""
    with replicas(*(str(n) for n in range(hosts))) as made:
        for replica in made[:sick]:
            replica.act = lambda request: 500
        with Proxy(
            tmp_path, mesh(made, consecutive5xxErrors=2, maxEjectionPercent=10, baseEjectionTime="60s")
        ) as proxy:
            asked(proxy, hosts * 4)
            assert sum(stats(proxy, EJECTED).values()) == ejected
            assert counts(made, lambda: asked(proxy, 90)).count(0) == ejected


def test_two_workers_see_the_same_ejections(tmp_path: Path) -> None:
    with replicas("a", "b", "c") as made:
        made[1].act = lambda request: 503
        with Proxy(tmp_path, mesh(made, baseEjectionTime="60s"), workers=2) as proxy:
            assert asked(proxy, 60)[503] == 5  # in all, not in each worker
            assert counts(made, lambda: asked(proxy, 60)) == [30, 0, 30]


def test_a_retry_hides_it(tmp_path: Path) -> None:
    with replicas("a", "b") as made:
        made[0].act = lambda request: 503
        yaml = mesh(made, retries=2).replace('"attempts": 2', '"attempts": 2, "retryOn": "5xx", "backoff": "1ms"')
        with Proxy(tmp_path, yaml) as proxy:
            assert asked(proxy, 40) == {200: 40}
            assert made[0].count() == 5


def test_never_none_while_one_is_healthy(tmp_path: Path) -> None:
    """Four of five hosts fail in four ways: their errors are seen, `no healthy upstream` never."""
    with replicas("a", "b", "c", "d", "e") as made:
        made[0].act = lambda request: 500
        made[1].act = lambda request: None
        made[2].act = lambda request: b"junk\r\n\r\n"
        made[3].port = free_port()
        yaml = mesh(made, consecutive5xxErrors=2, baseEjectionTime="200ms")
        with Story(tmp_path, yaml, workers=2) as story:
            ends = time.monotonic() + 2.5

            def load() -> int:
                times = 0
                while time.monotonic() < ends:
                    ask(story.proxy)
                    times += 1
                return times

            total = sum(together([load] * 6))
            eventually(lambda: len(story.lines()) >= total)
            flags = collections.Counter(line["response_flags"] for line in story.lines())
            print(flags)
            assert "UH" not in flags
            assert flags["-"] > total * 0.8


def test_all_out_is_uh_and_ends(tmp_path: Path) -> None:
    with replicas("a", "b") as made:
        for replica in made:
            replica.act = lambda request: 500
        with Story(tmp_path, mesh(made, consecutive5xxErrors=1)) as story:
            assert asked(story.proxy, 2) == {500: 2}
            answer, line = story.ask()
            assert (answer.status, answer.text, line["response_flags"]) == (503, "no healthy upstream", "UH")
            for replica in made:
                replica.act = lambda request: 200
            eventually(lambda: ask(story.proxy).status == 200)


def test_panic_threshold(tmp_path: Path) -> None:
    """minHealthPercent: with fewer healthy hosts than that, health is ignored."""
    with replicas("a", "b", "c", "d") as made:
        for replica in made[:3]:
            replica.act = lambda request: 500
        yaml = mesh(made, consecutive5xxErrors=1, baseEjectionTime="60s", minHealthPercent=40)
        with Proxy(tmp_path, yaml) as proxy:
            asked(proxy, 12)
            assert sum(stats(proxy, EJECTED).values()) == 3
            assert asked(proxy, 40) == {200: 10, 500: 30}


def test_ejections_survive_a_reload(tmp_path: Path) -> None:
    with replicas("a", "b") as made:
        made[0].act = lambda request: 500
        yaml = mesh(made, baseEjectionTime="60s")
        with Story(tmp_path, yaml, workers=2) as story:
            assert asked(story.proxy, 20)[500] == 5
            story.reload(yaml + replicas_of("other", made[1].port))
            assert asked(story.proxy, 20) == {200: 20}
