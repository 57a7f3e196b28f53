"""Hosts without endpoints in the configuration: their address is asked of DNS, and not every address is reached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.server.proxies import eventually, request
from tests.story.lifecycle import HOST, MESH, MeshProxy

MakeMesh = Callable[..., MeshProxy]

ALLOW = "outboundTrafficPolicy: {mode: ALLOW_ANY}\n"
LOCAL = ("--outside-private", "127.0.0.0/8", "--outside-private", "::1/128")
ENTRY = """\
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: any, namespace: default}}
spec:
  hosts: [localhost]
  ports: [{{number: {port}, name: http, protocol: HTTP}}]
  resolution: NONE
"""


def settings(folder: Path, text: str = ALLOW) -> tuple[str, str]:
    path = folder / "mesh-config.yaml"
    path.write_text(text)
    return "--mesh-config", str(path)


def count(proxy: MeshProxy, name: str) -> float:
    lines = proxy.ask("/stats/prometheus")[1].splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_an_unknown_host_is_reached_where_it_is_allowed(mesh: MakeMesh, tmp_path: Path) -> None:
    proxy = mesh(*settings(tmp_path), *LOCAL)
    for host in (f"localhost:{proxy.origin}", f"127.0.0.1:{proxy.origin}", f"LocalHost:{proxy.origin}"):
        for _ in range(3):
            assert request(proxy.address, Host=host) == (200, "origin\n"), host
    assert request(proxy.address, Host=HOST) == (200, "origin\n")
    labels = 'destination_service="unknown",destination_service_name="PassthroughCluster"'
    eventually(lambda: labels in proxy.ask("/stats/prometheus")[1])


def test_addresses_that_are_not_public_are_refused(mesh: MakeMesh, tmp_path: Path) -> None:
    """What a client writes into Host opens nothing behind the proxy: loopback, private, link-local, however written."""
    proxy = mesh(*settings(tmp_path), "--workers", "1")
    hosts = ("localhost", "127.0.0.1", "169.254.169.254", "10.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0")
    for host in hosts:
        assert request(proxy.address, Host=f"{host}:{proxy.origin}")[0] == 502, host
    assert count(proxy, "fastmesh_outside_refused_total") == len(hosts)


def test_a_name_that_nobody_knows_is_no_address(mesh: MakeMesh, tmp_path: Path) -> None:
    proxy = mesh(*settings(tmp_path), *LOCAL, "--workers", "1")
    assert request(proxy.address, Host="nobody.invalid") == (503, "no healthy upstream")
    assert count(proxy, "fastmesh_outside_dns_failures_total") == 1


def test_a_request_for_the_proxy_itself_does_not_go_round(mesh: MakeMesh, tmp_path: Path) -> None:
    proxy = mesh(*settings(tmp_path), *LOCAL)
    assert request(proxy.address, Host=proxy.address)[0] == 502


def test_as_many_hosts_as_it_may_remember(mesh: MakeMesh, tmp_path: Path) -> None:
    proxy = mesh(*settings(tmp_path), *LOCAL, "--max-outside-hosts", "2", "--workers", "1")
    for number in range(1, 6):
        assert request(proxy.address, Host=f"127.0.0.{number}:{proxy.origin}")[0] in (200, 503)
    assert request(proxy.address, Host=f"127.0.0.1:{proxy.origin}") == (200, "origin\n")


def test_an_entry_without_endpoints(mesh: MakeMesh) -> None:
    """Somebody wrote down this one host, so its address may be a private one."""
    proxy = mesh(text=lambda port: MESH.format(port=port, version=30) + ENTRY.format(port=port))
    assert request(proxy.address, Host=f"localhost:{proxy.origin}") == (200, "origin\n")
    assert request(proxy.address, Host=f"127.0.0.1:{proxy.origin}")[0] == 502  # no entry has it; nobody wrote ALLOW_ANY
