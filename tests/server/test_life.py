"""Start, stop, crash, resize: the life of a proxy seen from outside, with a data plane of test parts."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.ports import free_port
from tests.server.proxies import Proxy, eventually, request

MakeProxy = Callable[..., Proxy]


def test_start_and_stop(proxy: MakeProxy) -> None:
    one = proxy().ready()
    assert request(one.address)[1].startswith("v1 ")
    assert one.ask("/ready") == (200, "LIVE\n")
    workers = one.workers()
    assert len(workers) == 2
    began = time.monotonic()
    assert one.stop() == 0
    assert time.monotonic() - began < 3
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_banner_says_where(proxy: MakeProxy) -> None:
    port, admin = free_port(), free_port()
    one = proxy("--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}", "--workers", "1").ready()
    line = f"fastmesh ready: listening on 127.0.0.1:{port} (1 workers), admin 127.0.0.1:{admin}"
    assert line in one.said


@pytest.mark.parametrize("config", [{"problems": ["mesh.yaml:3: VirtualService/a: bad", "mesh.yaml:9: also bad"]}])
def test_bad_config_prints_every_problem_and_exits_65(proxy: MakeProxy, config: dict[str, list[str]]) -> None:
    one = proxy(**config)
    assert one.wait() == 65
    assert one.said == config["problems"]


def test_port_in_use_exits_69_and_names_the_flag(proxy: MakeProxy) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        one = proxy("--listen", address)
        assert one.wait() == 69
        assert address in one.said[-1]
        assert "--listen" in one.said[-1]
        two = proxy("--admin", address)
        assert two.wait() == 69
        assert "--admin" in two.said[-1]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--listen", "nowhere"], "HOST:PORT"),
        (["--role", "gateway", "--map", "80"], "not --listen"),
        (["--drain-timeout", "soon"], "not a duration"),
        (["--no-such-flag"], "no-such-flag"),
        (["--max-fields", "500"], "--max-fields"),
    ],
)
def test_usage_errors(proxy: MakeProxy, flags: list[str], words: str) -> None:
    one = proxy(*flags)
    assert one.wait() != 0
    assert words in "\n".join(one.said)


def test_plan_that_no_worker_builds_stops_the_start(proxy: MakeProxy) -> None:
    one = proxy(version="unbuildable")
    assert one.wait() == 1
    assert "this plan cannot be built" in one.said[-1]


def test_workers_that_die_at_start_stop_it(proxy: MakeProxy) -> None:
    one = proxy("--workers", "1", version="crash")
    assert one.wait() == 1
    assert "do not start" in one.said[-1]


def test_killed_worker_is_replaced(proxy: MakeProxy) -> None:
    one = proxy().ready()
    before = one.workers()
    os.kill(before[0], signal.SIGKILL)
    eventually(lambda: len(one.workers()) == 2 and before[0] not in one.workers())
    assert one.info()["worker_restarts"] == 1
    one.wait_for(rf"worker 0 \(pid {before[0]}\) died \(signal 9\)")


def test_no_client_is_refused_while_a_worker_is_gone(proxy: MakeProxy) -> None:
    one = proxy("--workers", "1").ready()
    for _ in range(5):
        worker = one.workers()[0]
        os.kill(worker, signal.SIGKILL)
        status, body = request(one.address)  # waits in the backlog of the socket that the master holds
        assert status == 200
        assert str(worker) not in body


def test_worker_that_is_told_to_terminate_finishes_and_is_replaced(proxy: MakeProxy) -> None:
    one = proxy("--workers", "1").ready()
    worker = one.workers()[0]
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(request, one.address, "/sleep/8")
        eventually(lambda: one.info()["workers"][0]["connections"] == 1)
        os.kill(worker, signal.SIGTERM)
        eventually(lambda: one.workers() and worker not in one.workers())  # at once, not when it is done
        assert not slow.done()
        assert slow.result() == (200, f"v1 {worker}\n")
        assert worker not in one.workers()


def test_drain_lets_requests_finish_and_refuses_new_ones(proxy: MakeProxy) -> None:
    one = proxy().ready()
    with ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(request, one.address, "/sleep/1.5") for _ in range(4)]
        eventually(lambda: sum(worker["active_requests"] for worker in one.info()["workers"]) == 4)
        one.signal(signal.SIGTERM)
        eventually(lambda: one.ask("/ready")[0] == 503)
        assert [answer.result()[0] for answer in slow] == [200] * 4
    assert one.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        request(one.address)


def test_drain_ends_in_time(proxy: MakeProxy) -> None:
    one = proxy("--drain-timeout", "1s").ready()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(request, one.address, "/sleep/60")
        eventually(lambda: sum(worker["active_requests"] for worker in one.info()["workers"]))
        began = time.monotonic()
        assert one.stop() == 0
        assert 0.9 < time.monotonic() - began < 2.5
        assert slow.exception() is not None


def test_second_interrupt_is_now(proxy: MakeProxy) -> None:
    one = proxy().ready()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(request, one.address, "/sleep/60")
        eventually(lambda: sum(worker["active_requests"] for worker in one.info()["workers"]))
        one.signal(signal.SIGINT)
        eventually(lambda: one.ask("/ready")[0] == 503)
        began = time.monotonic()
        one.signal(signal.SIGINT)
        assert one.wait() == 130
        assert time.monotonic() - began < 2
        assert slow.exception() is not None


def test_idle_connections_do_not_hold_up_a_drain(proxy: MakeProxy) -> None:
    one = proxy().ready()
    host, _, port = one.address.rpartition(":")
    with socket.create_connection((host, int(port))) as idle:
        eventually(lambda: sum(worker["connections"] for worker in one.info()["workers"]))
        began = time.monotonic()
        assert one.stop() == 0
        assert time.monotonic() - began < 2
        assert idle.recv(1) == b""


def test_ttin_and_ttou(proxy: MakeProxy) -> None:
    one = proxy().ready()
    one.signal(signal.SIGTTIN)
    eventually(lambda: len(one.workers()) == 3)
    one.signal(signal.SIGTTOU)
    one.wait_for("2 workers wanted")
    one.signal(signal.SIGTTOU)
    eventually(lambda: len(one.info()["workers"]) == 1)
    assert request(one.address)[0] == 200


def test_workers_leave_when_the_master_is_killed(proxy: MakeProxy) -> None:
    one = proxy().ready()
    workers = one.workers()
    one.process.kill()
    one.process.wait()

    def gone() -> bool:
        return not any(os.path.exists(f"/proc/{pid}") for pid in workers)

    eventually(gone)
    two = proxy("--listen", one.address).ready()
    assert request(two.address)[0] == 200


def test_signals_to_the_whole_group_do_not_kill_workers(proxy: MakeProxy) -> None:
    one = proxy().ready()
    workers = one.workers()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        for pid in workers:
            os.kill(pid, number)
    assert request(one.address)[0] == 200
    assert one.workers() == workers
