"""A gateway whose ports come and go, and a mesh whose endpoints have names, through the compiled core."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.ports import free_port
from tests.server.proxies import eventually, request
from tests.story.lifecycle import HOST, MESH, MeshProxy

MakeMesh = Callable[..., MeshProxy]

GATEWAY = """\
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: default}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{servers}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: edge, namespace: default}}
spec:
  hosts: ["*"]
  gateways: [edge]
  http: [{{route: [{{destination: {{host: origin.example}}}}]}}]
"""


def gateway(origin: int, *ports: int) -> str:
    servers = ", ".join(
        f'{{port: {{number: {port}, name: http-{port}, protocol: HTTP}}, hosts: ["*"]}}' for port in ports
    )
    return MESH.format(port=origin, version=1) + GATEWAY.format(servers=servers)


def test_ports_come_and_go(mesh: MakeMesh) -> None:
    bound = {number: free_port() for number in (80, 81, 82)}
    flags = [flag for number, port in bound.items() for flag in ("--map", f"{number}={port}")]
    one = mesh(
        "--role", "gateway", "--bind", "127.0.0.1", *flags, "--no-watch", text=lambda port: gateway(port, 80, 81)
    )

    def open_ports() -> set[int]:
        found = set()
        for number, port in bound.items():
            try:
                assert request(f"127.0.0.1:{port}", Host="anything.example") == (200, "origin\n")
                found.add(number)
            except ConnectionRefusedError:
                pass
        return found

    assert open_ports() == {80, 81}
    load = one.load(300, 30)
    for i, ports in enumerate([(80, 82), (80,), (80, 81, 82)]):
        one.say(text=gateway(one.origin, *ports))
        one.signal(signal.SIGHUP)
        one.wait_for("accepted", i + 1)
        eventually(lambda wanted=set(ports): open_ports() == wanted)
    report = load.end()  # on port 80, which stayed
    print(report)
    assert report["failed"] == {}


@pytest.mark.parametrize("resolution", ["DNS", "DNS_ROUND_ROBIN"])
def test_names_are_resolved(mesh: MakeMesh, resolution: str) -> None:
    def named(port: int) -> str:
        text = MESH.format(port=port, version=1).replace("STATIC", resolution)
        return text.replace("address: 127.0.0.1", "address: localhost")

    one = mesh(text=named)
    assert request(one.address, Host=HOST) == (200, "origin\n")
