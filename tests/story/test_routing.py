"""Every match, rewrite, redirect, header operation and fault of a VirtualService, as both ends see it."""

from __future__ import annotations

import collections
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.running import answer, mesh, read_all, read_message
from tests.traffic import (
    Answer,
    Client,
    Replica,
    Story,
    ask,
    destination_rule,
    replicas,
    replicas_of,
    thing,
    to,
    together,
    virtual_service,
)

Rule = dict[str, Any]


def match(*matches: Rule, **rule: Any) -> Rule:
    return {"match": list(matches), **rule}


def named(name: str, *matches: Rule) -> Rule:
    """A rule that tells its name in the answer."""
    return {"match": list(matches), "name": name, "headers": {"response": {"set": {"x-rule": name}}}}


MATCHES = [
    named("exact", {"uri": {"exact": "/exact"}}),
    named("prefix", {"uri": {"prefix": "/prefix"}}),
    named("regex", {"uri": {"regex": "/re/[a-z]+(/[0-9]*)?"}}),
    named("folded", {"uri": {"prefix": "/Folded"}, "ignoreUriCase": True}),
    named("method", {"method": {"exact": "PUT"}}),
    named("methods", {"method": {"regex": "PATCH|DELETE"}}),
    named("authority", {"authority": {"exact": "app.default:80"}}),
    named("header", {"headers": {"x-user": {"exact": "ann"}}}),
    named("header-prefix", {"headers": {"x-user": {"prefix": "b"}}}),
    named("header-regex", {"headers": {"x-user": {"regex": "c[0-9]+"}}}),
    named("header-there", {"headers": {"x-there": {}}}),
    named("both", {"headers": {"x-one": {"exact": "1"}, "x-two": {"exact": "2"}}}),
    named("either", {"headers": {"x-three": {"exact": "3"}}}, {"headers": {"x-four": {"exact": "4"}}}),
    named("pseudo", {"headers": {":method": {"exact": "OPTIONS"}}}),
    named("without", {"uri": {"prefix": "/without"}, "withoutHeaders": {"x-no": {}}}),
    named("without-value", {"uri": {"prefix": "/without"}, "withoutHeaders": {"x-no": {"exact": "1"}}}),
    named("query", {"queryParams": {"v": {"exact": "1"}}}),
    named("query-there", {"queryParams": {"there": {}}}),
    named("query-empty", {"queryParams": {"empty": {"exact": ""}}}),
    named("query-regex", {"queryParams": {"n": {"regex": "[0-9]+"}}}),
]

CASES: list[tuple[str, str, dict[str, str], str]] = [
    ("GET", "/exact", {}, "exact"),
    ("GET", "/exact?q=1", {}, "exact"),
    ("GET", "/exact/", {}, ""),
    ("GET", "/Exact", {}, ""),
    ("GET", "/prefix", {}, "prefix"),
    ("GET", "/prefixed", {}, "prefix"),
    ("GET", "/prefix/a/b?c", {}, "prefix"),
    ("GET", "/pre", {}, ""),
    ("GET", "/re/abc", {}, "regex"),
    ("GET", "/re/abc/12", {}, "regex"),
    ("GET", "/re/abc/12/x", {}, ""),
    ("GET", "/x/re/abc", {}, ""),
    ("GET", "/fOLDED/x", {}, "folded"),
    ("PUT", "/", {}, "method"),
    ("PATCH", "/", {}, "methods"),
    ("POST", "/", {}, ""),
    ("GET", "/", {"host": "app.default:80"}, "authority"),
    ("GET", "/", {"host": "app.default"}, ""),
    ("GET", "/", {"x-user": "ann"}, "header"),
    ("GET", "/", {"X-USER": "ann"}, "header"),
    ("GET", "/", {"x-user": "Ann"}, ""),
    ("GET", "/", {"x-user": "bob"}, "header-prefix"),
    ("GET", "/", {"x-user": "c3"}, "header-regex"),
    ("GET", "/", {"x-user": "c3x"}, ""),
    ("GET", "/", {"x-there": ""}, "header-there"),
    ("GET", "/", {"x-there": "x"}, "header-there"),
    ("GET", "/", {"x-one": "1"}, ""),
    ("GET", "/", {"x-one": "1", "x-two": "2"}, "both"),
    ("GET", "/", {"x-three": "3"}, "either"),
    ("GET", "/", {"x-four": "4"}, "either"),
    ("OPTIONS", "/", {}, "pseudo"),
    ("GET", "/without", {}, "without"),
    ("GET", "/without", {"x-no": "2"}, "without-value"),
    ("GET", "/without", {"x-no": "1"}, ""),
    ("GET", "/?v=1", {}, "query"),
    ("GET", "/?a=b&v=1", {}, "query"),
    ("GET", "/?v=2&v=1", {}, ""),
    ("GET", "/?xv=1", {}, ""),
    ("GET", "/?there", {}, "query-there"),
    ("GET", "/?there=x", {}, "query-there"),
    ("GET", "/?empty", {}, "query-empty"),
    ("GET", "/?empty=", {}, "query-empty"),
    ("GET", "/?empty=x", {}, ""),
    ("GET", "/?n=12", {}, "query-regex"),
    ("GET", "/?n=12a", {}, ""),
]

