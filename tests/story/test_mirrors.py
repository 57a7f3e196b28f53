"""Copies of requests for another cluster: what it gets, and that nobody else notices."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.http2 import Http2
from tests.ports import free_port
from tests.running import Proxy
from tests.traffic import (
    Client,
    Replica,
    Request,
    Story,
    ask,
    destination_rule,
    eventually,
    replicas,
    replicas_of,
    stats,
    thing,
    virtual_service,
)

SHADOW = {"host": "shadow"}


def to_shadow(**rule: Any) -> str:
    return virtual_service("app", {"mirror": SHADOW, **rule})


def told(replica: Replica, count: int = 1) -> list[Request]:
    """What it has seen, once that many have come."""
    eventually(lambda: len(replica.seen) >= count)
    return replica.seen


class Place:
    def __init__(self, story: Story, app: Replica, shadow: Replica) -> None:
        self.story, self.app, self.shadow = story, app, shadow

    def counted(self, what: str, service: str = "shadow") -> int:
        (value,) = stats(self.story.proxy, f"cluster.outbound.80..{service}.default.svc.cluster.local.{what}$").values()
        return value


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    rule: dict[str, Any] = {
        "match": [{"uri": {"prefix": "/old"}}],
        "rewrite": {"uri": "/new", "authority": "inner.example"},
        "headers": {"request": {"set": {"x-set": "1"}, "remove": ["x-gone"]}},
    }
    with replicas("app", "shadow") as (app, shadow):
        yaml = replicas_of("app", app.port) + replicas_of("shadow", shadow.port)
        yaml += virtual_service("app", {"mirror": SHADOW, **rule}, {"mirror": SHADOW})
        with Story(tmp_path, yaml) as story:
            yield Place(story, app, shadow)


def same(one: Request, other: Request) -> bool:
    return one[:4] == other[:4]


class TestTheCopy:
    def test_is_what_the_endpoint_gets(self, place: Place) -> None:
        answer = ask(place.story.proxy, "/old/x?q=1", "PUT", body=b"hello", x_gone="1", x_kept="2")
        assert answer.text == "app"
        (copy,) = told(place.shadow)
        (sent,) = place.app.seen
        assert same(copy, sent)
        assert (copy.target, copy.body) == ("/new/x?q=1", b"hello")
        assert copy.headers["host"] == "inner.example"
        assert copy.headers["x-set"] == "1"
        assert "x-gone" not in copy.headers
        assert copy.headers["x-request-id"] == sent.headers["x-request-id"]

    @pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
    def test_without_a_body(self, place: Place, method: str) -> None:
        assert ask(place.story.proxy, "/", method, x_request_id="5" * 8).status == 200
        assert same(told(place.shadow)[0], place.app.seen[0])

    def test_of_a_chunked_body_that_comes_in_pieces(self, place: Place) -> None:
        with Client(place.story.port) as client:
            client.connect().sendall(b"POST / HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
            eventually(lambda: place.shadow.accepted and place.app.accepted)
            client.connect().sendall(b"2\r\nde\r\n0\r\n\r\n")
            assert told(place.shadow)[0].body == b"abcde"
            assert same(place.shadow.seen[0], told(place.app)[0])

    def test_from_http2(self, place: Place) -> None:
        with Http2(place.story.port) as client:
            assert client.ask("/", "POST", b"x" * 100_000).body == b"app"
            assert client.ask("/").body == b"app"
        copies = told(place.shadow, 2)
        assert sorted(len(copy.body) for copy in copies) == [0, 100_000]

    def test_of_a_request_that_is_delayed(self, tmp_path: Path) -> None:
        delay = {"delay": {"fixedDelay": "50ms", "percentage": {"value": 100}}}
        with replicas("app", "shadow") as (app, shadow):
            yaml = replicas_of("app", app.port) + replicas_of("shadow", shadow.port) + to_shadow(fault=delay)
            with Proxy(tmp_path, yaml) as proxy:
                assert ask(proxy, "/", "POST", body=b"late").text == "app"
                assert told(shadow)[0].body == b"late"


class TestTheClient:
    def test_does_not_wait_for_the_copy(self, tmp_path: Path) -> None:
        goes_on = threading.Event()

        def act(request: Request) -> int:
            if request.replica.name == "shadow":
                assert goes_on.wait(30)
            return 200

        with replicas("app", "shadow", act=act) as (app, shadow):
            yaml = replicas_of("app", app.port) + replicas_of("shadow", shadow.port) + to_shadow()
            with Proxy(tmp_path, yaml) as proxy:
                for _ in range(20):
                    assert ask(proxy).text == "app"
                assert len(told(shadow, 20)) == 20
                goes_on.set()

    @pytest.mark.parametrize("how", [500, b"nonsense\r\n\r\n", None], ids=["500", "nonsense", "close"])
    def test_does_not_see_its_answer(self, tmp_path: Path, how: Any) -> None:
        """Nor is it tried again."""
        with replicas("app", "shadow", act=lambda r: how if r.replica.name == "shadow" else 200) as (app, shadow):
            yaml = replicas_of("app", app.port) + replicas_of("shadow", shadow.port)
            with Story(tmp_path, yaml + to_shadow(retries={"attempts": 3, "retryOn": "5xx"})) as story:
                answer, line = story.ask("/")
                assert (answer.text, line["response_code"]) == ("app", 200)
                for _ in range(9):
                    assert story.ask("/")[0].text == "app"
                eventually(lambda: len(shadow.seen) >= 10)
                assert len(story.lines()) == 10
                place = Place(story, app, shadow)
                eventually(lambda: place.counted("upstream_rq_total") == 10)
                assert len(shadow.seen) == 10

    def test_does_not_see_that_nobody_is_there(self, tmp_path: Path) -> None:
        with Replica("app") as app:
            yaml = replicas_of("app", app.port) + replicas_of("shadow", free_port()) + to_shadow()
            with Proxy(tmp_path, yaml) as proxy:
                assert [ask(proxy).text for _ in range(5)] == ["app"] * 5

    def test_is_not_held_up_by_a_copy_that_does_not_read(self, tmp_path: Path) -> None:
        """It is given up; the request is whole."""
        body = b"x" * (16 << 20)

        stuck = threading.Event()
        with Replica("app") as app, Deaf(stuck) as shadow:
            yaml = replicas_of("app", app.port) + replicas_of("shadow", shadow.port) + to_shadow()
            with Story(tmp_path, yaml) as story:
                assert ask(story.proxy, "/", "POST", body=body).text == "app"
                assert app.seen[0].body == body
                place = Place(story, app, app)
                eventually(lambda: place.counted("upstream_rq_active") == 0)
                assert stats(story.proxy, "mirror_given_up") == {"mirror_given_up": 1}
                stuck.set()

    def test_uploads_what_a_copy_may_be_late_with(self, place: Place) -> None:
        assert ask(place.story.proxy, "/", "POST", body=b"x" * 900_000).text == "app"
        assert told(place.shadow)[0].body == b"x" * 900_000
        assert stats(place.story.proxy, "mirror_given_up") == {"mirror_given_up": 0}


class Deaf(Replica):
    """Accepts, and reads nothing."""

    def __init__(self, until: threading.Event) -> None:
        super().__init__("deaf")
        self.until = until

    def _talk(self, connection: Any) -> None:
        self.until.wait(60)


class TestAccounts:
    def test_the_mirrors_cluster_counts_the_client_does_not(self, place: Place) -> None:
        for _ in range(3):
            ask(place.story.proxy)
        eventually(lambda: place.counted("upstream_rq_2xx") == 3)
        assert place.counted("upstream_rq_active") == 0
        assert place.counted("upstream_rq_total", "app") == 3
        downstream = stats(place.story.proxy, "downstream_rq_(total|active)$")
        assert sorted(downstream.values()) == [0, 3], downstream

    def test_shares(self, tmp_path: Path) -> None:
        percent = [{"destination": {"host": "half"}, "percentage": {"value": 50}}]
        percent += [{"destination": {"host": "tenth"}, "percentage": {"value": 10}}]
        percent += [{"destination": {"host": "none"}, "percentage": {"value": 0}}]
        with replicas("app", "half", "tenth", "none") as (app, half, tenth, none):
            yaml = "".join(replicas_of(each.name, each.port) for each in (app, half, tenth, none))
            with (
                Proxy(tmp_path, yaml + virtual_service("app", {"mirrors": percent})) as proxy,
                Client(proxy.port) as client,
            ):
                for _ in range(1000):
                    assert client.ask("/").text == "app"
                # Six sigma: 95 and 57
                eventually(lambda: abs(len(half.seen) - 500) < 95 and abs(len(tenth.seen) - 100) < 57)
                assert none.seen == []

    def test_a_subset_and_the_old_percentage(self, tmp_path: Path) -> None:
        mirror = {"mirror": {"host": "shadow", "subset": "v2"}, "mirrorPercent": 100}
        with replicas("app", "v1", "v2") as (app, first, second):
            yaml = replicas_of("app", app.port) + destination_rule("shadow", None, "v1", "v2")
            yaml += replicas_of("shadow", first.port, second.port, versions=("v1", "v2")) + virtual_service(
                "app", mirror
            )
            with Proxy(tmp_path, yaml) as proxy:
                for _ in range(5):
                    ask(proxy)
                assert len(told(second, 5)) == 5
                assert first.seen == []


def test_the_filter_of_an_http_route(tmp_path: Path) -> None:
    """Several of them, and a share as a fraction."""
    port, api = free_port(), "gateway.networking.k8s.io/v1"
    gateway = {"gatewayClassName": "fastmesh", "listeners": [{"name": "web", "port": port, "protocol": "HTTP"}]}
    with replicas("app", "all", "some") as (app, everything, some):
        filters = [
            {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "all", "port": 80}}},
            {
                "type": "RequestMirror",
                "requestMirror": {
                    "backendRef": {"name": "some", "port": 80},
                    "fraction": {"numerator": 1, "denominator": 4},
                },
            },
        ]
        yaml = "".join(replicas_of(each.name, each.port) for each in (app, everything, some))
        yaml += thing("Gateway", "web", gateway, api)
        rule = {"filters": filters, "backendRefs": [{"name": "app", "port": 80}]}
        yaml += thing("HTTPRoute", "app", {"parentRefs": [{"name": "web"}], "rules": [rule]}, api)
        with Proxy(tmp_path, yaml, "--role", "gateway", "--bind", "127.0.0.1", role="gateway"), Client(port) as client:
            for _ in range(400):
                assert client.ask("/").text == "app"
            assert len(told(everything, 400)) == 400
            eventually(lambda: abs(len(some.seen) - 100) < 52)


def test_explain(tmp_path: Path) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(replicas_of("app", 1) + replicas_of("shadow", 2) + to_shadow(mirrorPercentage={"value": 12.5}))
    command = [sys.executable, "-m", "fastmesh", "explain", "-f", str(file), "-o", "json", "GET", "http://app/"]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert said["cluster"] == "outbound|80||app.default.svc.cluster.local"
    (step,) = [each for each in said["steps"] if each["step"] == "mirror"]
    assert step["decision"] == "outbound|80||shadow.default.svc.cluster.local"
    assert "12.5 %" in step["why"]
