"""gRPC with a real client and real servers (PyPI grpcio): what the mesh does with calls, in plaintext HTTP/2."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import pytest

from tests.http2_endpoint import Asked, Endpoint, endpoint_of
from tests.ports import free_port
from tests.traffic import Story, destination_rule, eventually, prefix, rate_limit, stats, virtual_service

grpc = pytest.importorskip("grpc", reason="the package grpcio is not installed")

MIB = 1 << 20
PATIENCE = 20
SIZES = [("grpc.max_receive_message_length", 16 * MIB), ("grpc.max_send_message_length", 16 * MIB)]
Code = grpc.StatusCode


class Server:
    """One replica: messages are bytes, and what happens is said by the method's name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[tuple[str, dict[str, Any], float | None]] = []  # method, metadata, time left
        self.cancelled: list[str] = []
        self.statuses: dict[str, Iterator[Any]] = {}  # by method: what the next calls end with
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.port = 0

    def __enter__(self) -> Server:
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self.loop).result(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.server.stop(None), self.loop).result(PATIENCE)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)

    async def _start(self) -> None:
        self.server = grpc.aio.server(options=[*SIZES, ("grpc.so_reuseport", 0)])
        self.server.add_generic_rpc_handlers([Methods(self)])
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()

    def end(self, method: str, *codes: Any) -> str:
        self.statuses[method] = iter(codes)
        return method

    def count(self, method: str) -> int:
        return sum(1 for call in self.calls if call[0] == method)

    async def noted(self, method: str, context: Any) -> None:
        left = context.time_remaining()
        self.calls.append((method, dict(context.invocation_metadata()), left if left and left < 1e9 else None))
        code = next(self.statuses.get(method, iter(())), None)
        if code is not None:
            await context.abort(code, f"{method} said {code.name}")


class Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, server: Server) -> None:
        self.server = server

    def service(self, details: Any) -> Any:
        method = details.method
        kind = method.rpartition("/")[2].split("-")[0]
        if method == "/grpc.health.v1.Health/Check":
            return grpc.unary_unary_rpc_method_handler(self.healthy)
        if kind == "Many":
            return grpc.unary_stream_rpc_method_handler(self.many(method))
        if kind == "Sum":
            return grpc.stream_unary_rpc_method_handler(self.sum(method))
        if kind == "Talk":
            return grpc.stream_stream_rpc_method_handler(self.talk(method))
        if kind == "Echo":
            return grpc.unary_unary_rpc_method_handler(self.echo(method))
        return None

    async def healthy(self, request: bytes, context: Any) -> bytes:
        return b"\x08\x01"  # HealthCheckResponse{status: SERVING}

    def echo(self, method: str) -> Any:
        async def answer(request: bytes, context: Any) -> bytes:
            await self.server.noted(method, context)
            if "Slow" in method:
                try:
                    await asyncio.sleep(30)
                except asyncio.CancelledError:
                    self.server.cancelled.append(method)
                    raise
            await context.send_initial_metadata((("x-replica", self.server.name),))
            context.set_trailing_metadata((("x-last", "1"), ("x-last-bin", b"\x00\xff")))
            return request

        return answer

    def many(self, method: str) -> Any:
        async def answer(request: bytes, context: Any) -> AsyncIterator[bytes]:
            await self.server.noted(method, context)
            count, size = map(int, request.split())
            try:
                for number in range(count):
                    yield b"%d " % number + bytes(size)
                if "Cut" in method:
                    await asyncio.sleep(30)
            except asyncio.CancelledError:
                self.server.cancelled.append(method)
                raise

        return answer

    def sum(self, method: str) -> Any:
        async def answer(requests: AsyncIterator[bytes], context: Any) -> bytes:
            await self.server.noted(method, context)
            return b"%d" % sum([len(request) async for request in requests])

        return answer

    def talk(self, method: str) -> Any:
        async def answer(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            await self.server.noted(method, context)
            async for request in requests:
                yield request

        return answer


class Shop(NamedTuple):
    story: Story
    servers: list[Server]
    refusing: Endpoint

    @contextlib.contextmanager
    def channel(self, host: str = "app") -> Iterator[Any]:
        options = [*SIZES, ("grpc.default_authority", host), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{self.story.port}", options) as channel:
            yield channel

    def call(self, method: str, request: bytes = b"q", host: str = "app", **more: Any) -> tuple[bytes, Any]:
        with self.channel(host) as channel:
            answer, call = channel.unary_unary(method).with_call(request, **{"timeout": PATIENCE, **more})
            return answer, call

    def fail(self, method: str, host: str = "app", **more: Any) -> tuple[Any, str]:
        with pytest.raises(grpc.RpcError) as caught:
            self.call(method, host=host, **more)
        return caught.value.code(), caught.value.details()

    def line(self, method: str) -> dict[str, Any]:
        return eventually(lambda: next(iter(self.story.lines(f'"{method}"')), None))  # type: ignore[return-value]

    def tries(self, method: str) -> int:
        return sum(server.count(method) for server in self.servers)

    def end(self, method: str, *codes: Any) -> str:
        shared = iter(codes)
        for server in self.servers:
            server.statuses[method] = shared
        return method


def rule(path: str, **more: Any) -> dict[str, Any]:
    return {"match": prefix(path), **more}


def retry(on: str, **more: Any) -> dict[str, Any]:
    return {"attempts": 2, "retryOn": on, "backoff": "1ms", **more}


def abort(**how: Any) -> dict[str, Any]:
    return {"abort": {"percentage": {"value": 100}, **how}}


RULES = [
    rule("/s/Echo-cancelled", retries=retry("cancelled")),
    rule("/s/Echo-internal", retries=retry("internal")),
    rule("/s/Echo-exhausted", retries=retry("resource-exhausted")),
    rule("/s/Echo-SlowTry", retries=retry("5xx", perTryTimeout="150ms"), timeout="2s"),
    rule("/s/Echo-SlowRule", timeout="300ms", retries={"attempts": 0}),
    rule("/s/Echo-never", retries={"attempts": 0}),
    rule("/s/Echo-abort", fault=abort(httpStatus=429)),
    rule("/s/Echo-grpc", fault=abort(grpcStatus="PERMISSION_DENIED")),
    rule("/s/Echo-direct", directResponse={"status": 401, "body": {"string": "caf\u00e9 100 %"}}),
    {},
]
FEW = {"targetRef": {"kind": "Service", "name": "few"}, "limits": [{"requests": 1, "per": "hour"}]}
OUTLIER = {"outlierDetection": {"consecutive5xxErrors": 3, "baseEjectionTime": "60s", "maxEjectionPercent": 100}}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with Server("a") as a, Server("b") as b, Endpoint() as refusing:
        yaml = endpoint_of("app", a.port, b.port, port_name="grpc") + virtual_service("app", *RULES)
        yaml += endpoint_of("gone", free_port(), port_name="grpc") + endpoint_of("empty", port_name="grpc")
        yaml += endpoint_of("few", a.port, port_name="grpc") + rate_limit("few", FEW)
        yaml += endpoint_of("sick", a.port, b.port, port_name="grpc") + destination_rule("sick", OUTLIER)
        yaml += virtual_service("sick", {"retries": {"attempts": 0}})
        yaml += endpoint_of("refusing", refusing.port, port_name="grpc")
        yaml += virtual_service("refusing", {"retries": {"attempts": 0}})
        with Story(tmp_path_factory.mktemp("grpc"), yaml, "--h2-max-streams", "400") as story:
            yield Shop(story, [a, b], refusing)


# --- calls of all kinds -----------------------------------------------------------------------------------------------


def test_each_call_finds_a_replica(shop: Shop) -> None:
    """One connection of the client, both replicas: calls are balanced, not connections."""
    with shop.channel() as channel:
        method = channel.unary_unary("/s/Echo-balance")
        seen = set()
        for number in range(40):
            answer, call = method.with_call(b"%d" % number, timeout=PATIENCE, metadata=(("x-user", "ada"),))
            assert answer == b"%d" % number
            seen.add(dict(call.initial_metadata())["x-replica"])
            assert {("x-last", "1"), ("x-last-bin", b"\x00\xff")} <= set(call.trailing_metadata())
    assert seen == {"a", "b"}
    assert all(call[1]["x-user"] == "ada" for server in shop.servers for call in server.calls if "balance" in call[0])


def test_messages_of_four_megabytes(shop: Shop) -> None:
    body = random.Random(1).randbytes(4 * MIB)
    assert shop.call("/s/Echo-large", body)[0] == body
    with shop.channel() as channel:
        answers = list(channel.unary_stream("/s/Many-large")(b"5 1000000", timeout=PATIENCE))
        assert [len(answer) for answer in answers] == [1_000_002] * 5
        assert channel.stream_unary("/s/Sum-large")(iter([body] * 3), timeout=PATIENCE) == b"%d" % (12 * MIB)
        assert b"".join(channel.stream_stream("/s/Talk-large")(iter([body] * 2), timeout=PATIENCE)) == body * 2


def test_messages_are_counted(shop: Shop) -> None:
    with shop.channel() as channel:
        assert len(list(channel.unary_stream("/s/Many-counted")(b"7 10", timeout=PATIENCE))) == 7
        assert channel.stream_unary("/s/Sum-counted")(iter([b"1", b"", b"333"]), timeout=PATIENCE) == b"4"
        assert list(channel.stream_stream("/s/Talk-counted")(iter([b"a", b"b"]), timeout=PATIENCE)) == [b"a", b"b"]
    for method in ("/s/Many-counted", "/s/Sum-counted", "/s/Talk-counted"):
        assert shop.line(method)["grpc_status"] == 0
    text = shop.story.proxy.get("/stats/prometheus")[1]
    labels = r'\{[^}]*destination_service_name="app"[^}]*request_protocol="grpc"[^}]*grpc_response_status="0"'
    assert total(text, "istio_request_messages_total" + labels) >= 1 + 3 + 2
    assert total(text, "istio_response_messages_total" + labels) >= 7 + 1 + 2


def total(text: str, pattern: str) -> float:
    return sum(float(found) for found in re.findall(pattern + r"[^}]*\} (\S+)", text))


def test_a_health_check(shop: Shop) -> None:
    assert shop.call("/grpc.health.v1.Health/Check", b"")[0] == b"\x08\x01"


def test_an_unknown_method(shop: Shop) -> None:
    assert shop.fail("/s/Nothing")[0] == Code.UNIMPLEMENTED
    assert shop.line("/s/Nothing")["response_code_details"] == "via_upstream"


def test_a_thousand_streams_at_once(shop: Shop) -> None:
    """All are open before the first message goes; each talks on its own."""

    async def all_of_them() -> int:
        async with contextlib.AsyncExitStack() as stack:
            options = [("grpc.default_authority", "app"), ("grpc.use_local_subchannel_pool", 1)]
            target = f"127.0.0.1:{shop.story.port}"
            channels = [await stack.enter_async_context(grpc.aio.insecure_channel(target, options)) for _ in range(4)]
            calls = [channels[number % 4].stream_stream("/s/Talk-many")() for number in range(1_000)]
            for number, call in enumerate(calls):
                await call.write(b"%d:0" % number)
            good = sum([await call.read() == b"%d:0" % number for number, call in enumerate(calls)])
            assert await asyncio.to_thread(active, shop) == 1_000
            for number, call in enumerate(calls):
                await call.write(b"%d:1" % number)
                await call.done_writing()
            for number, call in enumerate(calls):
                good += await call.read() == b"%d:1" % number
                assert await call.read() == grpc.aio.EOF
                assert await call.code() == Code.OK
            return good

    assert asyncio.run(asyncio.wait_for(all_of_them(), 100)) == 2_000
    eventually(lambda: active(shop) == 0)


def active(shop: Shop) -> int:
    return next(iter(stats(shop.story.proxy, "^http.downstream_rq_active$").values()))


# --- ends -------------------------------------------------------------------------------------------------------------


def test_a_client_that_cancels(shop: Shop) -> None:
    with shop.channel() as channel:
        waiting = channel.unary_unary("/s/Echo-SlowCancel").future(b"q", timeout=PATIENCE)
        eventually(lambda: shop.tries("/s/Echo-SlowCancel"))
        waiting.cancel()
        eventually(lambda: [server for server in shop.servers if "/s/Echo-SlowCancel" in server.cancelled])
        stream = channel.unary_stream("/s/Many-Cut")(b"2 10", timeout=PATIENCE)
        assert len(list(itertools.islice(stream, 2))) == 2
        stream.cancel()
        eventually(lambda: [server for server in shop.servers if "/s/Many-Cut" in server.cancelled])
    assert shop.line("/s/Many-Cut")["response_flags"] == "DC"


def test_a_server_that_breaks_off(shop: Shop) -> None:
    def cut(asked: Asked) -> None:
        asked.head(200, ("content-type", "application/grpc"))
        asked.data(b"\0\0\0\0\1x")
        asked.reset(2)

    shop.refusing.begun, shop.refusing.act = cut, lambda asked: None
    with shop.channel("refusing") as channel, pytest.raises(grpc.RpcError) as caught:
        list(channel.unary_stream("/s/Many-broken")(b"q", timeout=PATIENCE))
    assert caught.value.code() in (Code.INTERNAL, Code.UNAVAILABLE, Code.UNKNOWN)
    line = shop.line("/s/Many-broken")
    assert (line["response_flags"], line["grpc_status"]) == ("UC", 2)


# --- time -------------------------------------------------------------------------------------------------------------


def test_the_clients_deadline(shop: Shop) -> None:
    began = time.monotonic()
    assert shop.fail("/s/Echo-SlowDeadline", timeout=0.4)[0] == Code.DEADLINE_EXCEEDED
    assert 0.3 < time.monotonic() - began < 1.5
    left = [call[2] for server in shop.servers for call in server.calls if call[0] == "/s/Echo-SlowDeadline"]
    assert len(left) == 1, "not tried again"
    assert 0.1 < left[0] < 0.41  # type: ignore[operator]  # the endpoint's clock may tick between its two looks
    eventually(lambda: [server for server in shop.servers if "/s/Echo-SlowDeadline" in server.cancelled])


def test_the_rules_time(shop: Shop) -> None:
    began = time.monotonic()
    code, _ = shop.fail("/s/Echo-SlowRule")
    assert code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED), "the proxy's word, or that of the server, which was told"
    assert 0.25 < time.monotonic() - began < 2
    left = [call[2] for server in shop.servers for call in server.calls if call[0] == "/s/Echo-SlowRule"]
    assert left[0] <= 0.3  # type: ignore[operator]
    assert shop.line("/s/Echo-SlowRule")["response_flags"] == ("UT" if code == Code.UNAVAILABLE else "-")


def test_a_deadline_holds_from_the_start_of_a_stream(shop: Shop) -> None:
    """Its requests never end: no time-out of HTTP would begin."""
    never = threading.Event()

    def requests() -> Iterator[bytes]:
        yield b"first"
        never.wait(PATIENCE)

    with shop.channel() as channel:
        call = channel.stream_stream("/s/Talk-deadline")(requests(), timeout=0.5)
        assert next(call) == b"first"
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        assert caught.value.code() == Code.DEADLINE_EXCEEDED
        never.set()
    eventually(lambda: active(shop) == 0)


def test_tries_have_their_own_time(shop: Shop) -> None:
    code, details = shop.fail("/s/Echo-SlowTry")
    assert (code, details) == (Code.UNAVAILABLE, "upstream request timeout")
    assert shop.tries("/s/Echo-SlowTry") == 3
    left = [call[2] for server in shop.servers for call in server.calls if call[0] == "/s/Echo-SlowTry"]
    assert min(left) > 1, "of the whole, not of one try"  # type: ignore[type-var]


# --- retries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("/s/Echo-cancelled", Code.CANCELLED),
        ("/s/Echo-internal", Code.INTERNAL),
        ("/s/Echo-exhausted", Code.RESOURCE_EXHAUSTED),
        ("/s/Echo-default", Code.UNAVAILABLE),
    ],
)
def test_retries(shop: Shop, method: str, code: Any) -> None:
    shop.end(method, code)
    assert shop.call(method)[0] == b"q"
    assert shop.tries(method) == 2
    shop.end(method, *[code] * 9)
    assert shop.fail(method)[0] == code
    assert shop.tries(method) == 2 + 3
    shop.end(method, Code.NOT_FOUND)
    assert shop.fail(method)[0] == Code.NOT_FOUND
    assert shop.tries(method) == 2 + 3 + 1


