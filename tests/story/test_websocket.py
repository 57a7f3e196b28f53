"""WebSocket with a real client and a real server (PyPI websockets): through a mesh listener and through a gateway."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import pytest

from tests.ports import free_port
from tests.traffic import Story, eventually, reload, replicas_of, stats, thing, virtual_service

websockets = pytest.importorskip("websockets", reason="the package websockets is not installed")
from websockets.asyncio.client import ClientConnection, connect  # noqa: E402
from websockets.asyncio.server import ServerConnection, serve  # noqa: E402
from websockets.exceptions import ConnectionClosedError, InvalidStatus  # noqa: E402
from websockets.http11 import Request, Response  # noqa: E402

T = TypeVar("T")
MIB = 1 << 20
SIZES = [0, 1, 2, 124, 125, 126, 127, 1_000, 4_096, 16_383, 16_384, 65_535, 65_536, 100_000, MIB]


async def answer(connection: ServerConnection) -> None:
    """What the server does is said by the path."""
    path = connection.request.path if connection.request is not None else ""
    if path == "/close":
        await connection.close(4001, "enough")
    elif path == "/drop":
        await connection.recv()
        connection.transport.abort()
    elif path == "/stream":
        for number in range(1_000):
            await connection.send(f"{number}")
    else:
        async for message in connection:
            await connection.send(message)


def reject(connection: ServerConnection, request: Request) -> Response | None:
    return connection.respond(401, "who are you?") if request.path == "/private" else None


def choose(connection: ServerConnection, offered: Sequence[str]) -> str | None:
    return next((name for name in ("v2.chat", "v1.chat") if name in offered), None)


class Server:
    """An echo server on a loop of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.port = 0

    def __enter__(self) -> Server:
        self.thread.start()
        self.server = asyncio.run_coroutine_threadsafe(self._serve(), self.loop).result(10)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def _serve(self) -> Any:
        return await serve(
            answer,
            "127.0.0.1",
            0,
            max_size=None,
            process_request=reject,
            select_subprotocol=choose,
            backlog=1024,
        )

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)


class Road(NamedTuple):
    story: Story
    port: int
    host: str
    yaml: str

    @contextlib.asynccontextmanager
    async def open(self, path: str = "/", **more: Any) -> AsyncIterator[ClientConnection]:
        uri = f"ws://{self.host}{path}"
        async with connect(uri, host="127.0.0.1", port=self.port, max_size=None, open_timeout=30, **more) as connection:
            yield connection

    def active(self) -> int:
        return next(iter(stats(self.story.proxy, "upgrades_active$").values()))


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 100))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as made:
        yield made


