"""The promises of a life: reload, crash, upgrade and drain under load (goals 17 to 20 of the reliability page).

Each story has a short form for every run and a long one, marked slow, with the numbers of the goal.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.adversity.lateness import Lateness
from tests.server.proxies import eventually, request
from tests.story.lifecycle import HOST, MESH, MeshProxy

MakeMesh = Callable[..., MeshProxy]


def reload_under_load(one: MeshProxy, reloads: int, pause: float, rate: int, fresh: int) -> None:
    load = one.load(rate, fresh)
    began = time.monotonic()
    for i in range(reloads):
        one.say(version=31 + i)
        one.signal(signal.SIGHUP)
        one.wait_for("accepted", i + 1)
        time.sleep(max(0.0, began + (i + 1) * pause - time.monotonic()))
    report = load.end()
    print(report)
    assert report["failed"] == {}
    assert report["answered"] >= 0.8 * (rate + fresh) * report["seconds"]


def test_reloads_lose_nothing(mesh: MakeMesh) -> None:
    reload_under_load(mesh("--no-watch"), 5, 0.3, 500, 50)


@pytest.mark.slow
def test_fifty_reloads_in_a_minute_lose_nothing(mesh: MakeMesh) -> None:
    reload_under_load(mesh("--no-watch"), 50, 1.2, 2000, 200)


def bad_reloads_under_load(one: MeshProxy, times: int) -> None:
    load = one.load(500, 50)
    bad = [
        "kind: [",
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {hosts: 7}\n",
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n"
        "  hosts: [origin.example]\n"
        "  http: [{match: [{uri: {regex: '('}}], route: [{destination: {host: origin.example}}]}]\n",
        "apiVersion: networking.istio.io/v1\nkind: VirtualServise\nmetadata: {name: a}\nspec: {}\n",
        "\x00",
    ]
    for i in range(times):
        began = time.monotonic()
        one.say(text=bad[i % len(bad)])
        one.signal(signal.SIGHUP)
        one.wait_for("refused; the last good configuration keeps serving", i + 1)
        assert time.monotonic() - began < 1
        time.sleep(0.1)
    report = load.end()
    print(report)
    assert report["failed"] == {}


def test_bad_configurations_change_nothing(mesh: MakeMesh) -> None:
    bad_reloads_under_load(mesh("--no-watch"), 10)


@pytest.mark.slow
def test_hundred_bad_configurations_change_nothing(mesh: MakeMesh) -> None:
    bad_reloads_under_load(mesh("--no-watch"), 100)


def kill_workers_under_load(one: MeshProxy, times: int, rate: int, fresh: int) -> None:
    with Lateness() as noise:
        load = one.load(rate, fresh)
        time.sleep(1)
        took, killed_at = list[float](), list[float]()
        for i in range(times):
            serving = one.workers()
            assert len(serving) == 2, one.said
            victim = serving[i % 2]
            began = time.monotonic()
            killed_at.append(began)
            os.kill(victim, signal.SIGKILL)
            eventually(lambda gone=victim: len(one.workers()) == 2 and gone not in one.workers())
            took.append(time.monotonic() - began)
            time.sleep(0.5)
        report = load.end()
    print(report, f"back after {statistics.median(took):.2f} s, at most {max(took):.2f} s")
    assert statistics.median(took) <= 1
    assert "refused" not in report["failed"]
    assert set(report["failed"]) <= {"reset new", "reset reused", "closed new", "closed reused", "cut reused"}
    # What was in flight in the worker, or sent before its end had reached the client's own loop
    for sent in report["failed_at"]:
        assert any(-5 < sent - killed < 0.1 + noise.worst for killed in killed_at)
    assert report.failed <= times * report["most_in_flight"]
    assert report["answered"] > 10 * report.failed


UNSERVED = "    headers: {request: {set: {x: '%STREAM_ID%'}}}\n"


def test_strict_starts_nothing_that_is_warned_of_and_reloads_nothing(mesh: MakeMesh, tmp_path: Path) -> None:
    one = mesh("--strict", "--no-watch")
    (folder := tmp_path / "refused").mkdir()
    warned = MESH.format(port=one.origin, version=30) + UNSERVED
    refused = MeshProxy(folder, one.origin, "--strict", text=lambda port: warned)
    assert refused.wait() == 65
    assert "%STREAM_ID% is valid but not served yet" in refused.said[-1]
    one.say(text=warned)
    one.signal(signal.SIGHUP)
    one.wait_for("%STREAM_ID% is valid but not served yet")
    assert request(one.address, Host=HOST) == (200, "origin\n")


def test_killed_workers_are_back_at_once(mesh: MakeMesh) -> None:
    kill_workers_under_load(mesh(), 3, 500, 50)


@pytest.mark.slow
def test_twenty_killed_workers(mesh: MakeMesh) -> None:
    kill_workers_under_load(mesh(), 20, 2000, 200)


def upgrades_under_load(one: MeshProxy, times: int, rate: int, fresh: int) -> None:
    load = one.load(rate, fresh)
    for i in range(times):
        one.signal(signal.SIGUSR2)
        one.wait_for("^fastmesh ready", i + 2)
    eventually(lambda: len(one.workers("draining")) == 0, 30)
    report = load.end()
    print(report)
    assert report["failed"] == {}
    assert one.info()["restart_epoch"] == times


def test_upgrades_lose_nothing(mesh: MakeMesh) -> None:
    upgrades_under_load(mesh(), 2, 500, 50)


@pytest.mark.slow
def test_twenty_upgrades_lose_nothing(mesh: MakeMesh) -> None:
    upgrades_under_load(mesh(), 20, 2000, 200)


def test_upgrade_to_fewer_workers_loses_nothing(mesh: MakeMesh, tmp_path: Path) -> None:
    settings = tmp_path / "fastmesh.env"
    settings.write_text("FASTMESH_DRAIN_TIMEOUT=10s\n")
    one = mesh("--env-file", str(settings))
    load = one.load(500, 50)
    for i, step in enumerate((signal.SIGTTOU, signal.SIGTTIN)):
        one.signal(step)
        one.wait_for("workers wanted", i + 1)
        one.signal(signal.SIGUSR2)
        one.wait_for("^fastmesh ready", i + 2)
        eventually(lambda wanted=1 + i: len(one.info()["workers"]) == wanted, 30)
    report = load.end()
    print(report)
    assert report["failed"] == {}


def test_drain_under_load(mesh: MakeMesh) -> None:
    """Every request that got a connection is answered; after the stop clients are refused, and nobody is reset."""
    one = mesh()
    load = one.load(500, 50)
    with ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(request, one.address, "/sleep/3", Host=HOST) for _ in range(4)]
        eventually(lambda: sum(worker["active_requests"] for worker in one.info()["workers"]) >= 4)
        began = time.monotonic()
        one.signal(signal.SIGTERM)
        eventually(lambda: one.ask("/ready")[0] == 503)
        assert [answer.result() for answer in slow] == [(200, "origin\n")] * 4
        assert one.wait() == 0
    took = time.monotonic() - began
    report = load.end()
    print(report, took)
    assert took < 8
    assert set(report["failed"]) == {"refused"}
    assert report["failed"]["refused"] > 0


def test_counters_survive_reload_crash_and_upgrade(mesh: MakeMesh) -> None:
    one = mesh("--no-watch")

    def total() -> int:
        return int(one.ask("/stats?filter=^http.downstream_rq_total$")[1].split()[1])

    for _ in range(10):
        assert request(one.address, Host=HOST) == (200, "origin\n")
    before = total()
    assert before >= 10
    one.say(version=99)
    one.signal(signal.SIGHUP)
    one.wait_for("accepted")
    victim = one.workers()[0]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(one.workers()) == 2 and victim not in one.workers())
    one.signal(signal.SIGUSR2)
    one.wait_for("^fastmesh ready", 2)
    assert total() == before


def test_worker_at_rest_is_small(mesh: MakeMesh) -> None:
    one = mesh()
    for pid in one.workers():
        status = Path(f"/proc/{pid}/status").read_text()
        resident = int(status.split("VmRSS:")[1].split()[0])
        print(resident)
        assert resident <= 45 * 1024


def test_log_is_reopened_and_complete(mesh: MakeMesh, tmp_path: Path) -> None:
    """As logrotate does it: rename, then SIGUSR1. No line is lost, also not by an upgrade and a stop."""
    log, old = tmp_path / "access.log", tmp_path / "access.log.1"
    one = mesh("--access-log", str(log), "--access-log-format", "json")
    for _ in range(10):
        request(one.address, Host=HOST)
    log.rename(old)
    one.signal(signal.SIGUSR1)
    eventually(log.exists)
    for _ in range(10):
        request(one.address, Host=HOST)
    one.signal(signal.SIGUSR2)
    one.wait_for("^fastmesh ready", 2)
    for _ in range(10):
        request(one.address, Host=HOST)
    assert one.stop() == 0
    lines = [json.loads(line) for file in (old, log) for line in file.read_text().splitlines()]
    assert len(lines) == 30
    assert {line["response_code"] for line in lines} == {200}