SWAP = {"match": "/([a-z]+)/([0-9]+)", "rewrite": r"/\2/\1"}
REWRITES: list[tuple[Rule, str, str]] = [
    (match({"uri": {"prefix": "/a/"}}, rewrite={"uri": "/"}), "/a/b?q=1", "/b?q=1"),
    (match({"uri": {"prefix": "/b"}}, rewrite={"uri": "/"}), "/b/c", "//c"),
    (match({"uri": {"prefix": "/c"}}, rewrite={"uri": "/new"}), "/cx/y", "/newx/y"),
    (match({"uri": {"exact": "/d"}}, rewrite={"uri": "/whole/path"}), "/d?x=1", "/whole/path?x=1"),
    (match({"uri": {"regex": "/e/.*"}}, rewrite={"uri": "/f"}), "/e/1/2?y", "/f?y"),
    (
        match(
            {"uri": {"prefix": "/g"}},
            rewrite={"uriRegexRewrite": SWAP},
        ),
        "/g/7/h/8?z=/i/9",
        "/7/g/8/h?z=/i/9",
    ),
    (match({"method": {"exact": "GET"}}, rewrite={"uri": "/all/"}), "/h/i", "/all/h/i"),
]

REDIRECTS: list[tuple[Rule, str, int, str]] = [
    ({"redirect": {"uri": "/new"}}, "/old?q=1", 301, "http://HOST/new?q=1"),
    ({"redirect": {"authority": "shop.example"}}, "/old?q=1", 301, "http://shop.example/old?q=1"),
    ({"redirect": {"scheme": "https"}}, "/x", 301, "https://HOST/x"),
    ({"redirect": {"scheme": "https", "port": 443}}, "/x", 301, "https://HOST/x"),
    ({"redirect": {"port": 80}}, "/x", 301, "http://HOST/x"),
    ({"redirect": {"port": 8443, "scheme": "https"}}, "/x", 301, "https://HOST:8443/x"),
    ({"redirect": {"derivePort": "FROM_PROTOCOL_DEFAULT", "scheme": "https"}}, "/x", 301, "https://HOST/x"),
    ({"redirect": {"uri": "/n", "redirectCode": 302}}, "/x", 302, "http://HOST/n"),
    ({"redirect": {"uri": "/n", "redirectCode": 303}}, "/x", 303, "http://HOST/n"),
    ({"redirect": {"uri": "/n", "redirectCode": 307}}, "/x", 307, "http://HOST/n"),
    ({"redirect": {"uri": "/n", "redirectCode": 308}}, "/x", 308, "http://HOST/n"),
    (
        {"match": [{"uri": {"prefix": "/old"}}], "redirect": {"prefixRewrite": "/new"}},
        "/old/x?y",
        301,
        "http://HOST/new/x?y",
    ),
]

OPERATIONS = {
    "request": {
        "set": {"x-set": "route", "x-both": "set"},
        "add": {"x-add": "route", "x-both": "added"},
        "remove": ["x-remove", "x-both"],
    },
    "response": {"set": {"x-replica": "route"}, "add": {"x-more": "1"}, "remove": ["x-gone", "content-type"]},
}


