"""Thousands of idle connections in TLS and in HTTP/2: what each costs, and that each is usable afterwards."""

from __future__ import annotations

import contextlib
import resource
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adversity.secured import Front, front
from tests.adversity.test_bodies import rss
from tests.interop.pki import SERVER
from tests.running import Upstream, keep_answering
from tests.traffic import eventually, read_answer, stats

H2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4\0" + bytes(4)  # and SETTINGS without an entry
H2_ACK = bytes(3) + b"\4\1" + bytes(4)
# GET / of app.example by HPACK's static table, and the name as a literal
_BLOCK = b"\x82\x84\x86\x01" + bytes((len(SERVER),)) + SERVER.encode()
H2_GET = len(_BLOCK).to_bytes(3, "big") + b"\1\5\0\0\0%c" + _BLOCK
HEADERS = 1
# KiB of resident memory for each, at most: goal 15
KIB = {("h1", "plain"): 16, ("h1", "tls"): 48, ("h2", "plain"): 64, ("h2", "tls"): 64}


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def opened(here: Front, version: str, door: str) -> socket.socket:
    raw = socket.create_connection(("127.0.0.1", here.port(door)), 30)
    client = here.secure(raw, "h2" if version == "h2" else "http/1.1") if door == "tls" else raw
    if version == "h2":
        client.sendall(H2_HELLO + H2_ACK)
    return client


def is_answered(client: socket.socket, version: str, stream_id: int) -> bool:
    with client.makefile("rb") as stream:
        if version == "h1":
            client.sendall(b"GET / HTTP/1.1\r\nHost: app.example\r\n\r\n")
            return read_answer(stream)[0] == 200
        client.sendall(H2_GET % stream_id)
        while head := stream.read(9):
            stream.read(int.from_bytes(head[:3], "big"))
            if head[3] == HEADERS:
                return True
    return False


def idle(folder: Path, version: str, door: str, count: int) -> float:
    """KiB of the worker for each of `count` connections, all of which were answered afterwards."""
    flags = ("--idle-timeout", "20m", "--header-timeout", "20m")
    with (
        Upstream(keep_answering) as upstream,
        front(folder, upstream.port, *flags) as here,
        contextlib.ExitStack() as stack,
    ):
        stack.enter_context(opened(here, version, door))
        before = rss(here.worker)
        clients = [stack.enter_context(opened(here, version, door)) for _ in range(count)]
        eventually(lambda: sum(stats(here.proxy, "downstream_cx_active").values()) == count + 1)
        assert all(is_answered(client, version, 1) for client in clients)
        each, ends = float("inf"), time.monotonic() + 4  # a connection that rests gives back what it does not need
        while time.monotonic() < ends:
            each = min(each, (rss(here.worker) - before) / count)
            time.sleep(0.2)
        print(f"{each:.1f} KiB each")
        assert all(is_answered(client, version, 3) for client in clients)
        for client in clients:
            with contextlib.suppress(OSError, ssl.SSLError):
                client.close()
        eventually(lambda: sum(stats(here.proxy, "downstream_cx_active").values()) == 1)
        return each


@pytest.mark.parametrize(("version", "door"), KIB)
def test_idle_connections(tmp_path: Path, version: str, door: str) -> None:
    assert idle(tmp_path, version, door, 400) <= KIB[version, door]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("version", "door"), KIB)
def test_ten_thousand_idle_connections(tmp_path: Path, version: str, door: str) -> None:
    assert idle(tmp_path, version, door, 10_000) <= KIB[version, door]
