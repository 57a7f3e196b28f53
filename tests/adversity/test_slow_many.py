"""Slow clients by the thousand (goals 13 and 14), beside an honest one in a process of its own."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.adversity.bystander import Bystander
from tests.adversity.lateness import Lateness
from tests.adversity.test_bodies import rss
from tests.adversity.test_secured_idle import many_descriptors
from tests.running import Proxy, Upstream, read_head
from tests.traffic import eventually, open_sockets, replicas_of, stats

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("many_descriptors")]
__all__ = ["many_descriptors"]

SLOW = 4_000
HEADER_TIMEOUT = 10.0  # the default
LASTS = 60.0
READERS = 1_000
BIG = bytes(10 << 20)


class Place(NamedTuple):
    proxy: Proxy
    other: Proxy
    bystander: Bystander


@contextlib.contextmanager
def place(folder: Path, app: int, *flags: str) -> Iterator[Place]:
    (folder / "other").mkdir()
    with Bystander() as bystander:
        calm = replicas_of("calm", bystander.port)
        with (
            Proxy(folder, replicas_of("app", app) + calm, *flags) as proxy,
            Proxy(folder / "other", calm, *flags) as other,
        ):
            yield Place(proxy, other, bystander)


class Trickle:
    """A head that never ends, a byte a second."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.sendall(b"GET / HTTP/1.1\r\nHost: app\r\nx-slow: ")
        self.socket.setblocking(False)
        self.began = time.monotonic()

    def ended(self) -> bool:
        try:
            self.socket.send(b"x")
            self.socket.recv(1000)
        except BlockingIOError:
            return False
        except ConnectionError:
            pass
        self.socket.close()
        return True


def test_four_thousand_slow_heads(tmp_path: Path) -> None:
    """For a minute there are 4,000; each is gone 12 s after it came, and another takes its place."""
    lived: list[float] = []
    with Upstream(lambda connection: None) as app, place(tmp_path, app.port) as here, Lateness() as noise:
        worker = here.proxy.workers()[0]
        before = rss(worker)
        slow: list[Trickle] = []
        began = time.monotonic()
        with here.bystander.unnoticed(here.proxy.port, here.other.port):
            while time.monotonic() - began < LASTS:
                turn = time.monotonic()
                if turn - began < LASTS - HEADER_TIMEOUT - 5:
                    slow += [Trickle(here.proxy.port) for _ in range(SLOW - len(slow))]
                over = [client for client in slow if client.ended()]
                lived += [time.monotonic() - client.began for client in over]
                gone = set(over)
                slow = [client for client in slow if client not in gone]
                time.sleep(max(0.0, turn + 1 - time.monotonic()))
            grown = rss(worker) - before
        assert slow == []
        eventually(lambda: open_sockets(worker) < 50)
        assert app.accepted == 0
    print(f"{len(lived)} of them, gone after {min(lived):.1f} to {max(lived):.1f} s; RSS {grown:+} KiB")
    assert len(lived) >= 3 * SLOW
    assert max(lived) <= HEADER_TIMEOUT + 2 + noise.worst
    assert grown <= 16 * SLOW


def send_it(connection: socket.socket) -> None:
    while read_head(connection)[0]:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(BIG))
        connection.sendall(BIG)


def test_a_thousand_slow_readers_of_10_mib(tmp_path: Path) -> None:
    with (
        Upstream(send_it) as app,
        place(tmp_path, app.port, "--body-timeout", "15s") as here,
        contextlib.ExitStack() as stack,
    ):
        worker = here.proxy.workers()[0]
        before = rss(worker)
        peak = 0
        with here.bystander.unnoticed(here.proxy.port, here.other.port):
            for _ in range(READERS):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", here.proxy.port), 10))
                client.sendall(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
            active = "http.downstream_rq_active"
            eventually(lambda: stats(here.proxy, active)[active] >= READERS)
            ends = time.monotonic() + 8
            while time.monotonic() < ends:
                peak = max(peak, rss(worker) - before)
                time.sleep(0.1)
        print(f"{peak} KiB, {peak / READERS:.0f} each")
        assert peak <= 256 << 10
        eventually(lambda: stats(here.proxy, active)[active] == 0, 60)  # nothing moves: they end
        eventually(lambda: open_sockets(worker) < 50)
