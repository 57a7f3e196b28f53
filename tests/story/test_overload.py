"""Resilience with real endpoints: breaker and backup, concurrency and priorities, the queue, weights by health."""

from __future__ import annotations

import collections
import threading
from pathlib import Path
from typing import Any

from tests.ports import free_port
from tests.traffic import (
    Action,
    Gate,
    Replica,
    Request,
    Story,
    ask,
    destination_rule,
    eventually,
    prefix,
    replicas,
    replicas_of,
    thing,
    to,
    virtual_service,
)

HOST = "app.default.svc.cluster.local"


def resilience(**spec: Any) -> str:
    return thing("Resilience", "app", {"host": "app", **spec}, "fastmesh.io/v1alpha1")


def in_background(story: Story, times: int, **more: Any) -> list[threading.Thread]:
    threads = [threading.Thread(target=ask, args=(story.proxy,), kwargs=more, daemon=True) for _ in range(times)]
    for thread in threads:
        thread.start()
    return threads


def test_a_breaker_fails_over_to_its_backup_and_closes_again(tmp_path: Path) -> None:
    state: dict[str, Action] = {"a": 500, "b": 500, "spare": 200}
    with replicas("a", "b", "spare", act=lambda request: state[request.replica.name]) as made:
        breaker = {"errorPercent": 50, "minRequests": 10, "openFor": "500ms", "probes": 2, "backup": {"host": "spare"}}
        yaml = replicas_of("app", made[0].port, made[1].port) + replicas_of("spare", made[2].port)
        with Story(tmp_path, yaml + resilience(breaker=breaker), workers=2) as story:
            assert [ask(story.proxy).status for _ in range(9)] == [500] * 9
            eventually(lambda: ask(story.proxy).text == "spare")
            answer, line = story.ask()
            assert (answer.text, line["response_flags"]) == ("spare", "FB")
            assert line["upstream_cluster"] == "outbound|80||spare.default.svc.cluster.local"
            assert "opens: the mean error rate of 2 instances is 100.0 %" in story.proxy.text()
            assert (
                f'fastmesh_breaker_open{{cluster_name="outbound|80||{HOST}"}} 1'
                in story.proxy.get("/stats/prometheus")[1]
            )
            eventually(lambda: ask(story.proxy).status == 500)  # a probe, which opens it again
            state["a"] = state["b"] = 200
            eventually(
                lambda: (
                    ask(story.proxy).text in "ab"
                    and story.stats("breaker.open$")
                    and sum(story.stats("breaker.open$").values()) == 0
                )
            )
            assert "closes: its probes went well" in story.proxy.text()
            assert {ask(story.proxy).text for _ in range(20)} <= {"a", "b"}


def test_a_backup_serves_a_backend_that_is_mirrored(tmp_path: Path) -> None:
    state: dict[str, Action] = {"app": 500}
    with replicas("app", "spare", "copy", act=lambda request: state.get(request.replica.name, 200)) as made:
        yaml = "".join(replicas_of(each.name, each.port) for each in made)
        mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "copy", "port": 80}}}
        backends = [{"name": "app", "port": 80, "filters": [mirror]}, {"name": "spare", "port": 80}]
        spec = {"parentRefs": [{"group": "", "kind": "Service", "name": "app"}], "rules": [{"backendRefs": backends}]}
        yaml += thing("HTTPRoute", "app", spec, "gateway.networking.k8s.io/v1")
        yaml += resilience(
            breaker={"errorPercent": 50, "minRequests": 3, "openFor": "60s", "backup": {"host": "spare"}}
        )
        with Story(tmp_path, yaml) as story:
            eventually(lambda: ask(story.proxy) and sum(story.stats("breaker.opened").values()) == 1)
            eventually(lambda: made[2].count() == made[0].count())
            assert collections.Counter(ask(story.proxy).text for _ in range(40)) == {"spare": 40}
            copied = sum(story.stats("breaker.rq_failed_over").values())
            assert copied > 5
            eventually(lambda: made[2].count() == made[0].count() + copied)


