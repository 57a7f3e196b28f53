"""A proxy that has no descriptor left: it lives, burns nothing, answers its operator, and is well again at once."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time
from collections.abc import Callable
from pathlib import Path

from tests.server.proxies import eventually, request
from tests.story.lifecycle import HOST, MeshProxy

MakeMesh = Callable[..., MeshProxy]
LIMIT = 256
CLIENTS = 1000


def cpu_seconds(pids: list[int]) -> float:
    ticks = os.sysconf("SC_CLK_TCK")
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(field[11]) + int(field[12]) for field in fields) / ticks


def test_no_descriptor_left(mesh: MakeMesh) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    one = mesh("--workers", "1", prefix=("prlimit", f"--nofile={LIMIT}:{LIMIT}"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    workers = one.workers()
    host, _, port = one.address.rpartition(":")
    with contextlib.ExitStack() as clients:
        for _ in range(CLIENTS):
            sock = clients.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex((host, int(port)))
        eventually(lambda: len(os.listdir(f"/proc/{workers[0]}/fd")) >= LIMIT - 2)
        used, began = cpu_seconds(workers), time.monotonic()
        assert one.ask("/ready")[0] == 200
        time.sleep(2)
        share = (cpu_seconds(workers) - used) / (time.monotonic() - began)
        print("CPU while full", share)
        assert share <= 0.2
        assert one.workers() == workers
        assert one.ask("/stats")[0] == 200
    began = time.monotonic()
    assert request(one.address, Host=HOST) == (200, "origin\n")
    print("well again after", time.monotonic() - began)
    assert time.monotonic() - began <= 1
    assert one.workers() == workers
