"""A change of the configuration while the proxy serves."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.ports import free_port
from tests.server.proxies import Proxy, eventually, request

MakeProxy = Callable[..., Proxy]


def dump(one: Proxy) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(one.ask("/config_dump")[1])
    return found


def answers(address: str, version: str) -> bool:
    """Whether a request is answered by that version; a worker that dies takes its connections with it."""
    try:
        return request(address)[1].startswith(version)
    except OSError:
        return False


def test_files_are_watched(proxy: MakeProxy) -> None:
    one = proxy().ready()
    one.say(version="v2")
    one.wait_for(r"reload 1 \(files\) accepted")
    assert request(one.address)[1].startswith("v2 ")


def test_hangup_reloads_without_watching(proxy: MakeProxy) -> None:
    one = proxy("--no-watch").ready()
    one.say(version="v2")
    one.signal(signal.SIGHUP)
    one.wait_for(r"reload 1 \(SIGHUP\) accepted")
    assert request(one.address)[1].startswith("v2 ")
    one.signal(signal.SIGHUP)
    one.wait_for("nothing changed")
    assert dump(one)["reloads"] == {"accepted": 1, "refused": 0, "unchanged": 1}


def test_bad_config_is_refused_whole_and_the_last_good_one_serves_on(proxy: MakeProxy) -> None:
    one = proxy().ready()
    one.say(version="v2", problems=["a.yaml:1: one", "a.yaml:2: two"])
    one.wait_for("the last good configuration keeps serving")
    one.wait_for("a.yaml:1: one")
    one.wait_for("a.yaml:2: two")
    assert request(one.address)[1].startswith("v1 ")
    assert dump(one)["last_reload"]["problems"] == ["a.yaml:1: one", "a.yaml:2: two"]
    for pid in one.workers():  # also a worker that starts now gets the last good one
        os.kill(pid, signal.SIGKILL)
    assert request(one.address)[1].startswith("v1 ")


def test_plan_that_a_worker_refuses_is_run_by_none(proxy: MakeProxy) -> None:
    one = proxy(listeners={"a": "127.0.0.1:0"}).ready()
    workers = one.workers()
    one.say(version="unbuildable", listeners={"a": "127.0.0.1:0", "b": f"127.0.0.1:{free_port()}"})
    one.wait_for("this plan cannot be built")
    one.wait_for("the last good configuration keeps serving")
    assert one.workers() == workers
    assert all(request(one.address)[1].startswith("v1 ") for _ in range(8))
    assert len(one.ask("/listeners")[1].splitlines()) == 1
    one.say(version="v3", listeners={"a": "127.0.0.1:0"})
    one.wait_for("accepted")
    assert all(request(one.address)[1].startswith("v3 ") for _ in range(8))


def test_workers_that_crash_on_a_plan_do_not_take_the_proxy_with_them(proxy: MakeProxy) -> None:
    one = proxy().ready()
    one.say(version="crash")
    one.wait_for("reload", 1)
    one.say(version="v3")
    one.wait_for(r"accepted", 1)
    eventually(lambda: answers(one.address, "v3 "))


def test_listeners_come_and_go(proxy: MakeProxy) -> None:
    ports = {name: f"127.0.0.1:{free_port()}" for name in "abc"}
    one = proxy(listeners={"a": ports["a"], "b": ports["b"]}).ready()
    one.say(version="v2", listeners={"b": ports["b"], "c": ports["c"]})
    one.wait_for("accepted")
    assert request(ports["b"])[1].startswith("v2 ")
    assert request(ports["c"])[1].startswith("v2 ")
    eventually(lambda: is_refused(ports["a"]))
    one.say(version="v3", listeners={"a": ports["a"]})
    one.wait_for("accepted", 2)
    assert request(ports["a"])[1].startswith("v3 ")


def test_port_in_use_refuses_the_reload(proxy: MakeProxy) -> None:
    one = proxy().ready()
    other = proxy().ready()
    one.say(version="v2", listeners={"a": other.address})
    line = one.wait_for("in use")
    assert other.address in line
    assert request(one.address)[1].startswith("v1 ")


def test_respawned_worker_gets_the_newest_plan(proxy: MakeProxy) -> None:
    one = proxy("--workers", "1").ready()
    one.say(version="v2")
    one.wait_for("accepted")
    os.kill(one.workers()[0], signal.SIGKILL)
    assert request(one.address)[1].startswith("v2 ")


def test_warnings_are_said_once(proxy: MakeProxy) -> None:
    one = proxy(warnings=["mesh.yaml:1: a deviation"]).ready()
    one.say(version="v2", warnings=["mesh.yaml:1: a deviation", "mesh.yaml:2: another"])
    one.wait_for("accepted")
    assert sum("a deviation" in line for line in one.said) == 1
    one.wait_for("another")


def test_names_are_resolved(proxy: MakeProxy) -> None:
    one = proxy(hosts=["localhost", "no.such.name.invalid"]).ready()
    assert "localhost=" in request(one.address)[1]
    assert "127.0.0.1" in request(one.address)[1]
    one.wait_for("no.such.name.invalid cannot be resolved")


def is_refused(address: str) -> bool:
    try:
        request(address)
    except ConnectionRefusedError:
        return True
    except OSError:
        pass
    return False


@pytest.mark.slow
def test_fifty_reloads(proxy: MakeProxy) -> None:
    one = proxy("--no-watch").ready()
    for i in range(50):
        one.say(version=f"slow{i}")
        one.signal(signal.SIGHUP)
        one.wait_for("accepted", i + 1)
        assert request(one.address)[1].startswith(f"slow{i} ")
