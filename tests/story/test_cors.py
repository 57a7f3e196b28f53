"""Cross-origin requests: preflights that the proxy answers, and what it adds to the answers of others."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.running import Proxy
from tests.traffic import Answer, Client, Replica, Story, ask, replicas_of, thing, virtual_service

POLICY = {
    "allowOrigins": [
        {"exact": "https://shop.example"},
        {"prefix": "https://a."},
        {"regex": "https://[0-9]+\\.example"},
    ],
    "allowMethods": ["GET", "PUT"],
    "allowHeaders": ["x-one", "x-two"],
    "exposeHeaders": ["x-seen"],
    "maxAge": "24h",
    "allowCredentials": True,
}
RULES = [
    {"match": [{"uri": {"prefix": "/full"}}], "corsPolicy": POLICY},
    {"match": [{"uri": {"prefix": "/old"}}], "corsPolicy": {"allowOrigin": ["https://shop.example"]}},
    {"match": [{"uri": {"prefix": "/all"}}], "corsPolicy": {"allowOrigin": ["*"], "exposeHeaders": ["*"]}},
    {"match": [{"uri": {"prefix": "/ignore"}}], "corsPolicy": {**POLICY, "unmatchedPreflights": "IGNORE"}},
    {
        "match": [{"uri": {"prefix": "/direct"}}],
        "corsPolicy": POLICY,
        "directResponse": {"status": 200, "body": {"string": "hi"}},
        "headers": {"response": {"set": {"access-control-allow-origin": "https://other.example"}}},
    },
    {
        "match": [{"uri": {"prefix": "/broken"}}],
        "corsPolicy": POLICY,
        "fault": {"abort": {"httpStatus": 555, "percentage": {"value": 100}}},
    },
    {"match": [{"uri": {"prefix": "/bare"}}]},
]
SHOP, STRANGER = "https://shop.example", "https://stranger.example"
OURS = {"allow-origin": SHOP, "allow-credentials": "true", "expose-headers": "x-seen"}
SAID_BY_APPLICATION = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\naccess-control-allow-origin: *\r\n"
    b"access-control-allow-credentials: false\r\naccess-control-expose-headers: x-app\r\n\r\n"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Story, Replica]]:
    with Replica("app", lambda request: SAID_BY_APPLICATION if b"says=1" in request.target.encode() else 200) as app:
        yaml = replicas_of("app", app.port) + virtual_service("app", *RULES)
        with Story(tmp_path_factory.mktemp("cors"), yaml) as story:
            yield story, app


def cors(answer: Answer) -> dict[str, str]:
    found = {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}
    return {name.removeprefix("access-control-"): value for name, value in found.items()}


def preflight(method: str = "PUT", **headers: str) -> dict[str, str]:
    return {"method": "OPTIONS", "access_control_request_method": method, **headers}


class TestPreflights:
    @pytest.mark.parametrize("origin", [SHOP, "https://a.example:8443", "https://42.example"])
    def test_answered_by_the_proxy(self, place: tuple[Story, Replica], origin: str) -> None:
        """Neither the method nor the headers that are asked for are compared: the browser does that."""
        story, app = place
        before = len(app.seen)
        answer, line = story.ask("/full", **preflight("DELETE", origin=origin, access_control_request_headers="x-no"))
        assert (answer.status, answer.body, line["response_code_details"]) == (200, b"", "cors_response")
        assert cors(answer) == {
            "allow-origin": origin, "allow-credentials": "true", "allow-methods": "GET,PUT",
            "allow-headers": "x-one,x-two", "expose-headers": "x-seen", "max-age": "86400",
        }  # fmt: skip
        assert len(app.seen) == before

    @pytest.mark.parametrize(
        ("path", "headers"),
        [
            ("/full", preflight(origin=STRANGER)),
            ("/full", preflight(origin="https://42.example.org")),  # an expression fits whole or not at all
            ("/full", preflight()),  # no origin
            ("/full", preflight("", origin=SHOP)),
            ("/full", {"method": "OPTIONS", "origin": SHOP}),  # OPTIONS, but no preflight
            ("/bare", preflight(origin=SHOP)),
        ],
        ids=repr,
    )
    def test_the_others_go_to_the_application(
        self, place: tuple[Story, Replica], path: str, headers: dict[str, str]
    ) -> None:
        story, app = place
        before = len(app.seen)
        assert ask(story.proxy, path, **headers).text == "app"
        assert len(app.seen) == before + 1

    def test_ignored_ones_are_allowed_nothing(self, place: tuple[Story, Replica]) -> None:
        story, app = place
        before = len(app.seen)
        answer = ask(story.proxy, "/ignore", **preflight(origin=STRANGER))
        assert (answer.status, cors(answer)) == (200, {})
        assert len(app.seen) == before
        assert cors(ask(story.proxy, "/ignore", **preflight(origin=SHOP)))["allow-origin"] == SHOP
        assert ask(story.proxy, "/ignore", method="OPTIONS", origin=STRANGER).text == "app"

    def test_the_old_spelling(self, place: tuple[Story, Replica]) -> None:
        assert cors(ask(place[0].proxy, "/old", **preflight(origin=SHOP))) == {"allow-origin": SHOP}
        all_of_it = {"allow-origin": STRANGER, "expose-headers": "*"}
        assert cors(ask(place[0].proxy, "/all", **preflight(origin=STRANGER))) == all_of_it

    def test_a_fault_comes_first(self, place: tuple[Story, Replica]) -> None:
        answer = ask(place[0].proxy, "/broken", **preflight(origin=SHOP))
        assert (answer.status, cors(answer)) == (555, {})


class TestOtherRequests:
    def test_headers_are_added(self, place: tuple[Story, Replica]) -> None:
        assert cors(ask(place[0].proxy, "/full", origin=SHOP)) == OURS
        assert cors(ask(place[0].proxy, "/all", origin=STRANGER)) == {"allow-origin": STRANGER, "expose-headers": "*"}

    def test_what_the_application_says_is_replaced(self, place: tuple[Story, Replica]) -> None:
        assert cors(ask(place[0].proxy, "/full?says=1", origin=SHOP)) == OURS
        own = {"allow-origin": "*", "allow-credentials": "false", "expose-headers": "x-app"}
        assert cors(ask(place[0].proxy, "/full?says=1", origin=STRANGER)) == own
        assert cors(ask(place[0].proxy, "/full?says=1")) == own

    def test_strangers_are_served(self, place: tuple[Story, Replica]) -> None:
        answer = ask(place[0].proxy, "/full", "PUT", origin=STRANGER)
        assert (answer.text, cors(answer)) == ("app", {})

    def test_answers_of_the_rule_itself(self, place: tuple[Story, Replica]) -> None:
        answer = ask(place[0].proxy, "/direct", origin=SHOP)
        assert (answer.text, cors(answer)) == ("hi", OURS)

    def test_a_connection_keeps_nothing_of_it(self, place: tuple[Story, Replica]) -> None:
        with Client(place[0].port) as client:
            assert cors(client.ask("/full", origin=SHOP)) == OURS
            assert cors(client.ask("/bare", origin=SHOP)) == {}


def test_the_filter_of_an_http_route(tmp_path: Path) -> None:
    """Stars take as much as they can; with credentials a star means nothing, so that what was asked for is said."""
    filters: list[dict[str, Any]] = [
        {
            "allowOrigins": ["https://*.example", "http://exact.example:81"],
            "allowMethods": ["GET"],
            "exposeHeaders": ["x-seen"],
        },
        {"allowOrigins": ["*"], "allowMethods": ["*"], "allowHeaders": ["*"], "allowCredentials": True, "maxAge": 60},
    ]
    port = free_port()
    gateway = {"gatewayClassName": "fastmesh", "listeners": [{"name": "web", "port": port, "protocol": "HTTP"}]}
    with Replica("app") as app:
        rules = [
            {
                "matches": [{"path": {"value": f"/{number}"}}],
                "filters": [{"type": "CORS", "cors": written}],
                "backendRefs": [{"name": "app", "port": 80}],
            }
            for number, written in enumerate(filters)
        ]
        api = "gateway.networking.k8s.io/v1"
        yaml = replicas_of("app", app.port) + thing("Gateway", "web", gateway, api)
        yaml += thing("HTTPRoute", "app", {"parentRefs": [{"name": "web"}], "rules": rules}, api)
        with Proxy(tmp_path, yaml, "--role", "gateway", "--bind", "127.0.0.1", role="gateway"):
            deep = "https://a.b.example"
            assert cors(ask(port, "/0", **preflight(origin=deep))) == {
                "allow-origin": deep, "allow-methods": "GET", "expose-headers": "x-seen", "max-age": "5"
            }  # fmt: skip
            assert cors(ask(port, "/0", origin=deep)) == {"allow-origin": deep, "expose-headers": "x-seen"}
            for stranger in ("https://example", "http://a.example", "https://a.example.org", "http://e"):
                answer = ask(port, "/0", **preflight(origin=stranger))
                assert (answer.status, cors(answer)) == (200, {})
                assert ask(port, "/0", origin=stranger).text == "app"
            asked = preflight("PATCH", origin=STRANGER, access_control_request_headers="x-a,x-b")
            assert cors(ask(port, "/1", **asked)) == {
                "allow-origin": STRANGER, "allow-credentials": "true", "allow-methods": "PATCH",
                "allow-headers": "x-a,x-b", "max-age": "60",
            }  # fmt: skip


# httproute-cors of the Gateway API's conformance tests: its four filters, and what is asked and answered.
FILTERS = {
    "cors-1": {
        "allowOrigins": ["https://www.foo.com", "https://*.bar.com"],
        "allowMethods": ["GET", "OPTIONS"],
        "allowHeaders": ["x-header-1", "x-header-2"],
        "exposeHeaders": ["x-header-3", "x-header-4"],
        "allowCredentials": True,
        "maxAge": 3600,
    },
    "cors-2": {"allowOrigins": ["https://www.foo.com"], "allowMethods": ["*"]},
    "cors-wildcard-origin": {"allowOrigins": ["*"], "allowMethods": ["PUT"], "allowCredentials": False},
    "cors-wildcard-methods-headers": {
        "allowOrigins": ["*"], "allowMethods": ["*"], "allowHeaders": ["*"], "allowCredentials": True,
    },
    "cors-wildcard-methods-headers-unauth": {
        "allowOrigins": ["*"], "allowMethods": ["*"], "allowHeaders": ["*"], "allowCredentials": False,
    },
}  # fmt: skip
WHOLE = {
    "allow-methods": "GET,OPTIONS", "allow-headers": "x-header-1,x-header-2",
    "expose-headers": "x-header-3,x-header-4", "max-age": "3600", "allow-credentials": "true",
}  # fmt: skip
ASKS = "x-header-1,x-header-2"
NONE = {"allow-origin": None, "allow-credentials": None}
# path, origin, method and headers that are asked for ("": no preflight), own method, answer (None: not there)
CONFORMANCE: list[tuple[str, str, str, str, str, dict[str, str | None]]] = [
    ("cors-1", "https://www.foo.com", "GET", ASKS, "", {"allow-origin": "https://www.foo.com", **WHOLE}),
    ("cors-1", "https://www.bar.com", "GET", ASKS, "", {"allow-origin": "https://www.bar.com", **WHOLE}),
    ("cors-1", "https://xpto.www.bar.com", "GET", ASKS, "", {"allow-origin": "https://xpto.www.bar.com", **WHOLE}),
    ("cors-1", "https://foobar.com", "GET", "", "", NONE),
    ("cors-1", "https://www.foo.com", "", "", "GET", {"allow-origin": "https://www.foo.com"}),
    ("cors-1", "https://www.bar.com", "", "", "GET", {"allow-origin": "https://www.bar.com"}),
    ("cors-1", "https://foobar.com", "", "", "GET", NONE),
    ("cors-2", "https://www.foo.com", "POST", "", "",
     {"allow-origin": "https://www.foo.com", "allow-methods": "*", "allow-credentials": None}),
    ("cors-wildcard-origin", "https://foobar.com", "PUT", "", "",
     {"allow-origin": "https://foobar.com", "allow-methods": "PUT", "allow-credentials": None}),
    ("cors-wildcard-origin", "https://foobar.com:12345", "PUT", "", "",
     {"allow-origin": "https://foobar.com:12345", "allow-methods": "PUT", "allow-credentials": None}),
    ("cors-wildcard-origin", "https://foobar.com:12345", "", "", "PUT", {"allow-origin": "https://foobar.com:12345"}),
    ("cors-wildcard-origin", "https://foobar.com", "", "", "PUT",
     {"allow-origin": "https://foobar.com", "allow-credentials": None}),
    ("cors-wildcard-methods-headers", "https://other.foo.com", "PUT", ASKS, "",
     {"allow-origin": "https://other.foo.com", "allow-methods": "PUT", "allow-headers": ASKS,
      "allow-credentials": "true"}),
    ("cors-wildcard-methods-headers-unauth", "https://other.foo.com", "PUT", ASKS, "",
     {"allow-origin": "https://other.foo.com", "allow-methods": "*", "allow-headers": "*", "allow-credentials": None}),
    ("cors-wildcard-methods-headers", "https://other.foo.com", "", "", "GET",
     {"allow-origin": "https://other.foo.com", "allow-credentials": "true"}),
    ("cors-wildcard-methods-headers-unauth", "https://other.foo.com", "", "", "GET",
     {"allow-origin": "https://other.foo.com", "allow-credentials": None}),
]  # fmt: skip


def test_the_conformance_rows_of_http_routes(tmp_path: Path) -> None:
    port, api = free_port(), "gateway.networking.k8s.io/v1"
    gateway = {"gatewayClassName": "fastmesh", "listeners": [{"name": "web", "port": port, "protocol": "HTTP"}]}
    with Replica("app") as app:
        rules = [
            {
                "matches": [{"path": {"value": f"/{name}"}}],
                "filters": [{"type": "CORS", "cors": written}],
                "backendRefs": [{"name": "app", "port": 80}],
            }
            for name, written in FILTERS.items()
        ]
        yaml = replicas_of("app", app.port) + thing("Gateway", "web", gateway, api)
        yaml += thing("HTTPRoute", "app", {"parentRefs": [{"name": "web"}], "rules": rules}, api)
        with Proxy(tmp_path, yaml, "--role", "gateway", "--bind", "127.0.0.1", role="gateway"):
            for path, origin, wants, headers, method, wanted in CONFORMANCE:
                more = {"access_control_request_headers": headers} if headers else {}
                asked = preflight(wants, origin=origin, **more) if wants else {"method": method, "origin": origin}
                answer = ask(port, f"/{path}", **asked)
                assert answer.status == 200
                found = cors(answer)
                assert {name: found.get(name) for name in wanted} == wanted, (path, origin, wants)


def test_explain(tmp_path: Path) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(replicas_of("app", 1) + virtual_service("app", *RULES))

    def step(path: str, method: str, *headers: str) -> tuple[dict[str, Any], dict[str, str]]:
        flags = [word for header in headers for word in ("-H", header)]
        command = [
            sys.executable,
            "-m",
            "fastmesh",
            "explain",
            "-f",
            str(file),
            "-o",
            "json",
            method,
            f"http://app{path}",
        ]
        told = json.loads(subprocess.run([*command, *flags], check=True, capture_output=True, text=True).stdout)
        return told, next((each for each in told["steps"] if each["step"] == "cors"), {})

    asks = ("access-control-request-method: PUT",)
    told, said = step("/full", "OPTIONS", f"origin: {SHOP}", *asks)
    assert (told["action"], told["status"]) == ("direct", 200)
    assert f"access-control-allow-origin: {SHOP}" in said["why"]
    told, said = step("/full", "GET", f"origin: {SHOP}")
    assert (told["action"], said["decision"]) == ("route", "adds headers to the answer")
    assert step("/full", "OPTIONS", f"origin: {STRANGER}", *asks)[0]["action"] == "route"
    assert step("/ignore", "OPTIONS", f"origin: {STRANGER}", *asks)[0]["status"] == 200
    assert step("/full", "GET")[1] == {}
