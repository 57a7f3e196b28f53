"""loadBalancer PASSTHROUGH on a service that has endpoints: all goes where the client's connection was meant to go."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.explaining import ask as explained
from tests.running import Proxy, Upstream
from tests.story.test_tcp_gateway import saying
from tests.traffic import Answer, Client, Replica, destination_rule, read_answer, replicas, thing

PASSTHROUGH = {"loadBalancer": {"simple": "PASSTHROUGH"}}


def mesh(made: list[Replica], listed: int) -> str:
    """The first `listed` replicas are endpoints of each port of the service; it has the ports of all, so that
    connections to any of them carry requests."""
    numbers = [80, *(replica.port for replica in made)]
    ports = [{"name": f"http-{number}", "port": number} for number in numbers]
    text = thing("Service", "app", {"selector": {"app": "app"}, "ports": ports}, "v1")
    for number, replica in enumerate(made[:listed]):
        where = {f"http-{each}": replica.port for each in numbers}
        entry = {"address": "127.0.0.1", "ports": where, "labels": {"app": "app"}}
        text += thing("WorkloadEntry", f"app-{number}", entry)
    addresses = {"hosts": ["app", "127.0.0.1", "127.0.0.9"], "http": [{"route": [{"destination": {"host": "app"}}]}]}
    return text + destination_rule("app", PASSTHROUGH) + thing("VirtualService", "app", addresses)


@pytest.fixture(scope="module")
def made() -> Iterator[list[Replica]]:
    """The last one is in nobody's configuration."""
    with replicas("a", "b", "c", "stranger") as four:
        yield four


@pytest.fixture(scope="module")
def redirected(tmp_path_factory: pytest.TempPathFactory, made: list[Replica]) -> Iterator[Proxy]:
    """A PROXY header says what the kernel would say of a redirected connection."""
    with Proxy(tmp_path_factory.mktemp("passthrough"), mesh(made, 3), "--proxy-protocol", workers=2) as one:
        yield one


def meant_for(proxy: Proxy, port: int, requests: int = 1) -> list[Answer]:
    """Requests on one connection that was meant for 127.0.0.1:`port`."""
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as connection:
        connection.sendall(b"PROXY TCP4 127.0.0.1 127.0.0.1 40000 %d\r\n" % port)
        stream, found = connection.makefile("rb"), []
        for _ in range(requests):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: app:%d\r\n\r\n" % port)
            found.append(Answer(*read_answer(stream), 0.0))
        return found


def test_requests_go_where_the_connection_was_meant_to_go(redirected: Proxy, made: list[Replica]) -> None:
    """Also to an address that no object has: the client could reach it without a proxy, too."""
    for replica in made:
        told = [answer.text for _ in range(3) for answer in meant_for(redirected, replica.port, requests=3)]
        assert told == [replica.name] * 9


def test_a_client_that_says_no_address(tmp_path: Path, made: list[Replica]) -> None:
    """As Envoy without an original destination. Host may name an address, but none that the service has not."""
    with Proxy(tmp_path, mesh(made, 1)) as proxy:
        assert "nobody redirects connections to this proxy" in proxy.text()
        with Client(proxy.port) as client:
            refused = client.ask()
            assert (refused.status, refused.text) == (503, "no healthy upstream")
            assert client.ask(host=f"127.0.0.1:{made[0].port}").text == "a"
            assert client.ask(host=f"127.0.0.9:{made[0].port}").status == 503
        assert 'response_flags="UH"' in proxy.get("/stats/prometheus")[1]


def test_bytes(tmp_path: Path) -> None:
    """A tcp chain: the same, and with the facts of the endpoint that was meant."""
    with Upstream(saying(b"one")) as one, Upstream(saying(b"two")) as two:
        spec = {"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"name": "tcp", "port": one.port}]}
        text = thing("Service", "db", spec, "v1") + destination_rule("db", PASSTHROUGH)
        for number, upstream in enumerate((one, two)):
            entry = {"address": "127.0.0.1", "ports": {"tcp": upstream.port}, "labels": {"app": "db"}}
            text += thing("WorkloadEntry", f"db-{number}", entry)
        with Proxy(tmp_path, text, "--proxy-protocol") as proxy:
            for _ in range(5):
                with socket.create_connection(("127.0.0.1", proxy.port), 10) as connection:
                    connection.sendall(b"PROXY TCP4 127.0.0.1 127.0.0.1 40000 %d\r\nhello" % one.port)
                    assert connection.recv(100) == b"one hello"


def test_explain(tmp_path: Path, made: list[Replica]) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(mesh(made, 2))
    told = explained([file], "GET", "http://app/")["steps"][-1]
    assert told["decision"] == "the address that the client's connection was meant for"
    assert "PASSTHROUGH" in told["why"]
    answer = explained([file], "GET", f"http://127.0.0.1:{made[1].port}/")
    assert answer["endpoints"] == [f"127.0.0.1:{made[1].port}"]
