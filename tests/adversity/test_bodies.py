"""Bodies of any size stream; a cut one is never shown as complete."""

import hashlib
import os
import socket
import threading
from pathlib import Path

import pytest

from tests.running import (
    Proxy,
    Upstream,
    answer,
    keep_answering,
    mesh,
    open_files,
    read_all,
    read_head,
    read_message,
    reset,
)

GET = b"GET / HTTP/1.1\r\nHost: app\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n"


def rss(pid: int) -> int:
    """Resident KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError(pid)


def chunked_body(connection: socket.socket, data: bytes) -> bytes:
    """The body of a chunked message whose first bytes are `data`; raises when it is cut."""
    body = b""
    while True:
        while b"\r\n" not in data:
            data += connection.recv(65536) or pytest.fail("cut in a chunk size")
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        while len(data) < length + 2:
            data += connection.recv(65536) or pytest.fail("cut in a chunk")
        if length == 0:
            return body
        body += data[:length]
        assert data[length : length + 2] == b"\r\n"
        data = data[length + 2 :]


def test_large_bodies_both_ways_with_bounded_memory(tmp_path: Path) -> None:
    size = 96 << 20
    block = os.urandom(1 << 20)
    seen = hashlib.sha256()

    def handle(connection: socket.socket) -> None:
        _, rest = read_head(connection)
        left = size - len(rest)
        seen.update(rest)
        while left:
            data = connection.recv(1 << 18)
            seen.update(data)
            left -= len(data)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size >> 20):
            connection.sendall(block)

    with mesh(tmp_path, handle) as (proxy, _), proxy.connect(30) as client:
        before = rss(proxy.workers()[0])
        client.sendall(b"POST / HTTP/1.1\r\nHost: app\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size >> 20):
            client.sendall(block)
        head, body = read_head(client)
        assert head.startswith(b"HTTP/1.1 200")
        got, digest = len(body), hashlib.sha256(body)
        peak = 0
        while got < size:
            data = client.recv(1 << 16)
            digest.update(data)
            got += len(data)
            if got % (8 << 20) < len(data):
                peak = max(peak, rss(proxy.workers()[0]))
        expected = hashlib.sha256(block * (size >> 20)).hexdigest()
        assert seen.hexdigest() == expected
        assert digest.hexdigest() == expected
        assert peak - before < 8 << 10


def test_slow_client_holds_the_upstream_back(tmp_path: Path) -> None:
    sent = 0

    def handle(connection: socket.socket) -> None:
        nonlocal sent
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n")
        connection.settimeout(1.0)
        for _ in range(1024):
            connection.sendall(bytes(65536))
            sent += 65536

    with mesh(tmp_path, handle) as (proxy, upstream), proxy.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(GET)
        read_head(client)
        upstream.thread.join(2.5)
        assert sent < 48 << 20
        assert rss(proxy.workers()[0]) < 64 << 10


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("how", ["fin", "reset"])
def test_a_cut_response_is_seen_as_cut(tmp_path: Path, framing: str, how: str) -> None:
    def handle(connection: socket.socket) -> None:
        read_head(connection)
        if framing == "length":
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + bytes(500))
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1f4\r\n" + bytes(500) + b"\r\n")
        if how == "reset":
            reset(connection)

    with mesh(tmp_path, handle) as (proxy, _):
        for _ in range(20):
            data = proxy.send(CLOSE)
            if not data:
                continue  # the reset overtook the head: seen as broken, too
            head, _, body = data.partition(b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 200"):
                assert b"0\r\n\r\n" not in body
                assert len(body) < 1000
            else:
                assert head.startswith(b"HTTP/1.1 503")


def test_close_delimited_response_is_chunked_for_1_1_and_closed_for_1_0(tmp_path: Path) -> None:
    def handle(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello ")
        connection.sendall(b"world")

    with mesh(tmp_path, handle) as (proxy, _):
        with proxy.connect() as client:
            client.sendall(GET)
            head, rest = read_head(client)
            assert b"transfer-encoding: chunked" in head
            assert chunked_body(client, rest) == b"hello world"
        data = proxy.send(b"GET / HTTP/1.0\r\nHost: app\r\n\r\n")
        assert data.endswith(b"\r\n\r\nhello world")
        assert b"chunked" not in data


def test_chunked_request_with_trailers(tmp_path: Path) -> None:
    seen: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        data = b""
        while b"0\r\n" not in data or not data.endswith(b"\r\n\r\n"):
            data += connection.recv(65536)
        seen.append(data)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 9\r\n\r\n"
        )

    with mesh(tmp_path, handle) as (proxy, _), proxy.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
        client.sendall(b"lo\r\n6;ext=1\r\n world\r\n0\r\nX-Check: 1\r\nContent-Length: 7\r\n\r\n")
        data = b""
        while not data.endswith(b"x-sum: 9\r\n\r\n"):
            data += client.recv(65536) or pytest.fail(data.decode())
        body = seen[0].partition(b"\r\n\r\n")[2]
        assert b"ext" not in body
        assert b"X-Check: 1" in body
        assert b"Content-Length" not in body
        assert b"3\r\nabc\r\n" in data


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_bodyless_statuses_and_head(tmp_path: Path, status: str) -> None:
    def handle(connection: socket.socket) -> None:
        while True:
            head, _ = read_head(connection)
            if not head:
                return
            if head.startswith(b"HEAD"):
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 77\r\n\r\n")
            else:
                connection.sendall(b"HTTP/1.1 " + status.encode() + b"\r\n\r\n")

    with mesh(tmp_path, handle) as (proxy, _), proxy.connect() as client:
        for _ in range(3):
            client.sendall(b"HEAD / HTTP/1.1\r\nHost: app\r\n\r\n")
            head, rest = read_head(client)
            assert b"content-length: 77" in head
            assert rest == b""
            client.sendall(GET)
            head, rest = read_head(client)
            assert status.encode() in head
            assert rest == b""


def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    def handle(connection: socket.socket) -> None:
        while True:
            head, _ = read_head(connection)
            if not head:
                return
            answer(connection, head.split(b" ")[1])

    with mesh(tmp_path, handle) as (proxy, _), proxy.connect() as client:
        client.sendall(b"".join(b"GET /%d HTTP/1.1\r\nHost: app\r\n\r\n" % n for n in range(200)))
        data = b""
        while data.count(b"HTTP/1.1 200") < 200 or not data.endswith(b"/199"):
            data += client.recv(65536) or pytest.fail("closed early")
        bodies = [part.rpartition(b"\r\n\r\n")[2] for part in data.split(b"HTTP/1.1 200 OK")[1:]]
        assert bodies == [b"/%d" % n for n in range(200)]


def test_a_good_request_then_a_bad_one(tmp_path: Path) -> None:
    with mesh(tmp_path, keep_answering) as (proxy, _):
        data = proxy.send(GET + b"GET /x y HTTP/1.1\r\n\r\n" + GET)
        assert data.startswith(b"HTTP/1.1 200")
        assert data.count(b"HTTP/1.1 400") == 1
        assert data.count(b"HTTP/1.1") == 2


def test_expect_continue_is_relayed(tmp_path: Path) -> None:
    def handle(connection: socket.socket) -> None:
        head, body = read_head(connection)
        assert b"100-continue" in head
        assert body == b""
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = b""
        while len(body) < 5:
            body += connection.recv(100)
        answer(connection, body)

    with mesh(tmp_path, handle) as (proxy, upstream), proxy.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        head, _ = read_head(client)
        assert head.startswith(b"HTTP/1.1 100")
        client.sendall(b"hello")
        head, body = read_message(client)
        assert body == b"hello"
        assert not upstream.errors, upstream.errors


def test_early_final_answer_to_expect(tmp_path: Path) -> None:
    def handle(connection: socket.socket) -> None:
        read_head(connection)
        answer(connection, b"no", "417 Expectation Failed")
        assert connection.recv(100) == b""

    with mesh(tmp_path, handle) as (proxy, upstream):
        data = proxy.send(b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert data.startswith(b"HTTP/1.1 417")
        assert b"connection: close" in data
        assert not upstream.errors, upstream.errors


def test_103_goes_to_1_1_and_not_to_1_0(tmp_path: Path) -> None:
    def handle(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
        answer(connection)

    with mesh(tmp_path, handle) as (proxy, _):
        data = proxy.send(CLOSE)
        assert data.startswith(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n")
        assert data.count(b"HTTP/1.1 200") == 1
        assert b"103" not in proxy.send(b"GET / HTTP/1.0\r\nHost: app\r\n\r\n")


@pytest.mark.parametrize("together", [True, False])
def test_bytes_on_an_idle_connection_are_never_an_answer(tmp_path: Path, together: bool) -> None:
    forged = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"
    sent = threading.Semaphore(0)

    def handle(connection: socket.socket) -> None:
        read_head(connection)
        answer(connection, b"ok" + forged if together else b"ok", length=2)
        if not together:
            connection.sendall(forged)
        sent.release()
        read_head(connection)

    with mesh(tmp_path, handle) as (proxy, upstream), proxy.connect() as client:
        for _ in range(20):
            client.sendall(GET)
            head, body = read_message(client)
            assert body == b"ok", head
            assert sent.acquire(timeout=5)
        assert upstream.accepted == 20


def test_read_all_of_a_half_closed_client(tmp_path: Path) -> None:
    with mesh(tmp_path, keep_answering) as (proxy, _), proxy.connect() as client:
        client.sendall(GET)
        client.shutdown(socket.SHUT_WR)
        data = read_all(client)
        assert data.startswith(b"HTTP/1.1 200")
        assert data.endswith(b"ok")


def test_limits_on_heads(tmp_path: Path) -> None:
    with mesh(tmp_path, keep_answering) as (proxy, _):
        assert b" 414 " in proxy.send(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: app\r\n\r\n")[:40]
        long = b"GET /" + b"a" * 8000 + b" HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n"
        assert proxy.send(long).startswith(b"HTTP/1.1 200")
        many = b"".join(b"x-%d: 1\r\n" % n for n in range(101))
        assert b" 431 " in proxy.send(b"GET / HTTP/1.1\r\nHost: app\r\n" + many + b"\r\n")[:40]
        assert b" 431 " in proxy.send(b"GET / HTTP/1.1\r\nHost: app\r\nx: " + b"a" * 100_000 + b"\r\n\r\n")[:40]


def test_body_limit(tmp_path: Path) -> None:
    with mesh(tmp_path, keep_answering, "--max-body", "1000") as (proxy, _):
        assert b" 413 " in proxy.send(b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 1001\r\n\r\n")[:40]
        chunk = b"3e8\r\n" + bytes(1000) + b"\r\n"
        head = b"POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert b" 413 " in proxy.send(head + chunk * 2)[:40]


def test_proxy_ends_at_once(tmp_path: Path) -> None:
    """Nothing under way: nothing to wait for."""
    with Upstream(keep_answering) as upstream, Proxy(tmp_path, "") as proxy:
        assert upstream.port
        proxy.process.terminate()
        assert proxy.process.wait(8) == 0


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_a_long_body_that_is_cut(tmp_path: Path, how: str) -> None:
    """Long bodies move inside the kernel: their end is watched all the same."""

    def handle(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n")
        for _ in range(5):
            connection.sendall(bytes(1_000_000))
        if how == "reset":
            reset(connection)

    with mesh(tmp_path, handle) as (proxy, _):
        for _ in range(5):
            head, _, body = proxy.send(GET).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert len(body) < 10_000_000
        pid = proxy.workers()[0]
        before = open_files(pid)
        proxy.send(GET)
        assert open_files(pid) <= before + 2


def test_a_long_body_that_nobody_reads_any_more(tmp_path: Path) -> None:
    gone = threading.Event()

    def handle(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        try:
            for _ in range(100):
                connection.sendall(bytes(1_000_000))
        except ConnectionError:
            gone.set()

    with mesh(tmp_path, handle) as (proxy, _):
        with proxy.connect() as client:
            client.sendall(GET)
            client.recv(100_000)
        assert gone.wait(2)


def test_the_next_request_after_a_long_body(tmp_path: Path) -> None:
    body = os.urandom(1 << 20)

    def handle(connection: socket.socket) -> None:
        while read_head(connection)[0]:
            answer(connection, body)

    with mesh(tmp_path, handle) as (proxy, upstream), proxy.connect() as client:
        for _ in range(30):
            client.sendall(GET)
            _, got = read_message(client)
            assert got == body
        assert upstream.accepted == 1
