"""A proxy that has too much to do: memory, connections, the time of its loop. What it does, and that it stops again."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

from tests.http2 import Http2, Reply, request
from tests.traffic import Client, Gate, Replica, Story, ask, eventually, replicas_of, thing

HOOKS = Path(__file__).with_name("pressure_hooks.py")
OWN = "fastmesh.io/v1alpha1"
HIGH = {"x_priority": "high"}


def filter_of(name: str, **config: Any) -> str:
    return thing("Filter", name.lower(), {"function": f"pressure_hooks:{name}", "config": config}, OWN)


def with_code(folder: Path) -> tuple[str, str]:
    code = folder / "code"
    code.mkdir()
    shutil.copy(HOOKS, code)
    return "--filter-path", str(code)


CLASSES = [
    {"name": "high", "match": [{"headers": {"x-priority": {"exact": "high"}}}]},
    {"name": "low", "share": 10},
]
STEPS = ("--max-memory", "240MiB", "--overload-close", "30", "--overload-shed", "50", "--overload-stop", "80")


def says(story: Story, status: int, text: str) -> bool:
    found, body = story.proxy.get("/healthz/ready")
    return found == status and text in body


def counted(story: Story, name: str) -> int:
    return sum(story.stats(f"{name}$").values())


def test_memory(tmp_path: Path) -> None:
    """Step by step up, by a filter that holds memory, and down again when it lets go."""
    release = tmp_path / "release"
    spec = {"host": "app", "concurrency": {"limit": 100, "priorities": CLASSES}}
    with Replica("app") as app:
        yaml = replicas_of("app", app.port) + filter_of("Hog", release=str(release))
        yaml += thing("Resilience", "app", spec, OWN)
        with (
            Story(tmp_path, yaml, *STEPS, *with_code(tmp_path)) as story,
            Client(story.port) as kept,
            Http2(story.port) as http2,
        ):
            assert "connection" not in kept.ask().headers
            assert http2.ask().status == 200
            assert story.proxy.get("/healthz/ready") == (200, "LIVE\n")

            ask(story.proxy, "/hold/75")
            eventually(lambda: says(story, 200, "worker 0: under pressure, answers end their connections"))
            answer = ask(story.proxy, x_priority="low")
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            eventually(lambda: http2.goaway or not http2.read())
            assert http2.goaway is not None
            assert http2.goaway.code == "NO_ERROR"
            assert kept.socket is not None
            assert kept.socket.recv(1) == b""  # nothing had come on it for a second
            assert counted(story, "overload_disable_keepalive") >= 2

            waiting = [Client(story.port) for _ in range(2)]
            ask(story.proxy, "/hold/55", **HIGH)
            eventually(lambda: says(story, 200, "requests of low priority are refused"))
            answer, line = story.ask()
            assert (answer.status, answer.headers["retry-after"], answer.headers["connection"]) == (503, "1", "close")
            assert (line["response_flags"], line["response_code_details"]) == ("OM", "overload")
            assert story.ask(**HIGH)[0].status == 200
            waiting[0].connect()
            eventually(lambda: counted(story, "downstream_cx_active") >= 1)

            ask(story.proxy, "/hold/80", **HIGH)
            eventually(lambda: says(story, 503, "OVERLOADED\nworker 0: under pressure, nothing new is taken"))
            refused = waiting[0].ask(**HIGH)
            assert (refused.status, app.count("/hold/80")) == (503, 1)
            late: list[int] = []
            thread = threading.Thread(target=lambda: late.append(waiting[1].ask().status))
            thread.start()
            eventually(lambda: counted(story, "overload_wait"))
            text = story.proxy.get("/stats/prometheus")[1]
            assert 'fastmesh_overload_workers{does="stop"} 1' in text
            assert "fastmesh_overload_requests_refused_total 2" in text
            assert late == []

            release.touch()
            thread.join(10)
            assert late == [200]  # it waited, and nobody lost it
            eventually(lambda: says(story, 200, "LIVE\n") and not says(story, 200, "pressure"))
            with Client(story.port) as client:
                assert "connection" not in client.ask().headers
            assert counted(story, "downstream_rq_overload_close") == 2
            assert counted(story, "overload.memory.pressure") < 30
            told(story)


def told(story: Story) -> None:
    eventually(lambda: "takes everything again" in story.proxy.text())
    for step in ("answers end their connections", "requests of low priority are refused", "nothing new is taken"):
        assert f"under pressure: {step} (memory" in story.proxy.text()


def test_connections(tmp_path: Path) -> None:
    """Those above the limit wait until one ends, and are served then."""
    gate = Gate()
    with Replica("app", gate) as app:
        yaml = replicas_of("app", app.port)
        flags = (
            "--max-connections",
            "3",
            "--overload-close",
            "100",
            "--overload-shed",
            "100",
            "--overload-stop",
            "100",
        )
        with Story(tmp_path, yaml, *flags, workers=2) as story:
            statuses: list[int] = []
            threads = []
            for _ in range(4):
                threads.append(threading.Thread(target=lambda: statuses.append(ask(story.proxy).status)))
                threads[-1].start()
                eventually(lambda: gate.held == min(len(threads), 3))
            eventually(lambda: counted(story, "overload_wait"))
            assert (counted(story, "http.downstream_cx_active"), app.count()) == (3, 3)
            eventually(lambda: counted(story, "overload.connections.pressure") == 100)
            gate.opened.set()
            for thread in threads:
                thread.join(10)
            assert statuses == [200] * 4
            assert counted(story, "downstream_cx_total") == 4


def test_lag(tmp_path: Path) -> None:
    """A filter that keeps the loop from turning: requests are refused before they come to it, then all is well."""
    with Replica("app") as app:
        yaml = replicas_of("app", app.port) + filter_of("Slow")
        with Story(tmp_path, yaml, "--max-lag", "60ms", *with_code(tmp_path)) as story, Http2(story.port) as http2:
            asked = served = 0
            refused: list[Reply] = []
            while not refused:
                assert asked < 60, "a loop that turns three times a second is late"
                replies = http2.wait(*[http2.open(request("/slow")) for _ in range(6)])
                asked, served = asked + 6, served + sum(reply.status == 200 for reply in replies)
                refused = [reply for reply in replies if reply.status == 503]
            assert refused[0].headers["retry-after"] == "1"
            assert app.count() == served
            assert {line["upstream_host"] for line in eventually(lambda: story.lines('"OM"'))} == {None}
            eventually(lambda: says(story, 200, "LIVE\n") and not says(story, 200, "pressure"))
            eventually(lambda: counted(story, "overload.lag.pressure") < 10)
            assert ask(story.proxy).status == 200
            assert counted(story, "downstream_rq_overload_close") == len(refused)