@pytest.fixture(scope="module", params=["mesh", "gateway"])
def road(request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    directory = tmp_path_factory.mktemp(request.param)
    yaml = replicas_of("app", server.port)
    if request.param == "mesh":
        with Story(directory, yaml, workers=2) as story:
            yield Road(story, story.port, "app", yaml)
        return
    port = free_port()
    spec = {"selector": {"istio": "ingressgateway"}, "servers": [{"hosts": ["*"], "port": EDGE}]}
    yaml += thing("Gateway", "edge", spec)
    yaml += virtual_service("app", {}, hosts=["shop.example"], gateways=["edge"])
    flags = ("--bind", "127.0.0.1", "--map", f"80={port}", "--labels", "istio=ingressgateway")
    with Story(directory, yaml, *flags, role="gateway", workers=2) as story:
        yield Road(story, port, "shop.example", yaml)


EDGE = {"number": 80, "name": "http", "protocol": "HTTP"}


def test_a_thousand_messages_of_many_sizes(road: Road) -> None:
    rng = random.Random(1)
    messages: list[str | bytes] = [rng.randbytes(size) for size in SIZES]
    messages += ["x" * size for size in SIZES]
    messages += [rng.randbytes(rng.choice(SIZES[:12])) for _ in range(1_000 - len(messages))]

    async def talk() -> None:
        async with road.open() as connection:
            for message in messages:  # one after the other
                await connection.send(message)
                assert await connection.recv() == message

            async def send() -> None:
                for message in messages:
                    await connection.send(message)

            sending = asyncio.create_task(send())  # and all on the way at once
            assert [await connection.recv() for _ in messages] == messages
            await sending

    run(talk())
    line = eventually(lambda: next(iter(road.story.lines('"response_code":101')), None))
    assert line is not None
    assert line["bytes_received"] > 4 * MIB
    assert line["bytes_sent"] > 2 * MIB


def test_compressed_or_not(road: Road) -> None:
    async def talk(compression: str | None) -> None:
        async with road.open(compression=compression) as connection:
            assert bool(connection.protocol.extensions) is (compression is not None)
            await connection.send("a" * 100_000)
            assert await connection.recv() == "a" * 100_000

    run(talk("deflate"))
    run(talk(None))


def test_pings_go_both_ways(road: Road) -> None:
    async def talk() -> None:
        async with road.open() as connection:
            for _ in range(20):
                assert await (await connection.ping()) < 5

    run(talk())


def test_subprotocols(road: Road) -> None:
    async def chosen(*offered: str) -> str | None:
        async with road.open(subprotocols=list(offered)) as connection:
            return connection.subprotocol

    assert run(chosen("v1.chat", "other")) == "v1.chat"
    assert run(chosen("v1.chat", "v2.chat")) == "v2.chat"


def test_closing_codes_go_both_ways(road: Road) -> None:
    async def by_server() -> tuple[int | None, str | None]:
        async with road.open("/close") as connection:
            await connection.wait_closed()
            return connection.close_code, connection.close_reason

    async def by_client() -> tuple[int | None, str | None]:
        async with road.open() as connection:
            await connection.close(4002, "done")
            return connection.close_code, connection.close_reason

    assert run(by_server()) == (4001, "enough")
    assert run(by_client()) == (4002, "done")


def test_a_server_that_drops(road: Road) -> None:
    async def talk() -> None:
        async with road.open("/drop") as connection:
            await connection.send("now")
            with pytest.raises(ConnectionClosedError):
                await connection.recv()

    run(talk())


def test_a_client_that_drops(road: Road) -> None:
    async def talk() -> None:
        async with road.open() as connection:
            await connection.send("x")
            assert await connection.recv() == "x"
            connection.transport.abort()

    run(talk())
    eventually(lambda: road.active() == 0)


def test_a_server_that_refuses(road: Road) -> None:
    async def talk() -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with road.open("/private"):
                pass
        assert refused.value.response.status_code == 401
        assert refused.value.response.body == b"who are you?"

    run(talk())


@pytest.mark.quiet
def test_five_hundred_at_once_through_a_reload(road: Road) -> None:
    many_at_once(road, 500, 10)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_five_hundred_with_a_thousand_messages(road: Road) -> None:
    many_at_once(road, 500, 1_000)


def many_at_once(road: Road, tunnels: int, messages: int) -> None:
    """Every message comes back, whatever happens to the configuration."""

    async def talk(number: int, opened: Callable[[], Awaitable[None]]) -> int:
        async with road.open("/many", ping_interval=None, compression=None) as connection:
            await opened()
            back = 0
            for message in range(messages):
                text = f"{number}:{message}"
                await connection.send(text)
                back += await connection.recv() == text
            return back

    async def all_of_them() -> list[int]:
        barrier = asyncio.Barrier(tunnels + 1)

        async def opened() -> None:
            await barrier.wait()

        async with asyncio.TaskGroup() as group:  # who cannot open ends it: the others would wait for ever
            talks = [group.create_task(talk(number, opened)) for number in range(tunnels)]
            await barrier.wait()
            assert await asyncio.to_thread(road.active) == tunnels
            await asyncio.to_thread(reload, road.story.proxy, road.yaml + replicas_of(f"n{time.time_ns()}", 1))
        return [each.result() for each in talks]

    began = time.monotonic()
    assert asyncio.run(asyncio.wait_for(all_of_them(), 500)) == [messages] * tunnels
    print(f"{tunnels} x {messages} messages there and back in {time.monotonic() - began:.1f} s")
    eventually(lambda: road.active() == 0)
    assert not [line for line in road.story.lines("/many") if line["response_flags"] != "-"]
