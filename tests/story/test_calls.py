"""gRPC calls as HTTP/1 carries them: counted, timed, retried and refused as Istio's YAML asks and as a gRPC client
reads it.
"""

from __future__ import annotations

import re
import socket
import time
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.ports import free_port
from tests.traffic import (
    Action,
    Broken,
    Client,
    Replica,
    Request,
    Script,
    Story,
    ask,
    destination_rule,
    eventually,
    prefix,
    rate_limit,
    read_fields,
    replicas,
    replicas_of,
    stats,
    thing,
    to,
    virtual_service,
    whole,
    whole_line,
)


def frame(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"


def served(*messages: bytes, status: int = 0) -> bytes:
    """What a gRPC server answers: a head, messages, the status in the trailers."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + chunked(*map(frame, messages), trailers=b"grpc-status: %d\r\ngrpc-message: said\r\n" % status)


def at_once(status: int, extra: bytes = b"") -> bytes:
    """The form without messages: the status in the head."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\ngrpc-status: %d\r\n%s\r\n" % (
        status,
        extra,
    )


class Outcome(NamedTuple):
    http: int
    headers: dict[str, str]
    body: bytes
    trailers: dict[str, str]
    seconds: float

    @property
    def status(self) -> int:
        return int((self.headers if "grpc-status" in self.headers else self.trailers)["grpc-status"])

    @property
    def message(self) -> str:
        return (self.headers if "grpc-status" in self.headers else self.trailers).get("grpc-message", "")


class Calls(NamedTuple):
    story: Story
    replicas: list[Replica]
    script: Script

    def call(self, path: str, *messages: bytes, host: str = "app", **headers: str) -> tuple[Outcome, dict[str, Any]]:
        """One call and its line in the log."""
        headers = {"content_type": "application/grpc", "te": "trailers", **headers}
        request_id = str(uuid.uuid4())
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nx-request-id: {request_id}\r\nTransfer-Encoding: chunked\r\n"
        head += "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        began = time.monotonic()
        with Client(self.story.port) as client:
            client.connect().sendall(head.encode() + b"\r\n" + chunked(*map(frame, messages)))
            answer = read_call(client.stream, began)
        return answer, self.story.line(request_id)

    def tries(self, path: str) -> list[Request]:
        return [request for replica in self.replicas for request in replica.seen if request.path == path]


def read_call(stream: Any, began: float) -> Outcome:
    http = int(whole_line(stream).split(b" ")[1])
    headers = read_fields(stream)
    body, trailers = b"", {}
    if "transfer-encoding" in headers:
        while size := int(whole_line(stream), 16):
            body += whole(stream, size)
            whole(stream, 2)
        trailers = read_fields(stream)
    else:
        body = whole(stream, int(headers["content-length"]))
    return Outcome(http, headers, body, trailers, time.monotonic() - began)


def rule(path: str, on: str = "", **more: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {"match": prefix(path), **more}
    if on:
        whole["retries"] = {"attempts": 2, "retryOn": on, "backoff": "1ms"}
    return whole


def abort(**how: Any) -> dict[str, Any]:
    return {"abort": {"percentage": {"value": 100}, **how}}


CONDITIONS = {"cancelled": 1, "deadline-exceeded": 4, "resource-exhausted": 8, "internal": 13, "unavailable": 14}
RULES = [
    *[rule(f"/retry/{name}", name) for name in CONDITIONS],
    rule("/retry/ratelimited", "envoy-ratelimited,unavailable"),
    rule("/retry/5xx", "5xx"),
    rule("/none", retries={"attempts": 0}),
    rule("/aborted/http", fault=abort(httpStatus=503)),
    rule("/aborted/grpc", fault=abort(grpcStatus="RESOURCE_EXHAUSTED")),
    rule("/direct/200", directResponse={"status": 200, "body": {"string": "hello"}}),
    rule("/direct/403", directResponse={"status": 403, "body": {"string": "not % you"}}),
    rule("/moved", redirect={"uri": "/elsewhere"}),
    rule("/timed", timeout="300ms", retries={"attempts": 0}),
    rule("/tried", retries={"attempts": 1, "perTryTimeout": "100ms", "retryOn": "5xx", "backoff": "1ms"}, timeout="2s"),
    {},
]


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    script = Script()
    with replicas("a", "b", act=script) as made:
        ports = [replica.port for replica in made]
        yaml = replicas_of("app", *ports) + virtual_service("app", *RULES)
        yaml += replicas_of("gone", free_port()) + replicas_of("empty")
        yaml += virtual_service("lost", {"route": to("nowhere")}) + thing("Service", "lost", SERVICE, "v1")
        yaml += replicas_of("few", ports[0]) + rate_limit("few", FEW)
        for name in ("trailers", "head"):
            yaml += replicas_of(name, *ports) + destination_rule(name, OUTLIER)
            yaml += virtual_service(name, rule("/", retries={"attempts": 0}))
        yaml += replicas_of("closed") + virtual_service("closed", {"match": prefix("/only"), "route": to("app")})
        with Story(tmp_path_factory.mktemp("calls"), yaml) as story:
            yield Calls(story, made, script)


SERVICE = {"selector": {"app": "lost"}, "ports": [{"name": "http", "port": 80}]}
FEW = {"targetRef": {"kind": "Service", "name": "few"}, "limits": [{"requests": 1, "per": "hour"}]}
OUTLIER = {"outlierDetection": {"consecutive5xxErrors": 3, "baseEjectionTime": "60s", "maxEjectionPercent": 100}}


# --- what is seen of a call -------------------------------------------------------------------------------------------


def test_a_call_is_passed_on_and_counted(calls: Calls) -> None:
    path = calls.script.say("/shop.Stock/Watch", served(b"1", b"", b"x" * 70_000))
    answer, line = calls.call(path, b"a", b"b" * 300)
    assert (answer.http, answer.status, answer.message) == (200, 0, "said")
    assert answer.body == frame(b"1") + frame(b"") + frame(b"x" * 70_000)
    [request] = calls.tries(path)
    assert request.body == frame(b"a") + frame(b"b" * 300)
    assert (request.headers["content-type"], request.headers["te"]) == ("application/grpc", "trailers")
    assert (line["response_code"], line["grpc_status"], line["response_flags"]) == (200, 0, "-")
    assert sample(calls, "istio_requests_total", 0) >= 1
    assert sample(calls, "istio_request_messages_total", 0) == 2
    assert sample(calls, "istio_response_messages_total", 0) == 3


def sample(calls: Calls, name: str, grpc: int, service: str = "app") -> float:
    """The sum of a metric over the series of calls that ended with a status."""
    wanted = ('request_protocol="grpc"', f'grpc_response_status="{grpc}"', f'destination_service_name="{service}"')
    lines = calls.story.proxy.get("/stats/prometheus")[1].splitlines()
    found = [line for line in lines if line.startswith(name + "{") and all(label in line for label in wanted)]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def test_requests_that_are_no_calls_have_no_messages(calls: Calls) -> None:
    for content_type in ("application/json", "application/grpc-web+proto"):
        answer, line = calls.call("/plain", b"x", content_type=content_type)
        assert answer.http == 200
        assert "grpc_status" not in line
    text = calls.story.proxy.get("/stats/prometheus")[1]
    assert not re.search(r'istio_re\w+_messages_total\{[^}]*request_protocol="http"', text)
    plain = r'istio_requests_total\{[^}]*request_protocol="http",response_code="200",grpc_response_status="",'
    assert re.search(plain, text)


@pytest.mark.parametrize("status", [0, 1, 5, 13, 14, 16])
def test_the_status_of_the_trailers_is_reported(calls: Calls, status: int) -> None:
    before = sample(calls, "istio_requests_total", status)
    answer, line = calls.call(calls.script.say(f"/none/trailers/{status}", served(b"1", status=status)), b"q")
    assert (answer.http, answer.status, line["grpc_status"]) == (200, status, status)
    assert sample(calls, "istio_requests_total", status) == before + 1


@pytest.mark.parametrize(("said", "wanted"), [(b"99", 2), (b"x", 2), (b"-1", 2), (b"07", 2)])
def test_a_status_that_is_none_is_unknown(calls: Calls, said: bytes, wanted: int) -> None:
    raw = at_once(0).replace(b"grpc-status: 0", b"grpc-status: " + said)
    _, line = calls.call(calls.script.say("/none/odd", raw), b"q")
    assert line["grpc_status"] == wanted


@pytest.mark.parametrize(("http", "wanted"), [(404, 12), (500, 2), (503, 14), (401, 16)])
def test_an_answer_without_a_status_counts_as_its_http_status(calls: Calls, http: int, wanted: int) -> None:
    answer, line = calls.call(calls.script.say("/none/http", http), b"q")
    assert answer.http == http
    assert "grpc-status" not in answer.headers, "what the endpoint said is passed on as it is"
    assert line["grpc_status"] == wanted


# --- answers of the proxy ---------------------------------------------------------------------------------------------

REFUSED = "upstream connect error or disconnect/reset before headers. reset reason: connection failure"


@pytest.mark.parametrize(
    ("host", "path", "status", "message", "flags"),
    [
        ("closed", "/other", 12, "", "NR"),
        ("gone", "/", 14, REFUSED, "UF,URX"),
        ("empty", "/", 14, "no healthy upstream", "UH"),
        ("lost", "/", 14, "", "NC"),
        ("app", "/aborted/http", 14, "fault filter abort", "FI"),
        ("app", "/aborted/grpc", 8, "fault filter abort", "FI"),
        ("app", "/direct/200", 2, "hello", "-"),
        ("app", "/direct/403", 7, "not %25 you", "-"),
        ("app", "/moved", 2, "", "-"),
        ("app", "/a%00", 13, "", "-"),
    ],
)
def test_answers_of_the_proxy(calls: Calls, host: str, path: str, status: int, message: str, flags: str) -> None:
    answer, line = calls.call(path, b"q", host=host)
    assert (answer.http, answer.status, answer.message) == (200, status, message)
    assert answer.headers["content-type"] == "application/grpc"
    assert answer.body == b""
    assert (line["response_code"], line["grpc_status"], line["response_flags"]) == (200, status, flags)
    if path == "/moved":
        assert answer.headers["location"] == "http://app/elsewhere"


def test_other_clients_get_the_other_form(calls: Calls) -> None:
    aborted = ask(calls.story.port, "/aborted/grpc", "POST", body=b"x")
    assert (aborted.status, aborted.text) == (200, "fault filter abort")
    assert "grpc-status" not in aborted.headers
    direct = ask(calls.story.port, "/direct/403", "POST", body=b"x")
    assert (direct.status, direct.text) == (403, "not % you")


def test_a_rate_limit(calls: Calls) -> None:
    calls.script.say("/limited", served(b"1"), forever=True)
    first, _ = calls.call("/limited", b"q", host="few")
    second, line = calls.call("/limited", b"q", host="few")
    assert (first.status, second.status, second.http) == (0, 14, 200)
    assert line["response_flags"] == "RL"


def test_counters_of_the_cluster_know_the_failure(calls: Calls) -> None:
    """Its clients were told 200."""
    before = stats(calls.story.proxy, "gone.*rq_(2|5)xx$")
    calls.call("/", b"q", host="gone")
    after = stats(calls.story.proxy, "gone.*rq_(2|5)xx$")
    assert sum(after.values()) == sum(before.values()) + 1
    assert sum(value for name, value in after.items() if name.endswith("2xx")) == 0


# --- time -------------------------------------------------------------------------------------------------------------


def late(seconds: float, path: str, calls: Calls, action: Action) -> None:
    def act(request: Request) -> Action:
        if request.path == path:
            time.sleep(seconds)
            return action
        return calls.script(request)

    for replica in calls.replicas:
        replica.act = act


@pytest.mark.parametrize(
    ("path", "timeout", "status", "least", "most"),
    [
        ("/none/deadline", "150m", 4, 0.13, 0.4),
        ("/timed/shorter", "100m", 4, 0.08, 0.29),
        ("/timed/longer", "10S", 14, 0.28, 0.6),
        ("/timed/odd", "10Q", 14, 0.28, 0.6),
    ],
)
@pytest.mark.quiet
def test_the_smaller_time_wins(calls: Calls, path: str, timeout: str, status: int, least: float, most: float) -> None:
    late(0.8, path, calls, served(b"1"))
    answer, line = calls.call(path, b"q", grpc_timeout=timeout)
    assert (answer.http, answer.status, answer.message) == (200, status, "upstream request timeout")
    assert least < answer.seconds < most
    assert (line["response_flags"], line["grpc_status"]) == ("UT", status)


@pytest.mark.parametrize(
    ("path", "timeout", "least", "most"),
    [
        ("/none/told", "5S", 4_900, 5_000),
        ("/none/long", "2H", 7_199_000, 7_200_000),
        ("/timed/told", "5S", 250, 300),
        ("/timed/small", "200m", 150, 200),
        ("/tried/told", "1H", 1_950, 2_000),
    ],
)
@pytest.mark.quiet
def test_the_endpoint_is_told_what_is_left(calls: Calls, path: str, timeout: str, least: int, most: int) -> None:
    calls.call(calls.script.say(path, served(b"1")), b"q", grpc_timeout=timeout)
    [request] = calls.tries(path)
    told = request.headers["grpc-timeout"]
    assert told.endswith("m")
    assert least <= int(told[:-1]) <= most


@pytest.mark.quiet
def test_the_rules_time_is_told_without_a_deadline(calls: Calls) -> None:
    calls.call(calls.script.say("/timed/no", served(b"1")), b"q")
    assert 250 <= int(calls.tries("/timed/no")[0].headers["grpc-timeout"].removesuffix("m")) <= 300
    calls.call(calls.script.say("/none/no", served(b"1")), b"q")
    assert "grpc-timeout" not in calls.tries("/none/no")[0].headers
    calls.call(calls.script.say("/none/odd/time", served(b"1")), b"q", grpc_timeout="1day")
    assert calls.tries("/none/odd/time")[0].headers["grpc-timeout"] == "1day"


@pytest.mark.quiet
def test_a_retry_is_told_less(calls: Calls) -> None:
    path = "/retry/unavailable/told"
    first = iter([True])

    def act(request: Request) -> Action:
        if request.path != path:
            return calls.script(request)
        if next(first, False):
            time.sleep(0.2)
            return at_once(14)
        return served(b"1")

    for replica in calls.replicas:
        replica.act = act
    answer, _ = calls.call(path, b"q", grpc_timeout="2S")
    assert answer.status == 0
    told = sorted(int(request.headers["grpc-timeout"].removesuffix("m")) for request in calls.tries(path))
    assert 1_950 <= told[1] <= 2_000
    assert 1_600 <= told[0] <= 1_800


@pytest.mark.quiet
def test_a_deadline_behind_messages_ends_with_its_status(calls: Calls) -> None:
    """Not with a cut: a client that meets that first would call it an error of the proxy."""

    def act(request: Request) -> Action:
        if request.path != "/none/behind":
            return calls.script(request)
        request.connection.sendall(served(b"1").partition(b"0\r\ngrpc-status")[0])
        time.sleep(0.6)
        return None

    for replica in calls.replicas:
        replica.act = act
    answer, line = calls.call("/none/behind", b"q", grpc_timeout="200m")
    assert (answer.http, answer.body, answer.status) == (200, frame(b"1"), 4)
    assert answer.message == "upstream request timeout"
    assert (line["response_flags"], line["grpc_status"]) == ("UT", 4)
    assert answer.seconds < 0.5


# --- retries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONDITIONS)
def test_retry_conditions(calls: Calls, name: str) -> None:
    for status in (1, 2, 3, 4, 8, 13, 14, 16):
        path = calls.script.say(f"/retry/{name}/{status}", at_once(status), served(b"1"))
        answer, line = calls.call(path, b"q")
        retried = status == CONDITIONS[name]
        assert (answer.status, len(calls.tries(path))) == ((0, 2) if retried else (status, 1)), status
        assert line["response_flags"] == "-"
        assert all(request.body == frame(b"q") for request in calls.tries(path))


def test_retries_end_with_the_last_answer(calls: Calls) -> None:
    path = calls.script.say("/retry/unavailable/ever", at_once(14), forever=True)
    answer, line = calls.call(path, b"q")
    assert (answer.status, len(calls.tries(path)), line["response_flags"]) == (14, 3, "URX")


def test_a_status_behind_messages_is_not_retried(calls: Calls) -> None:
    path = calls.script.say("/retry/unavailable/behind", served(b"1", status=14), served(b"1"))
    answer, _ = calls.call(path, b"q")
    assert (answer.status, len(calls.tries(path))) == (14, 1)


def test_unavailable_is_retried_by_default_and_5xx_looks_at_http(calls: Calls) -> None:
    path = calls.script.say("/default", at_once(14), served(b"1"))
    assert calls.call(path, b"q")[0].status == 0
    path = calls.script.say("/retry/5xx/grpc", at_once(13), served(b"1"))
    assert calls.call(path, b"q")[0].status == 13


def test_conditions_of_calls_are_for_calls(calls: Calls) -> None:
    path = calls.script.say("/retry/unavailable/plain", at_once(14), 200)
    answer, _ = calls.call(path, b"q", content_type="text/plain")
    assert (answer.http, len(calls.tries(path))) == (200, 1)


def test_somebody_elses_rate_limit(calls: Calls) -> None:
    """x-envoy-ratelimited alone decides: retried when that is asked for, else never."""
    limited = at_once(14, b"x-envoy-ratelimited: true\r\n")
    path = calls.script.say("/retry/ratelimited/yes", limited, served(b"1"))
    assert (calls.call(path, b"q")[0].status, len(calls.tries(path))) == (0, 2)
    path = calls.script.say("/retry/unavailable/limited", limited, served(b"1"))
    assert (calls.call(path, b"q")[0].status, len(calls.tries(path))) == (14, 1)


# --- outlier detection ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["trailers", "head"])
def test_statuses_eject(calls: Calls, how: str) -> None:
    """UNAVAILABLE is a 503, NOT_FOUND no error at all."""
    for replica in calls.replicas:
        replica.act = lambda request: served(b"1", status=5) if how == "trailers" else at_once(5)
    for _ in range(8):
        assert calls.call("/x", b"q", host=how)[0].status == 5
    for replica in calls.replicas:
        replica.act = lambda request: served(b"1", status=14) if how == "trailers" else at_once(14)
    for number in range(30):
        answer, line = calls.call(f"/{how}/{number}", b"q", host=how)
        assert answer.status == 14
        if line["response_flags"] == "UH":
            break
    assert line["response_flags"] == "UH", "both replicas are ejected after three calls each"
    assert number == 6


def test_a_cut_answer_is_unknown(calls: Calls) -> None:
    raw = served(b"1").partition(b"0\r\ngrpc-status")[0]
    for replica in calls.replicas:
        replica.act = lambda request: cut(request, raw)
    with pytest.raises((Broken, ConnectionError, ValueError)):
        calls.call("/none/cut", b"q")
    line = eventually(lambda: next(iter(calls.story.lines("/none/cut")), None))
    assert line is not None
    assert (line["response_flags"], line["grpc_status"]) == ("UC", 2)


def cut(request: Request, raw: bytes) -> Action:
    request.connection.sendall(raw)
    request.connection.shutdown(socket.SHUT_RDWR)
    return None
