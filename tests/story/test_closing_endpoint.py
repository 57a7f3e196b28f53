"""An endpoint that closes right behind each answer without having said so: its clients notice nothing."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.running import Upstream
from tests.traffic import Client, Story, replicas_of, together, virtual_service

CLIENTS, EACH = 16, 150
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def answer_and_close(connection: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data and (got := connection.recv(65536)):
        data += got
    if data:
        connection.sendall(ANSWER)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass  # a request that comes now was lost


def test_requests_that_may_run_twice_are_all_answered(tmp_path: Path) -> None:
    with Upstream(answer_and_close) as upstream:
        rule = virtual_service("app", {"retries": {"attempts": 0}})
        with Story(tmp_path, replicas_of("app", upstream.port) + rule) as story:

            def ask_all() -> list[int]:
                with Client(story.port) as client:
                    return [client.ask("/").status for _ in range(EACH)]

            statuses = [status for each in together([ask_all] * CLIENTS) for status in each]
    assert statuses == [200] * (CLIENTS * EACH)
