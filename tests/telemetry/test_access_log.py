"""The access log of the real proxy: its forms, hostile values, the request's id, trace headers, and rotation."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.telemetry.mesh import Answer, Mesh, Upstream, eventually, running, service, workload
from tests.telemetry.samples import scrape

ISTIO_KEYS = [
    *("start_time", "route_name", "method", "path", "protocol", "response_code", "response_flags"),
    *("response_code_details", "connection_termination_details", "bytes_received", "bytes_sent", "duration"),
    *("upstream_service_time", "x_forwarded_for", "user_agent", "request_id", "authority", "upstream_host"),
    *("upstream_cluster", "upstream_local_address", "downstream_local_address", "downstream_remote_address"),
    *("requested_server_name", "upstream_transport_failure_reason"),
]
ARTICLE_KEYS = ["serviceName", "requestTime", "responseTime", "processingTime", "responseStatus"]
CLUSTER = "outbound|80||product.default.svc.cluster.local"
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"

# what a parser that keeps to RFC 9110 lets through in a field value
HOSTILE = [
    b'a"b',
    b"a\\b",
    b"\\u0041\\",
    b'"},{"a":"',
    b"a\tb",
    b"\xff\xfe\xc3\xa9\x80",
    b"%0a%0d ${x} `y`",
    b"</script>",
]

RULES = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: product, namespace: default}
spec:
  hosts: [product]
  http:
  - name: named-route
    match: [{uri: {prefix: /named}}]
    rewrite: {uri: /other}
    route: [{destination: {host: product}}]
  - match: [{uri: {prefix: /p}}]
    route: [{destination: {host: product}}]
"""


class Logged:
    """A proxy and its access log; `ask` answers with the line of the request."""

    def __init__(self, mesh: Mesh, file: Path, upstream: Upstream) -> None:
        self.mesh = mesh
        self.file = file
        self.upstream = upstream
        self.answer: Answer

    def lines(self, file: Path | None = None) -> list[str]:
        """Whole lines as they are: split at line feeds alone. One that is being written is not there yet: a reader may
        see a write between two pages."""
        return (file or self.file).read_bytes().decode("ascii").split("\n")[:-1]

    def ask(self, path: str = "/p", host: str = "product", **headers: str | bytes) -> str:
        before = len(self.lines())
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = self.mesh.ask(host, path, named)
        eventually(lambda: len(self.lines()) > before)
        lines = self.lines()
        assert len(lines) == before + 1
        return lines[-1]


Start = Callable[[str], Logged]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Start]:
    """Proxies by the form of their log, started when first asked for."""
    made: dict[str, Logged] = {}
    with contextlib.ExitStack() as stack:

        def give(form: str) -> Logged:
            if form not in made:
                folder = tmp_path_factory.mktemp(form)
                yaml = service("product", upstream.port) + workload("product-1", "product") + RULES
                flags = ("--access-log", str(folder / "access.log"), "--access-log-format", form)
                mesh = stack.enter_context(running(folder, yaml, *flags))
                made[form] = Logged(mesh, folder / "access.log", upstream)
            return made[form]

        yield give


def parsed(line: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line)
    return found


# ---- the forms


def test_json_has_istios_keys_and_the_articles(start: Start) -> None:
    log = start("json")
    line = parsed(log.ask("/named/x?q=1", user_agent="test/1", x_forwarded_for="10.1.2.3"))
    assert list(line) == [*ISTIO_KEYS, *ARTICLE_KEYS]
    expected = {
        "route_name": "named-route",
        "method": "GET",
        "path": "/named/x?q=1",
        "protocol": "HTTP/1.1",
        "response_code": 200,
        "response_flags": "-",
        "response_code_details": "via_upstream",
        "connection_termination_details": None,
        "bytes_received": 0,
        "bytes_sent": 2,
        "x_forwarded_for": "10.1.2.3",
        "user_agent": "test/1",
        "authority": "product",
        "upstream_host": f"127.0.0.1:{log.upstream.port}",
        "upstream_cluster": CLUSTER,
        "downstream_local_address": f"127.0.0.1:{log.mesh.port}",
        "requested_server_name": None,
        "upstream_transport_failure_reason": None,
        "serviceName": "product",
        "responseStatus": 200,
    }
    assert {name: line[name] for name in expected} == expected
    assert re.fullmatch(r"127\.0\.0\.1:\d+", line["downstream_remote_address"])
    assert re.fullmatch(STAMP, line["start_time"])
    assert line["start_time"] == line["requestTime"] <= line["responseTime"]
    assert isinstance(line["duration"], int)
    assert line["duration"] <= line["processingTime"] < 10_000
    assert line["upstream_service_time"] <= line["duration"]


