"""Global limits: proxies that count together in a real Redis, which no request waits for."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.redis_gate import Gate
from tests.redis_server import RedisServer
from tests.traffic import Client, Replica, Story, ask, eventually, rate_limit, replicas, replicas_of, stats

TARGET = {"kind": "Service", "name": "app"}


@pytest.fixture(scope="module")
def app() -> Iterator[Replica]:
    with replicas("a") as (one,):
        yield one


def limited(app: Replica, *limits: dict[str, Any], **counts: Any) -> str:
    spec = {"targetRef": TARGET, "global": counts, "limits": [*limits]}
    return replicas_of("app", app.port) + rate_limit("shared", spec)


def drive(port: int, until: float, rate: float, passed: list[float], others: list[int]) -> None:
    with Client(port) as client:
        due = time.monotonic()
        while due < until:
            time.sleep(max(0.0, due - time.monotonic()))
            status = client.ask().status
            if status == 200:
                passed.append(time.time())
            else:
                others.append(status)
            due += 1 / rate


def load(ports: list[int], seconds: float, rate: float, clients: int) -> tuple[list[float], list[int]]:
    """So many clients at each port, each with that rate: when requests passed, and the statuses of the rest."""
    passed: list[float] = []
    others: list[int] = []
    until = time.monotonic() + seconds
    drivers = [
        threading.Thread(target=drive, args=(port, until, rate, passed, others))
        for port in ports
        for _ in range(clients)
    ]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join(seconds + 30)
    return passed, others


def found(story: Story) -> bool:
    return "counts the global limits" in story.proxy.text()


def number(story: Story, metric: str) -> float:
    lines = story.proxy.get("/stats/prometheus")[1].splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(metric))


def held(story: Story) -> float:
    granted = number(story, "fastmesh_redis_tokens_granted_total")
    return granted - number(story, "fastmesh_redis_tokens_returned_total")


@contextlib.contextmanager
def stories(tmp_path: Path, yaml: str, count: int, *args: str, workers: int = 2) -> Iterator[list[Story]]:
    with contextlib.ExitStack() as stack:
        made = []
        for name in range(count):
            folder = tmp_path / str(name)
            folder.mkdir()
            made.append(stack.enter_context(Story(folder, yaml, *args, workers=workers)))
        for story in made:
            eventually(lambda story=story: found(story))  # type: ignore[misc]
        yield made


def test_two_proxies_keep_one_limit(tmp_path: Path, app: Replica) -> None:
    """100 a second for both together, four times that asked for. No window of Redis's clock passes more than 100 and
    the credit of one proxy: the one that took the last token knows it. All windows that the load has touched are
    counted, so it does not matter when a busy machine lets the clients run.
    """
    with RedisServer(tmp_path) as redis:
        yaml = limited(app, {"requests": 100})
        with stories(tmp_path, yaml, 2, "--redis", redis.url) as both:
            began = int(time.time())
            passed, others = load([story.port for story in both], 3.3, 50, 4)
            windows = int(time.time()) - began + 1
            overdrawn = sum(number(story, "fastmesh_redis_tokens_overdrawn_total") for story in both)
    assert set(others) == {429}
    print(windows, len(passed), len(others), overdrawn)
    assert len(passed) <= windows * (100 + 10)
    assert overdrawn <= windows * 10
    assert len(passed) >= (windows - 2) * 90, "two windows are not whole"


def test_a_limit_is_exact_for_one_proxy_however_late_redis_answers(tmp_path: Path, app: Replica) -> None:
    limits = (1, 3, 10, 25)
    each = [{"requests": n, "per": "hour", "match": [{"uri": {"exact": f"/{n}"}}]} for n in limits]
    with RedisServer(tmp_path) as redis, Gate(redis.port) as gate:
        yaml = limited(app, *each, redis=gate.address)
        with stories(tmp_path, yaml, 1, "--redis-timeout", "60s") as (story,):
            gate.shut()
            statuses = {n: [ask(story.proxy, f"/{n}").status for _ in range(n + 10)] for n in limits}
            for n in limits:
                assert statuses[n] == [200] * min(n, 10) + [429] * max(10, n), "what is passed on credit"
            assert gate.held.acquire(timeout=10)
            gate.open()
            for n in limits:
                until_all_is_spent(story, statuses[n], n, f"/{n}")
            assert {n: statuses[n].count(200) for n in limits} == {n: n for n in limits}
            assert number(story, "fastmesh_redis_tokens_overdrawn_total") == 0


def until_all_is_spent(story: Story, statuses: list[int], limit: int, path: str = "/") -> None:
    """Ask until the limit has passed, and then some more."""
    eventually(lambda: statuses.append(ask(story.proxy, path).status) or statuses.count(200) >= limit)
    statuses += [ask(story.proxy, path).status for _ in range(20)]


def test_two_proxies_pass_the_credit_of_one_more_at_most(tmp_path: Path, app: Replica) -> None:
    """Both pass all that a small limit allows before Redis has said a word: that is the bound, and no request more."""
    with RedisServer(tmp_path) as redis, Gate(redis.port) as gate:
        yaml = limited(app, {"requests": 3, "per": "hour"}, redis=gate.address)
        with stories(tmp_path, yaml, 2, "--redis-timeout", "60s") as both:
            gate.shut()
            statuses = [ask(story.proxy).status for story in both for _ in range(5)]
            assert statuses == [200, 200, 200, 429, 429] * 2
            for _ in both:
                assert gate.held.acquire(timeout=10)
            gate.open()
            ends = time.monotonic() + 1.5  # Redis is asked again by both
            while time.monotonic() < ends:
                statuses += [ask(story.proxy).status for story in both]
            assert statuses.count(200) == 3 + 3
            over = [number(story, "fastmesh_redis_tokens_overdrawn_total") for story in both]
            assert sum(over) == 3


def test_reloads_and_upgrades_keep_the_count(tmp_path: Path, app: Replica) -> None:
    """Leases are out when the file is read again, and when the program becomes another one: all that the limit allows
    passes, and not one more.
    """
    limit = 600
    with RedisServer(tmp_path) as redis, Gate(redis.port) as gate:
        yaml = limited(app, {"requests": limit, "per": "hour"}, redis=gate.address)
        with stories(tmp_path, yaml, 1) as (story,):
            gate.shut()  # so the end of the period is known worse than the new program will know it
            statuses = [ask(story.proxy).status for _ in range(6)]
            assert gate.held.acquire(timeout=10)
            gate.open()
            statuses += [ask(story.proxy).status for _ in range(3)]
            story.reload(yaml + rate_limit("more", {"targetRef": TARGET, "limits": [{"requests": 10_000}]}))
            statuses += [ask(story.proxy).status for _ in range(4)]
            story.proxy.process.send_signal(signal.SIGUSR2)
            while story.proxy.text().count("fastmesh ready") < 2:
                statuses.append(ask(story.proxy).status)
                time.sleep(0.02)
            assert set(statuses) == {200}
            assert len(statuses) < limit - 100, "there is something to be kept"
            until_all_is_spent(story, statuses, limit)
            assert statuses.count(200) == limit
            assert number(story, "fastmesh_redis_tokens_overdrawn_total") == 0


def test_counts_by_key_and_across_proxies(tmp_path: Path, app: Replica) -> None:
    limit = {"requests": 3, "per": "hour", "keys": [{"header": "x-user"}]}
    with (
        RedisServer(tmp_path) as redis,
        stories(tmp_path, limited(app, limit, redis=redis.address), 2, workers=1) as (one, two),
    ):
        assert [ask(one.proxy, x_user="ann").status for _ in range(2)] == [200, 200]
        eventually(lambda: b"3600000" in redis.ask("KEYS", "*"))
        eventually(lambda: number(one, "fastmesh_redis_tokens_granted_total") >= 2)
        # What `one` holds unspent it gives back after a second; then the other one may have it.
        eventually(lambda: held(one) == 2)
        assert ask(two.proxy, x_user="ann").status == 200
        eventually(lambda: number(two, "fastmesh_redis_tokens_granted_total") >= 1)
        assert [ask(two.proxy, x_user="ann").status for _ in range(3)] == [429] * 3
        assert ask(two.proxy, x_user="bob").status == 200


def test_a_password_from_a_file_is_in_no_dump(tmp_path: Path, app: Replica) -> None:
    secret = tmp_path / "password"
    secret.write_text("open-sesame\n")
    with RedisServer(tmp_path, "--requirepass", "open-sesame") as redis:
        args = ("--redis", redis.url + "/1", "--redis-password-file", str(secret))
        with stories(tmp_path, limited(app, {"requests": 1, "per": "hour"}), 1, *args, workers=1) as (story,):
            assert ask(story.proxy).status == 200
            eventually(lambda: number(story, "fastmesh_redis_tokens_granted_total") == 1)
            assert ask(story.proxy).status == 429
            for page in ("/config_dump", "/stats/prometheus", "/server_info"):
                assert "open-sesame" not in story.proxy.get(page)[1]
            assert "open-sesame" not in story.proxy.text()


@pytest.mark.parametrize(("deny", "status", "word"), [(False, 200, "allowed"), (True, 429, "denied")])
def test_no_redis_is_a_choice(tmp_path: Path, app: Replica, deny: bool, status: int, word: str) -> None:
    with RedisServer(tmp_path) as redis:
        address = redis.url  # nobody listens there any more
    yaml = limited(app, {"requests": 2, "per": "hour"}, failureModeDeny=deny)
    with Story(tmp_path, yaml, "--redis", address) as story:
        eventually(lambda: "is gone" in story.proxy.text())
        answers = [story.ask() for _ in range(5)]
        assert [answer.status for answer, _ in answers] == [status] * 5
        assert {line["response_flags"] for _, line in answers} == {"RL" if deny else "-"} or not deny
        assert stats(story.proxy, "rate_limit.*failure_mode_.*") == {
            f"rate_limit.default/shared/0.failure_mode_{each}": 5 * (each == word) for each in ("allowed", "denied")
        }
        assert number(story, "fastmesh_redis_up") == 0


@pytest.mark.slow
def test_redis_dies_and_comes_back_under_load(tmp_path: Path, app: Replica) -> None:
    """No answer but 200 and 429; while Redis is gone all pass; afterwards the count is right again."""
    with RedisServer(tmp_path) as redis:
        yaml = limited(app, {"requests": 50})
        with stories(tmp_path, yaml, 2, "--redis", redis.url) as both:
            passed: list[float] = []
            others: list[int] = []
            driver = threading.Thread(target=lambda: _into(load([s.port for s in both], 8, 50, 2), passed, others))
            driver.start()
            eventually(lambda: sum(number(story, "fastmesh_redis_tokens_granted_total") for story in both) > 60)
            killed = time.time()
            redis.kill()
            eventually(lambda: all("is gone" in story.proxy.text() for story in both))
            eventually(lambda: all(sum(stats(s.proxy, ".*failure_mode_allowed").values()) > 20 for s in both))
            redis.start()
            eventually(lambda: all(story.proxy.text().count("counts the global limits") == 2 for story in both))
            back = int(time.time()) + 2
            driver.join(30)
    assert set(others) <= {429}
    seconds = [sum(1 for at in passed if second <= at < second + 1) for second in range(back, back + 2)]
    print(killed, back, seconds)
    assert all(40 <= count <= 62 for count in seconds), seconds


def _into(loaded: tuple[list[float], list[int]], passed: list[float], others: list[int]) -> None:
    passed += loaded[0]
    others += loaded[1]
