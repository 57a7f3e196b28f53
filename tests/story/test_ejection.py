"""Resilience `ejection` with real endpoints: slow ones are left out, and trials bring ejected ones back."""

from __future__ import annotations

import collections
import threading
import time
from pathlib import Path
from typing import Any

from tests.story.test_health_checks import health_check, healthy
from tests.story.test_outlier import Sick, asked, counts
from tests.traffic import (
    Action,
    Gate,
    Request,
    Story,
    ask,
    destination_rule,
    eventually,
    replicas,
    replicas_of,
    thing,
    virtual_service,
)

OWN = "fastmesh.io/v1alpha1"
EJECTED = "ejections_active"


def mesh(
    *ports: int, detection: dict[str, Any] | None = None, rule: dict[str, Any] | None = None, **ejection: Any
) -> str:
    policy: dict[str, Any] = {"loadBalancer": {"simple": "ROUND_ROBIN"}}
    if detection is not None:
        policy["outlierDetection"] = {
            "consecutive5xxErrors": 1, "interval": "10ms", "baseEjectionTime": "100ms", "maxEjectionPercent": 100,
            **detection,
        }  # fmt: skip
    rules = virtual_service("app", {"retries": {"attempts": 0}, **(rule or {})})
    return (
        replicas_of("app", *ports)
        + destination_rule("app", policy)
        + rules
        + thing("Resilience", "app", {"host": "app", "ejection": ejection}, OWN)
    )


def number(story: Story, name: str) -> int:
    return sum(story.stats(name).values())


class Slow(Sick):
    """Takes its time while it is told to."""

    seconds = 0.0

    def __call__(self, request: Request) -> Action:
        time.sleep(self.seconds)
        return super().__call__(request)


WINDOWS = {"interval": "100ms", "intervals": 2, "minRequests": 3, "floor": "20ms"}


def test_a_slow_endpoint_is_ejected_by_all_workers_and_has_to_be_fast_to_come_back(tmp_path: Path) -> None:
    slow = Slow()
    slow.seconds = 0.1
    with replicas("a", "b", "c") as made:
        made[0].act = slow
        yaml = mesh(
            *(each.port for each in made),
            latency={"timesPeers": 3, **WINDOWS},
            baseEjectionTime="200ms",
            halfOpen={"successes": 2},
        )
        with Story(tmp_path, yaml, workers=2) as story:
            eventually(lambda: ask(story.proxy).status == 200 and number(story, EJECTED) == 1)
            assert number(story, "ejections_enforced_latency") == 1
            assert "ejected for 0.2 s: p50 of 1" in story.proxy.text()
            assert "/failed_outlier_check" in story.proxy.get("/clusters")[1]
            assert "fastmesh_cluster_latency_ejections_total" in story.proxy.get("/stats/prometheus")[1]
            eventually(lambda: ask(story.proxy).status == 200 and "a trial failed" in story.proxy.text())
            assert number(story, EJECTED) == 1
            slow.seconds = 0
            eventually(lambda: ask(story.proxy).status == 200 and number(story, EJECTED) == 0)
            assert counts(made, lambda: asked(story.proxy, 30)) == [10, 10, 10]


def test_all_slow_is_nobody_slow_but_for_the_bound(tmp_path: Path) -> None:
    slow = Slow()
    slow.seconds = 0.04
    with replicas("a", "b", act=slow) as made:
        yaml = mesh(*(each.port for each in made), latency={"timesPeers": 5, **WINDOWS, "intervals": 1})
        with Story(tmp_path, yaml) as story:
            asked(story.proxy, 20)
            assert (number(story, EJECTED), number(story, "latency_median_usecs") > 30_000) == (0, True)
            story.reload(yaml.replace('"timesPeers": 5', '"above": "30ms"'))
            eventually(lambda: ask(story.proxy).status == 200 and number(story, EJECTED) == 1)
            asked(story.proxy, 20)
            assert number(story, EJECTED) == 1, "half of them at most"


def test_attempts_that_are_given_up_are_slow_ones(tmp_path: Path) -> None:
    """A time-out, and the one that lost against its hedge, took at least that long."""
    hedged = thing("RoutePolicy", "app", {"hedge": {"after": "50ms"}}, OWN)
    cases: list[tuple[str, dict[str, Any]]] = [("", {"timeout": "60ms"}), (hedged, {})]
    for more, rule in cases:
        slow = Slow()
        slow.seconds = 0.5
        with replicas("a", "b") as made:
            made[0].act = slow
            yaml = mesh(*(each.port for each in made), latency={"above": "40ms", **WINDOWS, "intervals": 1}, rule=rule)
            with Story(tmp_path, yaml + more) as story:
                eventually(lambda story=story: ask(story.proxy) and number(story, EJECTED) == 1)  # type: ignore[misc]
                assert asked(story.proxy, 5) == {200: 5}


def test_one_trial_at_a_time_and_a_failure_ejects_again(tmp_path: Path) -> None:
    gate = Gate()
    with (
        replicas("a", "b") as made,
        Story(
            tmp_path, mesh(*(each.port for each in made), detection={}, halfOpen={"successes": 2}), workers=2
        ) as story,
    ):
        made[0].act = lambda request: 500
        assert asked(story.proxy, 2) == {200: 1, 500: 1}
        eventually(lambda: ask(story.proxy) and "a trial failed" in story.proxy.text())
        made[0].act = gate
        from_here = made[0].count()

        def load() -> None:
            while not gate.held:
                ask(story.proxy)

        waiting = threading.Thread(target=load, daemon=True)
        waiting.start()
        eventually(lambda: gate.held)
        assert counts(made, lambda: asked(story.proxy, 40)) == [0, 40]
        gate.opened.set()
        waiting.join(10)
        assert made[0].count() == from_here + 1
        assert asked(story.proxy, 20) == {200: 20}
        assert number(story, EJECTED) == 0
        assert "is back: its trials went well" in story.proxy.text()
        assert counts(made, lambda: asked(story.proxy, 20)) == [10, 10]


def test_checks_are_the_trials(tmp_path: Path) -> None:
    sick = Sick()

    def act(request: Request) -> Action:
        return sick(request) if request.replica.name == "a" else 200

    with replicas("a", "b", act=act) as made:
        yaml = mesh(*(each.port for each in made), detection={}, halfOpen={"by": "checks"})
        yaml += health_check(unhealthyThreshold=1000)
        with Story(tmp_path, yaml, workers=2) as story:
            eventually(lambda: healthy(story) == 2)
            sick.action = 500
            assert asked(story.proxy, 2) == {200: 1, 500: 1}
            eventually(lambda: asked(story.proxy, 5) == {200: 5} and "a trial failed" in story.proxy.text())
            sick.action = 200
            eventually(lambda: number(story, EJECTED) == 0)
            served = collections.Counter(ask(story.proxy).text for _ in range(20))
            assert served == {"a": 10, "b": 10}
