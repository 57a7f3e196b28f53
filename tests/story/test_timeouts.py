"""Time-outs of routes and connects: on time, with the right status and flag, and only where they were asked for."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.running import read_all
from tests.traffic import (
    Action,
    Broken,
    Client,
    Replica,
    Request,
    Story,
    ask,
    destination_rule,
    eventually,
    prefix,
    replicas,
    replicas_of,
    together,
    virtual_service,
)

pytestmark = pytest.mark.quiet  # each looks at a clock


def rule(path: str, timeout: str, **more: Any) -> dict[str, Any]:
    return {"match": prefix(path), "timeout": timeout, **more}


RULES = [
    rule("/short", "200ms"),
    rule("/delayed", "200ms", fault={"delay": {"fixedDelay": "500ms", "percentage": {"value": 100}}}),
    rule("/second", "1s"),
    {},
]


def act(request: Request) -> Action:
    """`x-wait` before the head, `x-stall` in the middle of the body."""
    time.sleep(float(request.headers.get("x-wait", 0)))
    if "x-stall" in request.headers:
        request.connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
        time.sleep(float(request.headers["x-stall"]))
        return b"world"
    return 200


@pytest.fixture(scope="module")
def full() -> Iterator[int]:
    """A port whose queue is full: connections to it neither fail nor succeed."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, contextlib.ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


@pytest.fixture(scope="module")
def app() -> Iterator[Replica]:
    with replicas("app", act=act) as (one,):
        yield one


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, app: Replica, full: int) -> Iterator[Story]:
    yaml = replicas_of("app", app.port) + virtual_service("app", *RULES)
    policy = {"connectionPool": {"tcp": {"connectTimeout": "150ms"}}}
    yaml += replicas_of("deaf", full) + destination_rule("deaf", policy)
    yaml += virtual_service("deaf", {"retries": {"attempts": 0}})
    yaml += replicas_of("half", full, app.port) + destination_rule("half", policy)
    with Story(tmp_path_factory.mktemp("timeouts"), yaml) as one:
        yield one


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_route_timeout(story: Story, method: str) -> None:
    answer, line = story.ask("/short", method, x_wait="0.6", body=b"x" if method == "POST" else None)
    assert (answer.status, answer.text, line["response_flags"]) == (504, "upstream request timeout", "UT")
    assert line["response_code_details"] == "response_timeout"
    assert 0.2 <= answer.seconds < 0.3


def test_many_time_out_on_time(story: Story) -> None:
    answers = together([lambda: ask(story.port, "/short", x_wait="0.6")] * 40)
    assert {answer.status for answer in answers} == {504}
    assert all(0.2 <= answer.seconds < 0.45 for answer in answers)


def test_the_connection_of_a_timed_out_request_is_not_used_again(story: Story, app: Replica) -> None:
    with Client(story.port) as client:
        assert client.ask("/short/a", x_wait="0.3").status == 504
        time.sleep(0.2)  # the late answer comes: it must not meet anybody
        answer = client.ask("/short/b")
        assert (answer.status, answer.text) == (200, "app")


def test_no_timeout(story: Story) -> None:
    assert ask(story.port, "/none", x_wait="1.2").status == 200


def test_in_time(story: Story) -> None:
    answer, line = story.ask("/second", x_wait="0.3")
    assert (answer.status, line["response_flags"]) == (200, "-")


def test_an_injected_delay_is_not_part_of_it(story: Story) -> None:
    answer, line = story.ask("/delayed")
    assert (answer.status, line["response_flags"]) == (200, "DI")
    assert 0.5 <= answer.seconds < 0.7


def test_a_body_that_takes_too_long_is_cut(story: Story) -> None:
    """The head has gone out: the client sees a broken message at the end of the time."""
    began = time.monotonic()
    with pytest.raises((Broken, ConnectionError)):
        ask(story.port, "/short/stall", x_stall="0.8")
    assert 0.2 <= time.monotonic() - began < 0.4
    line = eventually(lambda: story.lines("/short/stall"))[0]
    assert (line["response_code"], line["response_flags"]) == (200, "UT")


def test_time_counts_from_the_end_of_the_request(story: Story) -> None:
    """A client may upload for as long as it wants."""
    with socket.create_connection(("127.0.0.1", story.port), 5) as client:
        client.sendall(b"POST /short/upload HTTP/1.1\r\nHost: app\r\nConnection: close\r\nContent-Length: 5\r\n\r\n")
        for byte in b"hello":
            time.sleep(0.1)
            client.sendall(bytes([byte]))
        assert read_all(client).startswith(b"HTTP/1.1 200")


def test_connect_timeout(story: Story) -> None:
    answer, line = story.ask("/x", host="deaf")
    assert (answer.status, line["response_flags"]) == (503, "UF")
    assert "connection timeout" in answer.text
    assert 0.15 <= answer.seconds < 0.3


def test_a_connect_timeout_is_retried_elsewhere(story: Story) -> None:
    answers = together([lambda: ask(story.port, "/x", host="half")] * 20)
    assert {answer.status for answer in answers} == {200}
    assert max(answer.seconds for answer in answers) < 0.6


def test_nothing_is_left(story: Story) -> None:
    eventually(lambda: set(story.stats("rq_active|pending_active|retry_active").values()) == {0})
