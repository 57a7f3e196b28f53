"""More clients than descriptors: the proxy lives, stays calm, its admin answers, and it is well when they leave."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import running
from tests.running import Proxy, keep_answering, mesh, open_files
from tests.traffic import Broken, Client, ask, eventually, stats

CLIENTS = 1_000


@contextlib.contextmanager
def crowd(proxy: Proxy, count: int) -> Iterator[list[socket.socket]]:
    """Idle connections; the kernel's queue takes those for which there is no room."""
    clients = []
    try:
        for _ in range(count):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", proxy.port))
            clients.append(client)
        yield clients
    finally:
        for client in clients:
            client.close()


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def full_then_well(proxy: Proxy) -> None:
    workers = proxy.workers()
    before = {pid: open_files(pid) for pid in workers}
    assert ask(proxy).status == 200
    with crowd(proxy, CLIENTS):
        eventually(lambda: stats(proxy, "http.downstream_cx_overflow")["http.downstream_cx_overflow"] > 0)
        spent, began = sum(cpu(pid) for pid in workers), time.monotonic()
        while time.monotonic() - began < 1.5:
            assert proxy.get("/ready")[0] == 200
            time.sleep(0.1)
        busy = (sum(cpu(pid) for pid in workers) - spent) / (time.monotonic() - began)
        print(f"{busy * 100:.0f} % of a core while full, {[open_files(pid) for pid in workers]} descriptors")
        assert busy < 0.2
    began = time.monotonic()
    eventually(lambda: served(proxy), 5)
    assert time.monotonic() - began < 1.5
    for _ in range(20):
        assert ask(proxy).status == 200
    assert proxy.workers() == workers, "a worker died"
    eventually(lambda: all(open_files(pid) <= before[pid] + 2 for pid in workers))


def served(proxy: Proxy) -> bool:
    with contextlib.suppress(OSError, Broken), Client(proxy.port, timeout=1) as client:
        return client.ask().status == 200
    return False


def test_a_thousand_clients_and_64_descriptors(tmp_path: Path) -> None:
    with mesh(tmp_path, keep_answering, workers=2) as (proxy, _):
        for pid in proxy.workers():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, 64))
        full_then_well(proxy)


def test_a_thousand_clients_of_a_proxy_with_256(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nulimit -n 256\nexec {running.sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setattr(running.sys, "executable", str(wrapper))
    with mesh(tmp_path, keep_answering, workers=2) as (proxy, _):
        monkeypatch.undo()
        full_then_well(proxy)


def test_no_descriptor_for_the_upstream(tmp_path: Path) -> None:
    """The last descriptor went to a client: its request is answered 503, and the connection can be used again later."""
    with mesh(tmp_path, keep_answering) as (proxy, _):
        (worker,) = proxy.workers()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(proxy.port)) for _ in range(8)]
            for client in clients:
                client.connect()
            eventually(lambda: stats(proxy, "http.downstream_cx_active")["http.downstream_cx_active"] == 8)
            limit = open_files(worker)
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (limit, 20_000))
            answers = [client.ask() for client in clients]
            assert {answer.status for answer in answers} == {503}
            assert "connection failure" in answers[0].text
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (20_000, 20_000))
            assert {client.ask().status for client in clients} == {200}