def test_a_backup_has_a_breaker_of_its_own(tmp_path: Path) -> None:
    """What is behind it serves, and what is a session with an endpoint of the first one does not hold it back."""
    state: dict[str, Action] = {"a": 200, "spare": 200, "last": 200}
    breaker = {"errorPercent": 50, "minRequests": 5, "openFor": "60s"}
    session = {"cookie": {"name": "s"}}
    route = {
        "parentRefs": [{"group": "", "kind": "Service", "name": "app"}],
        "rules": [{"backendRefs": [{"name": "app", "port": 80}], "sessionPersistence": session}],
    }
    with replicas("a", "spare", "last", act=lambda request: state[request.replica.name]) as made:
        hosts = ("app", "spare", "last")
        yaml = "".join(replicas_of(host, replica.port) for host, replica in zip(hosts, made, strict=True))
        yaml += thing("HTTPRoute", "app", route, "gateway.networking.k8s.io/v1")
        for host, behind in (("app", "spare"), ("spare", "last")):
            spec = {"host": host, "breaker": {**breaker, "backup": {"host": behind}}}
            yaml += thing("Resilience", host, spec, "fastmesh.io/v1alpha1")
        with Story(tmp_path, yaml, workers=2) as story:
            cookie = ask(story.proxy).headers["set-cookie"].partition(";")[0]
            state["a"] = 500
            eventually(lambda: ask(story.proxy, cookie=cookie).text == "spare")
            state["spare"] = 500
            eventually(lambda: ask(story.proxy, cookie=cookie).text == "last")
            counts = [each.count() for each in made]
            answer, line = story.ask(cookie=cookie)
            assert (answer.text, line["response_flags"]) == ("last", "FB")
            assert [each.count() for each in made] == [counts[0], counts[1], counts[2] + 1]
            text = story.proxy.get("/stats/prometheus")[1]
            for host in ("app", "spare"):
                cluster = f'cluster_name="outbound|80||{host}.default.svc.cluster.local"'
                assert f"fastmesh_breaker_open{{{cluster}}} 1" in text
                assert f'fastmesh_breaker_requests_total{{{cluster},result="answered"}} 0' in text
            # From the start of the second one on each request met both
            failed_over = story.stats("(app|spare).*breaker.rq_failed_over$")
            assert sorted(failed_over.values()) == [made[2].count(), made[1].count() + made[2].count()]


def test_the_side_of_the_server(tmp_path: Path) -> None:
    """A sidecar protects its application, whoever asks."""
    gate, port = Gate(), free_port()
    classes = [
        {"name": "high", "match": [{"headers": {"x-priority": {"exact": "high"}}}]},
        {"name": "low", "share": 50},
    ]
    with Replica("app", gate) as app:
        yaml = replicas_of("app", port) + resilience(side="server", concurrency={"limit": 2, "priorities": classes})
        yaml += thing("PeerAuthentication", "default", {"mtls": {"mode": "DISABLE"}}, "security.istio.io/v1")
        pair = f"127.0.0.1:{port}=127.0.0.1:{app.port}"
        with Story(
            tmp_path, yaml, "--workload", "app-0.default", "--inbound", pair, workers=2, role="sidecar"
        ) as story:
            story.proxy.port = port
            waiting = in_background(story, 1)
            eventually(lambda: gate.held == 1)
            answer, line = story.ask()
            assert (answer.status, line["response_flags"]) == (503, "UO")
            assert (line["response_code_details"], line["upstream_cluster"]) == (
                "shed_by_priority",
                f"inbound|{app.port}||",
            )
            waiting += in_background(story, 1, x_priority="high")
            eventually(lambda: gate.held == 2)
            assert story.ask(x_priority="high")[1]["response_code_details"] == "reached_concurrency_limit"
            gate.opened.set()
            for thread in waiting:
                thread.join(10)
            assert (story.ask()[0].status, app.count()) == (200, 3)


def test_rules_have_a_limit_together(tmp_path: Path) -> None:
    """All requests of an object's rules, wherever they go; one that ends leaves its place, also one that failed."""
    gate = Gate()
    spec = {"targetRef": {"kind": "VirtualService", "name": "app"}, "concurrency": {"limit": 2, "retryAfter": 9}}
    with Replica("a", gate) as one, Replica("b", gate) as other:
        rules = ({"match": prefix("/b"), "route": to("other")}, {"match": prefix("/gone"), "route": to("gone")}, {})
        yaml = replicas_of("app", one.port) + replicas_of("other", other.port) + replicas_of("gone")
        yaml += virtual_service("app", *rules) + thing("Resilience", "rules", spec, "fastmesh.io/v1alpha1")
        with Story(tmp_path, yaml, workers=2) as story:
            for _ in range(5):
                assert story.ask("/gone")[1]["response_flags"] == "UH"
            waiting = in_background(story, 1) + in_background(story, 1, target="/b")
            eventually(lambda: gate.held == 2)
            answer, line = story.ask("/gone")
            assert (answer.status, answer.headers["retry-after"], line["response_flags"]) == (503, "9", "UO")
            assert line["response_code_details"] == "reached_concurrency_limit"
            gate.opened.set()
            for thread in waiting:
                thread.join(10)
            assert story.ask()[0].status == 200
            text = story.proxy.get("/stats/prometheus")[1]
            assert 'fastmesh_concurrency_refused_requests_total{route="default/rules",reason="limit"} 1' in text
            assert story.stats("^route.default/rules.*rq_blocked") == {
                "route.default/rules.adaptive_concurrency.gradient_controller.rq_blocked": 1
            }


