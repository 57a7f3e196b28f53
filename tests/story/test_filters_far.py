"""Filters before what is no plain request: gRPC calls with a real client and server, WebSocket, mirrors."""

from __future__ import annotations

import asyncio
import queue
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.story.test_filters import HOOKS, filter_of, wrong
from tests.story.test_grpc import PATIENCE, Code, Server, Shop
from tests.story.test_websocket import Server as Echo
from tests.story.test_websocket import connect
from tests.traffic import Story, ask, eventually, replicas, replicas_of, stats, virtual_service


def code_of(folder: Path) -> str:
    code = folder / "code"
    code.mkdir()
    shutil.copy(HOOKS, code / "hooks.py")
    return str(code)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("calls")
    filters = [
        filter_of("way", "Named", "/s/", config={"name": "a"}),
        filter_of("answer", "Teapot", "/s/Echo-Answer"),
        filter_of("late-answer", "Teapot", "/s/Echo-Instead", config={"late": True}),
        filter_of("pieces", "Same", "/s/Talk"),
        filter_of("whole", "Same", "/s/Echo-Whole", config={"whole": True}),
        wrong("s/Echo-Raise", "request_head").replace('"s/Echo-Raise"', '"raise"'),
    ]
    with Server("one") as server:
        yaml = replicas_of("app", server.port).replace('"name": "http"', '"name": "grpc"') + "".join(filters)
        with Story(folder, yaml.replace('"http": ', '"grpc": '), "--filter-path", code_of(folder)) as story:
            yield Shop(story, [server], None)  # type: ignore[arg-type]


def test_a_call_goes_through_hooks(shop: Shop) -> None:
    answer, call = shop.call("/s/Echo-Whole", b"hello")
    assert (answer, call.code()) == (b"hello", Code.OK)
    assert dict(call.initial_metadata())["x-back"] == "a"
    assert dict(call.trailing_metadata())["x-last"] == "1"
    assert shop.servers[0].calls[-1][1]["x-way"] == "a"


def test_a_talk_is_passed_on_piece_by_piece(shop: Shop) -> None:
    """Each message is sent when the answer to the last one is here: none may be held back."""
    said: queue.Queue[bytes | None] = queue.Queue()
    with shop.channel() as channel:
        answers = channel.stream_stream("/s/Talk")(iter(said.get, None), timeout=PATIENCE)
        for number in range(20):
            message = b"%d" % number * (1 + number * 5_000)
            said.put(message)
            assert next(answers) == message
        said.put(None)
        assert list(answers) == []
        assert answers.code() is Code.OK


def test_answers_are_statuses(shop: Shop) -> None:
    count = shop.tries("/s/Echo-Answer")
    assert shop.fail("/s/Echo-Answer") == (Code.UNAUTHENTICATED, "who are you?")
    assert shop.tries("/s/Echo-Answer") == count
    assert shop.fail("/s/Echo-Instead") == (Code.UNAUTHENTICATED, "who are you?")
    assert shop.line("/s/Echo-Instead")["response_code_details"] == "filter_answer{default.late-answer}"
    assert shop.fail("/s/Echo-Raise?raise")[0] is Code.UNKNOWN


# --- WebSocket --------------------------------------------------------------------------------------------------------


def test_a_tunnel_opens_behind_its_hooks(tmp_path: Path) -> None:
    filters = [
        filter_of("a", "Named", config={"name": "a"}),
        filter_of("shout", "Shout"),
        filter_of("no", "Teapot", "/no"),
        filter_of("late", "Teapot", "/late", config={"late": True}),
    ]
    with Echo() as echo:
        yaml = replicas_of("app", echo.port) + "".join(filters)
        with Story(tmp_path, yaml, "--filter-path", code_of(tmp_path)) as story:

            async def talk() -> str:
                async with connect("ws://app/", host="127.0.0.1", port=story.port) as connection:
                    for message in ("small", "x" * 100_000):
                        await connection.send(message)
                        assert await connection.recv() == message
                    assert connection.response is not None
                    return connection.response.headers["x-back"]

            assert asyncio.run(talk()) == "a"
            for path in ("no", "late"):
                refused = ask(
                    story.proxy, f"/{path}", connection="upgrade", upgrade="websocket", sec_websocket_version="13",
                    sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ==",
                )  # fmt: skip
                assert (refused.status, refused.body) == (401, b"who are you?")
            eventually(lambda: stats(story.proxy, "upgrades_active$")["http.downstream_cx_upgrades_active"] == 0)
            assert len(story.proxy.workers()) == 1


# --- mirrors ----------------------------------------------------------------------------------------------------------


def test_a_mirror_gets_what_the_endpoint_gets(tmp_path: Path) -> None:
    with replicas("app", "shadow") as (app, shadow):
        yaml = replicas_of("app", app.port) + replicas_of("shadow", shadow.port)
        yaml += virtual_service("app", {"mirror": {"host": "shadow"}})
        yaml += filter_of("calls", "Count") + filter_of("pieces", "Pieces", "/pieces", order=1)
        with Story(tmp_path, yaml, "--filter-path", code_of(tmp_path)) as story:
            for number, (path, body) in enumerate([("/", b"body-filtered"), ("/pieces", b"BODY-FILTERED<end>")], 1):
                assert ask(story.proxy, path, "POST", body=b"body").status == 200
                eventually(lambda: len(shadow.seen) == number)  # noqa: B023
                assert (shadow.last.body, app.last.body) == (body, body)
                assert shadow.last.headers["x-calls"] == app.last.headers["x-calls"] == str(number)
                assert shadow.last.headers["x-request-id"] == app.last.headers["x-request-id"]