def yaml_of(port: int) -> str:
    yaml = replicas_of("app", port) + virtual_service("app", *MATCHES)
    for number, (rule, _, _) in enumerate(REWRITES):
        yaml += replicas_of(f"rewrite-{number}", port) + virtual_service(f"rewrite-{number}", rule)
    for number, (rule, *_) in enumerate(REDIRECTS):
        yaml += replicas_of(f"redirect-{number}", port) + virtual_service(f"redirect-{number}", rule)
    yaml += replicas_of("ops", port) + virtual_service("ops", {"headers": OPERATIONS})
    yaml += replicas_of("host", port) + virtual_service("host", {"rewrite": {"authority": "other.example"}})
    set_host = {"headers": {"request": {"set": {"host": "set.example"}}}}
    yaml += replicas_of("set-host", port) + virtual_service("set-host", set_host)
    yaml += replicas_of("direct", port)
    yaml += virtual_service(
        "direct",
        {"match": [{"uri": {"exact": "/empty"}}], "directResponse": {"status": 204}},
        {
            "directResponse": {"status": 503, "body": {"string": "closed"}},
            "headers": {"response": {"set": {"x-why": "holiday"}}},
        },
    )
    yaml += replicas_of("faulty", port)
    yaml += virtual_service(
        "faulty",
        match({"uri": {"prefix": "/abort"}}, fault={"abort": {"httpStatus": 418, "percentage": {"value": 30}}}),
        match({"uri": {"prefix": "/delay"}}, fault={"delay": {"fixedDelay": "150ms", "percentage": {"value": 50}}}),
        match(
            {"uri": {"prefix": "/both"}},
            fault={
                "delay": {"fixedDelay": "100ms", "percentage": {"value": 100}},
                "abort": {"httpStatus": 500, "percentage": {"value": 100}},
            },
            retries={"attempts": 3, "retryOn": "5xx"},
        ),
        match({"uri": {"prefix": "/never"}}, fault={"abort": {"httpStatus": 500, "percentage": {"value": 0}}}),
        {},
    )
    ghost = {"route": to("app", "ghost")}
    yaml += replicas_of("lost", port) + virtual_service("lost", ghost)
    yaml += replicas_of("empty") + destination_rule("app", None, "v1")
    return yaml


@pytest.fixture(scope="module")
def app() -> Iterator[Replica]:
    with replicas("app") as (one,):
        yield one


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, app: Replica) -> Iterator[Story]:
    with Story(tmp_path_factory.mktemp("routing"), yaml_of(app.port)) as one:
        yield one


@pytest.fixture(scope="module")
def client(story: Story) -> Iterator[Client]:
    with Client(story.port) as one:
        yield one


@pytest.mark.parametrize(("method", "target", "headers", "rule"), CASES)
def test_matches(client: Client, method: str, target: str, headers: dict[str, str], rule: str) -> None:
    answer = client.ask(target, method, **headers)
    assert (answer.status, answer.headers.get("x-rule", "")) == (200 if rule else 404, rule)


def test_no_rule_matches(story: Story) -> None:
    answer, line = story.ask("/nothing")
    assert (answer.status, answer.text, line["response_flags"], line["upstream_cluster"]) == (404, "", "NR", None)


def test_matched_rules_are_named_in_the_log(story: Story) -> None:
    assert story.ask("/exact")[1]["route_name"] == "exact"


@pytest.mark.parametrize("number", range(len(REWRITES)))
def test_rewrites(client: Client, app: Replica, number: int) -> None:
    _, target, wanted = REWRITES[number]
    assert client.ask(target, host=f"rewrite-{number}").status == 200
    assert app.last.target == wanted
    assert app.last.headers["x-envoy-original-path"] == target
    assert app.last.headers["host"] == f"rewrite-{number}"


@pytest.mark.parametrize("number", range(len(REDIRECTS)))
def test_redirects(client: Client, app: Replica, number: int) -> None:
    _, target, status, location = REDIRECTS[number]
    before = app.count()
    answer = client.ask(target, host=f"redirect-{number}")
    assert (answer.status, answer.headers["location"]) == (status, location.replace("HOST", f"redirect-{number}"))
    assert (answer.body, app.count()) == (b"", before)


def test_header_operations(client: Client, app: Replica) -> None:
    answer = client.ask("/", host="ops", x_set="client", x_add="client", x_both="client", x_remove="client", x_kept="1")
    seen = app.last.headers
    assert (seen["x-set"], seen["x-add"], seen["x-kept"]) == ("route", "client, route", "1")
    assert seen["x-both"] == "set, added"  # removal first, then set, then add
    assert "x-remove" not in seen
    assert (answer.headers["x-replica"], answer.headers["x-more"]) == ("route", "1")


def test_authority(client: Client, app: Replica) -> None:
    client.ask("/", host="host")
    assert app.last.headers["host"] == "other.example"
    client.ask("/", host="set-host")
    assert app.last.headers["host"] == "set.example"


def test_direct_responses(client: Client, app: Replica) -> None:
    before = app.count()
    answer = client.ask("/x", host="direct")
    assert (answer.status, answer.text, answer.headers["x-why"]) == (503, "closed", "holiday")
    assert answer.headers["content-type"] == "text/plain"
    assert client.ask("/empty", host="direct").status == 204
    head = client.ask("/x", "HEAD", host="direct")
    assert (head.status, head.headers["content-length"], head.body) == (503, "6", b"")
    assert app.count() == before