def test_json_of_an_answer_of_the_proxy(start: Start) -> None:
    line = parsed(start("json").ask("/unmatched"))
    assert list(line) == [*ISTIO_KEYS, *ARTICLE_KEYS]
    assert (line["response_code"], line["response_flags"], line["upstream_host"]) == (404, "NR", None)
    assert line["response_code_details"] == "route_not_found"
    assert line["user_agent"] is line["upstream_cluster"] is line["upstream_service_time"] is None


TEXT = re.compile(
    rf'\[{STAMP}\] "(?P<method>\S+) (?P<path>\S+) (?P<protocol>\S+)" (?P<code>\d+) (?P<flags>\S+) (?P<details>\S+) '
    r'(?P<termination>\S+) "(?P<failure>\S+)" (?P<received>\d+) (?P<sent>\d+) (?P<duration>\d+) (?P<service>\d+|-) '
    r'"(?P<forwarded>[^"]*)" "(?P<agent>[^"]*)" "(?P<id>[^"]*)" "(?P<authority>[^"]*)" "(?P<host>[^"]*)" '
    r"(?P<cluster>\S+) (?P<upstream_local>\S+) (?P<local>\S+) (?P<remote>\S+) (?P<sni>\S+) (?P<route>\S+)"
)


def test_text_has_istios_order(start: Start) -> None:
    log = start("text")
    found = TEXT.fullmatch(log.ask("/named?q=1", user_agent="test 1", x_request_id="abc-1"))
    assert found is not None
    assert found.groupdict() | {"duration": "", "service": "", "remote": ""} == {
        "method": "GET",
        "path": "/named?q=1",
        "protocol": "HTTP/1.1",
        "code": "200",
        "flags": "-",
        "details": "via_upstream",
        "termination": "-",
        "failure": "-",
        "received": "0",
        "sent": "2",
        "duration": "",
        "service": "",
        "forwarded": "-",
        "agent": "test 1",
        "id": "abc-1",
        "authority": "product",
        "host": f"127.0.0.1:{log.upstream.port}",
        "cluster": CLUSTER,
        "upstream_local": "-",
        "local": f"127.0.0.1:{log.mesh.port}",
        "remote": "",
        "sni": "-",
        "route": "named-route",
    }
    missing = TEXT.fullmatch(log.ask("/unmatched"))
    assert missing is not None
    assert (missing["code"], missing["flags"], missing["host"], missing["cluster"]) == ("404", "NR", "-", "-")
    assert (missing["service"], missing["agent"], missing["route"]) == ("-", "-", "-")


def test_ecs_fields(start: Start) -> None:
    log = start("ecs")
    line = parsed(log.ask("/named/x?q=1", host="product:80", user_agent="test/1"))
    assert list(line)[:4] == ["@timestamp", "log.level", "message", "ecs.version"]
    expected = {
        "event.dataset": "fastmesh.access",
        "event.kind": "event",
        "event.category": ["web"],
        "event.type": ["access"],
        "event.outcome": "success",
        "http.request.method": "GET",
        "http.request.body.bytes": 0,
        "http.response.status_code": 200,
        "http.response.body.bytes": 2,
        "http.version": "1.1",
        "url.original": "/named/x?q=1",
        "url.path": "/named/x",
        "url.query": "q=1",
        "url.domain": "product",
        "url.scheme": "http",
        "user_agent.original": "test/1",
        "source.ip": "127.0.0.1",
        "client.ip": "127.0.0.1",
        "network.transport": "tcp",
        "service.name": "product",
    }
    assert {name: line[name] for name in expected} == expected
    assert line["labels"]["upstream_cluster"] == CLUSTER
    assert line["labels"]["route_name"] == "named-route"
    assert 0 < line["event.duration"] < 10_000_000_000
    assert parsed(log.ask("/unmatched"))["labels"]["response_flags"] == "NR"


# ---- hostile values


@pytest.mark.parametrize("form", ["json", "text", "ecs"])
@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_stay_in_their_place(start: Start, form: str, value: bytes) -> None:
    log = start(form)
    line = log.ask("/p", user_agent=value, x_forwarded_for=value)
    assert log.answer.status == 200
    assert line.isprintable()
    if form == "text":
        assert re.sub(r"\\.", "", line).count('"') == 14  # seven quoted values, whatever they hold
    else:
        name = "user_agent" if form == "json" else "user_agent.original"
        assert parsed(line)[name] == value.decode("latin-1")


