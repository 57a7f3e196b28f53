"""Certificates renewed under load, through real TLS (goal 25 of the reliability page): nobody notices, and each new
connection soon sees the new one.
"""

from __future__ import annotations

import re
import signal
import socket
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from fastmesh.security import certs
from tests.server.proxies import eventually
from tests.story.lifecycle import MeshProxy
from tests.story.load import mutual_tls
from tests.story.sidecars import Sidecars, Workload

MakeMesh = Callable[..., MeshProxy]


def seen(pair: Sidecars) -> str:
    """The serial number of the certificate that a new connection to `orders` is shown."""
    context = mutual_tls(str(pair.client.certs))
    with socket.create_connection(("127.0.0.1", pair.inbound), 10) as plain, context.wrap_socket(plain) as secure:
        found = secure.getpeercert(binary_form=True)
    assert found is not None
    return certs.serial(x509.load_der_x509_certificate(found))


def metric(one: MeshProxy, name: str) -> float:
    text = one.ask("/stats/prometheus")[1]
    return sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))


def rotations_under_load(pair: Sidecars, times: int, rate: int, fresh: int) -> None:
    inbound = f"127.0.0.1:{pair.inbound}"
    load = pair.orders.load(rate, fresh, inbound, str(pair.client.certs))
    took = []
    for _ in range(times):
        wanted, began = pair.server.renew(), time.monotonic()
        eventually(lambda wanted=wanted: seen(pair) == wanted)
        took.append(time.monotonic() - began)
        time.sleep(max(0.0, began + 1 - time.monotonic()))
    report = load.end()
    print(report, f"seen after {statistics.median(took):.3f} s, at most {max(took):.3f} s")
    assert report["failed"] == {}
    assert report["answered"] >= 0.8 * (rate + fresh) * report["seconds"]
    assert statistics.median(took) < 1
    assert metric(pair.orders, "fastmesh_certificate_renewals_total") == times
    assert metric(pair.orders, "fastmesh_certificate_reload_failures_total") == 0
    assert pair.orders.info()["worker_restarts"] == 0


def test_rotations_lose_nothing(mesh: MakeMesh, tmp_path: Path) -> None:
    rotations_under_load(Sidecars(mesh, tmp_path), 5, 200, 20)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_hundred_rotations_lose_nothing(mesh: MakeMesh, tmp_path: Path) -> None:
    rotations_under_load(Sidecars(mesh, tmp_path, workers=2), 100, 500, 50)


def test_bad_material_under_load_changes_nothing(mesh: MakeMesh, tmp_path: Path) -> None:
    pair = Sidecars(mesh, tmp_path)
    before = seen(pair)
    load = pair.orders.load(100, 20, f"127.0.0.1:{pair.inbound}", str(pair.client.certs))
    other = Workload(pair.server.ca, tmp_path, "other")
    (pair.server.certs / "key.pem").write_bytes((other.certs / "key.pem").read_bytes())
    pair.orders.wait_for("does not fit the certificate of spiffe://cluster.local/ns/shop/sa/orders")
    assert seen(pair) == before
    assert load.end()["failed"] == {}


def test_tickets_open_in_every_worker_and_after_an_upgrade(mesh: MakeMesh, tmp_path: Path) -> None:
    pair = Sidecars(mesh, tmp_path, workers=2)
    context = mutual_tls(str(pair.client.certs))
    session = None

    def resumed() -> bool:
        nonlocal session
        plain = socket.create_connection(("127.0.0.1", pair.inbound), 10)
        with context.wrap_socket(plain, session=session) as secure:
            secure.sendall(b"GET / HTTP/1.1\r\nhost: origin.example\r\nconnection: close\r\n\r\n")
            while secure.recv(65536):
                pass  # a ticket comes after the handshake
            session = secure.session
            return bool(secure.session_reused)

    assert not resumed()
    assert all(resumed() for _ in range(10))  # two workers share the connections
    pair.orders.signal(signal.SIGUSR2)
    pair.orders.wait_for("^fastmesh ready", 2)
    eventually(lambda: len(pair.orders.info()["workers"]) == 2)
    assert resumed()


def both_are_renewed_under_load(pair: Sidecars, times: int, rate: int, fresh: int) -> None:
    """Each sidecar is client and server of the other in turn; connections between them live for ten requests."""
    load = pair.cart.load(rate, fresh)
    for number in range(1, times + 1):
        began = time.monotonic()
        for workload in (pair.client, pair.server):
            workload.renew()
        for one in (pair.cart, pair.orders):
            one.wait_for("mesh renewed", number)
        time.sleep(max(0.0, began + 1 - time.monotonic()))
    report = load.end()
    for one in (pair.cart, pair.orders):
        assert metric(one, "fastmesh_certificate_renewals_total") == times
        assert metric(one, "fastmesh_certificate_reload_failures_total") == 0
    handshakes = metric(pair.orders, "fastmesh_downstream_tls_handshakes_total")
    print(report, f"{handshakes:.0f} handshakes")
    assert report["failed"] == {}
    assert report["answered"] >= 0.8 * (rate + fresh) * report["seconds"]
    assert handshakes >= report["answered"] / 20
    assert metric(pair.orders, "fastmesh_downstream_tls_failures_total") == 0


def test_both_sidecars_are_renewed_and_lose_nothing(mesh: MakeMesh, tmp_path: Path) -> None:
    pair = Sidecars(mesh, tmp_path)
    both_are_renewed_under_load(pair, 5, 500, 50)
    assert metric(pair.cart, "fastmesh_upstream_tls_outdated_total") == 0  # none is a third of --renewed-timeout old


def test_renewals_keep_the_connections_of_http2(mesh: MakeMesh, tmp_path: Path) -> None:
    """Its streams make room for everybody: one handshake is enough for all of it."""
    pair = Sidecars(mesh, tmp_path, pool="h2UpgradePolicy: UPGRADE")
    load = pair.cart.load(100, 10)
    for number in range(1, 4):
        for workload in (pair.client, pair.server):
            workload.renew()
        for one in (pair.cart, pair.orders):
            one.wait_for("mesh renewed", number)
    report = load.end()
    assert report["failed"] == {}
    assert metric(pair.orders, "fastmesh_http2_connections_total") == 1
    assert metric(pair.orders, "fastmesh_downstream_tls_handshakes_total") == 1
    assert metric(pair.cart, "fastmesh_upstream_tls_outdated_total") == 0


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_both_sidecars_are_renewed_a_hundred_times(mesh: MakeMesh, tmp_path: Path) -> None:
    both_are_renewed_under_load(Sidecars(mesh, tmp_path, workers=2), 100, 500, 50)
