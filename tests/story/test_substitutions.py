"""Substitutions in header values of a VirtualService, as the application and the client see them."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.http2 import Http2, request
from tests.traffic import Client, Replica, Story, replicas, replicas_of, to, virtual_service

LONG = "y" * 6000
REQUEST = {
    "x-user": "<%REQ(X-Name)%>",
    "x-other": "%REQ(absent?x-name)%",
    "x-short": "%REQ(x-name):3%",
    "x-path": "%REQ(:path)%",
    "x-path-short": "%REQ(:path):4%",
    "x-who": "%REQ(:method)% %REQ(:authority)% %REQ(:scheme)% %PROTOCOL%",
    "x-percent": "100%%",
    "x-both": "%REQ(x-name)%%REQ(x-name)%%REQ(x-long)%",
    "x-id": "%REQ(x-request-id)%",
    "x-host": "%HOSTNAME%",
    "x-variable": "%ENVIRONMENT(FASTMESH_TEST_WORD)%",
    "x-client": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "x-client-ip": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "x-client-port": "%DOWNSTREAM_REMOTE_PORT%",
    "x-local-port": "%DOWNSTREAM_LOCAL_PORT%",
    "x-start": "%START_TIME%",
    "x-start-s": "%START_TIME(%s.%3f)%",
    "x-cluster": "%UPSTREAM_CLUSTER%",
    "x-route": "%ROUTE_NAME%",
    "x-there": "%REQ(absent)%",
    "x-tls": "%DOWNSTREAM_TLS_VERSION%",
    "x-code": "%RESPONSE_CODE%",
    "x-old": "%REQ(x-swap)%",
    "x-swap": "%REQ(x-old)%",
}
RESPONSE = {
    "x-from": "%RESP(x-replica)%",
    "x-asked": "%REQ(x-name)% %REQ(:path)% %RESPONSE_CODE%",
    "x-id": "%REQ(x-request-id)%",
    "x-endpoint": "%UPSTREAM_HOST%",
    "x-gone": "%RESP(absent)%",
    "x-flags": "%RESPONSE_FLAGS%",
}


@pytest.fixture(scope="module")
def app() -> Iterator[Replica]:
    with replicas("app", act=lambda request: 200) as (replica,):
        yield replica


@pytest.fixture(scope="module")
def story(app: Replica, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    directory: Path = tmp_path_factory.mktemp("substitutions")
    os.environ["FASTMESH_TEST_WORD"] = "a\r\nx-injected: yes"
    yaml = replicas_of("app", app.port)
    rule: dict[str, Any] = {
        "name": "main",
        "route": to("app"),
        "headers": {"request": {"set": REQUEST, "add": {"x-many": "%REQ(x-name)%"}}, "response": {"set": RESPONSE}},
    }
    direct = {
        "match": [{"uri": {"prefix": "/direct"}}],
        "directResponse": {"status": 418},
        "headers": {"response": {"set": {"x-asked": "%REQ(:path)% %RESPONSE_CODE%"}}},
    }
    rewritten = {**rule, "match": [{"uri": {"prefix": "/re/"}}], "rewrite": {"uri": "/"}, "name": "re"}
    yaml += virtual_service("app", direct, rewritten, rule)
    with Story(directory, yaml) as story:
        yield story


def test_request_and_response(story: Story, app: Replica) -> None:
    with Client(story.port) as client:
        answer = client.ask("/a/b?c=d", x_name="anna", x_long=LONG, x_many="one", x_there="kept", x_old="1", x_swap="2")
        seen, port = app.last.headers, client.socket.getsockname()[1]
    wanted = {
        "x-user": "<anna>", "x-other": "anna", "x-short": "ann", "x-path": "/a/b?c=d", "x-path-short": "/a/b",
        "x-who": "GET app http HTTP/1.1", "x-percent": "100%", "x-both": "annaanna" + LONG,
        "x-host": socket.gethostname(), "x-variable": "a  x-injected: yes",
        "x-client": f"127.0.0.1:{port}", "x-client-ip": "127.0.0.1", "x-client-port": str(port),
        "x-local-port": str(story.port), "x-cluster": "outbound|80||app.default.svc.cluster.local", "x-route": "main",
        "x-there": "kept", "x-old": "2", "x-swap": "1", "x-many": "one, anna", "x-id": seen["x-request-id"],
    }  # fmt: skip
    assert {name: seen.get(name) for name in wanted} == wanted
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", seen["x-start"])
    assert re.fullmatch(r"\d{10}\.\d{3}", seen["x-start-s"])
    assert not {"x-tls", "x-code", "x-injected"} & seen.keys()  # what is not known sets nothing
    assert answer.headers["x-from"] == "app"
    assert answer.headers["x-asked"] == "anna /a/b?c=d 200"
    assert answer.headers["x-id"] == seen["x-request-id"]
    assert answer.headers["x-endpoint"] == f"127.0.0.1:{app.port}"
    assert not {"x-gone", "x-flags"} & answer.headers.keys()


def test_each_message_has_its_own_values(story: Story, app: Replica) -> None:
    with Client(story.port) as client:
        for number in range(50):
            answer = client.ask(f"/{number}", x_name=f"n{number}" * (number * 30 + 1))
            assert app.last.headers["x-user"] == "<" + f"n{number}" * (number * 30 + 1) + ">"
            assert answer.headers["x-asked"].endswith(f" /{number} 200")


def test_a_rewritten_path_is_not_seen(story: Story, app: Replica) -> None:
    with Client(story.port) as client:
        client.ask("/re/x?y", x_name="a")
    assert (app.last.target, app.last.headers["x-path"]) == ("/x?y", "/re/x?y")


def test_an_absolute_target_without_a_path(story: Story, app: Replica) -> None:
    with Client(story.port) as client:
        assert client.exchange(b"GET http://app?a=b HTTP/1.1\r\nHost: app\r\n\r\n").status == 200
    assert app.last.headers["x-path"] == "/?a=b"


def test_answers_of_the_proxy_itself(story: Story) -> None:
    with Client(story.port) as client:
        assert client.ask("/direct/1").headers["x-asked"] == "/direct/1 418"


def test_http2(story: Story, app: Replica) -> None:
    with Http2(story.port) as client:
        (answer,) = client.wait(client.open(request("/h2?x", "GET", "app", ("x-name", "bob"))))
    assert answer.headers["x-asked"] == "bob /h2?x 200"
    assert app.last.headers["x-who"] == "GET app http HTTP/2"
    assert app.last.headers["x-path"] == "/h2?x"
