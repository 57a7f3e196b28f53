"""Weights by what endpoints report of their load: Envoy's arithmetic, and whom it trusts for how long."""

from __future__ import annotations

import collections

import pytest

from fastmesh.config.plan import ResiliencePlan, UtilizationPlan
from fastmesh.core.base.arena import Arena
from fastmesh.core.route.route_probe import Picker
from tests.core.route.picking import ejecting, endpoints, picker
from tests.core.route.test_trials import WHERE

HOSTS = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]
A, B, C, D = (f"{host}:80" for host in HOSTS)


def loaded(
    arena: Arena | None = None,
    slot: int = 0,
    hosts: int = 2,
    resilience: ResiliencePlan | None = None,
    **fields: object,
) -> Picker:
    more = {"stabilization": 0, **fields}
    plan = UtilizationPlan(**more)  # type: ignore[arg-type]
    return picker(endpoints(*HOSTS[:hosts]), arena, slot, utilization=plan, outlier=ejecting(), resilience=resilience)


def shares(one: Picker, now: int, times: int = 4000) -> dict[str | None, float]:
    counts = collections.Counter(one.pick(now=now) for _ in range(times))
    return {address: count / times for address, count in counts.items()}


def text(rps: float, cpu: float, **more: float) -> bytes:
    told = {"rps_fractional": rps, "cpu_utilization": cpu, **more}
    return b"TEXT " + b", ".join(b"%s=%f" % (name.replace("__", ".").encode(), value) for name, value in told.items())


@pytest.mark.parametrize(
    ("report", "share"),
    [
        (text(100, 0.5), 0.5),  # as the other one
        (text(300, 0.5), 0.75),  # three times the requests for the same
        (text(100, 0.1), 5 / 6),
        (text(100, 0.1, application_utilization=0.5), 0.5),  # goes before cpu_utilization
        (text(100, 0.1, named_metrics__queue=0.25, mem_utilization=0.5), 0.5),  # so does the largest that is named
        (text(100, 0.25, eps=25), 0.5),  # a quarter of errors
        (text(100, 0), 0.5),  # says too little: it weighs the median, and that is the other one
        (text(0, 0.1), 0.5),
        (b"TEXT what=1", 0.5),
    ],
)
def test_the_share_of_one_beside_another(report: bytes, share: float) -> None:
    one = loaded(metrics=["named_metrics.queue", "mem_utilization"])
    one.learn(A, report)
    one.learn(B, text(100, 0.5))
    assert shares(one, 2000)[A] == pytest.approx(share, abs=0.03)


def test_errors_count_as_much_as_somebody_wants() -> None:
    one = loaded(penalty=0.0)
    one.learn(A, text(100, 0.25, eps=25))
    one.learn(B, text(100, 0.5))
    assert shares(one, 2000)[A] == pytest.approx(2 / 3, abs=0.03)


def test_who_is_silent_weighs_the_median() -> None:
    one = loaded(hosts=4)
    for address, rps in ((A, 100), (B, 200), (C, 600)):
        one.learn(address, text(rps, 1))
    found = shares(one, 2000)
    assert found[D] == pytest.approx(200 / 1100, abs=0.03)
    assert found[C] == pytest.approx(600 / 1100, abs=0.03)


def test_trust_comes_and_goes() -> None:
    """After a while of reporting, and no longer than a while after it ended."""
    one = loaded(stabilization=10_000, expiration=60_000)
    one.learn(A, text(900, 1), now=1000)
    one.learn(B, text(100, 1), now=1000)
    assert shares(one, 10_000)[A] == pytest.approx(0.5, abs=0.03)
    assert shares(one, 11_001)[A] == pytest.approx(0.9, abs=0.03)
    one.learn(A, text(900, 1), now=50_000)
    assert shares(one, 62_000)[A] == pytest.approx(0.5, abs=0.03)  # B is silent: the median is that of A
    one.learn(B, text(100, 1), now=62_500)
    assert shares(one, 64_000)[A] == pytest.approx(0.5, abs=0.03)  # and proves itself anew
    assert shares(one, 73_000)[A] == pytest.approx(0.9, abs=0.03)


def test_weights_are_looked_at_now_and_then() -> None:
    one = loaded(update=5000)
    assert shares(one, 1000)[A] == pytest.approx(0.5, abs=0.03)
    one.learn(A, text(900, 1), now=1500)
    one.learn(B, text(100, 1), now=1500)
    assert shares(one, 5999)[A] == pytest.approx(0.5, abs=0.03)
    assert shares(one, 6000)[A] == pytest.approx(0.9, abs=0.03)


def test_all_workers_know() -> None:
    arena = Arena.create(1 << 20, 4)
    one, other = loaded(arena), loaded(arena, 1)
    one.learn(A, text(900, 1))
    one.learn(B, text(100, 1))
    assert shares(other, 2000)[A] == pytest.approx(0.9, abs=0.03)


def test_beside_observed_health() -> None:
    """Resilience's healthWeighted takes its part of a share."""
    plan = ResiliencePlan(origin=WHERE, half_life=10_000_000, weighted_floor=5)
    one = loaded(resilience=plan)
    one.healths([(10, 10), (20, 0)])
    one.learn(A, text(300, 1))
    one.learn(B, text(100, 1))
    assert shares(one, 2000)[A] == pytest.approx(1.5 / 2.5, abs=0.03), "three times the weight, half as well"


def test_who_is_ejected_or_was_tried_gets_nothing() -> None:
    one = loaded()
    one.learn(A, text(1_000_000, 1))
    one.learn(B, text(1, 1))
    one.report(A, 500)
    assert shares(one, 2000, 100) == {B: 1}
    assert {loaded().pick(now=1000, tried=(A,)) for _ in range(50)} == {B}
