"""Istio's test configurations, one feature a file, in one mesh proxy: what each rule does with a request.

They stand as they are, but for the addresses of endpoints: `<HOST VERSION>` answers there. What needs no socket
is in tests/conformance/test_feature_files.py.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.running import Upstream, read_head
from tests.story.samples import SAMPLES, Named, near, shares
from tests.traffic import Story, ask, thing, to

FOLDER = SAMPLES.parent / "tests/testdata/config"
FILES = (
    "byon", "destination-rule-all", "rule-content-route", "rule-default-route-append-headers",
    "rule-default-route-cors-policy", "rule-redirect-injection", "rule-regex-route", "rule-websocket-route",
    "rule-weighted-route", "static-weighted-se",
)  # fmt: skip
STICKY = "destall.default.svc.cluster.local"


def echo_after_101(connection: socket.socket) -> None:
    head, rest = read_head(connection)
    if b"upgrade: websocket" in head.lower():
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
        while rest or (rest := connection.recv(65536)):
            connection.sendall(rest)
            rest = b""


class Endpoints:
    """Makes what answers, by host and version."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.stack = stack
        self.named: dict[str, Named] = {}

    def give(self, document: dict[str, Any]) -> None:
        """Our addresses for the endpoints of a ServiceEntry; a second endpoint and versions where users shall stick."""
        spec = document["spec"]
        host, ports = spec["hosts"][0], [port["name"] for port in spec["ports"]]
        if host == STICKY:
            spec["endpoints"] = [{"labels": {"version": "v2", "number": number}} for number in ("1", "2", "3")]
        for number, endpoint in enumerate(spec["endpoints"]):
            labels = endpoint.get("labels", {})
            name = f"{host} {labels.get('number', labels.get('version', number))}"
            if host.startswith("websocket"):
                own: Upstream = self.stack.enter_context(Upstream(echo_after_101))
            else:
                own = self.named[name] = self.stack.enter_context(Named(name))
            endpoint |= {"address": "127.0.0.1", "ports": dict.fromkeys(ports, own.port)}


@pytest.fixture(scope="module")
def endpoints() -> Iterator[Endpoints]:
    with contextlib.ExitStack() as stack:
        yield Endpoints(stack)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory, endpoints: Endpoints) -> Iterator[Story]:
    found = []
    for file in FILES:
        for document in filter(None, yaml.safe_load_all((FOLDER / f"{file}.yaml").read_text())):
            if document["kind"] == "ServiceEntry" and document["spec"]["resolution"] == "STATIC":
                endpoints.give(document)
            found.append(document)
    text = yaml.safe_dump_all(found)
    text += thing("VirtualService", "destall", {"hosts": [STICKY], "http": [{"route": to(STICKY, "v2")}]})
    flags = ("--namespace", "testns", "--labels", "version=v1")
    with Story(tmp_path_factory.mktemp("features"), text, *flags, workers=2) as story:
        yield story


def test_a_header_is_added(mesh: Story, endpoints: Endpoints) -> None:
    for sent, seen in (({}, b"user-defined-value"), ({"istio_custom_header": "own"}, b"own,user-defined-value")):
        assert ask(mesh.port, host="appendh.test.istio.io", **sent).text == "<appendh.test.istio.io 0>"
        head = endpoints.named["appendh.test.istio.io 0"].heads[-1].lower()
        values = [line.partition(b":")[2].strip() for line in head.split(b"\r\n") if line.startswith(b"istio-custom")]
        assert b",".join(values).replace(b", ", b",") == seen


