"""HTTP/2 to endpoints: what is sent and taken, how connections are shared, what happens to requests when one ends."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from h2.settings import SettingCodes

from tests.http2_endpoint import Asked, Case, Endpoint, Service, World, endpoint_of
from tests.traffic import (
    PATIENCE,
    Broken,
    Client,
    Story,
    ask,
    eventually,
    replicas,
    replicas_of,
    together,
    virtual_service,
)

LAST = 2**31 - 1
ONCE = {"retries": {"attempts": 0}}


def pool(**limits: Any) -> dict[str, Any]:
    tcp = {name: limits.pop(name) for name in ("maxConnections", "maxConnectionDuration") if name in limits}
    return {"connectionPool": {part: rows for part, rows in (("tcp", tcp), ("http", limits)) if rows}}


# One proxy for all tests; each has a service of its own, with what is set for it here.
SERVICES: dict[str, Service] = {
    "plain": Service(),
    "shared": Service(),
    "narrow": Service(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 3}),
    "narrowed": Service(pool(maxConcurrentStreams=3)),
    "two-places": Service(pool(maxConnections=1, maxConcurrentStreams=2)),
    "one-each": Service(pool(maxRequestsPerConnection=1)),
    "three-each": Service(pool(maxRequestsPerConnection=3)),
    "two-each": Service(pool(maxRequestsPerConnection=2)),
    "idle": Service(pool(idleTimeout="300ms")),
    "old": Service(pool(maxConnectionDuration="100ms")),
    "goaway": Service(),
    "above": Service(rule=ONCE),
    "refuses": Service(rule=ONCE),
    "half-refuses": Service(rule={"retries": {"attempts": 3, "retryOn": "refused-stream"}}, endpoints=2),
    "resets": Service(rule=ONCE),
    "cuts": Service(rule=ONCE),
    "stale": Service(rule=ONCE),
    "left": Service(),
    "slow": Service(rule={"timeout": "0.2s"}),
    "fails": Service(rule={"retries": {"attempts": 2, "retryOn": "5xx"}}),
    "takes-nothing": Service(takes=False),
    "pours": Service(),
    "windows": Service(settings={SettingCodes.INITIAL_WINDOW_SIZE: 10}, takes=False),
    "pinged": Service(pool(http2KeepAlive={"interval": "100ms", "timeout": "300ms"}, idleTimeout="1h"), rule=ONCE),
    "upgraded": Service(pool(h2UpgradePolicy="UPGRADE"), port_name="http"),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world"), SERVICES) as made:
        yield made
        made.check_nothing_is_left()
        assert "has no effect" not in made.story.proxy.text()


@pytest.fixture
def plain(world: World) -> Iterator[Case]:
    """Tests say by path what they want."""
    case = world["plain"]
    case.restart()
    case.act(lambda asked: ACTIONS.pop(asked.path.partition("?")[0], Asked.answer)(asked))
    yield case
    assert case.accepted <= 1, "one connection is enough"


ACTIONS: dict[str, Callable[[Asked], object]] = {}


def say(path: str, act: Callable[[Asked], object]) -> str:
    ACTIONS[path] = act
    return path


class Held:
    """Keeps its requests until the test answers them."""

    def __init__(self, case: Case) -> None:
        self.asked: list[Asked] = []
        case.act(self.asked.append)

    def wait(self, count: int) -> list[Asked]:
        eventually(lambda: len(self.asked) >= count)
        assert len(self.asked) == count
        return list(self.asked)


def by_peer(case: Case) -> list[int]:
    return [sum(1 for asked in case.seen if asked.peer is peer) for peer in case.peers]


# --- messages ---------------------------------------------------------------------------------------------------------


def test_request(plain: Case) -> None:
    more = {"X_Mixed": "Value", "cookie": "a=b; c=d", "te": "trailers, gzip"}
    answer = plain.ask("/items?page=2", "PUT", body=b"hello", **more)
    assert (answer.status, answer.body) == (200, b"ok")
    asked = plain.last("/items?page=2")
    assert asked.fields[:4] == [
        (":method", "PUT"), (":scheme", "http"), (":path", "/items?page=2"), (":authority", "plain")]  # fmt: skip
    assert (asked["x-mixed"], asked["cookie"], asked["te"]) == ("Value", "a=b; c=d", "trailers")
    assert (asked["content-length"], asked["x-envoy-attempt-count"], asked.body) == ("5", "1", b"hello")
    assert not {"host", "connection", "transfer-encoding"} & {name for name, _ in asked.fields}


def test_chunked_request_with_trailers(plain: Case) -> None:
    with plain.connect("POST /chunked\r\ntransfer-encoding: chunked\r\ntrailer: x-sum") as connection:
        connection.sendall(b"5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 11\r\nHost: evil\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
    asked = plain.last("/chunked")
    assert (asked.body, asked.trailers, asked["content-length"]) == (b"hello world", [("x-sum", "11")], "")


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "PURGE"])
def test_without_body(plain: Case, method: str) -> None:
    length = "7" if method == "HEAD" else "0"
    path = say(f"/{method}", lambda asked: asked.head(200, ("content-length", length), end=True))
    answer = plain.ask(path, method)
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", length)
    assert plain.last(path)[":method"] == method


def test_response(plain: Case) -> None:
    fields = [("server", "theirs"), ("set-cookie", "a=1"), ("set-cookie", "b=2")]
    answer = plain.ask(say("/response", lambda asked: asked.answer(418, b"teapot", *fields)))
    assert (answer.status, answer.body, answer.headers["server"]) == (418, b"teapot", "theirs")
    assert answer.headers["set-cookie"] == "a=1, b=2"


@pytest.mark.parametrize("status", [204, 304])
def test_response_without_body(plain: Case, status: int) -> None:
    def act(asked: Asked) -> None:
        asked.head(status, ("etag", "x"))
        asked.finish()

    answer = plain.ask(say(f"/{status}", act))
    assert (answer.status, answer.body, answer.headers["etag"]) == (status, b"", "x")


def test_response_of_unknown_length_with_trailers(plain: Case) -> None:
    def act(asked: Asked) -> None:
        asked.head(103, ("link", "</a.css>"))
        asked.head(200, ("trailer", "x-sum"))
        for piece in (b"one", b"two", b"three"):
            asked.data(piece)
        asked.finish(("x-sum", "11"), ("content-length", "11"))

    head = f"GET {say('/unknown', act)}\r\nconnection: close"
    with plain.connect(head) as connection, connection.makefile("rb") as stream:
        raw = stream.read()
    interim, _, rest = raw.partition(b"\r\n\r\n")
    said, _, body = rest.partition(b"\r\n\r\n")
    assert interim.startswith(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>")
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"transfer-encoding: chunked" in said
    assert body.endswith(b"0\r\nx-sum: 11\r\n\r\n")
    assert b"".join(body.split(b"\r\n")[1:-4:2]) == b"onetwothree"


def test_nothing_at_all_has_a_length(plain: Case) -> None:
    """An HTTP/1 client has to be told that an answer which ended with its head has no body."""
    with Client(plain.story.port, plain.name) as client:
        for _ in range(2):
            answer = client.ask(say("/nothing", lambda asked: asked.head(200, end=True)))
            assert (answer.status, answer.headers["content-length"]) == (200, "0")


def test_continue(plain: Case) -> None:
    plain.endpoint.begun = lambda asked: asked.head(100)
    with plain.connect("POST /continue\r\nexpect: 100-continue\r\ncontent-length: 4") as connection:
        assert connection.recv(4096).startswith(b"HTTP/1.1 100 Continue\r\n")
        connection.sendall(b"body")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
    assert plain.last("/continue").body == b"body"


def test_large_bodies_both_ways(plain: Case) -> None:
    body = random.Random(1).randbytes(5_000_000)
    path = say("/large", lambda asked: threading.Thread(target=asked.answer, args=(200, asked.body)).start())
    answer = plain.ask(path, "POST", body=body)
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(body).digest()
    assert plain.last("/large").body == body


def test_an_answer_before_the_body_was_read(plain: Case) -> None:
    """The rest of the body is not sent: the stream is reset, the connection goes on."""
    plain.endpoint.begun = lambda asked: asked.answer(403, b"no") if asked.path == "/early" else None
    with plain.connect("POST /early\r\ncontent-length: 100") as connection:
        assert connection.recv(4096).startswith(b"HTTP/1.1 403 ")
        asked = plain.last("/early")
        assert asked.reset_seen.wait(PATIENCE)
        assert asked.code == 8  # CANCEL
    assert plain.ask("/after").status == 200


# --- sharing ----------------------------------------------------------------------------------------------------------


def test_one_connection_carries_many(world: World) -> None:
    case = world["shared"]
    held = Held(case)
    with ThreadPoolExecutor(40) as threads:
        answers = [threads.submit(case.ask, f"/{number}") for number in range(40)]
        for asked in reversed(held.wait(40)):
            asked.answer(200, asked.path.encode())
        assert [one.result(PATIENCE).body for one in answers] == [b"/%d" % number for number in range(40)]
    assert case.accepted == 1
    assert sorted(asked.stream for asked in case.seen) == list(range(1, 81, 2))
    assert (case.stat("upstream_cx_total"), case.stat("upstream_cx_active")) == (1, 1)


@pytest.mark.parametrize("name", ["narrow", "narrowed"])
def test_full_connections_are_joined_by_others(world: World, name: str) -> None:
    case = world[name]
    assert case.ask().status == 200  # from now on the proxy knows what the endpoint allows
    held = Held(case)
    with ThreadPoolExecutor(10) as threads:
        answers = [threads.submit(case.ask, f"/{number}") for number in range(10)]
        held.wait(10)
        assert sorted(by_peer(case)) == [1, 3, 3, 4]  # with the first request
        for asked in held.asked:
            asked.answer()
        assert {one.result(PATIENCE).status for one in answers} == {200}


def test_who_waits_gets_the_next_free_stream(world: World) -> None:
    case = world["two-places"]
    held = Held(case)
    with ThreadPoolExecutor(6) as threads:
        answers = [threads.submit(case.ask, f"/{number}") for number in range(6)]
        for count in (2, 4, 6):
            held.wait(count)
            eventually(lambda left=6 - count: case.stat("pending_active") == left)
            for asked in held.asked[count - 2 :]:
                asked.answer()
        assert {one.result(PATIENCE).status for one in answers} == {200}
    assert case.accepted == 1


@pytest.mark.parametrize(("name", "most"), [("one-each", 1), ("three-each", 3)])
def test_requests_of_one_connection(world: World, name: str, most: int) -> None:
    case = world[name]
    for _ in range(6):
        assert case.ask().status == 200
    assert by_peer(case) == [most] * (6 // most)
    eventually(lambda: all(peer.over.is_set() for peer in case.peers))
    assert {peer.goaway for peer in case.peers} == {0}
    assert case.stat("upstream_cx_active") == 0


def test_requests_of_one_connection_at_once(world: World) -> None:
    case = world["two-each"]
    held = Held(case)
    with ThreadPoolExecutor(6) as threads:
        answers = [threads.submit(case.ask, f"/{number}") for number in range(6)]
        for asked in held.wait(6):
            asked.answer()
        assert {one.result(PATIENCE).status for one in answers} == {200}
    assert by_peer(case) == [2, 2, 2]


def test_idle_connections_are_closed(world: World) -> None:
    case = world["idle"]
    assert case.ask().status == 200
    assert case.peers[0].over.wait(PATIENCE)
    assert case.peers[0].goaway == 0
    assert case.ask().status == 200
    assert case.accepted == 2


def test_old_connections_are_left(world: World) -> None:
    case = world["old"]
    eventually(lambda: case.ask().status == 200 and case.accepted == 2)
    assert case.peers[0].over.wait(PATIENCE)


# --- how connections end ----------------------------------------------------------------------------------------------


def test_goaway_lets_requests_finish(world: World) -> None:
    """As Envoy and nginx say goodbye: first without a number, then with it, then the connection ends."""
    case = world["goaway"]
    held = Held(case)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(case.ask, "/first")
        held.wait(1)
        case.peers[0].go_away(LAST)
        assert case.peers[0].pong()  # it was read
        second = threads.submit(case.ask, "/second", "POST", body=b"x")
        held.wait(2)
        assert [asked.peer for asked in held.asked] == case.peers
        case.peers[0].go_away(held.asked[0].stream)
        for asked in held.asked:
            asked.answer(200, asked.path.encode())
        assert [first.result(PATIENCE).body, second.result(PATIENCE).body] == [b"/first", b"/second"]
    assert case.peers[0].over.wait(PATIENCE), "the proxy closes what it does not need"
    assert not case.peers[1].over.is_set()
    assert case.stat("upstream_cx_active") == 1


def test_streams_above_a_goaway_go_elsewhere(world: World) -> None:
    """They were not processed: also a POST, also without a retry policy, is sent once more."""
    case = world["above"]
    held = Held(case)
    with ThreadPoolExecutor(5) as threads:
        answers = [threads.submit(case.ask, f"/{number}", "POST", body=b"x" * number) for number in range(5)]
        held.wait(5)
        case.peers[0].go_away(5)
        held.wait(7)
        case.peers[0].close()
        moved = [asked for asked in held.asked if asked.peer is case.peers[1]]
        for asked in moved:
            asked.answer(200, asked.body)
        results = sorted((one.result(PATIENCE).status, one.result(PATIENCE).body) for one in answers)
    # Streams 1, 3 and 5 may have been processed; the connection was cut
    assert [status for status, _ in results] == [200, 200, 503, 503, 503]
    assert [body for status, body in results if status == 200] == sorted(asked.body for asked in moved)


def test_refused_streams_are_sent_again(world: World) -> None:
    case = world["refuses"]
    refused: set[str] = set()

    def act(asked: Asked) -> None:
        if asked.path in refused:
            asked.answer(200, b"again")
        else:
            refused.add(asked.path)
            asked.reset(7)

    case.act(act)
    for method in ("GET", "POST"):
        answer = case.ask(f"/{method}", method, body=b"data")
        assert (answer.status, answer.body) == (200, b"again")
        assert (case.count(f"/{method}"), case.last(f"/{method}").body) == (2, b"data")
    case.act(lambda asked: asked.reset(7))
    answer, line = case.log("/never", "POST", body=b"x")
    assert (answer.status, line["response_flags"], case.count("/never")) == (503, "UR", 2)
    assert answer.text.endswith("reset reason: remote refused stream reset")


def test_one_of_two_refuses_everything(world: World) -> None:
    """Nobody notices."""
    case = world["half-refuses"]
    good, bad = case.endpoints
    bad.act = lambda asked: asked.reset(7)
    for _ in range(10):
        answers = together(lambda: case.ask("/", "POST", body=b"x") for _ in range(4))
        assert {answer.status for answer in answers} == {200}
    assert len(good.seen) == 40
    assert bad.seen


def test_resets(world: World) -> None:
    case = world["resets"]
    case.act(lambda asked: asked.reset(2))
    answer, line = case.log("/before")
    assert (answer.status, line["response_flags"], case.count("/before")) == (503, "UC", 1)

    def cut_short(asked: Asked) -> None:
        asked.head(200, ("content-length", "10"))
        asked.data(b"half")
        asked.reset(2)

    case.act(cut_short)
    with pytest.raises(Broken):
        case.ask("/behind")
    case.restart()
    assert case.ask().status == 200
    assert (case.accepted, case.stat("rx_reset")) == (1, 1)


@pytest.mark.parametrize("end", ["close", "cut"])
def test_a_connection_that_ends_fails_all_its_requests(world: World, end: str) -> None:
    case = world["cuts"]
    held = Held(case)
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(case.ask, f"/{number}", "POST", body=b"x") for number in range(8)]
        held.wait(8)
        getattr(case.peers[-1], end)()
        assert [one.result(PATIENCE).status for one in answers] == [503] * 8
    before = case.accepted
    case.restart()
    assert case.ask().status == 200
    assert (case.accepted, case.stat("upstream_cx_active")) == (before + 1, 1)


def test_a_connection_that_ended_as_it_was_used(world: World) -> None:
    """What nothing was heard of goes out once more when it may run twice."""
    case = world["stale"]

    def act(asked: Asked) -> None:
        if asked.path == "/warm" or asked.peer is not case.peers[0]:
            asked.answer()
        else:
            asked.peer.close()

    case.act(act)
    assert case.ask("/warm").status == 200
    assert case.ask("/stale").status == 200
    assert (case.accepted, case.count("/stale")) == (2, 2)


def test_refused_connections(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with Story(tmp_path, endpoint_of("app", port) + virtual_service("app", ONCE)) as story:
        for answer, line in together(lambda: story.ask() for _ in range(6)):
            assert (answer.status, line["response_flags"]) == (503, "UF")
        assert sum(story.stats("upstream_(cx|rq_pending)_active").values()) == 0


def test_clients_that_leave(world: World) -> None:
    """The stream is reset, the connection stays."""
    case = world["left"]
    held = Held(case)
    clients = [case.connect("GET /left") for _ in range(20)]
    held.wait(20)
    for client in clients:
        client.close()
    for asked in held.asked:
        assert asked.reset_seen.wait(PATIENCE)
        assert asked.code == 8
    case.restart()
    assert case.ask().status == 200
    assert case.accepted == 1


def test_timeouts_reset_the_stream(world: World) -> None:
    case = world["slow"]
    held = Held(case)
    answer, line = case.log()
    assert (answer.status, line["response_flags"]) == (504, "UT")
    assert held.asked[0].reset_seen.wait(PATIENCE)
    case.restart()
    assert case.ask().status == 200
    assert case.accepted == 1


def test_retries_cancel_the_first_answer(world: World) -> None:
    def act(asked: Asked) -> None:
        if asked["x-envoy-attempt-count"] == "3":
            asked.answer()
        elif asked.path == "/whole":
            asked.answer(503, b"")
        else:
            asked.head(503)

    case = world["fails"]
    case.act(act)
    assert case.ask("/open").status == 200
    assert all(asked.reset_seen.wait(PATIENCE) for asked in case.seen[:2])
    assert case.ask("/whole").status == 200
    assert case.accepted == 1
    assert [asked.code for asked in case.seen] == [8, 8, None, None, None, None]


# --- flow control -----------------------------------------------------------------------------------------------------


def test_an_endpoint_that_takes_nothing_stops_the_client(world: World) -> None:
    """Bytes wait in the proxy up to its marks, then the client is not read; others are not held up."""
    case = world["takes-nothing"]
    with case.connect("POST /stuck\r\ncontent-length: 1000000000", timeout=0.5) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        sent = send_all_that_goes(client)
        asked = case.last("/stuck")
        assert len(asked.body) == 65535
        assert sent < 2 * 262144 + 65535 + 6_300_000  # the proxy's marks, and what the kernel keeps of loopback
        assert case.ask("/other").status == 200
        with asked.peer.lock:
            asked.peer.h2.increment_flow_control_window(20_000_000)
            asked.peer.h2.increment_flow_control_window(20_000_000, asked.stream)
            asked.peer.flush()
        eventually(lambda: len(asked.body) == sent)
        assert client.send(b"goes on") == 7
    assert asked.reset_seen.wait(PATIENCE)


def send_all_that_goes(client: socket.socket) -> int:
    """Until nothing was taken for the time-out of the socket."""
    sent = 0
    try:
        while True:
            sent += client.send(b"x" * 65536)
    except TimeoutError:
        return sent


def test_a_client_that_takes_nothing_stops_the_endpoint(world: World) -> None:
    case = world["pours"]

    def pour(asked: Asked) -> None:
        asked.head(200)
        while asked.code is None:
            asked.data(b"x" * 65536)

    def act(asked: Asked) -> None:
        if asked.path == "/big":
            threading.Thread(target=pour, args=(asked,), daemon=True).start()
        else:
            asked.answer()

    case.act(act)
    with case.connect("GET /big") as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        asked = eventually(lambda: case.seen[0] if case.seen else None)

        def stands_still() -> bool:  # while the same connection carries others
            return all(case.ask("/other").status == 200 and window(asked) == 0 for _ in range(5))

        eventually(stands_still)
        taken = 0
        while taken < 3_000_000:  # and goes on when the client does
            taken += len(client.recv(65536))
    assert asked.reset_seen.wait(PATIENCE)
    assert case.accepted == 1


def window(asked: Asked) -> int:
    with asked.peer.lock:
        return int(asked.peer.h2.local_flow_control_window(asked.stream))


def test_settings_that_change_the_window(world: World) -> None:
    """The window shrinks below what is under way, then opens again (RFC 9113 6.9.2)."""
    case = world["windows"]
    assert case.ask().status == 200
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(case.ask, "/slow", "POST", body=b"x" * 1000)
        asked = eventually(lambda: case.last("/slow") if case.count("/slow") else None)
        eventually(lambda: len(asked.body) == 10)
        for size, bytes_there in ((5, 10), (100, 100), (50, 100), (2000, 1000)):
            with asked.peer.lock:
                asked.peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: size})
                asked.peer.flush()
            assert asked.peer.pong()
            eventually(lambda wanted=bytes_there: len(asked.body) == wanted)
        assert answer.result(PATIENCE).status == 200
        assert asked.body == b"x" * 1000


# --- life -------------------------------------------------------------------------------------------------------------


def test_pings_find_a_dead_endpoint(world: World) -> None:
    case = world["pinged"]
    held = Held(case)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(case.ask)
        (asked,) = held.wait(1)
        eventually(lambda: asked.peer.pings >= 3)  # answered: the connection lives
        assert not answer.done()
        with asked.peer.lock:  # it reads nothing, so it answers nothing
            assert answer.result(PATIENCE).status == 503
    case.restart()
    assert case.ask().status == 200


def test_upgrade_policy(world: World) -> None:
    case = world["upgraded"]
    assert case.ask().text == "ok"
    assert case.seen[0][":scheme"] == "http"


def test_a_reload_changes_the_version(tmp_path: Path) -> None:
    with Endpoint() as app, replicas("old") as (old,), Story(tmp_path, replicas_of("app", old.port)) as story:
        assert ask(story.proxy).text == "old"
        story.reload(endpoint_of("app", app.port))
        assert ask(story.proxy).text == "ok"
        story.reload(endpoint_of("app", app.port, port_name="http"))  # the same address in HTTP/1
        assert app.peers[0].over.wait(PATIENCE)
        assert app.peers[0].goaway == 0
