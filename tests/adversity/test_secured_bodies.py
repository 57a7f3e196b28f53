"""Long bodies both ways over HTTP/2 and TLS, with a receiver that is slower than its sender: hashes are equal
and the proxy's memory stays where it was.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.adversity.secured import Front, front
from tests.adversity.test_bodies import rss
from tests.interop.h2_client import H2Client
from tests.interop.peers import program
from tests.running import Upstream, read_head
from tests.traffic import eventually, read_fields, stats

BLOCK = os.urandom(1 << 20)
QUICK, WHOLE = 64 << 20, 4 << 30
GROWTH = 8 << 10  # KiB


def digest_of(size: int) -> str:
    whole = hashlib.sha256()
    for _ in range(size >> 20):
        whole.update(BLOCK)
    return whole.hexdigest()


class Store(Upstream):
    """PUT is hashed, GET sends the same."""

    def __init__(self, size: int) -> None:
        super().__init__(self._talk)
        self.size = size
        self.seen = ""

    def _talk(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while line := stream.readline():
                read_fields(stream)
                if line.startswith(b"PUT"):
                    self._take(stream)
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    continue
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % self.size)
                for _ in range(self.size >> 20):
                    connection.sendall(BLOCK)

    def _take(self, stream: BinaryIO) -> None:
        """A body in chunks."""
        whole = hashlib.sha256()
        while left := int(stream.readline(), 16):
            while left:
                data = stream.read(min(left, 1 << 16))
                left -= len(data)
                whole.update(data)
            stream.readline()
        stream.readline()
        self.seen = whole.hexdigest()


def curl(here: Front, door: str, version: str, *flags: str) -> list[str]:
    port, scheme = here.port(door), "https" if door == "tls" else "http"
    speak = {"h1": "--http1.1", "h2": "--http2" if door == "tls" else "--http2-prior-knowledge"}[version]
    where = ["--connect-to", f"::127.0.0.1:{port}", "--cacert", str(here.place.pki.roots)]
    return [program("curl"), "-sS", speak, *where, *flags, f"{scheme}://app.example/"]


class Peak:
    """The highest resident memory of a process while the block runs, in KiB above what it had before."""

    def __init__(self, pid: int) -> None:
        self.pid, self.before, self.most = pid, rss(pid), 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look)

    def __enter__(self) -> Peak:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def _look(self) -> None:
        while not self.over.wait(0.05):
            self.most = max(self.most, rss(self.pid) - self.before)


def blocks(size: int) -> Iterator[bytes]:
    for _ in range(size >> 20):
        yield BLOCK


def up(here: Front, door: str, version: str, size: int) -> None:
    """In HTTP/2 not by curl: 7.88 stops for ever, with 48 KiB of window left, when its input comes through a pipe."""
    if version == "h2":
        with here.h2(door) as sender:
            stream = sender.begin("/", "PUT", end=False)
            for block in blocks(size):
                sender.send(stream, block, end=False)
            sender.send(stream, b"")
            assert sender.finish(stream).status == 200
        return
    command = curl(here, door, version, "-X", "PUT", "-T", "-", "-H", "Expect:")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as client:
        assert client.stdin is not None
        for block in blocks(size):
            client.stdin.write(block)
        client.stdin.close()
        assert client.wait() == 0


def down(here: Front, door: str, version: str) -> str:
    whole = hashlib.sha256()
    with subprocess.Popen(curl(here, door, version), stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        while data := client.stdout.read(1 << 16):
            whole.update(data)
        assert client.wait() == 0
    return whole.hexdigest()


def both_ways(folder: Path, version: str, door: str, size: int) -> None:
    wanted = digest_of(size)
    with Store(size) as store, front(folder, store.port) as here:
        down_first = down(here, door, version)  # buffers that are kept have grown
        with Peak(here.worker) as peak:
            up(here, door, version, size)
            assert store.seen == wanted
            assert down(here, door, version) == down_first == wanted
        print(f"at most {peak.most} KiB more")
        assert peak.most <= GROWTH
        assert not store.errors, store.errors
        eventually(lambda: set(stats(here.proxy, "rq_active").values()) == {0})


ROADS = [("h2", "tls"), ("h2", "plain"), ("h1", "tls")]


@pytest.mark.parametrize(("version", "door"), ROADS)
def test_long_bodies_both_ways(tmp_path: Path, version: str, door: str) -> None:
    both_ways(tmp_path, version, door, QUICK)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("version", "door"), [("h2", "tls"), ("h1", "tls")])
def test_four_gib_both_ways(tmp_path: Path, version: str, door: str) -> None:
    both_ways(tmp_path, version, door, WHOLE)


def test_a_stream_that_is_not_read_holds_back_its_upstream_alone(tmp_path: Path) -> None:
    """One stream's window is full; the connection's other streams go on, and the upstream is no longer read."""
    sent = 0

    def handle(connection: socket.socket) -> None:
        nonlocal sent
        while True:
            head, _ = read_head(connection)
            if b"/small" in head:
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                continue
            if not head:
                return
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n")
            connection.settimeout(1.0)
            for _ in range(1024):
                connection.sendall(bytes(65536))
                sent += 65536

    with Upstream(handle) as upstream, front(tmp_path, upstream.port) as here, here.h2("tls", window=65_535) as client:
        before = rss(here.worker)
        stream = client.begin("/large")
        while not client.streams[stream].status:
            client.take()
        client.acknowledging = False
        eventually(lambda: sent > 65_536)
        for _ in range(50):
            assert bytes(client.ask("/small").body) == b"ok"
        assert sent < 48 << 20
        assert rss(here.worker) - before < GROWTH
        client.reset(stream)
        assert bytes(client.ask("/small").body) == b"ok"


STREAMS, PIECE = 400, 16_000


def test_frames_that_wait_encrypted_are_not_changed(tmp_path: Path) -> None:
    """The kernel is full: the last frames of some streams are encrypted already when their streams go on and end."""
    arrived, end = threading.Semaphore(0), threading.Event()

    def handle(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e80\r\n" + bytes(PIECE) + b"\r\n")
        arrived.release()
        assert end.wait(30)
        connection.sendall(b"0\r\n\r\n")

    with Upstream(handle) as upstream, front(tmp_path, upstream.port, "--h2-max-streams", "400") as here:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", here.port("tls")))
        with H2Client(raw, here.tls["h2"], window=1 << 20) as client:
            client.h2.increment_flow_control_window(1 << 24)
            client.ping()
            streams = [client.begin("/") for _ in range(STREAMS)]
            for _ in range(STREAMS):
                assert arrived.acquire(timeout=10)
            sent = "http.downstream_cx_tx_bytes_total"
            before = -1
            while before != (before := stats(here.proxy, sent)[sent]):
                time.sleep(0.1)  # until the kernel takes no more
            end.set()
            time.sleep(0.3)  # the proxy has seen it: nothing tells
            got = [client.finish(stream) for stream in streams]
        assert {bytes(each.body) for each in got} == {bytes(PIECE)}
        assert not upstream.errors, upstream.errors
