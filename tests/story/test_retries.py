"""Retries as Istio's YAML asks for them, counted at the replicas."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.ports import free_port
from tests.running import reset
from tests.traffic import (
    Action,
    Client,
    Replica,
    Request,
    Script,
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


def rule(path: str, attempts: int, on: str = "", timeout: str = "", **more: Any) -> dict[str, Any]:
    retries: dict[str, Any] = {"attempts": attempts, **more}
    if on:
        retries["retryOn"] = on
    whole: dict[str, Any] = {"match": prefix(path), "retries": retries}
    if timeout:
        whole["timeout"] = timeout
    return whole


RULES = [
    rule("/5xx", 2, "5xx", backoff="1ms"),
    rule("/gateway", 2, "gateway-error", backoff="1ms"),
    rule("/reset", 2, "reset", backoff="1ms"),
    rule("/connect", 2, "connect-failure", backoff="1ms"),
    rule("/409", 2, "retriable-4xx", backoff="1ms"),
    rule("/codes", 2, "418,503", backoff="1ms"),
    rule("/none", 0),
    rule("/nine", 9, "5xx", backoff="1ms"),
    rule("/try", 2, "5xx", perTryTimeout="150ms", backoff="1ms"),
    rule("/budget", 10, "5xx", timeout="400ms", perTryTimeout="150ms", backoff="1ms"),
    rule("/backoff", 3, "5xx", backoff="100ms"),
    rule("/bodies", 5, "5xx,reset", backoff="1ms"),
]
FOUR = {"/5xx": 503, "/gateway": 503, "/codes": 418, "/409": 409}


class Shop(NamedTuple):
    story: Story
    replicas: list[Replica]
    script: Script

    def tries(self, path: str) -> list[Request]:
        return [request for replica in self.replicas for request in replica.seen if request.path == path]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """`app` has two replicas; `half` one that listens and one that does not, `gone` none that does."""
    script = Script()
    with replicas("a", "b", act=script) as made:
        ports = [replica.port for replica in made]
        dead = free_port()
        yaml = replicas_of("app", *ports) + virtual_service("app", *RULES, {})
        yaml += replicas_of("half", ports[0], dead) + replicas_of("gone", dead)
        yaml += replicas_of("few", *ports) + virtual_service("few", rule("/", 3, "5xx", backoff="200ms"))
        yaml += destination_rule("few", {"connectionPool": {"http": {"maxRetries": 1}}})
        with Story(tmp_path_factory.mktemp("retries"), yaml) as story:
            yield Shop(story, made, script)


def test_refused_connections_are_tried_elsewhere_by_default(shop: Shop) -> None:
    for number in range(20):
        answer = ask(shop.story.proxy, f"/half/{number}", host="half")
        assert (answer.status, answer.text) == (200, "a")


def test_answers_of_the_application_are_not_retried_by_default(shop: Shop) -> None:
    for status in (500, 502, 503, 504, 409, 429):
        path = shop.script.say(f"/default/{status}", status, 200)
        answer, line = shop.story.ask(path)
        assert (answer.status, line["response_flags"]) == (status, "-")
        assert len(shop.tries(path)) == 1


def test_resets_are_not_retried_by_default(shop: Shop) -> None:
    path = shop.script.say("/default/reset", None, 200)
    answer, line = shop.story.ask(path, "POST")
    assert (answer.status, line["response_flags"]) == (503, "UC")
    assert len(shop.tries(path)) == 1


def test_nobody_listens(shop: Shop) -> None:
    answer, line = shop.story.ask("/x", host="gone")
    assert (answer.status, line["response_flags"]) == (503, "UF,URX")
    assert answer.text.startswith("upstream connect error or disconnect/reset before headers. reset reason: ")


@pytest.mark.parametrize(
    ("path", "retried", "not_retried"),
    [
        ("/5xx", (500, 501, 502, 503, 504, 599, None), (400, 404, 409, 429)),
        ("/gateway", (502, 503, 504, None), (500, 501, 505, 409)),
        ("/reset", (None,), (500, 503, 409)),
        ("/connect", (), (500, 503, None)),
        ("/409", (409,), (404, 429, 500, 503, None)),
        ("/codes", (418, 503), (500, 502, 409)),
    ],
)
def test_retry_on(shop: Shop, path: str, retried: tuple[Action, ...], not_retried: tuple[Action, ...]) -> None:
    for number, action in enumerate((*retried, *not_retried)):
        target = shop.script.say(f"{path}/{action}/{number}", action, 200)
        answer = ask(shop.story.proxy, target, "POST")  # a GET is sent again when a connection turns out stale
        tries = shop.tries(target)
        if action in retried:
            assert (answer.status, len(tries)) == (200, 2), action
            assert {request.replica.name for request in tries} == {"a", "b"}, "the same host twice"
        else:
            assert (answer.status, len(tries)) == (action or 503, 1), action


def test_attempts_are_counted_for_the_replicas(shop: Shop) -> None:
    path = shop.script.say("/nine/count", *[503] * 6)
    answer, _ = shop.story.ask(path)
    tries = sorted(int(request.headers["x-envoy-attempt-count"]) for request in shop.tries(path))
    assert (answer.status, tries) == (200, [1, 2, 3, 4, 5, 6, 7])


@pytest.mark.parametrize(("path", "tries"), [("/none", 1), ("/5xx", 3), ("/nine", 10)])
def test_attempts_end(shop: Shop, path: str, tries: int) -> None:
    target = shop.script.say(f"{path}/ever", 503, forever=True)
    answer, line = shop.story.ask(target)
    assert (answer.status, len(shop.tries(target))) == (503, tries)
    assert line["response_flags"] == ("-" if tries == 1 else "URX")
    assert answer.headers["x-replica"] in ("a", "b"), "the last answer is the replica's own"


@pytest.mark.quiet
def test_per_try_timeout_moves_on(shop: Shop) -> None:
    gate = shop.script.say("/try/slow", 200)
    slow = iter([True])

    def act(request: Request) -> Action:
        if request.path == gate and next(slow, False):
            time.sleep(0.6)
        return shop.script(request)

    for replica in shop.replicas:
        replica.act = act
    answer, line = shop.story.ask(gate)
    for replica in shop.replicas:
        replica.act = shop.script
    assert (answer.status, line["response_flags"]) == (200, "-")
    assert len(shop.tries(gate)) == 2
    assert 0.15 <= answer.seconds < 0.45


def hold(shop: Shop, path: str, seconds: float) -> None:
    def act(request: Request) -> Action:
        if request.path == path:
            time.sleep(seconds)
        return shop.script(request)

    for replica in shop.replicas:
        replica.act = act


@pytest.mark.quiet
def test_per_try_timeouts_of_all_tries(shop: Shop) -> None:
    hold(shop, "/try/ever", 0.5)
    answer, line = shop.story.ask("/try/ever")
    assert (answer.status, answer.text) == (504, "upstream request timeout")
    assert set(line["response_flags"].split(",")) == {"UT", "URX"}
    assert len(shop.tries("/try/ever")) == 3
    assert 0.45 <= answer.seconds < 0.9


@pytest.mark.quiet
def test_the_timeout_is_a_budget_for_all_tries(shop: Shop) -> None:
    hold(shop, "/budget/ever", 0.5)
    answer, line = shop.story.ask("/budget/ever")
    assert (answer.status, line["response_flags"]) == (504, "UT")
    assert 0.4 <= answer.seconds < 0.6
    assert len(shop.tries("/budget/ever")) == 3


@pytest.mark.quiet
def test_back_off_is_jittered_and_bounded(shop: Shop) -> None:
    """Retry N waits between 0 and (2^N - 1) x 100 ms: three in a row 0 to 1.1 s, 0.55 s in the middle."""
    paths = [shop.script.say(f"/backoff/{number}", *[503] * 3) for number in range(30)]
    answers = together([lambda path=path: ask(shop.story.proxy, path) for path in paths])  # type: ignore[misc]
    assert [answer.status for answer in answers] == [200] * 30
    times = [answer.seconds for answer in answers]
    assert max(times) < 1.5
    assert 0.35 < sum(times) / 30 < 0.85
    assert max(times) - min(times) > 0.2


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [1, 5_000, 60_000])
def test_bodies_are_replayed_byte_by_byte(shop: Shop, framing: str, size: int) -> None:
    path = shop.script.say(f"/bodies/{framing}/{size}", 503, None, 500)
    body = random.Random(size).randbytes(size)
    with Client(shop.story.port) as client:
        if framing == "length":
            answer = client.ask(path, "POST", body)
        else:
            half = size // 2
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part)
            head = f"POST {path} HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            answer = client.exchange(head + chunks + b"0\r\n\r\n")
    assert answer.status == 200
    tries = shop.tries(path)
    assert len(tries) == 4
    assert all(request.body == body for request in tries)
    assert len({request.headers["x-request-id"] for request in tries}) == 1


def test_a_body_that_is_too_large_is_not_replayed(shop: Shop) -> None:
    path = shop.script.say("/bodies/large", 503)
    answer, line = shop.story.ask(path, "POST", body=bytes(200_000))
    assert (answer.status, len(shop.tries(path)), line["response_flags"]) == (503, 1, "-")


def test_max_retries_holds_them_together(shop: Shop) -> None:
    paths = [shop.script.say(f"/few/{number}", 503, 503, 503, 503) for number in range(8)]
    calls = [lambda path=path: shop.story.ask(path, host="few") for path in paths]
    answers = together(calls)  # type: ignore[arg-type]
    refused = [line for answer, line in answers if answer.status == 503 and "URX" in line["response_flags"]]
    assert len(refused) >= 6
    assert shop.story.stats("few.*upstream_rq_retry_overflow")
    assert sum(len(shop.tries(path)) for path in paths) <= 8 + 3 * 2


def test_a_post_on_a_stale_connection_never_runs_twice(tmp_path: Path) -> None:
    """The replica runs the second request of a connection, then resets: nobody can know that it ran."""
    ran: list[str] = []

    def act(request: Request) -> Action:
        ran.append(request.path)
        if request.headers.get("x-die"):
            reset(request.connection)
            raise ConnectionResetError
        return 200

    with replicas("a", act=act) as (app,), Story(tmp_path, replicas_of("app", app.port)) as story:
        for number in range(20):
            assert ask(story.proxy, "/warm").status == 200
            assert ask(story.proxy, f"/post/{number}", "POST", body=b"1", x_die="1").status == 503
        eventually(lambda: len(story.lines("/post/")) == 20)
        assert {line["response_flags"] for line in story.lines("/post/")} == {"UC"}
        assert [path for path in ran if path != "/warm"] == [f"/post/{number}" for number in range(20)]


def test_a_get_on_a_stale_connection_goes_out_once_more(tmp_path: Path) -> None:
    first: list[socket.socket] = []

    def act(request: Request) -> Action:
        if request.path == "/die":
            if request.headers["x-envoy-attempt-count"] == "1" and not first:
                first.append(request.connection)
                return None
            assert request.connection is not first[0]
        return 200

    with replicas("a", act=act) as (app,), Story(tmp_path, replicas_of("app", app.port)) as story:
        assert ask(story.proxy, "/warm").status == 200
        answer, line = story.ask("/die")
        assert (answer.status, line["response_flags"]) == (200, "-")
        assert app.count("/die") == 2
        eventually(lambda: not app.errors)
