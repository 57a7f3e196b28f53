"""backendUtilization with traffic: endpoints that say that they are busy get less, and all workers know it."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.explaining import ask as explained
from tests.running import Proxy
from tests.traffic import Client, Replica, Request, ask, destination_rule, replicas_of

SETTING = {"weightUpdatePeriod": "100ms", "weightStabilizationPeriod": "1ms"}
IDLE, BUSY = (b"TEXT rps_fractional=100, cpu_utilization=%s" % busy for busy in (b"0.1", b"0.9"))


def reports(load: bytes, place: str) -> Replica:
    def act(request: Request) -> bytes:
        field = b"endpoint-load-metrics: %s\r\n" % load
        if place == "head":
            return b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n%s\r\n%s" % (field, request.replica.name.encode())
        start = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        return start + b"1\r\n%s\r\n0\r\n%s\r\n" % (request.replica.name.encode(), field)

    return Replica("i" if load == IDLE else "b", act)


@pytest.fixture(params=["head", "trailers"])
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Proxy]:
    with reports(IDLE, request.param) as idle, reports(BUSY, request.param) as busy:
        rule = destination_rule("app", {"loadBalancer": {"backendUtilization": SETTING}})
        with Proxy(tmp_path, replicas_of("app", idle.port, busy.port) + rule, workers=2) as one:
            assert "unserved" not in one.text()
            yield one


def test_the_busy_one_gets_less(proxy: Proxy) -> None:
    for _ in range(20):  # on connections of their own, so that both workers take part
        ask(proxy)
    end = collections.Counter[str]()
    with Client(proxy.port) as client:
        while end.total() < 60 or end["b"] * 4 > end["i"]:  # until the weights are looked at
            end[client.ask().text] += 1
            assert end.total() < 20_000
        counts = collections.Counter(client.ask().text for _ in range(1000))
    assert 820 < counts["i"] < 970, counts  # nine in ten


def test_explain(tmp_path: Path) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(replicas_of("app", 1, 2) + destination_rule("app", {"loadBalancer": {"backendUtilization": {}}}))
    assert "load that endpoints report" in explained([file], "GET", "http://app/")["steps"][-1]["why"]
