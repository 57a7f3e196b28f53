"""Istio's helloworld, httpbin, websockets, curl and tcp-echo, and Bookinfo's gateways: what their pages promise.

One mesh proxy and one gateway take one sample after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.story.samples import Edge, Named, near, shares, text, versions, workload
from tests.story.test_tcp_gateway import ask as ask_tcp
from tests.story.test_tcp_gateway import echoes, saying
from tests.traffic import (
    Gate,
    Replica,
    Story,
    ask,
    destination_rule,
    eventually,
    replicas,
    stats,
    thing,
    to,
    together,
    virtual_service,
)

HELLO = "helloworld/helloworld.yaml"
HTTPBIN = "httpbin/httpbin.yaml"
BOOKINFO = "bookinfo/platform/kube/bookinfo.yaml"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("gateway"), text(HELLO), 80, 8080, 31400) as story:
        yield story


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    flags = ("--labels", "app=curl", "--locality", "region1/zone1")
    with Story(tmp_path_factory.mktemp("mesh"), text(HELLO), *flags, workers=2) as story:
        yield story


@pytest.fixture(scope="module")
def hello() -> Iterator[str]:
    with versions("helloworld", "v1", "v2") as yaml:
        yield yaml


@pytest.fixture(scope="module")
def bookinfo() -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        apps = {"productpage": ("v1",), "reviews": ("v1", "v2", "v3"), "ratings": ("v1",)}
        yield "".join(stack.enter_context(versions(app, *names)) for app, names in apps.items())


# --- helloworld


@pytest.mark.parametrize("file", ["helloworld-gateway", "gateway-api/helloworld-gateway"])
def test_helloworld(file: str, gateway: Edge, hello: str) -> None:
    """Both versions answer to /hello, and nothing else is known."""
    gateway.reload(text(HELLO, f"helloworld/{file}.yaml", more=hello))
    assert set(shares(gateway.ports[80], "any.example", 200, "/hello")) == {"helloworld-v1", "helloworld-v2"}
    for path in ("/", "/hello/x", "/helloworld"):
        assert ask(gateway.ports[80], path, host="any.example").status == 404


def test_helloworld_by_versions(gateway: Edge, hello: str) -> None:
    """helloworld-route parts traffic 90 to 10 between the Services of helloworld-versions."""
    files = (f"helloworld/gateway-api/helloworld-{name}.yaml" for name in ("gateway", "versions", "route"))
    gateway.reload(text(HELLO, *files, more=hello))
    near(shares(gateway.ports[80], "any.example", 2000, "/hello"), {"helloworld-v1": 0.9, "helloworld-v2": 0.1})


def endpoint_slice(service: str, port: int, address: str, named: str = "http") -> str:
    kind = "IPv6" if ":" in address else "IPv4"
    whole = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{service}-{kind.lower()}", "labels": {"kubernetes.io/service-name": service}},
        "addressType": kind,
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": named, "port": port, "protocol": "TCP"}],
    }
    return "---\n" + json.dumps(whole) + "\n"


def test_helloworld_on_both_kinds_of_addresses(mesh: Story, gateway: Edge) -> None:
    """helloworld-dual-stack: Kubernetes gives such a Service one EndpointSlice for IPv4 and one for IPv6."""
    with Named("four") as four, Named("six", "::1") as six:
        more = endpoint_slice("helloworld", four.port, "127.0.0.1") + endpoint_slice("helloworld", six.port, "::1")
        files = ("helloworld/helloworld-dual-stack.yaml", "helloworld/helloworld-gateway.yaml")
        mesh.reload(text(*files, more=more))
        near(shares(mesh.port, "helloworld:5000", 1000), {"four": 0.5, "six": 0.5}, 8)
        gateway.reload(text(*files, more=more))
        assert set(shares(gateway.ports[80], "any.example", 200, "/hello")) == {"four", "six"}


PLACES = ("region1/zone1", "region1/zone2", "region2/zone3", "region3/zone4")
# The page's, but for the last: there Kubernetes takes endpoints away that are not ready, and none needs to be ejected.
DETECTION = {"consecutive5xxErrors": 1, "interval": "1s", "baseEjectionTime": "1m", "maxEjectionPercent": 100}


def located(policy: dict[str, Any], places: list[Named]) -> str:
    """helloworld in four places, as in https://istio.io/latest/docs/tasks/traffic-management/locality-load-balancing/."""
    more = "".join(
        workload(f"at-{number}", named.port, {"app": "helloworld", "version": "v1"}, locality=named.name)
        for number, named in enumerate(places)
    )
    return text(HELLO, more=more + destination_rule("helloworld", policy))