def shares(story: Story, path: str, times: int) -> list[Answer]:
    return together([lambda: ask(story.port, path, host="faulty")] * times)


@pytest.mark.quiet
def test_fault_shares(story: Story) -> None:
    statuses = collections.Counter(answer.status for answer in shares(story, "/abort", 400))
    assert abs(statuses[418] - 120) < 42  # over four standard deviations
    slow = sum(answer.seconds > 0.15 for answer in shares(story, "/delay", 100))
    assert 25 < slow < 75
    assert all(answer.status == 200 for answer in shares(story, "/never", 20))


@pytest.mark.quiet
def test_delay_and_abort(story: Story, app: Replica) -> None:
    before = app.count()
    answer, line = story.ask("/both", host="faulty")
    assert (answer.status, answer.text, line["response_flags"]) == (500, "fault filter abort", "DI,FI")
    assert 0.1 <= answer.seconds < 0.2
    assert app.count() == before


def test_where_there_is_nothing(story: Story) -> None:
    """No such subset, no endpoint, no such host."""
    answer, line = story.ask("/", host="lost")
    assert (answer.status, line["response_flags"]) == (503, "NC")
    answer, line = story.ask("/", host="empty")
    assert (answer.status, answer.text, line["response_flags"]) == (503, "no healthy upstream", "UH")
    answer, line = story.ask("/", host="unknown.example")
    assert (answer.status, line["response_flags"]) == (502, "NR")


def test_absolute_form(story: Story, app: Replica) -> None:
    with Client(story.port) as client:
        answer = client.exchange(b"GET http://rewrite-0/a/b HTTP/1.1\r\nHost: rewrite-0\r\n\r\n")
        assert (answer.status, app.last.target, app.last.headers["host"]) == (200, "/b", "rewrite-0")
    assert story.proxy.send(b"GET http://rewrite-0/a/b HTTP/1.1\r\nHost: app\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_http_1_0(story: Story, app: Replica) -> None:
    data = story.proxy.send(b"GET /a/b HTTP/1.0\r\nHost: rewrite-0\r\n\r\n")
    assert data.startswith(b"HTTP/1.")
    assert b" 200 " in data[:20]
    assert data.endswith(b"app")
    assert app.last.target == "/b"
    kept = b"GET /a/c HTTP/1.0\r\nHost: rewrite-0\r\nConnection: keep-alive\r\n\r\n"
    data = story.proxy.send(kept * 2 + b"GET /a/d HTTP/1.0\r\nHost: rewrite-0\r\n\r\n")
    assert data.count(b" 200 ") == 3
    with story.proxy.connect() as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert read_all(client)[9:12] in (b"400", b"404", b"502")


def test_a_gateway_sends_to_https(tmp_path: Path, app: Replica) -> None:
    secure, plain = free_port(), free_port()
    hosts = ["shop.example"]
    servers = [
        {"port": {"number": 80, "name": "one", "protocol": "HTTP"}, "hosts": hosts, "tls": {"httpsRedirect": True}},
        {"port": {"number": 8080, "name": "two", "protocol": "HTTP"}, "hosts": hosts},
    ]
    yaml = replicas_of("app", app.port) + thing("Gateway", "edge", {"selector": {"istio": "edge"}, "servers": servers})
    rules = {"hosts": ["shop.example"], "gateways": ["edge"]}
    yaml += virtual_service("app", {"match": [{"uri": {"prefix": "/"}}]}, **rules)
    flags = ("--bind", "127.0.0.1", "--map", f"80={secure}", "--map", f"8080={plain}")
    with Story(tmp_path, yaml, *flags, role="gateway"):
        answer = ask(secure, "/a?b=c", host="shop.example")
        assert (answer.status, answer.headers["location"]) == (301, "https://shop.example/a?b=c")
        assert ask(secure, "/a", host="shop.example", x_forwarded_proto="https").status == 200
        assert ask(plain, "/a", host="shop.example").status == 200
        assert app.last.headers["x-forwarded-for"] == "127.0.0.1"
        assert ask(plain, "/a", host="other.example").status == 404


def test_the_service_time_of_a_proxy_behind_us_is_replaced(tmp_path: Path) -> None:
    def talk(connection: socket.socket) -> None:
        read_message(connection)
        answer(connection, extra=b"X-Envoy-Upstream-Service-Time: 7000\r\nx-envoy-other: 1\r\n")

    with mesh(tmp_path, talk) as (proxy, _):
        head = proxy.send(b"GET / HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n").lower()
    assert head.count(b"x-envoy-upstream-service-time:") == 1
    assert b"7000" not in head
    assert b"x-envoy-other: 1\r\n" in head