def test_a_refused_stream_goes_out_once_more(shop: Shop) -> None:
    """Whatever the policy says: the endpoint has said that it did not look at it."""
    refusals = iter([7, 0, 7, 7])

    def act(asked: Asked) -> None:
        code = next(refusals)
        if code:
            asked.reset(code)
        else:
            asked.head(200, ("content-type", "application/grpc"))
            asked.data(b"\0\0\0\0\1x")
            asked.finish(("grpc-status", "0"))

    shop.refusing.begun, shop.refusing.act = lambda asked: None, act
    before = len(shop.refusing.seen)
    assert shop.call("/s/Echo-refused", host="refusing")[0] == b"x"
    assert len(shop.refusing.seen) == before + 2
    assert shop.line("/s/Echo-refused")["response_flags"] == "-"
    code, details = shop.fail("/s/Echo-twice", host="refusing")
    assert code == Code.UNAVAILABLE
    assert details.endswith("remote refused stream reset")
    assert len(shop.refusing.seen) == before + 4
    assert shop.line("/s/Echo-twice")["response_flags"] == "UR"


# --- answers of the proxy ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "method", "code", "details"),
    [
        ("nobody", "/s/Echo", Code.UNAVAILABLE, ""),
        ("gone", "/s/Echo", Code.UNAVAILABLE, "upstream connect error or disconnect/reset before headers. "),
        ("empty", "/s/Echo", Code.UNAVAILABLE, "no healthy upstream"),
        ("app", "/s/Echo-abort", Code.UNAVAILABLE, "fault filter abort"),
        ("app", "/s/Echo-grpc", Code.PERMISSION_DENIED, "fault filter abort"),
        ("app", "/s/Echo-direct", Code.UNAUTHENTICATED, "caf\u00e9 100 %"),
    ],
)
def test_answers_of_the_proxy(shop: Shop, host: str, method: str, code: Any, details: str) -> None:
    said = shop.fail(method, host=host)
    assert said[0] == code
    assert said[1].startswith(details)


def test_a_rate_limit(shop: Shop) -> None:
    assert shop.call("/s/Echo-few", host="few")[0] == b"q"
    assert shop.fail("/s/Echo-few", host="few")[0] == Code.UNAVAILABLE
    eventually(lambda: [line for line in shop.story.lines("/s/Echo-few") if line["response_flags"] == "RL"])


def test_statuses_eject(shop: Shop) -> None:
    shop.end("/s/Echo-fine", *[Code.NOT_FOUND] * 8)
    for _ in range(8):
        assert shop.fail("/s/Echo-fine", host="sick")[0] == Code.NOT_FOUND
    shop.end("/s/Echo-sick", *[Code.INTERNAL] * 30)
    said = [shop.fail("/s/Echo-sick", host="sick") for _ in range(8)]
    assert said[:6] == [(Code.INTERNAL, "/s/Echo-sick said INTERNAL")] * 6
    assert said[6:] == [(Code.UNAVAILABLE, "no healthy upstream")] * 2