def locality(**setting: Any) -> dict[str, Any]:
    return {"loadBalancer": {"simple": "ROUND_ROBIN", "localityLbSetting": {"enabled": True, **setting}}}


def test_helloworld_is_distributed_and_fails_over(mesh: Story) -> None:
    with contextlib.ExitStack() as stack:
        places = [stack.enter_context(Named(place)) for place in PLACES]
        parts = {"region1/zone1/*": 70, "region1/zone2/*": 20, "region3/zone4/*": 10}
        policy = locality(distribute=[{"from": "region1/zone1/*", "to": parts}])
        mesh.reload(located({**policy, "outlierDetection": DETECTION}, places))
        near(
            shares(mesh.port, "helloworld:5000"),
            {"region1/zone1": 0.7, "region1/zone2": 0.2, "region3/zone4": 0.1},
        )
        policy = locality(failover=[{"from": "region1", "to": "region2"}])
        policy["connectionPool"] = {"http": {"maxRequestsPerConnection": 1}}
        mesh.reload(located({**policy, "outlierDetection": DETECTION}, places))
        for place in places:
            assert shares(mesh.port, "helloworld:5000", 200) == {place.name: 1.0}
            place.leave()
            if place is not places[-1]:
                shares(mesh.port, "helloworld:5000", 200)  # each gets 200: who meets it is tried again elsewhere


# --- httpbin, curl and fortio


@pytest.mark.parametrize("file", ["httpbin-gateway", "gateway-api/httpbin-gateway"])
def test_httpbin(file: str, gateway: Edge) -> None:
    """Everything goes to httpbin, as it was asked."""
    with replicas("httpbin") as (app,):
        gateway.reload(text(HTTPBIN, f"httpbin/{file}.yaml", more=workload("httpbin", app.port, {"app": "httpbin"})))
        for path in ("/", "/status/200", "/headers?x=y"):
            answer = ask(gateway.ports[80], path, host="httpbin.example.com")
            assert (answer.status, answer.text) == (200, "httpbin")
            assert (app.last.target, app.last.headers["host"]) == (path, "httpbin.example.com")


def test_httpbin_on_a_port_of_a_node(mesh: Story) -> None:
    """httpbin-nodeport: the same Service, with a port that only Kubernetes opens; the mesh finds it by its name."""
    with versions("httpbin", "v1") as more:
        mesh.reload(text("httpbin/httpbin-nodeport.yaml", more=more))
        assert ask(mesh.port, "/get", host="httpbin:8000").text == "<httpbin-v1>"


def test_curl_calls_httpbin(mesh: Story) -> None:
    """The page's `kubectl exec deploy/curl -- curl http://httpbin:8000/headers`, by the program itself."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    with replicas("httpbin") as (app,):
        mesh.reload(text(HTTPBIN, "curl/curl.yaml", more=workload("httpbin", app.port, {"app": "httpbin"})))
        command = [program, "-sS", "-x", f"http://127.0.0.1:{mesh.port}", "http://httpbin:8000/headers"]
        assert subprocess.run(command, check=True, capture_output=True, timeout=20).stdout == b"httpbin"
        assert app.last.headers["user-agent"].startswith("curl/")
    assert ask(mesh.port, host="curl").status == 503, "a client alone has no endpoint"


CIRCUIT = {
    "connectionPool": {
        "tcp": {"maxConnections": 1},
        "http": {"http1MaxPendingRequests": 1, "maxRequestsPerConnection": 1},
    },
    "outlierDetection": {
        "consecutive5xxErrors": 1,
        "interval": "1s",
        "baseEjectionTime": "3m",
        "maxEjectionPercent": 100,
    },
}


def test_fortio_trips_the_circuit_breaker(mesh: Story) -> None:
    """https://istio.io/latest/docs/tasks/traffic-management/circuit-breaking/: three at a time are one too many."""
    gate = Gate()
    with replicas("httpbin", act=gate) as (app,), ThreadPoolExecutor(2) as threads:
        more = workload("httpbin", app.port, {"app": "httpbin"}) + destination_rule("httpbin", CIRCUIT)
        mesh.reload(text(HTTPBIN, "httpbin/sample-client/fortio-deploy.yaml", more=more))
        overflow = "cluster.outbound.8000..httpbin.default.svc.cluster.local.upstream_rq_pending_overflow$"
        before = sum(stats(mesh.proxy, overflow).values())
        eventually(lambda: sum(mesh.stats("8000..httpbin.*upstream_cx_active").values()) == 0)  # of earlier tests
        served = [threads.submit(ask, mesh.port, "/get", host="httpbin:8000")]
        eventually(lambda: gate.held == 1)  # until it has its connection it is the one that may wait
        served.append(threads.submit(ask, mesh.port, "/get", host="httpbin:8000"))
        eventually(lambda: sum(mesh.stats("8000..httpbin.*pending_active").values()) == 1)
        for _ in range(10):
            answer, line = mesh.ask("/get", host="httpbin:8000")
            assert (answer.status, line["response_flags"]) == (503, "UO")
        assert sum(stats(mesh.proxy, overflow).values()) == before + 10
        gate.opened.set()
        assert [one.result(10).status for one in served] == [200, 200]
        assert (len(app.seen), app.accepted) == (2, 2)  # one request a connection


