"""The in-place upgrade: one pid, one set of sockets, new workers, and the old ones drained."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.server.proxies import DEFAULTS, Proxy, eventually, request

MakeProxy = Callable[..., Proxy]


def upgraded(one: Proxy, times: int = 1) -> None:
    one.signal(signal.SIGUSR2)
    one.wait_for("^fastmesh ready", times + 1)


def test_new_workers_take_over(proxy: MakeProxy) -> None:
    one = proxy().ready()
    old = one.workers()
    upgraded(one)
    info = one.info()
    assert info["restart_epoch"] == 1
    eventually(lambda: len(one.info()["workers"]) == 2)
    assert not set(old) & set(one.workers())
    assert request(one.address)[0] == 200


def test_requests_in_flight_finish_in_the_old_workers(proxy: MakeProxy) -> None:
    one = proxy("--workers", "1").ready()
    old = one.workers()[0]
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(request, one.address, "/sleep/8")
        eventually(lambda: one.info()["workers"][0]["active_requests"])
        upgraded(one)
        eventually(lambda: request(one.address)[1] != f"v1 {old}\n")
        assert one.workers("draining") == [old]
        assert slow.result() == (200, f"v1 {old}\n")
    eventually(lambda: len(one.info()["workers"]) == 1)


def test_upgrade_reads_the_files_again(proxy: MakeProxy) -> None:
    one = proxy("--no-watch").ready()
    one.say(version="v2")
    upgraded(one)
    eventually(lambda: len(one.info()["workers"]) == 2)
    assert request(one.address)[1].startswith("v2 ")
    one.say(version="v3")
    one.signal(signal.SIGHUP)
    one.wait_for("accepted")
    assert request(one.address)[1].startswith("v3 ")


def test_preflight_that_fails_changes_nothing(proxy: MakeProxy) -> None:
    one = proxy("--no-watch").ready()
    old = one.workers()
    one.say(version="v2", problems=["mesh.yaml:7: broken"])
    one.signal(signal.SIGUSR2)
    assert "mesh.yaml:7: broken" in one.wait_for("upgrade refused")
    assert one.info()["restart_epoch"] == 0
    assert one.workers() == old
    assert request(one.address)[1].startswith("v1 ")


def test_new_workers_that_cannot_start_leave_the_old_ones(proxy: MakeProxy) -> None:
    one = proxy("--no-watch").ready()
    old = one.workers()
    one.say(version="unbuildable")
    one.signal(signal.SIGUSR2)
    one.wait_for("the upgrade is not complete")
    one.wait_for("^fastmesh ready", 2)
    eventually(lambda: one.workers() == old and len(one.info()["workers"]) == 2)
    assert request(one.address)[1].startswith("v1 ")
    os.kill(old[0], signal.SIGKILL)  # replaced, with the plan that serves
    eventually(lambda: len(one.workers()) == 2 and old[0] not in one.workers())
    assert all(request(one.address)[1].startswith("v1 ") for _ in range(8))
    one.say(version="v3")
    one.signal(signal.SIGHUP)
    one.wait_for("accepted")
    assert all(request(one.address)[1].startswith("v3 ") for _ in range(8))
    one.signal(signal.SIGUSR2)
    one.wait_for("^fastmesh ready", 3)
    eventually(lambda: len(one.info()["workers"]) == 2 and not set(old) & set(one.workers()))


def test_number_of_workers_may_change(proxy: MakeProxy, tmp_path: Path) -> None:
    settings = tmp_path / "fastmesh.env"
    settings.write_text("# the number of workers\nFASTMESH_DRAIN_TIMEOUT=5s\n")
    one = proxy("--workers", "2", "--env-file", str(settings)).ready()
    one.signal(signal.SIGTTIN)
    eventually(lambda: len(one.workers()) == 3)
    upgraded(one)
    eventually(lambda: len(one.workers()) == 3 and len(one.info()["workers"]) == 3)
    assert one.info()["command_line_options"]["worker"]["drain_timeout_ms"] == 5000


def test_worker_count_from_the_env_file(proxy: MakeProxy, tmp_path: Path) -> None:
    settings = tmp_path / "fastmesh.env"
    settings.write_text("FASTMESH_WORKERS=2\n")
    defaults = tuple(item for item in DEFAULTS if item[0] != "--workers")
    one = proxy("--env-file", str(settings), defaults=defaults).ready()
    assert len(one.workers()) == 2
    settings.write_text("FASTMESH_WORKERS=1\n")
    upgraded(one)
    eventually(lambda: len(one.info()["workers"]) == 1)
    assert request(one.address)[0] == 200


def test_signal_during_the_upgrade_is_not_lost(proxy: MakeProxy) -> None:
    one = proxy("--no-watch").ready()
    one.signal(signal.SIGUSR2)
    one.wait_for("becoming the new code")
    one.say(version="v2")
    one.signal(signal.SIGHUP)  # the new image compiles the new file, or reloads it
    one.wait_for("^fastmesh ready", 2)
    eventually(lambda: request(one.address)[1].startswith("v2 "))


def test_several_upgrades_then_a_stop(proxy: MakeProxy) -> None:
    one = proxy("--workers", "1").ready()
    for i in range(4):
        upgraded(one, i + 1)
        assert request(one.address)[0] == 200
    assert one.stop() == 0
    eventually(lambda: not os.path.exists(f"/proc/{one.process.pid}"))


def test_descriptors_do_not_pile_up(proxy: MakeProxy) -> None:
    one = proxy("--workers", "1").ready()

    def settled_descriptors() -> int:
        eventually(lambda: len(one.info()["workers"]) == 1)
        return len(os.listdir(f"/proc/{one.process.pid}/fd"))

    upgraded(one)
    before = settled_descriptors()
    for i in range(3):
        upgraded(one, i + 2)
    after = eventually(lambda: settled_descriptors() <= before)
    assert after