def test_a_breaker_with_an_answer_of_its_own(tmp_path: Path) -> None:
    with replicas("a", act=lambda request: 503) as (made,):
        breaker = {"errorPercent": 20, "minRequests": 5, "openFor": "60s"}
        own = {**breaker, "answer": {"status": 200, "body": "[]", "headers": {"x-from": "breaker"}}}
        for block, status, flags in ((breaker, 503, "UO"), (own, 200, "UO")):
            with Story(tmp_path, replicas_of("app", made.port) + resilience(breaker=block)) as story:
                eventually(lambda: sum(story.stats("breaker.opened").values()) == 1 or not ask(story.proxy))
                count = made.count()
                answer, line = story.ask()
                assert (answer.status, line["response_flags"], line["response_code_details"]) == (
                    status,
                    flags,
                    "breaker_open",
                )
                assert answer.headers.get("retry-after") == ("60" if status == 503 else None)
                assert answer.headers.get("x-from") == (None if status == 503 else "breaker")
                assert made.count() == count


def test_lower_classes_are_shed_first(tmp_path: Path) -> None:
    gate = Gate()
    classes = [
        {"name": "high", "match": [{"headers": {"x-priority": {"exact": "high"}}}]},
        {"name": "low", "share": 50},
    ]
    with replicas("a", act=gate) as (made,):
        yaml = replicas_of("app", made.port) + resilience(
            concurrency={"limit": 4, "priorities": classes, "retryAfter": 7}
        )
        with Story(tmp_path, yaml, workers=2) as story:
            waiting = in_background(story, 2)
            eventually(lambda: gate.held == 2)
            answer, line = story.ask()
            assert (answer.status, answer.headers["retry-after"]) == (503, "7")
            assert (line["response_flags"], line["response_code_details"]) == ("UO", "shed_by_priority")
            waiting += in_background(story, 2, x_priority="high")
            eventually(lambda: gate.held == 4)
            _, line = story.ask(x_priority="high")
            assert line["response_code_details"] == "reached_concurrency_limit"
            gate.opened.set()
            for thread in waiting:
                thread.join(10)
            assert story.ask()[0].status == 200
            metrics = story.proxy.get("/stats/prometheus")[1]
            for reason in ("limit", "priority"):
                labels = f'cluster_name="outbound|80||{HOST}",reason="{reason}"'
                assert f"fastmesh_concurrency_refused_requests_total{{{labels}}} 1" in metrics


def test_adaptive_concurrency_measures_and_finds_a_limit(tmp_path: Path) -> None:
    adaptive = {"minRttRequests": 5, "interval": "10ms", "maxConcurrency": 20}
    with replicas("a") as (made,):
        yaml = replicas_of("app", made.port) + resilience(concurrency={"adaptive": adaptive})
        with Story(tmp_path, yaml) as story:
            assert story.ask()[0].status == 200
            assert sum(story.stats("gradient_controller.concurrency_limit").values()) == 3
            for _ in range(10):
                ask(story.proxy)
            eventually(lambda: ask(story.proxy).status == 200 and sum(story.stats("concurrency_limit").values()) > 5)
            assert sum(story.stats("min_rtt_usecs").values()) > 0


def test_a_request_waits_for_a_connection_no_longer_than_it_may(tmp_path: Path) -> None:
    gate = Gate()
    with replicas("a", act=gate) as (made,):
        yaml = replicas_of("app", made.port) + destination_rule(
            "app", {"connectionPool": {"tcp": {"maxConnections": 1}}}
        )
        with Story(tmp_path, yaml + resilience(queue={"maxWait": "100ms"})) as story:
            (first,) = in_background(story, 1)
            eventually(lambda: gate.held == 1)
            answer, line = story.ask()
            assert (answer.status, answer.headers["retry-after"], line["response_flags"]) == (503, "1", "UO")
            assert line["response_code_details"] == "waited_too_long_for_a_connection"
            assert answer.seconds >= 0.09
            gate.opened.set()
            first.join(10)
            assert story.ask()[0].status == 200
            assert sum(story.stats("upstream_rq_pending_timeout").values()) == 1


def test_shares_follow_the_probability_of_health(tmp_path: Path) -> None:
    def act(request: Request) -> Action:
        return 500 if request.replica.name == "a" and request.replica.count() % 4 else 200

    with replicas("a", "b", act=act) as made:
        yaml = replicas_of("app", *(each.port for each in made))
        yaml += destination_rule("app", {"loadBalancer": {"simple": "RANDOM"}})
        with Story(tmp_path, yaml + resilience(healthWeighted={}, halfLife="60s")) as story:
            for _ in range(100):
                ask(story.proxy)
            before = [each.count() for each in made]
            for _ in range(300):
                ask(story.proxy)
            counts = collections.Counter(
                {each.name: each.count() - was for each, was in zip(made, before, strict=True)}
            )
            assert 0.1 < counts["a"] / 300 < 0.32  # p is 1/4: a fifth