@pytest.mark.parametrize("form", ["json", "text", "ecs"])
def test_hostile_path_and_long_values(start: Start, form: str) -> None:
    log = start(form)
    path = '/p"\\' * 1500
    line = log.ask(path + "?" + '"' * 6000, user_agent=b"\xff" * 10_000)
    assert log.answer.status == 200
    if form != "text":
        keys = {"json": ("path", "user_agent"), "ecs": ("url.original", "user_agent.original")}[form]
        found = parsed(line)
        assert found[keys[0]] == path + "?" + '"' * 6000
        assert found[keys[1]] == "\xff" * 10_000


@pytest.mark.parametrize("bad", [b"a\x01b", b"a\x00b", b"a\x7fb"])
def test_control_bytes_never_get_in(start: Start, bad: bytes) -> None:
    log = start("json")
    before = len(log.lines())
    assert log.mesh.ask("product", "/p", {"user-agent": bad}).status == 400
    eventually(lambda: len(log.lines()) > before)
    refused = parsed(log.lines()[before])
    assert (refused["response_code"], refused["response_flags"]) == (400, "DPE")
    assert refused["response_code_details"] == "control_in_value"
    assert refused["user_agent"] is None
    assert parsed(log.ask())["user_agent"] is None


# ---- the request's id, and tracing


def seen(log: Logged) -> dict[str, str]:
    return log.upstream.seen[-1]


def test_request_id_is_made(start: Start) -> None:
    log = start("json")
    ids = [parsed(log.ask())["request_id"] for _ in range(3)]
    assert len(set(ids)) == 3
    assert all(uuid.UUID(text).version == 4 and uuid.UUID(text).variant == uuid.RFC_4122 for text in ids)
    assert seen(log)["x-request-id"] == ids[-1]


@pytest.mark.parametrize("given", ["abc-1", "0" * 128, "Root=1-67891233-abcdef012345678912345678", "a/b+c=="])
def test_request_id_is_kept(start: Start, given: str) -> None:
    log = start("json")
    assert parsed(log.ask(x_request_id=given))["request_id"] == given
    assert seen(log)["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", 'a"b', "x" * 129, b"\xff", "a,b", "${jndi:x}"])
def test_request_id_that_is_unfit_is_replaced(start: Start, given: str | bytes) -> None:
    log = start("json")
    made = parsed(log.ask(x_request_id=given))["request_id"]
    assert uuid.UUID(made).version == 4
    assert seen(log)["x-request-id"] == made


def test_trace_headers_are_passed_on(start: Start) -> None:
    log = start("json")
    given = {
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "a=1,b=2",
        "baggage": "user=x",
        "b3": "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90",
        "x-b3-traceid": "80f198ee56343ba864fe8b2a57d3eff7",
        "x-b3-spanid": "e457b5a2e4d86bd1",
        "x-b3-parentspanid": "05e3ac9a4f6e3b90",
        "x-b3-sampled": "1",
        "x-b3-flags": "1",
        "x-ot-span-context": "y",
        "grpc-trace-bin": "AAA",
    }
    log.ask(**{name.replace("-", "_"): value for name, value in given.items()})
    assert {name: seen(log).get(name) for name in given} == given


# ---- the file


def test_lines_come_soon(start: Start) -> None:
    """Lines are gathered for a tenth of a second, whatever the clock's tick is when the first one comes."""
    log = start("json")
    for _ in range(10):
        began = time.monotonic()
        log.ask()
        assert time.monotonic() - began < 2


def test_rotation_loses_nothing(start: Start) -> None:
    log = start("json")
    log.ask()
    before = log.lines()
    rotated = log.file.with_name("access.log.1")
    log.file.rename(rotated)
    assert log.mesh.ask("product", "/p?unflushed").status == 200
    log.mesh.process.send_signal(signal.SIGUSR1)
    eventually(log.file.exists)

    def asked() -> bool:
        """Both workers have the new file once it gets a line of each."""
        log.mesh.ask("product", "/p?after")
        return len(log.lines()) >= 8

    eventually(asked)
    old, new = log.lines(rotated), log.lines()
    assert old[: len(before)] == before
    assert len([line for line in (*old, *new) if parsed(line)["path"] == "/p?unflushed"]) == 1
    eventually(
        lambda: len(log.lines()) + len(log.lines(rotated)) == scrape(log.mesh).sum("fastmesh_access_log_lines_total")
    )
    assert scrape(log.mesh).sum("fastmesh_access_log_dropped_lines_total") == 0