def test_cors(mesh: Story, endpoints: Endpoints) -> None:
    host, origin = "cors.test.istio.io", "http://foo.example"
    there = endpoints.named[f"{host} 0"]
    before = len(there.heads)
    asked = {"origin": origin, "access_control_request_method": "POST"}
    preflight = ask(mesh.port, "/", "OPTIONS", host=host, **asked)
    wanted = {
        "allow-origin": origin, "allow-credentials": "true", "allow-methods": "POST,GET,OPTIONS",
        "allow-headers": "content-type", "max-age": "300",
    }  # fmt: skip
    assert preflight.status == 200
    assert {name: preflight.headers.get(f"access-control-{name}") for name in wanted} == wanted
    assert len(there.heads) == before, "the proxy answers by itself"
    answer = ask(mesh.port, host=host, origin=origin)
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-expose-headers"] == "x-custom-header"
    stranger = ask(mesh.port, host=host, origin="http://bar.example")
    assert (stranger.status, "access-control-allow-origin" in stranger.headers) == (200, False)


def test_weights(mesh: Story) -> None:
    host = "c-weighted.extsvc.com"
    near(shares(mesh.port, host), {f"{host} v1": 0.75, f"{host} v2": 0.25})


def test_endpoints_with_weights(mesh: Story) -> None:
    """One of twelve parts where none is written."""
    host = "weighted.static.svc.cluster.local"
    near(shares(mesh.port, host), {f"{host} 0": 1 / 12, f"{host} 1": 8 / 12, f"{host} 2": 3 / 12})


@pytest.mark.parametrize(
    ("host", "headers", "found"),
    [
        ("headers.test.istio.io", {"version": "v2"}, "c-weighted.extsvc.com v2"),
        ("headers.test.istio.io", {"version": "v1"}, "c-weighted.extsvc.com v1"),
        ("headers.test.istio.io", {}, "c-weighted.extsvc.com v1"),
        ("regex.extsvc.com:9003", {"foo": "bar"}, "regex.extsvc.com v2"),
        ("regex.extsvc.com:9003", {"foo": "abar"}, "regex.extsvc.com v1"),
        ("regex.extsvc.com:9003", {}, "regex.extsvc.com v1"),
        ("mybyon.test.istio.io", {}, "byon.test.istio.io 0"),
        ("byon.test.istio.io", {}, "byon.test.istio.io 0"),
        ("byon-docker.test.istio.io:7072", {}, "byon-docker.test.istio.io 0"),
    ],
)
def test_headers_decide(host: str, headers: dict[str, str], found: str, mesh: Story) -> None:
    assert ask(mesh.port, host=host, **headers).text == f"<{found}>"


def test_a_redirect(mesh: Story) -> None:
    answer = ask(mesh.port, "/old?q=1", host="redirect.test.istio.io:8080", testredirect="enabled")
    assert (answer.status, answer.headers["location"]) == (301, "http://redirect2.test.istio.io/new/path?q=1")
    assert ask(mesh.port, "/old", host="redirect.test.istio.io:8080").status == 404


@pytest.mark.parametrize("host", ["websocket.test.istio.io:9002", "websocket2.extsvc.com"])
def test_a_websocket(host: str, mesh: Story) -> None:
    """What the field websocketUpgrade once asked for."""
    asked = (
        f"GET /chat HTTP/1.1\r\nhost: {host}\r\ntestwebsocket: enabled\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    )
    asked += "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    with socket.create_connection(("127.0.0.1", mesh.port), 10) as connection:
        connection.sendall(asked.encode())
        head, rest = read_head(connection)
        assert head.startswith(b"HTTP/1.1 101 ")
        connection.sendall(b"\x81\x05hello")
        while len(rest) < 7:
            rest += connection.recv(100)
        assert rest == b"\x81\x05hello"
    assert ask(mesh.port, "/chat", host=host).status == 404


def test_a_user_stays_where_a_cookie_says(mesh: Story) -> None:
    """The subset v2 of destination-rule-all: the proxy makes the cookie, and who brings it meets one endpoint."""
    met = set()
    for _ in range(20):
        first = ask(mesh.port, host=f"{STICKY}:81")
        value, _, rest = first.headers["set-cookie"].removeprefix("Cookie=").partition(";")
        assert "Max-Age=30" in rest
        again = {ask(mesh.port, host=f"{STICKY}:81", cookie=f"Cookie={value}").text for _ in range(3)}
        assert again == {first.text}
        met.add(first.text)
    assert len(met) > 1