def test_httpbin_is_mirrored(mesh: Story) -> None:
    """https://istio.io/latest/docs/tasks/traffic-management/mirroring/: v1 answers, v2 gets a copy of each request."""
    with Replica("v1") as one, Replica("v2") as two:
        more = "".join(
            workload(f"httpbin-{each.name}", each.port, {"app": "httpbin", "version": each.name}) for each in (one, two)
        )
        more += destination_rule("httpbin", None, "v1", "v2")
        rule = {
            "route": [{**to("httpbin", "v1")[0], "weight": 100}],
            "mirror": {"host": "httpbin", "subset": "v2"},
            "mirrorPercentage": {"value": 100.0},
        }
        mesh.reload(text(HTTPBIN, "curl/curl.yaml", more=more + virtual_service("httpbin", rule)))
        for number in range(20):
            assert ask(mesh.port, f"/headers?{number}", host="httpbin:8000").text == "v1"
        eventually(lambda: two.count("/headers") == 20)
        assert {each.target for each in two.seen} == {each.target for each in one.seen}


# --- websockets


def test_websockets(gateway: Edge) -> None:
    """The tornado application behind the gateway: 101, and then each message comes back."""
    pytest.importorskip("websockets", reason="the package websockets is not installed")
    from tests.story.test_websocket import Server, connect

    async def talk() -> None:
        where = {"host": "127.0.0.1", "port": gateway.ports[80]}
        async with connect("ws://any.example/ws", **where) as connection:
            for number in range(50):
                await connection.send(f"message {number}")
                assert await connection.recv() == f"message {number}"

    with Server() as server:
        more = workload("tornado", server.port, {"app": "tornado", "version": "v1"})
        gateway.reload(text("websockets/app.yaml", "websockets/route.yaml", more=more))
        asyncio.run(asyncio.wait_for(talk(), 30))
    (line,) = eventually(lambda: [line for line in gateway.lines() if line["path"] == "/ws"])
    assert (line["response_code"], line["upstream_cluster"].split("|")[3]) == (101, "tornado.default.svc.cluster.local")


# --- tcp-echo


def of_tcp(*names: str) -> list[str]:
    return [f"tcp-echo/{name}.yaml" for name in names]


def tcp_shares(gateway: Edge, connections: int = 600) -> dict[str, float]:
    counts = Counter(ask_tcp(gateway.ports[31400]) for _ in range(connections))
    return {answer.decode(): count / connections for answer, count in counts.items()}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["tcp-echo-services", "tcp-echo-all-v1"], ["tcp-echo-20-v2"]),
        (["tcp-echo-services", "gateway-api/tcp-echo-all-v1"], ["gateway-api/tcp-echo-20-v2"]),
    ],
)
def test_tcp_traffic_is_shifted(first: list[str], second: list[str], gateway: Edge) -> None:
    """The task "TCP traffic shifting": all connections to v1, then four of five."""
    with echoes() as more:
        gateway.reload(text(*of_tcp(*first), more=more))
        assert tcp_shares(gateway, 50) == {"one hello\n": 1.0}
        gateway.reload(text(*of_tcp(*first, *second), more=more))
        near(tcp_shares(gateway), {"one hello\n": 0.8, "two hello\n": 0.2}, 7)


