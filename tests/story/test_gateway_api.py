"""Gateways of the Gateway API as clients see them: filters of backends, classes of others, Istio's Gateways beside."""

from __future__ import annotations

import collections
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.traffic import (
    Action,
    Replica,
    Request,
    Script,
    Story,
    ask,
    eventually,
    replicas,
    replicas_of,
    thing,
    to,
    virtual_service,
)

API = "gateway.networking.k8s.io/v1"
PARENTS = [{"name": "gw"}]
EDGE = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["istio.example"]}


def gateway(name: str, port: int, gateway_class: str = "ours") -> str:
    listeners = [{"name": "http", "port": port, "protocol": "HTTP"}]
    return thing("Gateway", name, {"gatewayClassName": gateway_class, "listeners": listeners}, API)


def gateway_class(name: str, controller: str) -> str:
    return thing("GatewayClass", name, {"controllerName": controller}, API)


def route(name: str, *rules: dict[str, Any], host: str = "") -> str:
    spec = {"parentRefs": PARENTS, "hostnames": [host or f"{name}.example"], "rules": list(rules)}
    return thing("HTTPRoute", name, spec, API)


def backend(name: str, weight: int = 1, *filters: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "port": 80, "weight": weight, "filters": list(filters)}


def prefix(path: str) -> list[dict[str, Any]]:
    return [{"path": {"type": "PathPrefix", "value": path}}]


REDIRECT = {"type": "RequestRedirect", "requestRedirect": {"hostname": "moved.example", "statusCode": 301}}
REWRITE = {
    "type": "URLRewrite",
    "urlRewrite": {"hostname": "inside.example", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v2"}},
}
MIRROR = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "two", "port": 80}}}


@pytest.fixture(scope="module")
def apps() -> Iterator[list[Replica]]:
    with replicas("one", "two") as found:
        yield found


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def scripted() -> Iterator[tuple[Script, Replica]]:
    script = Script()
    with Replica("script", script) as app:
        yield script, app


