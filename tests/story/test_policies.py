"""RoutePolicy and MeshPolicy: what Istio's rules cannot say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.traffic import (
    Client,
    Gate,
    Replica,
    Request,
    Script,
    Story,
    ask,
    destination_rule,
    eventually,
    replicas,
    replicas_of,
    stats,
    thing,
    together,
    virtual_service,
)

OWN = "fastmesh.io/v1alpha1"


def policy(name: str = "app", *, target: dict[str, str] | None = None, **spec: Any) -> str:
    if target is None:
        target = {"kind": "VirtualService", "name": name}
    return thing("RoutePolicy", name, {"targetRef": target, **spec} if target else spec, OWN)


def mesh_policy(**spec: Any) -> str:
    return thing("MeshPolicy", "mesh", spec, OWN, namespace="istio-system")


TRY_ON_5XX = {"retries": {"attempts": 2, "retryOn": "5xx,refused-stream,connect-failure,reset", "backoff": "1ms"}}


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def pair(script: Script) -> Iterator[tuple[Replica, Replica]]:
    with replicas("app", "backup", act=script) as (app, backup):
        yield app, backup


def yaml_of(app: Replica | int, backup: Replica) -> str:
    return replicas_of("app", app if isinstance(app, int) else app.port) + replicas_of("backup", backup.port)


class TestFallback:
    def test_takes_what_a_full_breaker_refuses(self, tmp_path: Path) -> None:
        gate = Gate()
        with Replica("app", gate) as app, Replica("backup") as backup:
            yaml = yaml_of(app, backup) + virtual_service("app", {})
            yaml += destination_rule("app", {"connectionPool": {"http": {"http2MaxRequests": 1}}})
            yaml += policy(fallback={"destination": {"host": "backup"}})
            with Story(tmp_path, yaml) as story:

                def second() -> str:
                    eventually(lambda: gate.held)
                    answer = ask(story.proxy, "/x", "POST", body=b"hello")
                    gate.opened.set()
                    return answer.text

                texts = together([lambda: ask(story.proxy).text, second])
                assert texts == ["app", "backup"]
                assert backup.last[:2] == ("POST", "/x")
                assert backup.last.body == b"hello"
                assert stats(story.proxy, "fallbacks$") == {"fallbacks": 1}
                busy = stats(story.proxy, "cluster.outbound.80..app.default.*rq_active$")
                assert set(busy.values()) == {0}

    def test_takes_what_finds_no_endpoint(self, tmp_path: Path, pair: tuple[Replica, Replica]) -> None:
        yaml = yaml_of(free_port(), pair[1]) + virtual_service("app", {**TRY_ON_5XX})
        yaml += policy(fallback={"on": ["UF"], "destination": {"host": "backup"}})
        with Story(tmp_path, yaml) as story:
            answer = ask(story.proxy, "/x", "POST", body=b"x" * 1000)
            assert (answer.status, answer.text, pair[1].last.body) == (200, "backup", b"x" * 1000)

    def test_is_not_asked_for_other_failures(self, tmp_path: Path, pair: tuple[Replica, Replica]) -> None:
        yaml = yaml_of(free_port(), pair[1]) + virtual_service("app", {})
        yaml += policy(fallback={"on": ["UO"], "destination": {"host": "backup"}})
        with Story(tmp_path, yaml) as story:
            assert ask(story.proxy).status == 503
            assert pair[1].count() == 0

    def test_that_fails_too_is_the_end(self, tmp_path: Path, pair: tuple[Replica, Replica]) -> None:
        yaml = replicas_of("app", free_port()) + replicas_of("backup", free_port()) + virtual_service("app", {})
        yaml += policy(fallback={"on": ["UF"], "destination": {"host": "backup"}})
        with Story(tmp_path, yaml) as story:
            assert ask(story.proxy).status == 503
            assert stats(story.proxy, "fallbacks$") == {"fallbacks": 1}

    def test_can_be_a_fixed_answer(self, tmp_path: Path, pair: tuple[Replica, Replica]) -> None:
        said = {"status": 200, "body": "[]", "contentType": "application/json", "headers": {"X-Stale": "yes"}}
        yaml = yaml_of(free_port(), pair[1]) + virtual_service("app", {})
        yaml += policy(fallback={"on": ["UF"], "response": said})
        with Story(tmp_path, yaml) as story:
            answer = ask(story.proxy)
            assert (answer.status, answer.text, answer.headers["x-stale"]) == (200, "[]", "yes")
            assert answer.headers["content-type"] == "application/json"
            assert story.line("")["response_flags"] == "UF,URX"

    def test_after_the_time_has_its_own(self, tmp_path: Path) -> None:
        gate = Gate()
        with Replica("app", gate) as app, Replica("backup") as backup:
            yaml = yaml_of(app, backup) + virtual_service("app", {"timeout": "200ms"})
            yaml += policy(fallback={"on": ["UT"], "destination": {"host": "backup"}})
            with Story(tmp_path, yaml) as story:
                assert ask(story.proxy).text == "backup"
                gate.opened.set()

    def test_gets_one_copy_for_a_mirror(self, tmp_path: Path) -> None:
        with replicas("app", "backup", "shadow") as (_, backup, shadow):
            yaml = yaml_of(free_port(), backup) + replicas_of("shadow", shadow.port)
            yaml += virtual_service("app", {"mirror": {"host": "shadow"}})
            yaml += policy(fallback={"on": ["UF"], "destination": {"host": "backup"}})
            with Story(tmp_path, yaml) as story:
                assert ask(story.proxy, "/a").text == "backup"
                assert ask(story.proxy, "/b").text == "backup"
                eventually(lambda: shadow.count("/b"))
                assert (shadow.count("/a"), shadow.count("/b")) == (1, 1)


class TestResendMethods:
    @pytest.fixture
    def story(self, tmp_path: Path, pair: tuple[Replica, Replica]) -> Iterator[Story]:
        yaml = yaml_of(*pair) + virtual_service("app", TRY_ON_5XX) + policy(resendMethods=["GET"])
        with Story(tmp_path, yaml) as story:
            yield story

    def test_others_are_sent_once(self, story: Story, script: Script, pair: tuple[Replica, Replica]) -> None:
        script.say("/x", 503)
        assert ask(story.proxy, "/x", "POST", body=b"1").status == 503
        assert pair[0].count("/x") == 1

    def test_those_are_sent_again(self, story: Story, script: Script, pair: tuple[Replica, Replica]) -> None:
        script.say("/x", 503)
        assert ask(story.proxy, "/x").status == 200
        assert pair[0].count("/x") == 2

    def test_of_the_mesh(self, tmp_path: Path, script: Script, pair: tuple[Replica, Replica]) -> None:
        yaml = yaml_of(*pair) + virtual_service("app", TRY_ON_5XX) + mesh_policy(resendMethods=["HEAD"])
        script.say("/x", 503)
        with Story(tmp_path, yaml) as story:
            assert ask(story.proxy, "/x").status == 503
            assert pair[0].count("/x") == 1

    def test_no_method_at_all(self, tmp_path: Path, pair: tuple[Replica, Replica], script: Script) -> None:
        script.say("/x", 503)
        yaml = yaml_of(*pair) + virtual_service("app", TRY_ON_5XX) + policy(target={}, resendMethods=[])
        with Story(tmp_path, yaml) as story:
            assert ask(story.proxy, "/x").status == 503


class TestRefusals:
    def test_have_the_face_that_was_written(self, tmp_path: Path, pair: tuple[Replica, Replica]) -> None:
        sorry = {"status": 502, "body": "<h1>Sorry</h1>", "contentType": "text/html", "headers": {"Retry-After": "9"}}
        yaml = yaml_of(free_port(), pair[1]) + virtual_service("app", {"match": [{"uri": {"prefix": "/a"}}]})
        yaml += policy(refusals=[{"flags": ["UO"], "response": {"status": 500}}, {"response": sorry}])
        with Story(tmp_path, yaml) as story:
            answer = ask(story.proxy, "/a")
            assert (answer.status, answer.text, answer.headers["retry-after"]) == (502, sorry["body"], "9")
            assert answer.headers["content-type"] == "text/html"
            assert (story.line("")["response_code"], story.line("")["response_flags"]) == (502, "UF,URX")
            assert ask(story.proxy, "/b").status == 404

    def test_of_the_mesh_are_those_of_no_rule_too(self, tmp_path: Path, pair: tuple[Replica, Replica]) -> None:
        yaml = yaml_of(*pair) + virtual_service("app", {"match": [{"uri": {"prefix": "/a"}}]})
        yaml += mesh_policy(refusals=[{"flags": ["NR"], "response": {"body": "nothing here"}}])
        with Story(tmp_path, yaml) as story:
            answer = ask(story.proxy, "/b")
            assert (answer.status, answer.text) == (404, "nothing here")

    def test_leave_answers_of_the_application_alone(
        self, tmp_path: Path, script: Script, pair: tuple[Replica, Replica]
    ) -> None:
        script.say("/x", 503)
        yaml = yaml_of(*pair) + virtual_service("app", {}) + policy(refusals=[{"response": {"body": "ours"}}])
        with Story(tmp_path, yaml) as story:
            assert ask(story.proxy, "/x").text == "app"

    def test_without_a_body(self, tmp_path: Path, pair: tuple[Replica, Replica]) -> None:
        yaml = yaml_of(free_port(), pair[1]) + virtual_service("app", {})
        yaml += policy(refusals=[{"response": {"status": 204}}])
        with Story(tmp_path, yaml) as story:
            answer = ask(story.proxy)
            assert (answer.status, answer.body) == (204, b"")
            assert "content-length" not in answer.headers


class TestTimeoutOfTheMesh:
    def test_is_for_rules_that_say_nothing(self, tmp_path: Path) -> None:
        gate = Gate()
        slow = Script()

        def act(request: Request) -> Any:
            return gate(request) if request.path != "/fast" else slow(request)

        with Replica("app", act) as app:
            yaml = replicas_of("app", app.port) + mesh_policy(timeout="150ms")
            yaml += virtual_service("app", {"name": "never", "match": [{"uri": {"prefix": "/never"}}]}, {})
            target = {"kind": "VirtualService", "name": "app", "sectionName": "never"}
            yaml += policy(target=target, timeout="0s")
            with Story(tmp_path, yaml) as story:
                assert ask(story.proxy, "/a").status == 504
                assert ask(story.proxy, "/fast").status == 200

                def late() -> int:
                    return ask(story.proxy, "/never").status

                def open_then() -> int:
                    eventually(lambda: app.count("/never"))
                    assert ask(story.proxy, "/b").status == 504  # a whole time-out went by
                    gate.opened.set()
                    return 200

                assert together([late, open_then]) == [200, 200]


class Slow(Replica):
    """Holds requests for `/slow` until its gate is opened; the rest is answered at once."""

    def __init__(self, name: str) -> None:
        self.gate = Gate()
        super().__init__(name, lambda request: self.gate(request) if request.path.startswith("/slow") else 200)


class Hedged:
    """Two endpoints in turns, and a proxy that asks the other one when the first keeps it waiting."""

    def __init__(self, story: Story, *endpoints: Slow) -> None:
        self.story, self.endpoints = story, endpoints

    def count(self, path: str = "") -> int:
        return sum(each.count(path) for each in self.endpoints)

    def open(self, wanted: int = 2) -> None:
        for each in self.endpoints[:wanted]:
            each.gate.opened.set()

    @property
    def hedges(self) -> tuple[int, int]:
        found = stats(self.story.proxy, "^hedges")
        return found["hedges"], found["hedges_won"]

    def at_rest(self) -> bool:
        active = stats(self.story.proxy, "cluster.outbound.80..app.*(rq_active|retry.*active)$")
        return bool(active) and set(active.values()) == {0}


class TestHedge:
    @pytest.fixture
    def hedged(self, tmp_path: Path) -> Iterator[Hedged]:
        with Slow("one") as one, Slow("two") as two:
            yaml = replicas_of("app", one.port, two.port) + virtual_service("app", {})
            yaml += policy(hedge={"after": "50ms"}) + destination_rule(
                "app", {"loadBalancer": {"simple": "ROUND_ROBIN"}}
            )
            with Story(tmp_path, yaml) as story:
                hedged = Hedged(story, one, two)
                yield hedged
                hedged.open()

    @pytest.mark.parametrize("winner", [0, 1])
    def test_the_first_answer_counts(self, hedged: Hedged, winner: int) -> None:
        def answer() -> str:
            eventually(lambda: hedged.count("/slow") == 2)
            hedged.endpoints[winner].gate.opened.set()
            return hedged.endpoints[winner].name

        text, name = together([lambda: ask(hedged.story.proxy, "/slow").text, answer])
        assert text == name
        eventually(hedged.at_rest)
        assert hedged.hedges[0] == 1
        assert ask(hedged.story.proxy, "/fast").status == 200

    def test_a_fast_answer_needs_no_second(self, hedged: Hedged) -> None:
        for _ in range(5):
            assert ask(hedged.story.proxy, "/fast").status == 200
        assert (hedged.count(), hedged.hedges) == (5, (0, 0))

    def test_what_must_not_run_twice_does_not(self, hedged: Hedged) -> None:
        def wait_and_open() -> int:
            eventually(lambda: hedged.count("/slow/post") and hedged.count("/slow/get") == 2)  # its time is over, too
            hedged.open()
            return 200

        def post() -> int:
            return ask(hedged.story.proxy, "/slow/post", "POST", body=b"x").status

        def get() -> int:
            eventually(lambda: hedged.count("/slow/post"))
            return ask(hedged.story.proxy, "/slow/get").status

        assert together([post, get, wait_and_open]) == [200, 200, 200]
        assert (hedged.count("/slow/post"), hedged.hedges[0]) == (1, 1)

    def test_a_client_that_leaves_ends_both(self, hedged: Hedged) -> None:
        with Client(hedged.story.port) as client:
            client.connect().sendall(b"GET /slow HTTP/1.1\r\nhost: app\r\n\r\n")
            eventually(lambda: hedged.count("/slow") == 2)
        eventually(hedged.at_rest)

    def test_the_time_of_the_route_ends_both(self, tmp_path: Path) -> None:
        with Slow("one") as one, Slow("two") as two:
            yaml = replicas_of("app", one.port, two.port) + virtual_service("app", {"timeout": "200ms"})
            with Story(tmp_path, yaml + policy(hedge={"after": "20ms"})) as story:
                hedged = Hedged(story, one, two)
                assert ask(story.proxy, "/slow").status == 504
                assert hedged.count("/slow") == 2
                eventually(hedged.at_rest)
                hedged.open()

    @pytest.mark.parametrize("fails", [None, 503])
    def test_a_failure_waits_for_the_other(self, tmp_path: Path, fails: int | None) -> None:
        """Whichever of the two fails: the good answer counts."""
        order: list[str] = []
        gate, bad = Gate(200), Gate(fails)

        def act(request: Request) -> Any:
            order.append(request.replica.name)
            return (bad if len(order) == 1 else gate)(request) if request.path == "/slow" else 200

        with replicas("one", "two", act=act) as (one, two):
            yaml = replicas_of("app", one.port, two.port) + virtual_service("app", {"retries": {"attempts": 0}})
            with Story(tmp_path, yaml + policy(hedge={"after": "20ms"})) as story:

                def fail_then_answer() -> int:
                    eventually(lambda: len(order) == 2)
                    bad.opened.set()
                    eventually(lambda: "rq_error::1" in story.proxy.get("/clusters")[1])
                    gate.opened.set()
                    return 200

                assert together([lambda: ask(story.proxy, "/slow").status, fail_then_answer]) == [200, 200]

    def test_both_fail(self, tmp_path: Path) -> None:
        with replicas("one", "two") as made:
            gates = [Gate(503), Gate(503)]
            for replica, gate in zip(made, gates, strict=True):
                replica.act = gate
            yaml = replicas_of("app", made[0].port, made[1].port) + virtual_service("app", {"retries": {"attempts": 0}})
            with Story(tmp_path, yaml + policy(hedge={"after": "20ms"})) as story:

                def fail() -> int:
                    eventually(lambda: gates[0].held + gates[1].held == 2)
                    for gate in gates:
                        gate.opened.set()
                    return 503

                assert together([lambda: ask(story.proxy, "/slow").status, fail]) == [503, 503]
                assert ask(story.proxy, "/slow").status == 503


class TestStickySplit:
    @pytest.fixture
    def story(self, tmp_path: Path, pair: tuple[Replica, Replica], request: pytest.FixtureRequest) -> Iterator[Story]:
        split = [{"destination": {"host": host}, "weight": 50} for host in ("app", "backup")]
        yaml = yaml_of(*pair) + virtual_service("app", {"route": split}) + policy(sticky=request.param)
        with Story(tmp_path, yaml, workers=2) as story:
            yield story

    @pytest.mark.parametrize("story", [{"httpHeaderName": "x-user"}], indirect=True)
    def test_a_user_stays_with_one_version(self, story: Story) -> None:
        seen: dict[str, set[str]] = {}
        for turn in range(3):
            for number in range(60):
                user = f"user-{number}"
                seen.setdefault(user, set()).add(ask(story.proxy, f"/{turn}", x_user=user).text)
        assert all(len(each) == 1 for each in seen.values())
        share = sum(each == {"app"} for each in seen.values())
        assert 15 <= share <= 45  # the hashes of these names are what they are: 50 % of many

    @pytest.mark.parametrize("story", [{"httpCookie": {"name": "v", "ttl": "60s"}}], indirect=True)
    def test_a_cookie_is_made(self, story: Story) -> None:
        answer = ask(story.proxy)
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith('v="')
        assert "Max-Age=60" in cookie
        kept = cookie.partition(";")[0]
        assert {ask(story.proxy, cookie=kept).text for _ in range(20)} == {answer.text}
        assert "set-cookie" not in ask(story.proxy, cookie=kept).headers

    @pytest.mark.parametrize("story", [{"httpHeaderName": "x-user"}], indirect=True)
    def test_without_the_header_chance_decides(self, story: Story) -> None:
        assert {ask(story.proxy).text for _ in range(40)} == {"app", "backup"}


class TestProxyRetryBudget:
    def test_retries_of_all_destinations_and_workers_share_it(self, tmp_path: Path) -> None:
        """One retry of a thousand requests, or one: it is under way for `app`, so `backup` has none."""
        gate = Gate()

        def act(request: Request) -> int | bytes | None:
            return 503 if request.replica.count() == 1 or request.replica.name == "backup" else gate(request)

        with replicas("app", "backup", act=act) as (app, backup):
            yaml = yaml_of(app, backup) + virtual_service("app", {**TRY_ON_5XX})
            yaml += virtual_service("backup", {**TRY_ON_5XX})
            yaml += mesh_policy(proxyRetryBudget={"percent": 0.1, "minRetryConcurrency": 1})
            with Story(tmp_path, yaml, workers=2) as story:

                def others() -> list[int]:
                    eventually(lambda: gate.held)
                    answer, line = story.ask(host="backup")
                    assert (answer.status, line["response_flags"], backup.count()) == (503, "URX", 1)
                    return [ask(story.proxy, host="backup").status for _ in range(9)]

                def first() -> list[int]:
                    return [ask(story.proxy).status]

                def both() -> list[list[int]]:
                    return together([first, lambda: [others(), gate.opened.set()][0]])  # type: ignore[return-value]

                assert both() == [[200], [503] * 9]
                assert backup.count() == 10
                assert stats(story.proxy, "^retry_budget_overflow$") == {"retry_budget_overflow": 10}
                overflows = stats(story.proxy, "backup.*upstream_rq_retry_overflow$")
                assert set(overflows.values()) == {10}
                ask(story.proxy, host="backup")
                assert backup.count() == 13, "it is given back"
