"""Bytes through a gateway: servers with protocol TCP, TCPRoutes, sockets of the file system. Real processes."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.running import Proxy, Upstream, read_all
from tests.server.proxies import eventually
from tests.tls.gateway import Gate, gateway, server
from tests.traffic import thing


def saying(word: bytes) -> Callable[[socket.socket], None]:
    """tcp-echo-server: each piece comes back with a word before it."""

    def answer(connection: socket.socket) -> None:
        while piece := connection.recv(65536):
            connection.sendall(word + b" " + piece)

    return answer


@contextlib.contextmanager
def echoes() -> Iterator[str]:
    """The workloads v1 and v2 of tcp-echo, as YAML."""
    with Upstream(saying(b"one")) as one, Upstream(saying(b"two")) as two:
        text = ""
        for version, upstream in (("v1", one), ("v2", two)):
            labels = {"app": "tcp-echo", "version": version}
            text += thing(
                "WorkloadEntry",
                f"tcp-echo-{version}",
                {"address": "127.0.0.1", "ports": {"tcp": upstream.port}, "labels": labels},
            )
        yield text


def ask(port: int, text: bytes = b"hello\n", address: str = "127.0.0.1") -> bytes:
    """All that comes back; nothing when the connection is reset, which may happen before it is made."""
    with contextlib.suppress(ConnectionError), socket.create_connection((address, port), 10) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        return read_all(connection)
    return b""


def plain(name: str, selector: dict[str, str]) -> str:
    return thing("Service", name, {"selector": selector, "ports": [{"name": "tcp", "port": 9000}]}, "v1")


WHOLE = plain("tcp-echo", {"app": "tcp-echo"})
SUBSETS = thing(
    "DestinationRule",
    "tcp-echo",
    {"host": "tcp-echo", "subsets": [{"name": v, "labels": {"version": v}} for v in ("v1", "v2")]},
)


def routes(*weights: tuple[str, int], **match: Any) -> str:
    found = [
        {"destination": {"host": "tcp-echo", "port": {"number": 9000}, "subset": name}, "weight": weight}
        for name, weight in weights
    ]
    rule: dict[str, Any] = {"route": found} | ({"match": [match]} if match else {})
    return thing("VirtualService", "tcp-echo", {"hosts": ["*"], "gateways": ["gw"], "tcp": [rule]})


def tcp(*, port: int = 31400, protocol: str = "TCP", **fields: Any) -> str:
    return gateway(server("tcp", "*", port=port, protocol=protocol) | fields)


@pytest.mark.parametrize("protocol", ["TCP", "MONGO", "REDIS", "MYSQL"])
def test_what_speaks_first_may_be_the_server(protocol: str, tmp_path: Path) -> None:
    with Upstream(lambda connection: connection.sendall(b"220 at your service\r\n")) as upstream:
        workload = {"address": "127.0.0.1", "ports": {"tcp": upstream.port}, "labels": {"app": "tcp-echo"}}
        text = tcp(protocol=protocol) + WHOLE + thing("WorkloadEntry", "w", workload)
        rule = [{"route": [{"destination": {"host": "tcp-echo"}}]}]
        text += thing("VirtualService", "vs", {"hosts": ["*"], "gateways": ["gw"], "tcp": rule})
        with Gate(tmp_path, text, 31400) as gate, socket.create_connection(("127.0.0.1", gate.port), 10) as client:
            assert read_all(client) == b"220 at your service\r\n"


def test_metrics_and_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    flags = ("--access-log", str(log), "--access-log-format", "text")
    with echoes() as workloads:
        text = tcp() + WHOLE + SUBSETS + routes(("v1", 1)) + workloads
        with Gate(tmp_path, text, 31400, flags=flags) as gate:
            with socket.create_connection(("127.0.0.1", gate.port), 10) as client:
                client.sendall(b"hello\n")
                assert client.recv(100) == b"one hello\n"
                assert tcp_metrics(gate, "-") == {"opened": 1, "closed": 0, "sent": 10, "received": 6}  # while it lives
            await_metric(gate, {"opened": 1, "closed": 1, "sent": 10, "received": 6})
            told = r'"- - -" 0 - - - "-" 6 10 \d+ - "-" "-" "-" "-" "127\.0\.0\.1:\d+" outbound\|9000\|v1\|'
            eventually(lambda: re.search(told, log.read_text()))


def test_what_leads_nowhere_is_closed(tmp_path: Path) -> None:
    """No rule: NR. A rule for another port is none."""
    log = tmp_path / "log"
    with echoes() as workloads:
        text = tcp() + WHOLE + SUBSETS + routes(("v1", 1), port=31401) + workloads
        with Gate(tmp_path, text, 31400, flags=("--access-log", str(log), "--access-log-format", "text")) as gate:
            assert ask(gate.port) == b""
            await_metric(gate, {"opened": 1, "closed": 1, "sent": 0, "received": 0}, flags="NR")
            eventually(lambda: '"- - -" 0 NR ' in log.read_text())


def test_an_endpoint_that_refuses(tmp_path: Path) -> None:
    """Envoy's flags for the one attempt that Istio leaves it."""
    workload = {"address": "127.0.0.1", "ports": {"tcp": 1}, "labels": {"app": "tcp-echo", "version": "v1"}}
    text = tcp() + WHOLE + SUBSETS + routes(("v1", 1)) + thing("WorkloadEntry", "w", workload)
    with Gate(tmp_path, text, 31400) as gate:
        assert ask(gate.port) == b""
        await_metric(gate, {"opened": 1, "closed": 1, "sent": 0, "received": 0}, flags="UF,URX")


def test_two_servers_for_bytes_cannot_share_a_port(tmp_path: Path) -> None:
    with echoes() as workloads:
        text = tcp() + gateway(server("other", "*", port=31400, protocol="TCP"), name="later")
        text += WHOLE + SUBSETS + routes(("v1", 1)) + workloads
        with Gate(tmp_path, text, 31400) as gate:
            assert ask(gate.port) == b"one hello\n"
            assert "nothing tells their connections apart; this server is left out" in gate.text()


def test_a_server_on_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    spec = server("http", "*", port=0, protocol="HTTP") | {"bind": f"unix://{path}"}
    rule = {"directResponse": {"status": 200, "body": {"string": "here"}}}
    text = gateway(spec, server("other", "*", port=8080, protocol="HTTP"))
    text += thing("VirtualService", "vs", {"hosts": ["*"], "gateways": ["gw"], "http": [rule]})
    with Gate(tmp_path, text, 8080, flags=("--access-log", str(tmp_path / "log"))) as gate:
        for family, where in ((socket.AF_UNIX, str(path)), (socket.AF_INET, ("127.0.0.1", gate.port))):
            with socket.socket(family) as client:
                client.settimeout(10)
                client.connect(where)
                client.sendall(b"GET / HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n")
                assert read_all(client).endswith(b"here")
    assert not path.exists()


def tcp_metrics(proxy: Proxy, flags: str) -> dict[str, int]:
    found = {}
    for name, word in (
        ("connections_opened", "opened"), ("connections_closed", "closed"),
        ("sent_bytes", "sent"), ("received_bytes", "received"),
    ):  # fmt: skip
        lines = proxy.get("/stats/prometheus")[1].splitlines()
        own = [line for line in lines if line.startswith(f"istio_tcp_{name}_total{{")]
        found[word] = sum(int(line.rpartition(" ")[2]) for line in own if f'response_flags="{flags}"' in line)
    return found


def await_metric(proxy: Proxy, wanted: dict[str, int], flags: str = "-") -> None:
    eventually(lambda: tcp_metrics(proxy, flags) == wanted)
