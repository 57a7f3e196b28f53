"""A filter, retries, a hedge, a breaker, a limit and a fallback on one route: none is lost, and none counted twice.

Every request is asked for by name, and all books are compared in the end: what clients got, what the access log says,
what endpoints saw, and the counters of proxy, clusters, endpoints and Istio's metrics.
"""

from __future__ import annotations

import collections
import itertools
import re
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from tests.traffic import (
    Action,
    Answer,
    Client,
    Gate,
    Replica,
    Request,
    Story,
    ask,
    eventually,
    replicas,
    replicas_of,
    thing,
    together,
    virtual_service,
)

OWN = "fastmesh.io/v1alpha1"
HOOKS = Path(__file__).with_name("together_hooks.py")
PATHS = ("/ok", "/slow", "/ok", "/bad")
RETRIES = {"retries": {"attempts": 1, "retryOn": "5xx,connect-failure,reset", "backoff": "1ms"}}


class App:
    """Two replicas and a backup: `/bad` fails, `/slow` is slow at one of them; `down`: only the backup is well."""

    def __init__(self) -> None:
        self.down = False

    def __call__(self, request: Request) -> Action:
        if request.replica.name == "backup":
            return 200
        if self.down or request.path == "/bad":
            return 500
        if request.path == "/slow" and request.replica.name == "a":
            time.sleep(0.06)
        return 200


class Books:
    """Requests by their ids, and what became of them."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.ids = itertools.count()
        self.answers: dict[str, Answer] = {}
        self.lock = threading.Lock()

    def ask(self, client: Client, path: str) -> Answer:
        with self.lock:
            name = f"request-{next(self.ids):05}"
        answer = client.ask(path, x_request_id=name)
        with self.lock:
            assert name not in self.answers
            self.answers[name] = answer
        return answer

    def once(self, path: str = "/ok") -> Answer:
        with Client(self.story.port) as client:
            return self.ask(client, path)

    def many(self, rounds: int) -> None:
        with Client(self.story.port) as client:
            for path in PATHS * rounds:
                self.ask(client, path)

    def statuses(self) -> collections.Counter[int]:
        return collections.Counter(answer.status for answer in self.answers.values())


def config(made: list[Replica], **concurrency: Any) -> str:
    breaker = {"errorPercent": 60, "minRequests": 30, "openFor": "200ms", "probes": 2}
    resilience = {"host": "app", "halfLife": "1s", "breaker": breaker, "queue": {"maxWait": "5s"}, **concurrency}
    policy = {"hedge": {"after": "20ms"}, "fallback": {"on": ["UO"], "destination": {"host": "backup"}}}
    return (
        replicas_of("app", *(replica.port for replica in made[:-1]))
        + replicas_of("backup", made[-1].port)
        + virtual_service("app", RETRIES)
        + thing("Resilience", "app", resilience, OWN)
        + thing("RoutePolicy", "app", policy, OWN)
        + thing("Filter", "mark", {"function": "together_hooks:Mark"}, OWN)
    )


def code(folder: Path) -> tuple[str, str]:
    (folder / "code").mkdir()
    shutil.copy(HOOKS, folder / "code")
    return "--filter-path", str(folder / "code")


def test_the_books_agree(tmp_path: Path) -> None:
    app = App()
    with replicas("a", "b", "backup", act=app) as made:
        limit = {"concurrency": {"limit": 100}}
        with Story(tmp_path, config(made, **limit), *code(tmp_path), workers=2) as story:
            books = Books(story)
            together([lambda: books.many(4)] * 6)
            assert made[2].count() == 0  # a quarter of errors opens nothing
            app.down = True
            eventually(lambda: books.once().text == "backup")
            app.down = False
            eventually(lambda: books.once().text != "backup")
            eventually(lambda: books.once().text in ("a", "b") and not sum(story.stats("breaker.open$").values()))
            together([lambda: books.many(2)] * 3)
            compare(books, made)


def compare(books: Books, made: list[Replica]) -> None:
    story, count = books.story, len(books.answers)
    statuses = books.statuses()
    assert set(statuses) == {200, 500}
    assert all(answer.headers["x-marked"] == "once" for answer in books.answers.values())
    seen = collections.Counter(request.headers["x-request-id"] for replica in made for request in replica.seen)
    assert seen.keys() == books.answers.keys()
    assert max(seen.values()) <= 3  # two tries and a hedge
    assert {request.headers["x-marked"] for replica in made for request in replica.seen} == {"once"}
    lines = eventually(lambda: story.lines() if len(story.lines()) >= count else None)
    assert {line["request_id"]: line["response_code"] for line in lines or ()} == {
        name: answer.status for name, answer in books.answers.items()
    }
    assert len(lines or ()) == count

    found = story.stats("")
    assert found["http.downstream_rq_total"] == count
    assert (found["http.downstream_rq_2xx"], found["http.downstream_rq_5xx"]) == (statuses[200], statuses[500])
    app, backup = (f"cluster.outbound|80||{host}.default.svc.cluster.local." for host in ("app", "backup"))
    assert found[f"{app}upstream_rq_total"] + found[f"{backup}upstream_rq_total"] == count
    assert found["fallbacks"] == found[f"{backup}upstream_rq_total"] == made[2].count() > 0
    assert found[f"{app}breaker.rq_refused"] == found["fallbacks"]
    assert (found[f"{app}breaker.rq_answered"], found[f"{app}breaker.rq_failed_over"]) == (0, 0)
    text = story.proxy.get("/stats/prometheus")[1]
    assert sum(int(number) for number in re.findall(r"^istio_requests_total{.*} (\d+)$", text, re.MULTILINE)) == count

    assert {
        name: value for name, value in found.items() if value and re.search(r"(rq|retry|pending)_active$", name)
    } == {}
    tries, good, bad = (
        sum(int(number) for number in re.findall(rf"::{word}::(\d+)", story.proxy.get("/clusters")[1]))
        for word in ("rq_total", "rq_success", "rq_error")
    )
    hedges, retries = found["hedges"], found[f"{app}upstream_rq_retry"]
    assert hedges > 0
    assert tries == count + retries  # a hedge is a retry
    assert sum(seen.values()) <= tries
    assert tries - hedges <= good + bad <= tries  # of the two attempts of a hedge one may end without a word
    assert found["hedges_won"] <= hedges


def test_a_full_service_falls_back_once(tmp_path: Path) -> None:
    """The limit of a Resilience is an overflow (UO) like any other: the rule knows where to go, and the filter ran."""
    gate = Gate()
    with Replica("app", gate) as app, Replica("backup") as backup:
        yaml = config([app, backup], concurrency={"limit": 1})
        with Story(tmp_path, yaml, *code(tmp_path)) as story:

            def second() -> str:
                eventually(lambda: gate.held)
                text = ask(story.proxy, "/x", "POST", body=b"hello").text
                gate.opened.set()
                return text

            assert together([lambda: ask(story.proxy).text, second]) == ["app", "backup"]
            assert (backup.last.body, backup.last.headers["x-marked"]) == (b"hello", "once")
            found = story.stats("")
            assert found["fallbacks"] == 1
            assert {
                name for name, value in found.items() if value and re.search(r"(rq|retry|pending)_active$", name)
            } == set()
