"""HealthCheck with real endpoints: who fails is left out by all workers, who passes comes back, and one worker asks."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

from tests.http2_endpoint import Asked, Endpoint
from tests.ports import free_port
from tests.running import Upstream
from tests.tls.material import CA, named, roots_pem
from tests.tls.upstream import Endpoint as TLSEndpoint
from tests.tls.upstream import server_context
from tests.traffic import (
    Action,
    Request,
    Story,
    ask,
    destination_rule,
    eventually,
    replicas,
    replicas_of,
    thing,
)

OFTEN = {"interval": "30ms", "jitter": "5ms", "timeout": "500ms", "unhealthyThreshold": 2, "healthyThreshold": 2}
HOST = "app.default.svc.cluster.local"


def health_check(host: str = "app", **spec: Any) -> str:
    spec = {"host": host, **OFTEN, **({} if {"tcp", "grpc"} & set(spec) else {"http": {"path": "/healthz"}}), **spec}
    return thing("HealthCheck", host, spec, "fastmesh.io/v1alpha1")


class Patient:
    """Well until told otherwise; requests other than checks are always answered."""

    def __init__(self) -> None:
        self.status: Action = 200

    def __call__(self, request: Request) -> Action:
        return self.status if request.path == "/healthz" else 200


def healthy(story: Story) -> int:
    return next(iter(story.stats("health_check.healthy").values()))


def served(story: Story, times: int = 12) -> collections.Counter[str]:
    return collections.Counter(ask(story.proxy).text for _ in range(times))


def mesh(*ports: int, **spec: Any) -> str:
    return (
        replicas_of("app", *ports)
        + destination_rule("app", {"loadBalancer": {"simple": "ROUND_ROBIN"}})
        + health_check("app", **spec)
    )


def test_who_fails_is_left_out_and_comes_back(tmp_path: Path) -> None:
    with replicas("a", "b") as made, Story(tmp_path, mesh(*(each.port for each in made)), workers=2) as story:
        sick = Patient()
        made[0].act = sick
        eventually(lambda: healthy(story) == 2)
        assert served(story) == {"a": 6, "b": 6}
        sick.status = 503
        eventually(lambda: healthy(story) == 1)
        assert served(story) == {"b": 12}
        page = story.proxy.get("/clusters")[1]
        assert f"127.0.0.1:{made[0].port}::health_flags::/failed_active_hc" in page
        statuses = json.loads(story.proxy.get("/clusters?format=json")[1])["cluster_statuses"][0]["host_statuses"]
        assert [each["health_status"].get("failed_active_health_check", False) for each in statuses] == [True, False]
        metrics = story.proxy.get("/stats/prometheus")[1]
        labels = f'cluster_name="outbound|80||{HOST}",endpoint="127.0.0.1:{made[0].port}"'
        assert f"fastmesh_endpoint_healthy{{{labels}}} 0" in metrics
        assert f'fastmesh_endpoint_health_checks_total{{{labels},result="failure"}}' in metrics
        sick.status = 204
        eventually(lambda: healthy(story) == 2)
        assert served(story) == {"a": 6, "b": 6}
        eventually(lambda: "passes its checks" in story.proxy.text())
        assert f"127.0.0.1:{made[0].port} of outbound|80||{HOST} fails its checks: status 503" in story.proxy.text()


def test_one_worker_asks_over_one_connection_and_another_takes_over(tmp_path: Path) -> None:
    with replicas("a") as (made,), Story(tmp_path, mesh(made.port), workers=3) as story:
        eventually(lambda: made.count("/healthz") > 10)
        assert made.accepted == 1
        request = made.last
        assert request.headers["host"] == HOST
        assert request.headers["user-agent"] == "fastmesh-health-check"
        before = set(story.proxy.workers())
        asking = [pid for pid in before if holds_connection(pid, made.port)]
        assert len(asking) == 1
        os.kill(asking[0], signal.SIGKILL)
        seen = made.count("/healthz")
        eventually(lambda: made.count("/healthz") > seen + 5 and made.accepted == 2)


def holds_connection(pid: int, port: int) -> bool:
    """Whether a process has a connection to a port of loopback."""
    wanted = f"0100007F:{port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{line[9]}]" for line in lines if line[2] == wanted and line[3] == "01"}
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    return bool(inodes & found)


def test_a_new_endpoint_waits_for_its_first_check_where_others_pass(tmp_path: Path) -> None:
    with replicas("a", "b") as made, Story(tmp_path, mesh(made[0].port)) as story:
        eventually(lambda: healthy(story) == 1)
        asked = threading.Event()
        go = threading.Event()

        def slow(request: Request) -> Action:
            if request.path == "/healthz":
                asked.set()
                go.wait(10)
            return 200

        made[1].act = slow
        story.reload(mesh(*(each.port for each in made), timeout="10s"))
        assert asked.wait(10)
        assert "/pending_active_hc" in story.proxy.get("/clusters")[1]
        assert served(story) == {"a": 12}
        go.set()
        eventually(lambda: healthy(story) == 2)
        assert served(story) == {"a": 6, "b": 6}


def test_where_nothing_was_checked_yet_requests_go_all_the_same(tmp_path: Path) -> None:
    with replicas("a") as (made,):
        made.act = lambda request: None if request.path == "/healthz" and asked_late.wait(5) else 200
        asked_late = threading.Event()
        with Story(tmp_path, mesh(made.port, timeout="20s")) as story:
            assert ask(story.proxy).status == 200
            assert healthy(story) == 0
            asked_late.set()
            eventually(lambda: ask(story.proxy).status == 503)  # the first check failed: it is broken off
            assert story.ask()[1]["response_flags"] == "UH"


def test_panic_sends_to_all(tmp_path: Path) -> None:
    with replicas("a", "b", act=Patient()) as made:
        made[0].act.status = 500  # type: ignore[attr-defined]
        yaml = mesh(*(each.port for each in made), minHealthPercent=60)
        with Story(tmp_path, yaml) as story:
            eventually(lambda: "fails its checks" in story.proxy.text())
            assert served(story) == {"a": 6, "b": 6}


def counts_add_up(story: Story, way: str) -> bool:
    found = {name.rpartition(".")[2]: value for name, value in story.stats(f"[|]{way}.*health_check").items()}
    silent = 0 if way == "status" else found["failure"]
    return found["attempt"] == found["failure"] > 0 and found["network_failure"] == silent


def test_what_is_no_pass(tmp_path: Path) -> None:
    hold = threading.Event()
    ways: dict[str, Action] = {"refused": 200, "status": 301, "silence": 200, "junk": b"junk\r\n\r\n"}
    said = {
        "refused": "no connection, or broken off",
        "status": "status 301",
        "silence": "no answer within 50 ms",
        "junk": "no connection, or broken off",
    }

    def act(request: Request) -> Action:
        if request.replica.name == "silence":
            hold.wait(10)
        return ways[request.replica.name]

    with replicas(*ways, act=act) as made:
        ports = {each.name: each.port for each in made} | {"refused": free_port()}
        timeouts = {way: "50ms" if way == "silence" else "5s" for way in ways}
        yaml = "".join(replicas_of(way, ports[way]) + health_check(way, timeout=timeouts[way]) for way in ways)
        with Story(tmp_path, yaml) as story:
            for way in ways:
                where = f"127.0.0.1:{ports[way]} of outbound|80||{way}.default.svc.cluster.local"
                eventually(lambda line=f"{where} fails its checks: {said[way]}": line in story.proxy.text())  # type: ignore[misc]
                eventually(lambda way=way: counts_add_up(story, way))  # type: ignore[misc]
            hold.set()


def test_statuses_headers_and_host_are_the_checks_own(tmp_path: Path) -> None:
    http: dict[str, Any] = {"path": "/up?x=1", "host": "other", "method": "HEAD", "headers": {"x-a": "b"}}
    http["expectedStatuses"] = [404, "500-599"]
    with replicas("a", act=lambda request: 503) as (made,), Story(tmp_path, mesh(made.port, http=http)) as story:
        eventually(lambda: healthy(story) == 1)
        request = made.seen[0]
        assert (request.method, request.target) == ("HEAD", "/up?x=1")
        assert (request.headers["host"], request.headers["x-a"]) == ("other", "b")


def test_tcp(tmp_path: Path) -> None:
    with replicas("a") as (made,), Story(tmp_path, mesh(made.port, tcp={})) as story:
        eventually(lambda: healthy(story) == 1 and made.accepted > 3)
        assert made.seen == []
        made.socket.shutdown(socket.SHUT_RDWR)
        made.socket.close()
        eventually(lambda: healthy(story) == 0)


SERVING = (b"\0\0\0\0\x02\x08\x01", "0")


def test_grpc(tmp_path: Path) -> None:
    said = [SERVING]

    def act(request: Asked) -> None:
        request.ended.wait(5)
        body, status = said[0]
        request.head(200, ("content-type", "application/grpc"))
        if body:
            request.data(body)
        request.finish(("grpc-status", status))

    with Endpoint(act) as endpoint, Story(tmp_path, mesh(endpoint.port, grpc={"service": "shop.Cart"})) as story:
        for bad in (
            (b"\0\0\0\0\x02\x08\x02", "0"),  # NOT_SERVING
            (b"\0\0\0\0\0", "0"),  # UNKNOWN
            (b"", "5"),  # no such service
            (SERVING[0], "13"),
        ):
            said[0] = SERVING
            eventually(lambda: healthy(story) == 1)
            said[0] = bad
            eventually(lambda: healthy(story) == 0)
        asked = endpoint.seen[0]
        assert (asked.path, asked[":method"]) == ("/grpc.health.v1.Health/Check", "POST")
        assert asked.body == b"\0\0\0\0\x0b\x0a\x09shop.Cart"
        assert endpoint.accepted == 1
        assert "gRPC status 13, not SERVING" in story.proxy.text()


def test_checks_speak_the_tls_of_the_destination(tmp_path: Path) -> None:
    host = "app.default.svc.cluster.local"
    roots = tmp_path / "roots.pem"
    roots.write_bytes(roots_pem(CA))
    tls = {"mode": "SIMPLE", "caCertificates": str(roots), "sni": host, "subjectAltNames": [host]}
    with TLSEndpoint(server_context(named(host))) as good, TLSEndpoint(server_context(named("other"))) as bad:
        yaml = replicas_of("app", good.port, bad.port) + destination_rule("app", {"tls": tls}) + health_check()
        with Story(tmp_path, yaml) as story:
            eventually(lambda: healthy(story) == 1 and "fails its checks" in story.proxy.text())
            assert good.seen[0]["sni"] == host
            assert f"127.0.0.1:{bad.port}::health_flags::/failed_active_hc" in story.proxy.get("/clusters")[1]


def test_checks_end_with_the_object_and_with_the_proxy(tmp_path: Path) -> None:
    with replicas("a") as (made,), Story(tmp_path, mesh(made.port)) as story:
        eventually(lambda: made.count("/healthz") > 3)
        (worker,) = story.proxy.workers()
        assert holds_connection(worker, made.port)
        made.act = lambda request: 503 if request.path == "/healthz" else 200
        eventually(lambda: healthy(story) == 0)
        assert ask(story.proxy).status == 503
        story.reload(replicas_of("app", made.port))
        eventually(lambda: not holds_connection(worker, made.port))
        assert ask(story.proxy).status == 200  # nobody says any more that it is unwell
        assert story.stats("health_check") == {}
        story.reload(mesh(made.port))
        eventually(lambda: holds_connection(worker, made.port))
        with Upstream(lambda connection: None):
            story.proxy.process.send_signal(signal.SIGTERM)
            story.proxy.process.wait(10)
        assert story.proxy.process.returncode == 0
