"""The admin interface: Envoy's paths, what they change, and who may not call them."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest

from fastmesh.server.guard import HostGuard
from fastmesh.server.http import Request
from tests.ports import free_port
from tests.server.proxies import Proxy, eventually, request

MakeProxy = Callable[..., Proxy]


def test_pages_answer(proxy: MakeProxy) -> None:
    one = proxy().ready()
    index = one.ask("/")[1]
    for path in ("/ready", "/server_info", "/stats", "/stats/prometheus", "/clusters", "/config_dump", "/listeners"):
        assert path in index
        assert one.ask(path)[0] == 200
        assert one.ask(path, "HEAD") == (200, "")
    assert "server.live: 1" in one.ask("/stats")[1]
    assert one.ask("/stats?filter=^server\\.concurrency$")[1] == "server.concurrency: 2\n"
    stats = json.loads(one.ask("/stats?format=json&filter=server.live")[1])
    assert stats == {"stats": [{"name": "server.live", "value": 1}]}
    assert "fastmesh_live 1" in one.ask("/stats?format=prometheus")[1]
    assert one.ask("/listeners")[1] == f"mesh::{one.address}\n"
    assert json.loads(one.ask("/listeners?format=json")[1])["listener_statuses"][0]["local_address"] == one.address
    assert json.loads(one.ask("/config_dump")[1])["plan"]["mesh"]["version"] == "v1"
    assert one.ask("/nothing")[0] == 404
    assert one.ask("/stats?filter=(")[0] == 400


def test_changes_need_post(proxy: MakeProxy) -> None:
    one = proxy().ready()
    for path in ("/quitquitquit", "/drain_listeners"):
        assert one.ask(path)[0] == 405
    assert one.ask("/logging?level=debug")[1] == "active loggers:\n  fastmesh: info\n"
    assert one.ask("/logging?level=debug", "POST")[1] == "active loggers:\n  fastmesh: debug\n"
    assert one.ask("/logging?level=loud", "POST")[0] == 400
    assert one.ask("/ready", "POST")[0] == 405
    assert one.ask("/quitquitquit", "POST")[0] == 200
    assert one.wait() == 0


def test_drain_listeners(proxy: MakeProxy) -> None:
    one = proxy().ready()
    assert one.ask("/drain_listeners", "POST")[0] == 200
    assert one.ask("/ready") == (503, "DRAINING\n")

    def refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", int(one.address.rpartition(":")[2])), 1).close()
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            pass
        return False

    eventually(refused)
    assert one.process.poll() is None
    assert one.stop() == 0


def test_web_pages_are_kept_out(proxy: MakeProxy) -> None:
    one = proxy().ready()
    assert one.ask("/quitquitquit", "POST", Host="evil.example")[0] == 403
    assert one.ask("/config_dump", Host="evil.example:15000")[0] == 403
    assert one.ask("/quitquitquit", "POST", Origin="http://evil.example")[0] == 403
    assert one.ask("/ready", Host="localhost:15000")[0] == 200


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        ("127.0.0.1:15000", True),
        ("[::1]:15000", True),
        ("localhost", True),
        ("proxy.shop", True),
        ("10.1.2.3", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil", False),
        ("[oops", False),
    ],
)
def test_host_guard(host: str, passes: bool) -> None:
    guard = HostGuard(["proxy.shop"])
    assert (guard.refusal(Request("GET", "/", {}, {"host": host})) == "") is passes


def test_status_server_is_read_only(proxy: MakeProxy) -> None:
    health, metrics = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    one = proxy("--status", health, "--status", metrics, "--admin", "off")
    one.wait_for("^fastmesh ready")
    assert request(health, "/healthz/ready", Host="anything.example") == (200, "LIVE\n")
    assert "fastmesh_build_info" in request(metrics, "/stats/prometheus")[1]
    for path in ("/config_dump", "/quitquitquit", "/server_info", "/clusters"):
        assert request(health, path)[0] == 404
        assert request(health, path, "POST")[0] == 404


def test_bad_bytes(proxy: MakeProxy) -> None:
    one = proxy().ready()
    host, _, port = one.admin.rpartition(":")
    long = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 9000
    for raw in (b"\x16\x03\x01\x00\x00\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", long):
        with socket.create_connection((host, int(port)), 5) as sock:
            try:
                sock.sendall(raw)
                answer = sock.recv(4096)
            except ConnectionResetError:
                answer = b""
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert one.ask("/ready")[0] == 200


def test_pipelined_and_kept_alive(proxy: MakeProxy) -> None:
    one = proxy().ready()
    host, _, port = one.admin.rpartition(":")
    with socket.create_connection((host, int(port)), 5) as sock:
        sock.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        got = b""
        while got.count(b"LIVE\n") < 3:
            piece = sock.recv(4096)
            assert piece
            got += piece
