"""connectionPool: what is over a limit is refused at once with the right flag; nobody hangs; workers count together."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.running import Proxy
from tests.traffic import (
    Action,
    Answer,
    Client,
    Gate,
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
)

OVERFLOW = "upstream connect error or disconnect/reset before headers. reset reason: overflow"


def pool(**limits: int) -> dict[str, Any]:
    tcp = {name: limits[name] for name in ("maxConnections",) if name in limits}
    http = {name: value for name, value in limits.items() if name not in tcp}
    return {"connectionPool": {part: rows for part, rows in (("tcp", tcp), ("http", http)) if rows}}


class Busy(Replica):
    """Counts connections and requests that are there at the same time."""

    def __init__(self) -> None:
        super().__init__("busy", self._act)
        self.hold: threading.Event | None = None
        self.now = self.most = 0
        self.lock = threading.Lock()

    def _act(self, request: Request) -> Action:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        if self.hold is not None:
            assert self.hold.wait(30)
        else:
            time.sleep(0.002)
        with self.lock:
            self.now -= 1
        return 200


@pytest.fixture
def busy() -> Iterator[Busy]:
    with Busy() as replica:
        yield replica
        if replica.hold is not None:
            replica.hold.set()


@pytest.mark.quiet
def test_one_connection_and_one_that_waits(tmp_path: Path) -> None:
    gate = Gate()
    with replicas("a", act=gate) as (app,):
        yaml = replicas_of("app", app.port) + destination_rule("app", pool(maxConnections=1, http1MaxPendingRequests=1))
        with Story(tmp_path, yaml) as story, ThreadPoolExecutor(2) as threads:
            first = threads.submit(ask, story.proxy, "/first")
            eventually(lambda: gate.held == 1)
            second = threads.submit(ask, story.proxy, "/second")
            eventually(lambda: sum(story.stats("pending_active").values()) == 1)
            answer, line = story.ask("/third")
            assert (answer.status, answer.text, line["response_flags"]) == (503, OVERFLOW, "UO")
            assert answer.headers["x-envoy-overloaded"] == "true"
            assert answer.seconds < 0.2
            gate.opened.set()
            assert [first.result(5).status, second.result(5).status] == [200, 200]
        assert [request.path for request in app.seen] == ["/first", "/second"]
        assert app.accepted == 1


def test_http2_max_requests_counts_http1_too(tmp_path: Path) -> None:
    gate = Gate()
    with replicas("a", act=gate) as (app,):
        yaml = replicas_of("app", app.port) + destination_rule("app", pool(http2MaxRequests=2))
        with Story(tmp_path, yaml) as story, ThreadPoolExecutor(2) as threads:
            held = [threads.submit(ask, story.proxy) for _ in range(2)]
            eventually(lambda: gate.held == 2)
            answer, line = story.ask()
            assert (answer.status, line["response_flags"]) == (503, "UO")
            gate.opened.set()
            assert [one.result(5).status for one in held] == [200, 200]
            assert ask(story.proxy).status == 200


@pytest.mark.parametrize("most", [1, 3])
def test_max_requests_per_connection(tmp_path: Path, most: int) -> None:
    with replicas("a") as (app,):
        yaml = replicas_of("app", app.port) + destination_rule("app", pool(maxRequestsPerConnection=most))
        with Proxy(tmp_path, yaml) as proxy, Client(proxy.port) as client:
            for _ in range(12):
                assert client.ask().status == 200
        assert app.accepted == 12 // most
        by_connection = [
            sum(1 for one in app.seen if one.connection is c)
            for c in {id(r.connection): r.connection for r in app.seen}.values()
        ]
        assert set(by_connection) == {most}


def burst(proxy: Proxy, clients: int) -> list[Answer]:
    """So many connections that both workers surely have some, then all requests at once."""
    with ThreadPoolExecutor(clients) as threads:
        lines = [Client(proxy.port, timeout=20) for _ in range(clients)]
        for line in lines:
            line.connect()
        try:
            return [one.result(30) for one in [threads.submit(line.ask) for line in lines]]
        finally:
            for line in lines:
                line.close()


def test_workers_keep_a_limit_together(tmp_path: Path, busy: Busy) -> None:
    """Two workers, three connections: never a fourth, and what has to wait is answered."""
    yaml = replicas_of("app", busy.port) + destination_rule("app", pool(maxConnections=3))
    with Proxy(tmp_path, yaml, workers=2) as proxy:
        for _ in range(5):
            answers = burst(proxy, 40)
            assert [answer.status for answer in answers] == [200] * 40
            assert max(answer.seconds for answer in answers) < 2
        assert busy.most == 3
        assert stats(proxy, "cluster.*app.*upstream_rq_total$").popitem()[1] == 200


def test_workers_keep_a_queue_together(tmp_path: Path, busy: Busy) -> None:
    yaml = replicas_of("app", busy.port) + destination_rule("app", pool(maxConnections=1, http1MaxPendingRequests=4))
    busy.hold = threading.Event()
    with Proxy(tmp_path, yaml, workers=2) as proxy, ThreadPoolExecutor(30) as threads:
        answers = [threads.submit(ask, proxy) for _ in range(30)]
        eventually(lambda: sum(one.done() for one in answers) >= 25)
        assert busy.now == 1
        busy.hold.set()
        statuses = sorted(one.result(10).status for one in answers)
        assert statuses.count(200) == 5
        assert statuses.count(503) == 25
        eventually(lambda: set(stats(proxy, "rq_active|pending_active").values()) == {0})


def test_a_place_held_by_an_idle_connection_of_another_worker_comes_free(tmp_path: Path, busy: Busy) -> None:
    """Each request may meet the other worker; the one connection must come to it without a wait of seconds."""
    yaml = replicas_of("app", busy.port) + destination_rule("app", pool(maxConnections=1))
    with Proxy(tmp_path, yaml, workers=2) as proxy:
        for _ in range(30):
            answer = ask(proxy)
            assert answer.status == 200
            assert answer.seconds < 0.5


def test_two_hosts_share_the_limit_of_their_cluster(tmp_path: Path) -> None:
    """The limit is the destination's, for all its endpoints; an idle connection to one host makes way for another's."""
    with replicas("a", "b") as made:
        yaml = replicas_of("app", *(replica.port for replica in made))
        yaml += destination_rule("app", {**pool(maxConnections=1), "loadBalancer": {"simple": "ROUND_ROBIN"}})
        with Proxy(tmp_path, yaml) as proxy, Client(proxy.port) as client:
            answers = [client.ask() for _ in range(20)]
            assert [answer.text for answer in answers].count("a") == 10
            assert max(answer.seconds for answer in answers) < 0.5


def test_limits_are_given_back_by_whatever_ends_a_request(tmp_path: Path) -> None:
    """Refused, cut, timed out, left: after each the one place is free again."""
    says = {"/reset": b"", "/cut": b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", "/junk": b"junk\r\n\r\n"}

    def act(request: Request) -> Action:
        if request.path == "/slow":
            time.sleep(0.3)
        if request.path not in says:
            return 200
        request.connection.sendall(says[request.path])
        return None

    with replicas("a", act=act) as (app,):
        yaml = replicas_of("app", app.port)
        yaml += destination_rule("app", pool(maxConnections=1, http1MaxPendingRequests=1, http2MaxRequests=1))
        with Proxy(tmp_path, yaml) as proxy:
            for rounds in range(3):
                for path in ("/reset", "/cut", "/junk", "/slow"):
                    with proxy.connect() as client:
                        client.sendall(f"POST {path} HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n".encode())
                        if path == "/slow":
                            eventually(lambda: app.count("/slow") == rounds + 1)  # noqa: B023
                        else:
                            client.recv(1000)
                    eventually(lambda: set(stats(proxy, "cluster.*rq_active|pending_active").values()) == {0})
                    assert ask(proxy, "/fine").status == 200, path


def test_default_pool_has_no_limit(tmp_path: Path) -> None:
    gate = Gate()
    with replicas("a", act=gate) as (app,), Proxy(tmp_path, replicas_of("app", app.port), workers=2) as proxy:
        with ThreadPoolExecutor(100) as threads:
            answers = [threads.submit(ask, proxy) for _ in range(100)]
            eventually(lambda: gate.held == 100)
            gate.opened.set()
            assert {one.result(10).status for one in answers} == {200}
        assert together([lambda: ask(proxy).status] * 2) == [200, 200]
