"""HTTP/2 on both sides: streams of a client become streams to endpoints, each with its own end, reset and window."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.http2 import INITIAL_WINDOW, Http2, request, rst_stream, window_update
from tests.http2_endpoint import Asked, Case, Service, World
from tests.traffic import PATIENCE, Story, eventually, replicas, replicas_of, thing

ONCE = {"retries": {"attempts": 0}}
AS_CLIENT = {"connectionPool": {"http": {"useClientProtocol": True}}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    services = {
        "app": Service(rule=ONCE),
        "refuses": Service(rule=ONCE),
        "as-client": Service(AS_CLIENT, port_name="http"),
    }
    with World(tmp_path_factory.mktemp("through"), services) as made:
        yield made
        made.check_nothing_is_left()


@pytest.fixture
def app(world: World) -> Iterator[Case]:
    case = world["app"]
    case.restart()
    yield case
    case.restart()
    with Http2(case.story.port) as client:
        assert client.ask().status == 200
    assert case.accepted == 1, "one connection carried it all"


def test_messages(app: Case) -> None:
    def act(asked: Asked) -> None:
        asked.head(103, ("link", "</a>"))
        asked.head(200, ("x-a", "1"), ("x-a", "2"))
        asked.data(asked.body)
        asked.finish(("x-sum", "5"))

    app.act(act)
    with Http2(app.story.port) as client:
        stream = client.open(
            request("/a?b", "POST", "app", ("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")), False
        )
        client.data(stream, b"hello")
        client.send(client.head(stream, [("x-check", "3")]))
        (reply,) = client.wait(stream)
    assert (reply.status, reply.interim, reply.body, reply.trailers) == (200, [103], b"hello", {"x-sum": "5"})
    asked = app.last("/a?b")
    assert (asked["cookie"], asked["te"], asked.body, asked.trailers) == (
        "a=1; b=2",
        "trailers",
        b"hello",
        [("x-check", "3")],
    )
    assert asked[":scheme"] == "http"


def test_many_streams_on_each_side(app: Case) -> None:
    """100 streams of one client, answered in another order, on one connection to the endpoint."""
    held: list[Asked] = []
    app.act(held.append)
    with Http2(app.story.port) as client:
        streams = [client.open(request(f"/{number}")) for number in range(100)]
        eventually(lambda: len(held) == 100)
        random.Random(3).shuffle(held)
        for asked in held:
            asked.answer(200, asked.path.encode())
        replies = client.wait(*streams)
    assert [reply.body for reply in replies] == [b"/%d" % number for number in range(100)]


def test_several_clients_share_the_endpoint(app: Case) -> None:
    def talk(number: int) -> list[bytes]:
        with Http2(app.story.port) as client:
            return [client.ask(f"/{number}/{turn}", "POST", body=b"x" * turn).body for turn in range(20)]

    app.act(lambda asked: asked.answer(200, asked.path.encode() + asked.body))
    with ThreadPoolExecutor(8) as threads:
        for number, bodies in enumerate(threads.map(talk, range(8))):
            assert bodies == [b"/%d/%d" % (number, turn) + b"x" * turn for turn in range(20)]


def test_large_bodies(app: Case) -> None:
    """3 MB up and back on each of three streams at once."""
    body = random.Random(2).randbytes(3_000_000)
    app.act(lambda asked: threading.Thread(target=asked.answer, args=(200, asked.body)).start())

    def talk(_: int) -> bytes:
        with Http2(app.story.port) as client:
            return hashlib.sha256(client.ask("/big", "POST", body=body).body).digest()

    with ThreadPoolExecutor(3) as threads:
        assert set(threads.map(talk, range(3))) == {hashlib.sha256(body).digest()}


def test_resets_go_through(app: Case) -> None:
    """The client's to the endpoint, the endpoint's to the client; the streams beside them live."""
    held: list[Asked] = []
    app.act(held.append)
    with Http2(app.story.port) as client:
        left, cut, kept = (client.open(request(path)) for path in ("/left", "/cut", "/kept"))
        eventually(lambda: len(held) == 3)
        client.send(rst_stream(left))
        assert app.last("/left").reset_seen.wait(PATIENCE)
        assert app.last("/left").code == 8
        app.last("/cut").head(200)
        app.last("/cut").data(b"begun")
        app.last("/cut").reset(2)
        (reply,) = client.wait(cut)
        assert (reply.status, reply.body, bool(reply.reset)) == (200, b"begun", True)
        app.last("/kept").answer()
        assert client.wait(kept)[0].status == 200


def test_a_stream_that_is_not_taken_holds_up_no_other(app: Case) -> None:
    """The client gives one stream no window: its endpoint stops, others of both connections go on."""
    body = b"x" * 2_000_000

    def act(asked: Asked) -> None:
        answer = body if asked.path == "/stuck" else b"y" * 100_000
        threading.Thread(target=asked.answer, args=(200, answer), daemon=True).start()

    app.act(act)
    with Http2(app.story.port, (INITIAL_WINDOW, 1000), generous=False) as client:
        client.send(window_update(0, 50_000_000))
        stuck = client.open(request("/stuck"))
        while len(client.replies[stuck].body) < 1000:
            assert client.read()
        asked = app.last("/stuck")
        eventually(lambda: window(asked) == 0)
        for _ in range(5):
            stream = client.open(request("/other"))
            client.send(window_update(stream, 1_000_000))
            assert len(client.wait(stream)[0].body) == 100_000
        assert window(asked) == 0
        client.send(window_update(stuck, 3_000_000))
        assert client.wait(stuck)[0].body == body


def window(asked: Asked) -> int:
    with asked.peer.lock:
        return int(asked.peer.h2.local_flow_control_window(asked.stream))


def test_an_upload_that_is_not_taken_holds_up_no_other(app: Case) -> None:
    app.endpoint.takes = False
    with Http2(app.story.port) as client:
        stuck = client.open(request("/stuck", "POST"), end=False)
        sent = 0
        while client.alive() and client.windows[stuck] > 0:
            piece = min(client.windows[stuck], client.windows[0], 16384)
            client.data(stuck, b"x" * piece)
            client.windows[stuck] -= piece
            client.windows[0] -= piece
            sent += piece
        asked = app.last("/stuck")
        eventually(lambda: asked.body)
        assert len(asked.body) <= 65535 < sent < 5 * 65536
        for _ in range(5):
            assert client.ask("/other").status == 200
        client.send(rst_stream(stuck))
        assert asked.reset_seen.wait(PATIENCE)
    app.endpoint.takes = True
    with asked.peer.lock:  # what the stream had of the connection's window
        asked.peer.h2.increment_flow_control_window(len(asked.body))
        asked.peer.flush()


def test_refused_streams_are_sent_again(world: World) -> None:
    case = world["refuses"]
    refused: list[Asked] = []

    def act(asked: Asked) -> None:
        if refused:
            asked.answer()
        else:
            refused.append(asked)
            asked.reset(7)

    case.act(act)
    with Http2(case.story.port) as client:
        assert client.ask("/", "POST", body=b"x", host="refuses").status == 200
    assert [asked.body for asked in case.seen] == [b"x", b"x"]


def test_use_client_protocol(world: World) -> None:
    """HTTP/2 of a client goes on as HTTP/2; HTTP/1.1 would be HTTP/1.1 (the next test)."""
    case = world["as-client"]
    with Http2(case.story.port) as client:
        assert client.ask(host="as-client").status == 200
    assert case.seen[0][":authority"] == "as-client"


def test_use_client_protocol_of_http_1(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    with replicas("old") as (old,):
        yaml = replicas_of("app", old.port) + thing(
            "DestinationRule", "app", {"host": "app", "trafficPolicy": AS_CLIENT}
        )
        with Story(tmp_path_factory.mktemp("as-client"), yaml) as story:
            assert story.ask()[0].text == "old"
            with Http2(story.port) as client:
                assert client.ask().status == 502  # HTTP/2 to an endpoint of HTTP/1.1
            assert story.ask()[0].text == "old"
