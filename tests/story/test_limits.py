"""RateLimit: exact for all workers together, by key, by match, across reloads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.traffic import (
    Answer,
    Client,
    Replica,
    Story,
    ask,
    destination_rule,
    prefix,
    rate_limit,
    replicas,
    replicas_of,
    together,
    virtual_service,
)

SERVICE = {"kind": "Service", "name": "app"}


def drive(port: int, host: str, passed: list[float], until: float, rate: float) -> None:
    """`rate` requests a second on one connection; `passed` gets the time of each that was let through."""
    with Client(port, host) as client:
        due = time.monotonic()
        while due < until:
            time.sleep(max(0.0, due - time.monotonic()))
            status = client.ask().status
            if status == 200:
                passed.append(time.monotonic())
            else:
                assert status == 429
            due += 1 / rate


@pytest.mark.quiet
def test_a_hundred_a_second_over_four_workers(tmp_path: Path) -> None:
    """Ten seconds, four times the rate from eight connections per host: 1,000 pass, give or take 20."""
    with replicas("a") as (app,):
        yaml = replicas_of("whole", app.port) + replicas_of("even", app.port)
        for host, more in (("whole", {}), ("even", {"burst": 20})):
            spec = {"targetRef": {"kind": "Service", "name": host}, "limits": [{"requests": 100, **more}]}
            yaml += rate_limit(host, spec)
        with Story(tmp_path, yaml, workers=4) as story:
            passed: dict[str, list[float]] = {"whole": [], "even": []}
            until = time.monotonic() + 11.2
            drivers = [
                threading.Thread(target=drive, args=(story.port, host, times, until, 50))
                for host, times in passed.items()
                for _ in range(8)
            ]
            for driver in drivers:
                driver.start()
            for driver in drivers:
                driver.join(30)
            limited = story.stats("limit.*(passed|limited)")
        counts = {}
        for host, times in passed.items():
            times.sort()
            begin = times[0] + 0.5  # in the middle between two borders, once the first burst is used up
            counts[host] = sum(1 for at in times if begin <= at < begin + 10)
            for second in range(10):
                in_second = sum(1 for at in times if begin + second <= at < begin + second + 1)
                assert 85 <= in_second <= 115, (host, second)
        print(counts, limited)
        assert all(980 <= count <= 1020 for count in counts.values()), counts


@pytest.fixture(scope="module")
def app() -> Iterator[Replica]:
    with replicas("a") as (one,):
        yield one


def statuses(story: Story, times: int, target: str = "/", **headers: str) -> list[int]:
    return [ask(story.proxy, target, **headers).status for _ in range(times)]


def limit(name: str, *limits: dict[str, object], **spec: object) -> str:
    return rate_limit(name, {"targetRef": SERVICE, "limits": list(limits), **spec})


def test_the_answer_of_a_limit(tmp_path: Path, app: Replica) -> None:
    with Story(tmp_path, replicas_of("app", app.port) + limit("one", {"requests": 1, "per": "hour"})) as story:
        assert ask(story.proxy).status == 200
        before = app.count()
        answer, line = story.ask("/", "POST", body=b"x" * 1000)
        assert (answer.status, answer.headers["x-envoy-ratelimited"], line["response_flags"]) == (429, "true", "RL")
        assert 3590 <= int(answer.headers["retry-after"]) <= 3600
        assert "x-ratelimit-limit" not in answer.headers
        assert (line["response_code"], line["upstream_host"]) == (429, None)
        assert app.count() == before


def test_a_response_of_ones_own(tmp_path: Path, app: Replica) -> None:
    response = {"status": 503, "body": "slow down", "headers": {"x-limit": "shop", "retry-after": "60"}}
    yaml = replicas_of("app", app.port) + limit("one", {"requests": 1, "per": "day"}, response=response)
    with Story(tmp_path, yaml) as story, Client(story.port) as client:
        assert client.ask().status == 200
        answer = client.ask()
        assert (answer.status, answer.text, answer.headers["x-limit"]) == (503, "slow down", "shop")
        assert (answer.headers["retry-after"], answer.headers["content-type"]) == ("60", "text/plain")
        assert client.ask("/", "HEAD").status == 503


def test_what_is_left_is_told(tmp_path: Path, app: Replica) -> None:
    """The tightest of the limits that a request has to do with, on every answer, whatever the application says."""
    response = {"limitHeaders": True}
    yaml = replicas_of("app", app.port) + limit(
        "told",
        {"requests": 5, "per": "hour"},
        {"requests": 2, "per": "minute", "match": prefix("/few")},
        response=response,
    )
    with Story(tmp_path, yaml) as story:
        told = [
            {name: int(answer.headers[f"x-ratelimit-{name}"]) for name in ("limit", "remaining", "reset")}
            for answer in (ask(story.proxy, "/x"), *(ask(story.proxy, "/few") for _ in range(3)))
        ]
    assert [(each["limit"], each["remaining"]) for each in told] == [(5, 4), (2, 1), (2, 0), (2, 0)]
    assert 3590 <= told[0]["reset"] <= 3600
    assert all(55 <= each["reset"] <= 60 for each in told[1:])


def test_keys_and_matches(tmp_path: Path, app: Replica) -> None:
    yaml = replicas_of("app", app.port) + limit(
        "several",
        {"requests": 2, "per": "hour", "keys": [{"header": "x-user"}], "match": prefix("/user")},
        {"requests": 1, "per": "hour", "keys": [{"queryParam": "q"}, {"method": True}], "match": prefix("/query")},
        {"requests": 1, "per": "hour", "keys": [{"path": True}], "match": prefix("/path")},
        {"requests": 3, "per": "hour", "keys": [{"clientAddress": True}], "match": prefix("/client")},
        {"requests": 1, "per": "hour", "match": [{"headers": {"x-kind": {"exact": "batch"}}}]},
    )
    with Story(tmp_path, yaml, workers=2) as story:
        for user in ("ann", "bob", "ann, bob", "a" * 3000):
            assert statuses(story, 4, "/user", x_user=user) == [200, 200, 429, 429], user
        assert statuses(story, 3, "/user") == [200, 200, 429], "no header is a key of its own"
        for query, same in (("q=1", "x=1&q=1"), ("q=2", "q=2&q=1"), ("q", "q="), ("x=1", "")):
            assert statuses(story, 2, f"/query?{query}") == [200, 429], query
            assert statuses(story, 1, f"/query?{same}") == [429], same
        assert ask(story.proxy, "/query?q=1", "POST").status == 200
        assert statuses(story, 2, "/path/1?x=1") == [200, 429]
        assert statuses(story, 2, "/path/2?x=1") == [200, 429]
        assert statuses(story, 5, "/client") == [200, 200, 200, 429, 429]
        assert statuses(story, 3, "/", x_kind="batch") == [200, 429, 429]
        assert statuses(story, 20, "/other") == [200] * 20


def test_targets(tmp_path: Path, app: Replica) -> None:
    """A service, one route of a virtual service, the whole namespace: all of them count."""
    yaml = replicas_of("app", app.port) + replicas_of("other", app.port)
    yaml += virtual_service("app", {"name": "slow", "match": prefix("/slow")}, {"name": "rest"})
    one = {"requests": 1, "per": "hour"}
    ref = {"kind": "VirtualService", "name": "app", "sectionName": "slow"}
    yaml += rate_limit("route", {"targetRef": ref, "limits": [one]})
    yaml += rate_limit("service", {"targetRef": SERVICE, "limits": [{"requests": 4, "per": "hour"}]})
    yaml += rate_limit("namespace", {"limits": [{"requests": 6, "per": "hour"}]})
    with Story(tmp_path, yaml) as story:
        assert statuses(story, 2, "/slow") == [200, 429]
        assert statuses(story, 3, "/fast") == [200, 200, 429]
        assert statuses(story, 3, "/x", host="other") == [200, 429, 429]


def test_state_survives_a_reload_and_a_changed_limit_starts_full(tmp_path: Path, app: Replica) -> None:
    def yaml(requests: int, version: int) -> str:
        text = replicas_of("app", app.port) + limit("one", {"requests": requests, "per": "hour"})
        return text + virtual_service(
            "app", {"name": f"r{version}", "headers": {"response": {"set": {"x-v": str(version)}}}}
        )

    with Story(tmp_path, yaml(3, 1), workers=2) as story:
        assert statuses(story, 2) == [200, 200]
        story.reload(yaml(3, 2))
        answer = ask(story.proxy)
        assert (answer.status, answer.headers["x-v"]) == (200, "2")
        assert statuses(story, 2) == [429, 429]
        story.reload(yaml(4, 3))
        assert statuses(story, 5) == [200] * 4 + [429]


def test_a_limited_request_takes_no_place_in_the_pool(tmp_path: Path, app: Replica) -> None:
    yaml = replicas_of("app", app.port) + limit("one", {"requests": 5, "per": "hour"})
    yaml += destination_rule("app", {"connectionPool": {"http": {"http2MaxRequests": 1, "http1MaxPendingRequests": 1}}})
    with Story(tmp_path, yaml, workers=2) as story:

        def one() -> Answer:
            return ask(story.proxy)

        answers = [one() for _ in range(5)] + together([one] * 20)
        assert [answer.status for answer in answers] == [200] * 5 + [429] * 20
        assert set(story.stats("cluster.*rq_active").values()) == {0}