@pytest.mark.parametrize(
    ("file", "addresses"),
    [
        ("tcp-echo", ["127.0.0.1"]),
        ("tcp-echo-ipv4", ["127.0.0.1"]),
        ("tcp-echo-ipv6", ["::1"]),
        ("tcp-echo-dual-stack", ["::1", "127.0.0.1"]),
    ],
)
def test_tcp_echo(file: str, addresses: list[str], gateway: Edge) -> None:
    """`hello` comes back with a word before it, from each address that the Service has."""
    with contextlib.ExitStack() as stack:
        more = ""
        for address in addresses:
            word = f"hello-{address}".encode()
            more += tcp_workload(stack.enter_context(Echo(word, address)), address)
        gateway.reload(text(*of_tcp(file, "tcp-echo-all-v1"), more=more))
        assert set(tcp_shares(gateway, 60)) == {f"hello-{address} hello\n" for address in addresses}


class Echo(Named):
    def __init__(self, word: bytes, address: str) -> None:
        super().__init__("echo", address)
        self.handle = saying(word)


def tcp_workload(echo: Echo, address: str) -> str:
    labels = {"app": "tcp-echo", "version": "v1"}
    return workload(f"echo-{'six' if ':' in address else 'four'}", echo.port, labels, "tcp", address=address)


# --- Bookinfo's gateways, and both APIs side by side


@pytest.mark.parametrize(("folder", "number"), [("networking", 8080), ("gateway-api", 80)])
def test_bookinfos_gateway(folder: str, number: int, gateway: Edge, bookinfo: str) -> None:
    gateway.reload(text(BOOKINFO, f"bookinfo/{folder}/bookinfo-gateway.yaml", more=bookinfo))
    check_bookinfo(gateway.ports[number])


def check_bookinfo(port: int) -> None:
    for path in ("/productpage", "/static/bootstrap.css", "/login", "/logout", "/api/v1/products/0"):
        answer = ask(port, path, host="bookinfo.example.com")
        assert (answer.status, answer.text) == (200, "<productpage-v1>"), path
    for path in ("/nope", "/productpage/x", "/"):
        assert ask(port, path, host="bookinfo.example.com").status == 404, path


def test_certificates_are_asked_for(gateway: Edge) -> None:
    """certmanager-gateway: what an ACME server asks goes to the resolver in the Gateway's namespace, nothing else."""
    with Named("resolver") as resolver:
        spec = {"selector": {"app": "resolver"}, "ports": [{"name": "http", "port": 8089}]}
        more = thing("Service", "cert-manager-resolver", spec, "v1", namespace="istio-system")
        entry = {"address": "127.0.0.1", "ports": {"http": resolver.port}, "labels": {"app": "resolver"}}
        more += thing("WorkloadEntry", "resolver", entry, namespace="istio-system")
        gateway.reload(text("bookinfo/networking/certmanager-gateway.yaml", more=more))
        assert ask(gateway.ports[80], "/.well-known/acme-challenge/abc", host="a.example").text == "<resolver>"
        for path in ("/", "/.well-known/acme-challenge"):
            assert ask(gateway.ports[80], path, host="a.example").status == 404


def versions_as_services() -> str:
    """A service for each version: HTTPRoutes know no subsets."""
    yaml = ""
    for version in ("v1", "v2", "v3"):
        spec = {"selector": {"app": "reviews", "version": version}, "ports": [{"name": "http", "port": 9080}]}
        yaml += thing("Service", f"reviews-{version}", spec, "v1")
    return yaml


def test_both_apis_side_by_side(mesh: Story, gateway: Edge, bookinfo: str) -> None:
    """One set of files, and each proxy follows both: the gateway on two ports, the mesh for two services."""
    files = [BOOKINFO, "bookinfo/networking/bookinfo-gateway.yaml", "bookinfo/gateway-api/bookinfo-gateway.yaml"]
    files += ["bookinfo/networking/destination-rule-all.yaml", "bookinfo/gateway-api/route-reviews-50-v3.yaml"]
    files += ["bookinfo/networking/virtual-service-ratings-test-abort.yaml"]
    yaml = text(*files, more=versions_as_services() + bookinfo)
    together([lambda: gateway.reload(yaml), lambda: mesh.reload(yaml)])
    check_bookinfo(gateway.ports[8080])
    check_bookinfo(gateway.ports[80])
    near(shares(mesh.port, "reviews:9080"), {"reviews-v1": 0.5, "reviews-v3": 0.5})
    answer, line = mesh.ask("/ratings/0", host="ratings:9080", end_user="jason")
    assert (answer.status, line["response_flags"]) == (500, "FI")
    assert ask(mesh.port, "/ratings/0", host="ratings:9080").text == "<ratings-v1>"
