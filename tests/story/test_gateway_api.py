"""Gateways of the Gateway API as clients see them: filters of backends, classes of others, Istio's Gateways beside."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.traffic import Replica, Story, ask, eventually, replicas, replicas_of, thing, to, virtual_service

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
def story(apps: list[Replica], port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    yaml = "".join(replicas_of(app.name, app.port) for app in apps)
    yaml += gateway_class("ours", "fastmesh.io/gateway-controller") + gateway("gw", 80)
    yaml += gateway_class("theirs", "example.com/controller") + gateway("other", 81, "theirs")
    yaml += route("redirected", {"backendRefs": [backend("one"), backend("two", 1, REDIRECT)]})
    yaml += route("rewritten", {"matches": prefix("/v1"), "backendRefs": [backend("one"), backend("two", 1, REWRITE)]})
    yaml += route("mirrored", {"backendRefs": [backend("one", 1, MIRROR)]})
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
