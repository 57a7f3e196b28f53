"""The kind Sidecar: what a real proxy lets its workload see, and the sockets that it asks for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.server.proxies import eventually, request
from tests.story.lifecycle import HOST, MESH, MeshProxy

MakeMesh = Callable[..., MeshProxy]

OTHER = """\
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: other, namespace: elsewhere}}
spec:
  hosts: [other.example]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{http: {port}}}}}]
"""
SIDECAR = """\
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: own, namespace: default}}
spec: {spec}
"""


def text(spec: str) -> Callable[[int], str]:
    def written(port: int) -> str:
        return MESH.format(port=port, version=30) + OTHER.format(port=port) + SIDECAR.format(spec=spec)

    return written


def test_it_narrows_what_a_client_reaches_and_a_reload_widens_it_again(mesh: MakeMesh) -> None:
    proxy = mesh(text=text("{egress: [{hosts: ['./*']}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"))
    assert request(proxy.address, Host=HOST) == (200, "origin\n")
    assert request(proxy.address, Host="other.example")[0] == 502
    proxy.say(text=text("{egress: [{hosts: ['*/*']}]}")(proxy.origin))
    eventually(lambda: request(proxy.address, Host="other.example") == (200, "origin\n"))


def test_an_egress_listener_with_a_bind_is_served(mesh: MakeMesh) -> None:
    port = free_port()
    listener = f"{{port: {{number: {port}, protocol: HTTP_PROXY, name: a}}, bind: 127.0.0.1, hosts: ['elsewhere/*']}}"
    proxy = mesh(text=text(f"{{egress: [{listener}, {{hosts: ['./*']}}]}}"))
    assert request(f"127.0.0.1:{port}", Host="other.example") == (200, "origin\n")
    assert request(f"127.0.0.1:{port}", Host=HOST)[0] == 502
    assert request(proxy.address, Host=HOST) == (200, "origin\n")
    assert request(proxy.address, Host="other.example")[0] == 502


def test_an_egress_listener_may_be_a_socket(mesh: MakeMesh, tmp_path: Path) -> None:
    path = tmp_path / "mesh.sock"
    listener = f"{{port: {{number: 0, protocol: HTTP, name: a}}, bind: 'unix://{path}', hosts: ['elsewhere/*']}}"
    mesh(text=text(f"{{egress: [{listener}, {{hosts: ['./*']}}]}}"))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nhost: other.example\r\nconnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"origin\n")


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Path]:
    """A socket of the file system that answers each connection once."""
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            while True:
                try:
                    taken, _ = server.accept()
                except OSError:
                    return
                with taken:
                    taken.recv(65536)
                    taken.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nunix\n")

        threading.Thread(target=serve, daemon=True).start()
        yield path
        server.shutdown(socket.SHUT_RDWR)


def test_an_ingress_listener_leads_to_a_socket(mesh: MakeMesh, application: Path) -> None:
    port = free_port()
    workload = """---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart, namespace: default}
spec: {address: 127.0.0.1, labels: {app: cart}}
"""
    door = f"{{port: {{number: {port}, protocol: HTTP, name: a}}, defaultEndpoint: 'unix://{application}'}}"
    proxy = mesh(
        *("--role", "sidecar", "--workload", "cart.default", "--outbound", "127.0.0.1:0", "--bind", "127.0.0.1"),
        text=lambda origin: text(f"{{ingress: [{door}]}}")(origin) + workload,
    )
    assert request(f"127.0.0.1:{port}", Host="anything") == (200, "unix\n")
    assert request(proxy.address, Host=HOST) == (200, "origin\n")
