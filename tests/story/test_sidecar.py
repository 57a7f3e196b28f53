"""A workload before another, each behind its own sidecar."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.corpora import corpora_dir
from tests.server.proxies import ROOT, eventually, request
from tests.story.lifecycle import MeshProxy
from tests.story.load import mutual_tls
from tests.story.sidecars import HOST, Sidecars, Workload

MakeMesh = Callable[..., MeshProxy]


def test_a_request_goes_through_both(mesh: MakeMesh, tmp_path: Path) -> None:
    pair = Sidecars(mesh, tmp_path)
    assert request(pair.cart.address, Host=HOST) == (200, "origin\n")
    names = {each["name"]: each["local_address"] for each in listeners(pair.orders)}
    assert names[f"inbound_{pair.inbound}"] == f"127.0.0.1:{pair.inbound}"
    for one in (pair.cart, pair.orders):
        assert one.ask("/ready") == (200, "LIVE\n")
    assert "inbound|" in pair.orders.ask("/clusters")[1]


def test_the_policy_of_a_namespace(mesh: MakeMesh, tmp_path: Path) -> None:
    """Istio's peer-authn-strict.yaml is stronger than the mesh's DISABLE: mutual TLS or nothing."""
    file = corpora_dir() / "istio/tests/testdata/config/peer-authn-strict.yaml"
    more = "---\n" + file.read_text().replace("testns", "shop")
    pair = Sidecars(mesh, tmp_path, mode="DISABLE", outbound=False, more=more)
    assert request(pair.cart.address, Host=HOST) == (200, "origin\n")
    with pytest.raises(ConnectionError):
        request(f"127.0.0.1:{pair.inbound}", Host=HOST)


def test_a_sidecar_may_have_one_side(mesh: MakeMesh, tmp_path: Path) -> None:
    pair = Sidecars(mesh, tmp_path, mode="PERMISSIVE", outbound=False)
    assert [each["name"] for each in listeners(pair.orders)] == [f"inbound_{pair.inbound}"]
    assert request(pair.cart.address, Host=HOST) == (200, "origin\n")


def test_the_three_commands_of_the_documents(mesh: MakeMesh, tmp_path: Path) -> None:
    """docs/mtls.md: a CA, two certificates, and two proxies speak mutual TLS; nobody else is let in."""
    text = (ROOT / "docs/mtls.md").read_text()
    block = re.search(r"## Three commands.*?```sh\n(.*?)```", text, re.DOTALL)
    assert block is not None
    commands = block[1].splitlines()
    assert len(commands) == 3
    for command in commands:
        words = [sys.executable, "-m", *command.split()]
        subprocess.run(words, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=60)
    pair = Sidecars(mesh, tmp_path / "certs", made=True)
    assert request(pair.cart.address, Host=HOST) == (200, "origin\n")
    series = pair.orders.ask("/stats/prometheus")[1]
    (line,) = [each for each in series.splitlines() if each.startswith("istio_requests_total{")]
    assert 'connection_security_policy="mutual_tls"' in line
    assert 'source_principal="spiffe://cluster.local/ns/shop/sa/cart"' in line
    with pytest.raises(ConnectionError):
        request(f"127.0.0.1:{pair.inbound}", Host=HOST)


LIMIT = """\
---
apiVersion: fastmesh.io/v1alpha1
kind: RateLimit
metadata: {name: each, namespace: shop}
spec:
  targetRef: {kind: ServiceEntry, name: origin}
  limits: [{requests: 2, per: day, keys: [{sourcePrincipal: true}]}]
"""


def test_a_limit_for_each_identity(mesh: MakeMesh, tmp_path: Path) -> None:
    """Who has proved who they are has a bucket, whatever certificate proved it; all the others have one together."""
    pair = Sidecars(mesh, tmp_path, mode="PERMISSIVE", more=LIMIT)
    other = Workload(pair.server.ca, tmp_path, "other")
    inbound = f"127.0.0.1:{pair.inbound}"

    def ask(certs: Path | None) -> int:
        if certs is None:
            return request(inbound, Host=HOST)[0]
        context = mutual_tls(str(certs))
        context.set_alpn_protocols(["istio-http/1.1", "istio"])  # else it is not meant for a PERMISSIVE sidecar
        connection = http.client.HTTPSConnection(inbound, timeout=10, context=context)
        with contextlib.closing(connection):
            connection.request("GET", "/", headers={"Host": HOST})
            return connection.getresponse().status

    cart = pair.client.certs
    assert [ask(cart) for _ in range(3)] == [200, 200, 429]
    assert [ask(None) for _ in range(3)] == [200, 200, 429]
    assert [ask(other.certs) for _ in range(3)] == [200, 200, 429]
    pair.client.renew()
    assert ask(cart) == 429
    assert [line for line in pair.orders.said if "not served" in line] == []


def listeners(one: MeshProxy) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(one.ask("/listeners?format=json")[1])["listener_statuses"]
    return found


def test_an_upgrade_of_a_sidecar_keeps_its_listeners(mesh: MakeMesh, tmp_path: Path) -> None:
    pair = Sidecars(mesh, tmp_path)
    before = listeners(pair.orders)
    load = pair.cart.load(100, 20)
    for one in (pair.orders, pair.cart):
        one.signal(signal.SIGUSR2)
        one.wait_for("^fastmesh ready", 2)
        eventually(lambda one=one: len(one.info()["workers"]) == 1)
    report = load.end()
    print(report)
    assert report["failed"] == {}
    assert listeners(pair.orders) == before