@pytest.fixture(scope="module")
def story(
    apps: list[Replica], port: int, scripted: tuple[Script, Replica], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    yaml = "".join(replicas_of(app.name, app.port) for app in (*apps, scripted[1]))
    yaml += gateway_class("ours", "fastmesh.io/gateway-controller") + gateway("gw", 80)
    yaml += gateway_class("theirs", "example.com/controller") + gateway("other", 81, "theirs")
    yaml += route("redirected", {"backendRefs": [backend("one"), backend("two", 1, REDIRECT)]})
    yaml += route("rewritten", {"matches": prefix("/v1"), "backendRefs": [backend("one"), backend("two", 1, REWRITE)]})
    yaml += route("mirrored", {"backendRefs": [backend("one", 1, MIRROR)]})
    yaml += route("half", {"backendRefs": [backend("one", 1, MIRROR), backend("two")]})
    yaml += route(
        "retried",
        {"matches": prefix("/codes"), "retry": {"codes": [500], "attempts": 3}, "backendRefs": [backend("script")]},
        {
            "matches": prefix("/times"),
            "retry": {"attempts": 2},
            "timeouts": {"backendRequest": "150ms"},
            "backendRefs": [backend("script")],
        },
        {"matches": prefix("/whole"), "retry": {"codes": [500], "attempts": 5, "backoff": "100ms"},
         "timeouts": {"request": "250ms"}, "backendRefs": [backend("script")]},
        {"matches": prefix("/any"), "retry": {"attempts": 3}, "backendRefs": [backend("script")]},
    )  # fmt: skip
    yaml += route(
        "refused",
        {
            "filters": [{"type": "ExtensionRef", "extensionRef": {"group": "g", "kind": "K", "name": "n"}}],
            "backendRefs": [backend("one")],
        },
    )
    yaml += thing("Gateway", "edge", {"selector": {"istio": "edge"}, "servers": [EDGE]})
    rules = {"hosts": ["istio.example"], "gateways": ["edge"]}
    yaml += virtual_service("one", {"match": [{"uri": {"prefix": "/x"}}], "route": to("one")}, **rules)
    directory: Path = tmp_path_factory.mktemp("gateway_api")
    with Story(directory, yaml, "--bind", "127.0.0.1", "--map", f"80={port}", role="gateway") as story:
        yield story


def test_a_backend_that_redirects(story: Story, port: int, apps: list[Replica]) -> None:
    """Its share is redirected, the rest goes on."""
    answers = [ask(port, "/x?y", host="redirected.example") for _ in range(200)]
    statuses = collections.Counter(answer.status for answer in answers)
    assert set(statuses) == {200, 301}
    assert 60 < statuses[301] < 140
    moved = next(answer for answer in answers if answer.status == 301)
    assert moved.headers["location"] == "http://moved.example/x?y"
    assert apps[1].count("/x") == 0


def test_a_backend_with_a_rewrite(story: Story, port: int, apps: list[Replica]) -> None:
    """Host and path change for it alone."""
    for _ in range(100):
        assert ask(port, "/v1/a?b", host="rewritten.example").status == 200
    one = {(seen.target, seen.headers["host"]) for seen in apps[0].seen if seen.path.startswith("/v")}
    two = {(seen.target, seen.headers["host"]) for seen in apps[1].seen if seen.path.startswith("/v")}
    assert one == {("/v1/a?b", "rewritten.example")}
    assert two == {("/v2/a?b", "inside.example")}


def test_a_mirror_of_the_only_backend(story: Story, port: int, apps: list[Replica]) -> None:
    for _ in range(20):
        assert ask(port, "/copied", host="mirrored.example").text == "one"
    assert eventually(lambda: apps[1].count("/copied") == 20)


def test_a_mirror_of_one_of_two_backends(story: Story, port: int, apps: list[Replica]) -> None:
    """What the other one gets is not copied, so the mirror sees each request once."""
    answers = collections.Counter(ask(port, "/half", host="half.example").text for _ in range(60))
    assert set(answers) == {"one", "two"}
    assert eventually(lambda: apps[1].count("/half") == 60)
    assert apps[0].count("/half") == answers["one"]


@pytest.mark.parametrize(
    ("path", "actions", "status"),
    [
        # httproute-retry
        ("/codes/1", (500, 500, 200), 200),
        ("/codes/2", (500, 500, 500, 500, 200), 500),
        ("/codes/3", (503, 200), 503),
        # httproute-retry-connection-error
        ("/any/1", (None, None, 200), 200),
        ("/any/2", (None,) * 9, 503),
        ("/any/3", (500, 200), 500),
        # httproute-retry-with-timeouts
        ("/whole/1", (500, 200), 200),
        ("/whole/2", (500,) * 6, 504),
    ],
)
def test_retries_of_routes(
    story: Story, port: int, scripted: tuple[Script, Replica], path: str, actions: tuple[int | None, ...], status: int
) -> None:
    scripted[0].say(path, *actions)
    assert ask(port, path, host="retried.example").status == status


def test_a_try_that_takes_too_long_is_one_more_try(story: Story, port: int, scripted: tuple[Script, Replica]) -> None:
    """httproute-retry-with-timeouts: the time of one try is over, and nobody named a code."""
    script, app = scripted

    def act(request: Request) -> Action:
        if request.path == "/times/ever" or app.count(request.path) <= 2:
            time.sleep(0.4)
        return 200

    app.act = act
    assert ask(port, "/times/twice", host="retried.example").status == 200
    assert ask(port, "/times/ever", host="retried.example").status == 504
    app.act = script


def test_a_filter_that_nobody_can_run_is_not_passed_over(story: Story, port: int) -> None:
    assert ask(port, "/", host="refused.example").status == 500
    assert "filter ExtensionRef is not served" in story.proxy.text()


def test_istios_gateways_on_the_same_port(story: Story, port: int) -> None:
    assert ask(port, "/x", host="istio.example").text == "one"
    assert ask(port, "/y", host="istio.example").status == 404
    assert ask(port, "/", host="mirrored.example").text == "one"
    assert ask(port, "/", host="nobody.example").status == 404


def test_gateways_of_others_are_left_to_them(story: Story) -> None:
    said = story.proxy.text()
    assert "class theirs is for example.com/controller, so this Gateway is left to others" in said
    assert "0.0.0.0_81" not in story.proxy.get("/listeners")[1]
