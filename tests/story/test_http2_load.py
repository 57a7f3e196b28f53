"""HTTP/2 connections under load through what ends them: reloads, upgrades, crashes, a stop (goals 17 to 20)."""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.http2 import GOAWAY, Http2, request
from tests.server.proxies import eventually
from tests.story.lifecycle import HOST, MeshProxy

MakeMesh = Callable[..., MeshProxy]
AT_ONCE = 20


class Load:
    """Clients that keep streams in flight, each on one connection until a GOAWAY tells it to open another."""

    def __init__(self, port: int, clients: int) -> None:
        self.port = port
        self.over = threading.Event()
        self.answered = 0
        self.connections = 0
        self.unprocessed = 0  # above the last stream of a GOAWAY: the client may ask again
        self.failed: collections.Counter[str] = collections.Counter()
        self.threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def _run(self) -> None:
        while not self.over.is_set():
            try:
                client = Http2(self.port)
            except ConnectionRefusedError:
                self.failed["refused"] += 1
                time.sleep(0.05)
                continue
            with client:
                self.connections += 1
                self._use(client)

    def _use(self, client: Http2) -> None:
        flight: set[int] = set()
        with contextlib.suppress(OSError):
            while flight or not (self.over.is_set() or client.goaway):
                if not client.goaway and not self.over.is_set():
                    time.sleep(0.002)
                    flight |= {client.open(request("/", host=HOST)) for _ in range(AT_ONCE - len(flight))}
                if client.read() is None:
                    break
                for stream in [stream for stream in flight if client.replies[stream].over]:
                    flight.discard(stream)
                    reply = client.replies.pop(stream)
                    if reply.status == 200 and reply.ended and reply.body == b"origin\n":
                        self.answered += 1
                    else:
                        self.failed[f"{reply.status} {reply.reset or 'cut'}"] += 1
        for stream in flight:
            if client.goaway and stream > client.goaway.last_stream:
                self.unprocessed += 1
            else:
                self.failed["lost"] += 1

    def end(self) -> Load:
        self.over.set()
        for thread in self.threads:
            thread.join(20)
        print(
            f"{self.answered} answered, {self.connections} connections, {self.unprocessed} unprocessed, {self.failed}"
        )
        return self


@contextlib.contextmanager
def loaded(one: MeshProxy, clients: int = 4) -> Iterator[Load]:
    load = Load(int(one.address.rpartition(":")[2]), clients)
    try:
        eventually(lambda: load.answered > 100)
        yield load
    finally:
        load.end()


def goes_on(load: Load) -> None:
    answered = load.answered
    eventually(lambda: load.answered > answered + 100)


def kill_one(one: MeshProxy) -> None:
    killed = one.workers()[0]
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: len(one.workers()) == 2 and killed not in one.workers())


def test_reloads_lose_nothing(mesh: MakeMesh) -> None:
    one = mesh("--no-watch")
    with loaded(one) as load:
        for number in range(10):
            one.say(version=31 + number)
            one.signal(signal.SIGHUP)
            one.wait_for(" reload ", number + 1)
    assert not load.failed
    assert load.connections == 4


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_upgrades_lose_nothing(mesh: MakeMesh, times: int) -> None:
    """The old workers say GOAWAY twice, and answer what they were asked before it was heard."""
    one = mesh("--drain-idle", "500ms")
    with loaded(one) as load:
        for number in range(times):
            one.signal(signal.SIGUSR2)
            one.wait_for("^fastmesh ready", number + 2)
        eventually(lambda: len(one.workers("draining")) == 0, 30)
        goes_on(load)
    assert not load.failed
    assert load.connections >= 8


def test_killed_workers_cost_their_own_streams(mesh: MakeMesh) -> None:
    one = mesh()
    with loaded(one) as load:
        for _ in range(3):
            kill_one(one)
            goes_on(load)
    assert set(load.failed) <= {"lost", "refused"}
    assert load.failed["refused"] == 0
    assert load.failed["lost"] <= 3 * 4 * AT_ONCE


def test_a_stop_loses_nothing(mesh: MakeMesh) -> None:
    """SIGTERM under load: whoever is refused afterwards was never accepted."""
    one = mesh("--drain-idle", "500ms")
    with loaded(one) as load:
        began = time.monotonic()
        one.signal(signal.SIGTERM)
        assert one.wait() == 0
        took = time.monotonic() - began
    assert took < 5
    assert set(load.failed) <= {"refused"}


def test_slow_answers_outlast_a_stop(mesh: MakeMesh) -> None:
    one = mesh("--drain-idle", "300ms")
    with Http2(int(one.address.rpartition(":")[2])) as client:
        streams = [client.open(request("/sleep/3", host=HOST)) for _ in range(5)]
        eventually(lambda: sum(worker["active_requests"] for worker in one.info()["workers"]) == 5)
        one.signal(signal.SIGTERM)
        assert client.until(GOAWAY).code == "NO_ERROR"
        assert [reply.status for reply in client.wait(*streams)] == [200] * 5
        client.drain()
        assert one.wait() == 0
