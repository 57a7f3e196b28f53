"""Filters in Python, from outside: what endpoint and client get, and what becomes of hooks that fail."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.http2 import Http2, request
from tests.ports import free_port
from tests.running import Upstream
from tests.traffic import (
    Client,
    Replica,
    Script,
    Story,
    eventually,
    read_answer,
    replicas_of,
    thing,
    together,
    virtual_service,
)
from tests.traffic import Request as HTTPRequest

HOOKS = Path(__file__).with_name("filter_hooks.py")


def filter_of(name: str, function: str, prefix: str = "", **spec: Any) -> str:
    match = {"match": [{"uri": {"prefix": prefix}}]} if prefix else {}
    return thing("Filter", name, {"function": f"hooks:{function}", **match, **spec}, "fastmesh.io/v1alpha1")


def wrong(name: str, where: str, **spec: Any) -> str:
    return filter_of(name, "Wrong", f"/{name}", config={"where": where}, timeout="100ms", **spec)


ALL = [
    filter_of("head", "Head", "/head"),
    filter_of("shout", "Shout", "/shout", bodyLimit=1000),
    filter_of("shout-open", "Shout", "/open-shout", bodyLimit=1000, failureMode="open"),
    filter_of("pieces", "Pieces", "/pieces"),
    filter_of("slow", "Pieces", "/slow", config={"pause": 0.3}, timeout="20s"),
    filter_of("a", "Named", "/way", config={"name": "a"}, order=-1),
    filter_of("b", "Named", "/way", config={"name": "b"}),
    filter_of("c", "Named", "/way", config={"name": "c"}, order=3),
    *(wrong(f"{where.replace('_', '-')}-closed", where) for where in ("request_head", "response_head")),
    *(wrong(f"{where.replace('_', '-')}-open", where, failureMode="open") for where in ("request_head", "response")),
    wrong("request-body-closed", "request_body"),
    wrong("response-body-closed", "response_body"),
    filter_of("calls", "Count", "/calls"),
    filter_of("function", "functions", "/function", config={"name": "f"}),
    filter_of("host", "functions", hosts=["*.only.example"], config={"name": "host"}),
]
RULES = [
    {"match": [{"uri": {"prefix": "/head/rewritten"}}], "rewrite": {"uri": "/by-rule"}},
    {"match": [{"uri": {"prefix": "/calls/retried"}}], "retries": {"attempts": 2, "retryOn": "5xx"}},
    {"match": [{"uri": {"prefix": "/way/direct"}}], "directResponse": {"status": 299, "body": {"string": "direct"}}},
    {"match": [{"uri": {"prefix": "/way/gone"}}], "route": [{"destination": {"host": "gone"}}]},
    {},
]


class Place:
    def __init__(self, story: Story, app: Replica, script: Script) -> None:
        self.story, self.app, self.script = story, app, script

    def ask(self, target: str = "/", method: str = "GET", **more: Any) -> Any:
        with Client(self.story.port) as client:
            return client.ask(target, method, **more)

    def counted(self, what: str) -> int:
        return self.story.stats(f"^filter.{what}$")[f"filter.{what}"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("filters")
    code = folder / "code"
    code.mkdir()
    shutil.copy(HOOKS, code / "hooks.py")
    script = Script()
    with Replica("app", script) as app:
        yaml = replicas_of("app", app.port) + virtual_service("app", *RULES, hosts=["app", "a.only.example"])
        yaml += replicas_of("gone") + "".join(ALL)
        with Story(folder, yaml, "--filter-path", str(code)) as story:
            yield Place(story, app, script)


# --- what hooks can do ------------------------------------------------------------------------------------------------


def test_a_hook_writes_the_whole_head(place: Place) -> None:
    answer, line = place.story.ask("/head/a%2Fb?x=y", "POST", body=b"hello", x_gone="1", x_one="0")
    seen = place.app.last
    assert (seen.method, seen.target, seen.headers["host"]) == ("PUT", "/other%20path?q=1", "inner:81")
    assert (seen.headers["x-one"], seen.headers["x-many"], seen.body) == ("1", "a, b", b"hello")
    assert "x-gone" not in seen.headers
    assert seen.headers["x-saw"] == "POST app /head/a%2Fb x=y"
    facts = json.loads(seen.headers["x-facts"])
    assert facts.pop("id") == seen.headers["x-request-id"] == line["request_id"]
    assert facts == {
        "peer": "127.0.0.1", "principal": "", "route": "", "rule": "VirtualService default/app", "scheme": "http",
        "version": "1.1", "grpc": False, "content_length": 5,
    }  # fmt: skip
    assert (answer.status, answer.headers["x-was"]) == (203, "200")
    assert answer.headers["x-state"] == "{'began': True}"
    assert answer.headers["x-frozen"] == "yes, yes"
    assert "x-replica" not in answer.headers
    assert line["response_code"] == 203


def test_a_path_that_a_hook_wrote_is_not_rewritten_again(place: Place) -> None:
    place.ask("/head/rewritten/a")
    assert place.app.last.target == "/other%20path?q=1"
    assert place.app.last.headers["x-envoy-original-path"] == "/head/rewritten/a"


@pytest.mark.parametrize("chunked", [False, True])
def test_whole_bodies(place: Place, chunked: bool) -> None:
    head = b"POST /shout HTTP/1.1\r\nhost: app\r\n"
    length = b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
    raw = head + (length if chunked else b"content-length: 5\r\n\r\nhello")
    with Client(place.story.port) as client:
        for _ in range(2):
            answer = client.exchange(raw)
            seen = place.app.last
            assert (seen.body, seen.headers["content-length"], seen.headers["x-size"]) == (b"HELLO", "5", "5")
            assert (answer.body, answer.headers["x-size"], answer.headers["content-length"]) == (b"appapp", "3", "6")


def test_a_whole_body_comes_slowly_and_is_asked_for(place: Place) -> None:
    with Client(place.story.port) as client:
        client.connect().sendall(
            b"POST /shout HTTP/1.1\r\nhost: app\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n"
        )
        assert client.stream.readline() == b"HTTP/1.1 100 Continue\r\n"
        client.stream.readline()
        count = len(place.app.seen)
        client.connect().sendall(b"ab")
        time.sleep(0.05)
        assert len(place.app.seen) == count
        client.connect().sendall(b"cd")
        assert read_answer(client.stream)[2] == b"appapp"
        assert place.app.last.body == b"ABCD"


def test_pieces_go_on_while_more_come(place: Place) -> None:
    seen: list[bytes] = []

    def handle(connection: Any) -> None:
        while chunk := connection.recv(65536):
            seen.append(chunk)
            if b"<end>" in b"".join(seen):
                connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nHi\r\n0\r\n\r\n")

    with Upstream(handle) as upstream:
        yaml = place.story.proxy.file.read_text()
        port = f'{{"http": {place.app.port}}}'
        place.story.reload(yaml.replace(port, f'{{"http": {upstream.port}}}'))
        try:
            with Client(place.story.port) as client:
                client.connect().sendall(b"POST /pieces HTTP/1.1\r\nhost: app\r\ncontent-length: 4\r\n\r\nab")
                assert eventually(lambda: b"AB" in b"".join(seen))
                client.connect().sendall(b"cd")
                assert read_answer(client.stream)[2] == b"hI<end>"
                assert b"CD\r\n5\r\n<end>\r\n0" in b"".join(seen)
        finally:
            place.story.reload(yaml)


def test_a_head_request_and_an_empty_answer_have_no_body_to_filter(place: Place) -> None:
    for path in ("/shout", "/pieces"):
        answer = place.ask(path, "HEAD")
        assert (answer.status, answer.body) == (200, b"")
        assert "content-length" not in answer.headers  # of a GET's answer it is not known
        place.script.say(path, b"HTTP/1.1 204 No Content\r\n\r\n")
        assert place.ask(path).status == 204


def test_order_is_an_onion(place: Place) -> None:
    answer = place.ask("/way")
    assert (place.app.last.headers["x-way"], answer.headers["x-back"]) == ("abc", "cba")
    count = len(place.app.seen)
    answer, line = place.story.ask("/way?answer=b")
    assert (answer.status, answer.body, answer.headers["x-back"]) == (429, b"b", "a!")
    assert (line["response_code_details"], line["response_flags"]) == ("filter_answer{default.b}", "-")
    assert len(place.app.seen) == count
    answer, line = place.story.ask("/way?instead=b")
    assert (answer.status, answer.body, answer.headers["x-back"]) == (203, b"b", "cba!")
    assert (line["response_code"], line["bytes_sent"]) == (203, 1)


def test_answers_of_the_proxy_itself_are_seen(place: Place) -> None:
    direct = place.ask("/way/direct")
    assert (direct.status, direct.body, direct.headers["x-back"]) == (299, b"direct", "c!b!a!")
    gone, line = place.story.ask("/way/gone")
    assert (gone.status, gone.headers["x-back"], line["response_flags"]) == (503, "c!b!a!", "UH")


def test_answers_from_bodies(place: Place) -> None:
    count = len(place.app.seen)
    answer = place.ask("/shout", "POST", body=b"no")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (422, b"no", "text/x-no")
    assert len(place.app.seen) == count
    answer = place.ask("/shout?replace")
    assert (answer.status, answer.body) == (218, b"replaced")


def test_functions_and_hosts(place: Place) -> None:
    assert place.ask("/function").headers["x-function"] == "f"
    assert "x-function" not in place.ask("/").headers
    assert place.ask("/", host="a.only.example").headers["x-function"] == "host"


def test_many_requests_on_one_connection(place: Place) -> None:
    with Client(place.story.port) as client:
        for number in range(200):
            path = ("/way", "/shout", "/pieces", "/")[number % 4]
            assert client.ask(path, "POST", body=b"x" * (number * 3)).status == 200


# --- failures ---------------------------------------------------------------------------------------------------------

RAISED = ["raise", "exit", "nonsense", "header", "async-raise", "async-exit"]
CLOSED = ["request-head-closed", "response-head-closed", "request-body-closed", "response-body-closed"]


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("how", [*RAISED, "stall"])
def test_a_hook_that_fails_closed(place: Place, name: str, how: str) -> None:
    kind = "timeout" if how == "stall" else "error"
    before, workers = place.counted(f"{kind}s"), place.story.proxy.workers()
    answer, line = place.story.ask(f"/{name}?{how}", "POST", body=b"hello")
    assert (answer.status, answer.body) == (500, b"")
    assert line["response_code_details"] == f"filter_{kind}{{default.{name}}}"
    assert line["response_flags"] == "FE"
    assert place.counted(f"{kind}s") == before + 1
    assert place.story.proxy.workers() == workers
    assert place.ask("/").status == 200


@pytest.mark.parametrize("name", ["request-head-open", "response-open"])
@pytest.mark.parametrize("how", [*RAISED, "stall"])
def test_a_hook_that_fails_open(place: Place, name: str, how: str) -> None:
    answer, line = place.story.ask(f"/{name}?{how}", "POST", body=b"hello")
    assert (answer.status, answer.body, line["response_flags"]) == (200, b"app", "-")
    assert place.app.last.body == b"hello"


def test_the_log_says_what_was_raised(place: Place) -> None:
    assert place.ask("/request-head-closed?raise").status == 500
    eventually(lambda: "filter default/request-head-closed: request_head raised" in place.story.proxy.text())
    assert "filter_hooks" not in place.story.proxy.text()  # the name of the file is that of the folder
    assert "hooks.py" in place.story.proxy.text()


def test_a_plain_hook_that_blocks_is_told_of(place: Place) -> None:
    before = place.counted("blocked")
    assert place.ask("/request-head-closed?block").status == 200
    assert place.counted("blocked") == before + 1


def test_bodies_beyond_the_limit(place: Place) -> None:
    before = place.counted("body_too_large")
    answer, line = place.story.ask("/shout", "POST", body=b"x" * 2000)
    assert (answer.status, line["response_code_details"]) == (413, "filter_body_too_large{default.shout}")
    answer = place.ask("/open-shout", "POST", body=b"x" * 2000)
    assert (answer.status, place.app.last.body) == (200, b"x" * 2000)
    place.script.say("/shout/long", b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n" + b"y" * 2000)
    answer, line = place.story.ask("/shout/long")
    assert (answer.status, line["response_code_details"]) == (500, "filter_body_too_large{default.shout}")
    place.script.say("/open-shout", b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n" + b"y" * 2000)
    assert place.ask("/open-shout").body == b"y" * 2000
    assert place.counted("body_too_large") == before + 4


# --- the rest of the story --------------------------------------------------------------------------------------------


def test_request_hooks_run_once_whatever_is_retried(place: Place) -> None:
    place.script.say("/calls/retried", 503, 503, 200)
    count = len(place.app.seen)
    assert place.ask("/calls/retried", "POST", body=b"body").status == 200
    tries = place.app.seen[count:]
    assert [each.body for each in tries] == [b"body-filtered"] * 3
    assert len({each.headers["x-calls"] for each in tries}) == 1


def test_request_hooks_run_once_with_hedge_and_fallback(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    shutil.copy(HOOKS, code / "hooks.py")
    held, opened = [], threading.Event()

    def act(request: HTTPRequest) -> int:
        if not held:
            held.append(request)
            assert opened.wait(30)
        return 200

    own = "fastmesh.io/v1alpha1"
    hedge = {"targetRef": {"kind": "VirtualService", "name": "app"}, "hedge": {"after": "20ms"}}
    fallback = {"on": ["UF"], "destination": {"host": "app"}}
    fallback = {"targetRef": {"kind": "VirtualService", "name": "dead"}, "fallback": fallback}
    with Replica("one", act) as one, Replica("two", act) as two:
        yaml = replicas_of("app", one.port, two.port) + virtual_service("app", {})
        yaml += replicas_of("dead", free_port()) + virtual_service("dead", {})
        yaml += thing("RoutePolicy", "hedge", hedge, own) + thing("RoutePolicy", "fallback", fallback, own)
        with Story(tmp_path, yaml + filter_of("calls", "Count"), "--filter-path", str(code)) as story:
            answer, line = story.ask()
            assert (answer.status, answer.headers["x-calls"].split()[0]) == (200, "1")
            eventually(lambda: one.seen and two.seen)
            assert [each.last.headers["x-calls"] for each in (one, two)] == ["1", "1"]
            opened.set()
            answer, line = story.ask("/", "POST", body=b"body", host="dead")
            last = (one.seen[1:] + two.seen[1:])[0]
            assert (last.body, last.headers["x-calls"]) == (b"body-filtered", "2")
            assert (answer.status, answer.headers["x-calls"].split()[0]) == (200, "2")
            assert line["upstream_cluster"] == "outbound|80||app.default.svc.cluster.local"


def test_requests_that_no_rule_takes(place: Place) -> None:
    """They are answered by the proxy, and hooks see that."""
    unknown = {"host": "nobody.example"}
    answer, line = place.story.ask("/way/x", **unknown)
    assert (answer.status, answer.headers["x-back"], line["response_flags"]) == (502, "c!b!a!", "NR")
    answer, line = place.story.ask("/way/x?answer=b", "POST", body=b"some", **unknown)
    assert (answer.status, answer.text, line["response_code_details"]) == (429, "b", "filter_answer{default.b}")
    answer = place.ask("/calls/x", "POST", body=b"some", **unknown)
    assert (answer.status, answer.headers["x-rule"]) == (502, "''")
    assert "x-back" not in place.ask("/else", **unknown).headers


def test_an_upload_waits_for_its_hooks(place: Place) -> None:
    """A client is not read without end while a hook is awaited."""
    with Client(place.story.port) as client:
        connection = client.connect()
        connection.sendall(b"POST /slow HTTP/1.1\r\nhost: app\r\ncontent-length: 268435456\r\n\r\n")
        connection.settimeout(0.25)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 268435456:
                sent += connection.send(b"x" * 65536)
        assert sent < 32 << 20


def test_an_upload_arrives_whole(place: Place) -> None:
    body = bytes(range(65, 91)) * 40_000
    assert place.ask("/pieces", "POST", body=body).status == 200
    assert place.app.last.body == body.lower() + b"<end>"


def test_http2(place: Place) -> None:
    with Http2(place.story.port) as client:
        reply = client.ask("/shout", "POST", b"hello")
        assert (reply.status, reply.body, place.app.last.body) == (200, b"appapp", b"HELLO")
        reply = client.ask("/pieces", "POST", b"ab" * 100_000)
        assert (reply.status, reply.body) == (200, b"APP<end>")
        assert place.app.last.body == b"AB" * 100_000 + b"<end>"
        assert client.ask("/way?answer=c").headers["x-back"] == "b!a!"
        assert client.ask("/request-head-closed?stall").status == 500
        streams = [client.open(request(f"/way?{number}")) for number in range(20)]
        assert [reply.status for reply in client.wait(*streams)] == [200] * 20
        assert client.alive()


def test_many_at_once(place: Place) -> None:
    def one() -> int:
        with Client(place.story.port) as client:
            return sum(client.ask("/way").status for _ in range(20))

    assert together([one] * 8) == [4000] * 8


# --- waiting, leaving, reloading --------------------------------------------------------------------------------------


class Waiting:
    def __init__(self, folder: Path, story: Story, app: Replica) -> None:
        self.folder, self.story, self.app = folder, story, app

    def config(self, version: str) -> str:
        yaml = replicas_of("app", self.app.port) + virtual_service("app", {})
        return yaml + filter_of("wait", "Wait", config={"folder": str(self.folder), "version": version}, timeout="20s")

    def there(self, name: str) -> bool:
        return (self.folder / name).exists()


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Waiting]:
    code = tmp_path / "code"
    code.mkdir()
    shutil.copy(HOOKS, code / "hooks.py")
    with Replica("app") as app:
        made = Waiting(tmp_path, Story.__new__(Story), app)
        made.story.__init__(tmp_path, made.config("one"), "--filter-path", str(code))  # type: ignore[misc]
        with made.story:
            yield made


def test_the_client_leaves_while_a_hook_is_awaited(waiting: Waiting) -> None:
    with Client(waiting.story.port) as client:
        client.connect().sendall(b"GET /?wait HTTP/1.1\r\nhost: app\r\nx-request-id: left\r\n\r\n")
        eventually(lambda: waiting.there("begun"))
        client.connect().setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER 0: a reset
    eventually(lambda: waiting.there("cancelled"))
    assert waiting.story.line("left")["response_flags"] == "DC"
    assert waiting.app.seen == []
    with Client(waiting.story.port) as client:
        assert client.ask("/").headers["x-version"] == "one"


def test_a_reload_replaces_filters_and_leaves_requests_theirs(waiting: Waiting) -> None:
    with Client(waiting.story.port) as old, Client(waiting.story.port) as new:
        old.connect().sendall(b"GET /?wait HTTP/1.1\r\nhost: app\r\n\r\n")
        eventually(lambda: waiting.there("begun"))
        waiting.story.reload(waiting.config("two"))
        assert new.ask("/").headers["x-version"] == "two"
        (waiting.folder / "go").touch()
        assert read_answer(old.stream)[1]["x-version"] == "one"
        assert [seen.headers["x-version"] for seen in waiting.app.seen] == ["two", "one"]


def test_changed_code_is_taken_and_bad_code_is_not(waiting: Waiting) -> None:
    file, port = waiting.folder / "code/hooks.py", waiting.story.port
    good = file.read_text()

    def version() -> str:
        with Client(port) as client:
            return client.ask("/").headers["x-version"]

    def refused(text: str, why: str) -> None:
        file.write_text(text)
        before = waiting.story.proxy.text().count("refused; the last good")
        waiting.story.proxy.process.send_signal(1)
        eventually(lambda: waiting.story.proxy.text().count("refused; the last good") > before)
        assert why in waiting.story.proxy.text()
        assert version() == "one"

    assert version() == "one"
    refused(good + "\n(", "was never closed")
    refused(good + "\nraise RuntimeError('not today')", "RuntimeError: not today")
    refused(good.replace("class Wait", "class Late"), "has no Wait")
    refused(
        good.replace("request_head(self, request: Request) ->", "request_head(self) ->"), "is called with 1 arguments"
    )
    file.write_text(good.replace('["x-version"] = self.version', '["x-version"] = "new"'))
    waiting.story.reload(waiting.config("one"))
    assert version() == "new"
