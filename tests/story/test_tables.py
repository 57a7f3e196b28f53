"""The tables of tests/conformance with real sockets: Istio's VirtualServices, the Gateway API's conformance objects."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from tests.conformance.test_http_routes import INFRA, OBJECTS
from tests.conformance.test_http_routes import TABLE as ROUTES
from tests.conformance.test_virtual_service import TABLE as CASES
from tests.http2 import Http2, Reply
from tests.http2_endpoint import Asked, Endpoint
from tests.ports import free_port
from tests.running import Upstream
from tests.traffic import Answer, Client, Gate, Replica, Request, Story, ask, eventually, thing

PORTS = [{"name": "http", "port": 80}, {"name": "http-two", "port": 85}]
OWN = ("x-header-set", "x-header-add", "x-header-remove", "x-header-remove-1", "x-header-remove-2", "another-header")


def echo(request: Request) -> bytes | int:
    """With `?own` the answer has header fields for the proxy to change."""
    if request.target.endswith("?own"):
        fields = "".join(f"{name}: own\r\n" for name in OWN)
        return f"HTTP/1.1 200 Said\r\n{fields}content-length: 0\r\n\r\n".encode()
    return 200


@pytest.fixture(scope="module")
def apps() -> Iterator[dict[str, Replica]]:
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(Replica(name, echo)) for name in ("a", "b", "c", "v1", "v2", "v3")}


def request(port: int, row: dict[str, Any], target: str, host: str) -> Answer:
    """As the row has it, names of fields as they are written there."""
    fields = {"Host": host, **row.get("headers", {})}
    if "host" in fields:
        fields["Host"] = fields.pop("host")
    method = row.get("method", "GET")
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    with Client(port) as client:
        return client.exchange(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode(), method)


def seen_by(app: Replica, names: Any) -> dict[str, str | None]:
    """Values of repeated fields are joined with a comma and a blank by this side, with a comma by tables."""
    return {name: value and value.replace(", ", ",") for name in names for value in [app.last.headers.get(name)]}


# --- VirtualServices


@pytest.fixture(scope="module")
def mesh(apps: dict[str, Replica], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with Story(tmp_path_factory.mktemp("mesh"), services(apps)) as story:
        yield story


def services(apps: dict[str, Replica]) -> str:
    text = ""
    for name in "abc":
        text += thing("Service", name, {"selector": {"app": name}, "ports": PORTS}, "v1")
        ports = {port["name"]: apps[name].port for port in PORTS}
        text += thing("WorkloadEntry", name, {"address": "127.0.0.1", "ports": ports, "labels": {"app": name}})
    return text


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_virtual_service(case: dict[str, Any], mesh: Story, apps: dict[str, Replica]) -> None:
    spec = {"hosts": ["a"], "http": case["http"], **{key: case[key] for key in ("gateways",) if key in case}}
    mesh.reload(services(apps) + thing("VirtualService", "default", spec))
    for row in case["requests"]:
        if "client" in row:
            continue  # another client: see tests/conformance
        host, _, rest = row["url"].removeprefix("http://").partition("/")
        if row.get("port", 80) != 80 and ":" not in host:
            host += f":{row['port']}"
        check_virtual_service(row, mesh, apps, "/" + rest, host)


def check_virtual_service(row: dict[str, Any], mesh: Story, apps: dict[str, Replica], target: str, host: str) -> None:
    before = {name: len(app.seen) for name, app in apps.items()}
    answer = request(mesh.port, row, target, host)
    action = row.get("action", "redirect" if "location" in row else "route")
    if "status" in row or action != "route":
        assert answer.status == row.get("status", 404 if action == "none" else 301), row
        assert answer.headers.get("location") == row.get("location", answer.headers.get("location"))
        assert {name: len(app.seen) for name, app in apps.items()} == before
        return
    assert answer.status == 200, row
    app = apps[answer.text]
    if "cluster" in row:
        assert answer.text == row["cluster"].split("|")[3].partition(".")[0], row
    if "weights" in row:
        counts = collections.Counter(ask(mesh.port, target, host=host).text for _ in range(400))
        for name, share in row["weights"].items():
            assert abs(counts[name.split("|")[3].partition(".")[0]] / 400 - share) < 0.12, counts
        return
    if "path" in row:
        assert app.last.target == row["path"], row
    if "authority" in row and len(case_destinations(row)) == 0:
        assert app.last.headers["host"] == row["authority"], row
    if "request_headers" in row and "authority" not in row:
        assert seen_by(app, row["request_headers"]) == row["request_headers"], row


def case_destinations(row: dict[str, Any]) -> list[str]:
    """The other destinations of a rule whose answer tells of the heaviest one alone: a request may meet those."""
    return [name for name in row.get("request_headers", {}) if name.endswith("-green")]


# --- HTTPRoutes


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def gateway(apps: dict[str, Replica], port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    if not OBJECTS.is_dir():
        pytest.skip("the Gateway API's conformance objects are not here")
    flags = ("--bind", "127.0.0.1", "--map", f"80={port}", "--map", f"443={free_port()}", "--namespace", INFRA)
    flags += ("--labels", "gateway.networking.k8s.io/gateway-name=same-namespace")
    with Story(tmp_path_factory.mktemp("gateway"), objects(apps), *flags, role="gateway") as story:
        yield story


def objects(apps: Mapping[str, Upstream], *names: str, prefix: str = "infra-backend-") -> str:
    """The objects as they stand, but for the ports of the backends, which are ours."""
    found = []
    for name in ("base-manifests", *names):
        text = (OBJECTS / f"{name}.yaml").read_text().replace("{GATEWAY_CLASS_NAME}", "istio")
        for document in filter(None, yaml.safe_load_all(text)):
            version = document["metadata"]["name"].removeprefix(prefix)
            if document["kind"] == "Service" and version in apps:
                for one in document["spec"]["ports"]:
                    one["targetPort"] = apps[version].port
                entry = {"address": "127.0.0.1", "labels": {"app": prefix + version}}
                found.append(yaml.safe_load(thing("WorkloadEntry", version, entry, namespace=INFRA)))
            found.append(document)
    return yaml.safe_dump_all(found)


@pytest.mark.parametrize("name", [name for name in ROUTES if name != "httproute-timeout-request"])
def test_http_route(name: str, gateway: Story, apps: dict[str, Replica], port: int) -> None:
    gateway.reload(objects(apps, name))
    for row in ROUTES[name]:
        check_http_route(row, apps, port)


def check_http_route(row: dict[str, Any], apps: dict[str, Replica], port: int) -> None:
    copies = apps[row["mirrored"]].count(row["url"]) if "mirrored" in row else 0
    answer = request(port, row, row["url"], row.get("host", "gateway.example"))
    if "weights" in row:
        counts = collections.Counter(ask(port, row["url"], host="gateway.example").text for _ in range(500))
        for version, share in row["weights"].items():
            assert abs(counts[version] / 500 - share) < 0.1, counts
        return
    if "location" in row:
        assert (answer.status, answer.headers["location"]) == (row["status"], row["location"])
        return
    if isinstance(row["to"], int):
        assert answer.status == row["to"], row
        return
    assert answer.status == 200, row
    app = apps[row["to"]]
    if not row["url"].endswith("?own") and row.get("method") != "HEAD":
        assert answer.text == row["to"], row
    if "path" in row:
        assert app.last.target == row["path"], row
    if "authority" in row:
        assert app.last.headers["host"] == row["authority"], row
    if "sent" in row:
        assert seen_by(app, row["sent"]) == row["sent"], row
    if "answered" in row:
        assert {key: answer.headers.get(key) for key in row["answered"]} == row["answered"], row
    if "mirrored" in row:
        assert eventually(lambda: apps[row["mirrored"]].count(row["url"]) == copies + 1)


def answer_call(asked: Asked) -> None:
    asked.head(200, ("content-type", "application/grpc"), ("x-to", asked.path.rpartition("/")[2]))
    asked.data(b"\0\0\0\0\0")
    asked.finish(("grpc-status", "0"))


def test_grpc_route(gateway: Story, port: int) -> None:
    """grpcroute-exact-method-matching: Echo at v1, EchoTwo at v2, and nobody knows EchoThree."""
    with Endpoint(answer_call) as one, Endpoint(answer_call) as two, Http2(port) as client:
        backends = {"v1": one, "v2": two}
        gateway.reload(objects(backends, "grpcroute-exact-method-matching", prefix="grpc-infra-backend-"))

        def call(method: str) -> Reply:
            path = f"/gateway_api_conformance.echo_basic.grpcecho.GrpcEcho/{method}"
            return client.ask(path, "POST", b"\0\0\0\0\0", host="any.example", content_type="application/grpc")

        for method, backend in (("Echo", one), ("EchoTwo", two), ("Echo", one)):
            reply = call(method)
            assert (reply.status, reply.headers["x-to"], reply.trailers["grpc-status"]) == (200, method, "0")
            assert backend.seen[-1].path.endswith(f"/{method}")
        assert call("EchoThree").headers["grpc-status"] == "12", "UNIMPLEMENTED"
        assert (len(one.seen), len(two.seen)) == (2, 1)


def test_http_route_timeout(gateway: Story, apps: dict[str, Replica], port: int) -> None:
    """httproute-timeout-request: 500 ms for one path, none for the other."""
    gateway.reload(objects(apps, "httproute-timeout-request"))
    gate = Gate()
    apps["v1"].act, act = gate, apps["v1"].act
    try:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            ever = pool.submit(ask, port, "/disable-request-timeout", host="gateway.example")
            answer = ask(port, "/request-timeout", host="gateway.example")
            assert answer.status == 504
            assert 0.4 < answer.seconds < 3
            assert not ever.done()
            gate.opened.set()
            assert ever.result(10).status == 200
    finally:
        apps["v1"].act = act
