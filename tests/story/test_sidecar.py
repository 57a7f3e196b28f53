"""A workload before another, each behind its own sidecar."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

from tests.server.proxies import eventually, request
from tests.story.lifecycle import MeshProxy
from tests.story.sidecars import HOST, Sidecars

MakeMesh = Callable[..., MeshProxy]


def test_a_request_goes_through_both(mesh: MakeMesh, tmp_path: Path) -> None:
    pair = Sidecars(mesh, tmp_path, mode="PERMISSIVE")
    assert request(pair.cart.address, Host=HOST) == (200, "origin\n")
    names = {each["name"]: each["local_address"] for each in listeners(pair.orders)}
    assert names[f"inbound_{pair.inbound}"] == f"127.0.0.1:{pair.inbound}"
    for one in (pair.cart, pair.orders):
        assert one.ask("/ready") == (200, "LIVE\n")
    assert "inbound|" in pair.orders.ask("/clusters")[1]


def test_a_sidecar_may_have_one_side(mesh: MakeMesh, tmp_path: Path) -> None:
    pair = Sidecars(mesh, tmp_path, mode="PERMISSIVE", outbound=False)
    assert [each["name"] for each in listeners(pair.orders)] == [f"inbound_{pair.inbound}"]
    assert request(pair.cart.address, Host=HOST) == (200, "origin\n")


def listeners(one: MeshProxy) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(one.ask("/listeners?format=json")[1])["listener_statuses"]
    return found


def test_an_upgrade_of_a_sidecar_keeps_its_listeners(mesh: MakeMesh, tmp_path: Path) -> None:
    pair = Sidecars(mesh, tmp_path, mode="PERMISSIVE")
    before = listeners(pair.orders)
    load = pair.cart.load(100, 20)
    for one in (pair.orders, pair.cart):
        one.signal(signal.SIGUSR2)
        one.wait_for("^fastmesh ready", 2)
        eventually(lambda one=one: len(one.info()["workers"]) == 1)
    report = load.end()
    print(report)
    assert report["failed"] == {}
    assert listeners(pair.orders) == before
