"""MeshConfig of a proxy that runs: what unknown hosts get, its access log and its number of workers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.server.proxies import eventually, request
from tests.story.lifecycle import HOST, MeshProxy

MakeMesh = Callable[..., MeshProxy]


def test_it_is_read_at_the_start_and_followed_when_it_changes(mesh: MakeMesh, tmp_path: Path) -> None:
    own, log = tmp_path / "mesh.yaml", tmp_path / "access.log"
    settings = f"accessLogFile: {log}\naccessLogEncoding: JSON\ndefaultConfig: {{concurrency: 3}}\n"
    own.write_text(settings)
    proxy = mesh("--mesh-config", str(own), "--workers", "0")
    assert len(json.loads(proxy.ask("/server_info")[1])["workers"]) == 3
    assert request(proxy.address, Host=HOST) == (200, "origin\n")
    eventually(lambda: [json.loads(line)["authority"] for line in log.read_text().splitlines()] == [HOST])
    eventually(lambda: "PassthroughCluster" in metrics(proxy))
    own.write_text(settings + "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n")
    eventually(lambda: "BlackHoleCluster" in metrics(proxy))
    own.write_text("nothing: 1\n")
    eventually(lambda: "nothing" in proxy.ask("/config_dump")[1])
    assert request(proxy.address, Host=HOST) == (200, "origin\n")


def metrics(proxy: MeshProxy) -> str:
    """After a request that nobody knows."""
    assert request(proxy.address, Host="nobody.example")[0] == 502
    return proxy.ask("/stats/prometheus")[1]
