"""`tunnel.protocol: POST`: a client's bytes in the body of a request, the endpoint's in the body of its answer."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastmesh.config.plan import Plan
from tests.running import Upstream, read_all, read_head
from tests.tls.plane import Plane, cluster, lines, make_plan
from tests.tls.test_tcp import leads, read

POST = "POST / HTTP/1.1\r\nHost: db.example:5432\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\n\r\n"


def chunks(stream: Any) -> Iterator[bytes]:
    """The pieces of a chunked body; the empty one is its end."""
    while True:
        size = int(stream.readline(), 16)
        piece = stream.read(size)
        assert stream.readline() == b"\r\n"
        yield piece
        if not size:
            return


def framed(answer: bytes, piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece) if answer == CHUNKED else piece


def was_reset(connection: socket.socket) -> bool:
    try:
        while connection.recv(100):
            pass
    except ConnectionResetError:
        return True
    return False


def plan(upstream: Upstream) -> Plan:
    return make_plan([leads(("c", 1))], [], {}, [cluster("c", upstream.port, tunnel=POST, connect_timeout=3000)])


def serve(answer: bytes, first: bytes = b"", ended: threading.Event | None = None) -> Callable[[socket.socket], None]:
    """Echoes what is posted; behind its end it says goodbye, on a connection that was not closed."""

    def talk(connection: socket.socket) -> None:
        head, rest = read_head(connection)
        assert (head, rest) == (POST.encode(), b""), "no byte of the client goes before the answer"
        connection.sendall(answer + (framed(answer, first) if first else b""))
        for piece in chunks(connection.makefile("rb")):
            if piece:
                connection.sendall(framed(answer, piece))
        if ended is not None:
            ended.set()
        connection.sendall(framed(answer, b"bye") + (framed(answer, b"") if answer == CHUNKED else b""))

    return talk


@pytest.mark.parametrize("answer", [CHUNKED, UNTIL_CLOSED, b"HTTP/1.1 100 Continue\r\n\r\n" + UNTIL_CLOSED])
def test_both_ways_and_each_end(answer: bytes, tmp_path: Path) -> None:
    log, ended, much = tmp_path / "log", threading.Event(), os.urandom(3 << 20)
    with Upstream(serve(answer, b"220 first\r\n", ended)) as upstream, Plane(plan(upstream), log=log) as plane:
        with plane.connect() as connection:
            connection.sendall(b"early ")
            assert read(connection, 17) == b"220 first\r\nearly "
            sender = threading.Thread(target=connection.sendall, args=(much,))
            sender.start()
            assert read(connection, len(much)) == much
            sender.join()
            connection.shutdown(socket.SHUT_WR)
            assert read_all(connection) == b"bye"
        assert ended.is_set(), "the end of the client is the end of the request"
        line = lines(log)[0]
        assert (line["bytes_received"], line["bytes_sent"]) == (6 + len(much), 11 + 6 + len(much) + 3)
        assert line["response_flags"] == "-"
        plane.await_count("server.open_fds", 0)
    assert upstream.errors == []


def test_an_answer_with_a_length(tmp_path: Path) -> None:
    def talk(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel")
        connection.sendall(b"lo and what is not of it")
        read_all(connection)

    with Upstream(talk) as upstream, Plane(plan(upstream)) as plane:
        with plane.connect() as connection:
            assert read_all(connection) == b"hello"
        plane.await_count("server.open_fds", 0)


@pytest.mark.parametrize(
    "answer",
    [CHUNKED + b"5\r\nhel", CHUNKED + b"zz\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel"],
    ids=["in a chunk", "no chunk", "of a length"],
)
def test_a_part_is_not_taken_for_all(answer: bytes) -> None:
    """A cut answer resets the client."""

    def talk(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(answer)

    with Upstream(talk) as upstream, Plane(plan(upstream)) as plane, plane.connect() as connection:
        assert was_reset(connection)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", b"220 not http\r\n\r\n"])
def test_a_refusal(answer: bytes, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def talk(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(answer)

    with Upstream(talk) as upstream, Plane(plan(upstream), log=log) as plane:
        with contextlib.suppress(ConnectionResetError), plane.connect() as connection:
            assert read_all(connection) == b""
        assert lines(log)[0]["response_flags"] == "UF,URX"
