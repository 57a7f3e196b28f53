"""sessionPersistence of the Gateway API with traffic: a client stays with the endpoint that answered it first."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.conformance.explaining import ask as explained
from tests.running import Proxy
from tests.traffic import Answer, Replica, ask, destination_rule, reload, replicas, replicas_of, thing

GATEWAY = "gateway.networking.k8s.io/v1"
TOKEN = r"[0-9a-f]{16}\.[0-9a-f]+\.[0-9a-f]+"


def route(session: dict[str, Any] | None, *backends: str) -> str:
    """Requests for `app` in the mesh."""
    rule: dict[str, Any] = {"backendRefs": [{"name": name, "port": 80} for name in backends or ("app",)]}
    if session is not None:
        rule["sessionPersistence"] = session
    spec = {"parentRefs": [{"group": "", "kind": "Service", "name": "app"}], "rules": [rule]}
    return thing("HTTPRoute", "app", spec, GATEWAY)


def app(made: list[Replica]) -> str:
    return replicas_of("app", *(replica.port for replica in made))


def cookie_of(answer: Answer) -> tuple[str, str]:
    """name=value, and what stands behind it."""
    value, _, rest = answer.headers["set-cookie"].partition("; ")
    return value, rest


def test_a_cookie_for_the_session(tmp_path: Path) -> None:
    session = {"cookie": {"name": "shop", "path": "/buy"}}
    with replicas("a", "b", "c", "d") as made, Proxy(tmp_path, app(made) + route(session), workers=2) as proxy:
        met = set()
        for _ in range(12):
            first = ask(proxy)
            value, rest = cookie_of(first)
            assert re.fullmatch(f"shop={TOKEN}", value)
            assert rest == "Path=/buy; HttpOnly"
            again = [ask(proxy, cookie=f"a=b; {value}") for _ in range(4)]
            assert {answer.text for answer in again} == {first.text}
            assert all("set-cookie" not in answer.headers for answer in again)
            met.add(first.text)
        assert len(met) > 1
        reload(proxy, app(made) + route({"cookie": {"name": "shop"}}) + replicas_of("other", made[0].port))
        assert ask(proxy, cookie=value).text == first.text


def test_without_a_name_and_for_a_time(tmp_path: Path) -> None:
    session = {"absoluteTimeout": "1h", "cookieConfig": {"lifetimeType": "Permanent"}}
    with replicas("a", "b") as made, Proxy(tmp_path, app(made) + route(session)) as proxy:
        value, rest = cookie_of(ask(proxy))
        assert re.fullmatch(f"fastmesh-session-[0-9a-f]{{8}}={TOKEN}", value)
        assert rest == "Max-Age=3600; Path=/; HttpOnly"
        assert cookie_of(ask(proxy))[0].partition("=")[0] == value.partition("=")[0]


def test_a_header(tmp_path: Path) -> None:
    session = {"type": "Header", "header": {"name": "x-session"}}
    with replicas("a", "b", "c") as made, Proxy(tmp_path, app(made) + route(session), workers=2) as proxy:
        first = ask(proxy)
        assert re.fullmatch(TOKEN, first.headers["x-session"])
        assert "set-cookie" not in first.headers
        for _ in range(8):
            answer = ask(proxy, x_session=first.headers["x-session"])
            assert answer.text == first.text
            assert "x-session" not in answer.headers


def test_tokens_of_somebody_else_begin_a_session(tmp_path: Path) -> None:
    session = {"cookie": {"name": "s"}}
    with replicas("a", "b") as made, Proxy(tmp_path, app(made) + route(session)) as proxy:
        for token in ("", "x", "0.0.0", "1.2", "../..", "f" * 16 + ".1.1", "0" * 200, "1.2.3.4", "g.1.1"):
            answer = ask(proxy, cookie=f"s={token}")
            assert answer.status == 200
            assert re.fullmatch(f"s={TOKEN}", cookie_of(answer)[0])


def test_a_session_that_is_over_begins_anew(tmp_path: Path) -> None:
    """The times stand in the token: one that began long ago."""
    session = {"absoluteTimeout": "1h", "idleTimeout": "1m", "cookie": {"name": "s"}}
    with replicas("a", "b") as made, Proxy(tmp_path, app(made) + route(session)) as proxy:
        endpoint, began, used = cookie_of(ask(proxy))[0].removeprefix("s=").split(".")
        now = int(began, 16)
        assert int(used, 16) == now

        def again(began: int, used: int) -> tuple[str, int]:
            told = cookie_of(ask(proxy, cookie=f"s={endpoint}.{began:x}.{used:x}"))[0].removeprefix("s=").split(".")
            return told[0], int(told[1], 16)

        assert again(now - 3000, now - 30) == (endpoint, now - 3000), "it goes on, and was used now"
        assert again(now - 3000, now - 100)[1] >= now, "idle for too long"
        assert again(now - 3601, now - 1)[1] >= now, "too old"


def test_a_session_keeps_its_backend(tmp_path: Path) -> None:
    """Of several weighted backends a session stays with the one that it met, as the API asks."""
    with replicas("a", "b") as (one, other):
        yaml = replicas_of("app", one.port) + replicas_of("canary", other.port)
        with Proxy(tmp_path, yaml + route({"cookie": {"name": "s"}}, "app", "canary"), workers=2) as proxy:
            values = {answer.text: cookie_of(answer)[0] for answer in (ask(proxy) for _ in range(40))}
            assert set(values) == {"a", "b"}
            for name, value in values.items():
                assert {ask(proxy, cookie=value).text for _ in range(8)} == {name}


def test_an_endpoint_that_is_out_gives_its_sessions_away(tmp_path: Path) -> None:
    detection = {"consecutive5xxErrors": 1, "baseEjectionTime": "60s", "maxEjectionPercent": 100}
    with replicas("a", "b") as made:
        yaml = app(made) + route({"cookie": {"name": "s"}}) + destination_rule("app", {"outlierDetection": detection})
        with Proxy(tmp_path, yaml, workers=2) as proxy:
            first = ask(proxy)
            value = cookie_of(first)[0]
            sick = next(replica for replica in made if replica.name == first.text)
            sick.act = lambda request: 500
            assert ask(proxy, cookie=value).status == 500
            answer = ask(proxy, cookie=value)
            assert answer.text != first.text
            assert {ask(proxy, cookie=cookie_of(answer)[0]).text for _ in range(4)} == {answer.text}


def test_explain_tells_the_session(tmp_path: Path) -> None:
    with replicas("a", "b") as made, Proxy(tmp_path, app(made) + route({"cookie": {"name": "s"}})) as proxy:
        answer = ask(proxy)
        port = next(replica.port for replica in made if replica.name == answer.text)
        told = explained([proxy.file], "GET", "http://app/", "-H", f"cookie: {cookie_of(answer)[0]}")
        assert [step["decision"] for step in told["steps"] if step["step"] == "session"] == [f"127.0.0.1:{port}"]
        told = explained([proxy.file], "GET", "http://app/")
        assert [step["decision"] for step in told["steps"] if step["step"] == "session"] == ["begins"]
