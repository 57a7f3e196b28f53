"""What a scrape of the real proxy says after known requests."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

import fastmesh
from fastmesh.core.proxy.account import LABELS
from tests.ports import free_port
from tests.telemetry.mesh import Mesh, Upstream, eventually, fetch, running, service, workload
from tests.telemetry.samples import Scrape, parse_openmetrics, scrape

RULES = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: product, namespace: default}
spec:
  hosts: [product]
  http:
  - match: [{uri: {prefix: /nowhere}}]
    route: [{destination: {host: nowhere}}]
  - match: [{uri: {prefix: /once}}]
    retries: {attempts: 0}
    route: [{destination: {host: closed}}]
  - match: [{uri: {prefix: /retried}}]
    retries: {attempts: 2, retryOn: connect-failure}
    route: [{destination: {host: closed}}]
  - match: [{uri: {prefix: /p}}]
    route: [{destination: {host: product}}]
---
apiVersion: fastmesh.io/v1alpha1
kind: RateLimit
metadata: {name: limited, namespace: default}
spec:
  targetRef: {kind: Service, name: limited}
  limits: [{requests: 2, per: day}]
"""

# promtool knows the rules of naming; Istio chose this name before them, and its dashboards ask for it
GIVEN_BY_ISTIO = {'istio_request_duration_milliseconds use base unit "seconds" instead of "milliseconds"'}

SOURCE = {
    "reporter": "source",
    "source_workload": "shop-deploy",
    "source_workload_namespace": "front",
    "source_principal": "unknown",
    "source_app": "shop",
    "source_version": "v7",
    "source_cluster": "Kubernetes",
    "source_canonical_service": "shop",
    "source_canonical_revision": "v7",
    "request_protocol": "http",
    "grpc_response_status": "",
    "connection_security_policy": "unknown",
}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Mesh]:
    yaml = service("product", upstream.port) + service("limited", upstream.port, app="product")
    yaml += service("closed", free_port()) + service("empty", upstream.port)
    yaml += workload("product-1", "product") + workload("closed-1", "closed") + RULES
    flags = ("--labels", "app=shop,version=v7", "--namespace", "front")
    folder = tmp_path_factory.mktemp("mesh")
    with running(folder, yaml, *flags, ISTIO_META_WORKLOAD_NAME="shop-deploy") as made:
        yield made


def ask(mesh: Mesh, name: str, path: str) -> int:
    return mesh.ask(f"{name}.default", path).status


def requests_of(found: Scrape, **labels: str) -> dict[str, str]:
    sample = found.one("istio_requests_total", **labels)
    assert set(sample.labels) == set(LABELS)
    return sample.labels


def test_labels_of_an_answered_request(mesh: Mesh) -> None:
    assert ask(mesh, "product", "/p") == 200
    labels = requests_of(scrape(mesh), destination_service_name="product", response_code="200")
    assert labels == SOURCE | {
        "destination_workload": "product-1",
        "destination_workload_namespace": "default",
        "destination_principal": labels["destination_principal"],
        "destination_app": "product",
        "destination_version": "v1",
        "destination_service": "product.default.svc.cluster.local",
        "destination_service_name": "product",
        "destination_service_namespace": "default",
        "destination_cluster": "Kubernetes",
        "destination_canonical_service": "product",
        "destination_canonical_revision": "v1",
        "response_code": "200",
        "response_flags": "-",
    }


@pytest.mark.parametrize(
    ("name", "path", "status", "flags", "service", "workload"),
    [
        ("empty", "/", 503, "UH", "empty", "unknown"),
        ("product", "/once", 503, "UF", "closed", "closed-1"),
        ("product", "/retried", 503, "UF,URX", "closed", "closed-1"),
    ],
)
def test_labels_of_failures(
    mesh: Mesh, name: str, path: str, status: int, flags: str, service: str, workload: str
) -> None:
    assert ask(mesh, name, path) == status
    labels = requests_of(scrape(mesh), response_flags=flags)
    expected = {
        "response_code": str(status),
        "destination_service": f"{service}.default.svc.cluster.local",
        "destination_service_name": service,
        "destination_service_namespace": "default",
        "destination_workload": workload,
    }
    assert SOURCE | expected == {name: labels[name] for name in SOURCE | expected}


@pytest.mark.parametrize(
    ("name", "path", "status", "flags"), [("product", "/unmatched", 404, "NR"), ("product", "/nowhere", 503, "NC")]
)
def test_labels_of_requests_that_met_no_cluster(mesh: Mesh, name: str, path: str, status: int, flags: str) -> None:
    assert ask(mesh, name, path) == status
    labels = requests_of(scrape(mesh), response_flags=flags, response_code=str(status))
    expected = SOURCE | {"destination_workload": "unknown", "destination_app": "unknown"}
    assert expected == {name: labels[name] for name in expected}


def test_limits_are_counted(mesh: Mesh) -> None:
    assert sorted(ask(mesh, "limited", "/") for _ in range(5)) == [200, 200, 429, 429, 429]
    found = scrape(mesh)
    assert requests_of(found, response_flags="RL")["response_code"] == "429"
    assert found.sum("istio_requests_total", response_flags="RL") == 3
    results = {s.labels["result"]: s.value for s in found.all("fastmesh_rate_limit_requests_total")}
    assert {word: count for word, count in results.items() if count} == {"passed": 2, "limited": 3}
    assert found.one("fastmesh_requests_rate_limited_total").value == 3
    assert "rate_limit." in mesh.page("/stats?filter=rate_limit")


def test_histograms_agree_with_the_counter(mesh: Mesh) -> None:
    for size in (0, 1, 3, 700, 70_000):
        answer = fetch(mesh.port, "/p", "product.default", {"x-size": str(size * 2)}, b"y" * size)
        assert len(answer.body) == size * 2
    found = scrape(mesh)
    total = found.sum("istio_requests_total")
    for name in ("istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes"):
        buckets = found.all(f"{name}_bucket")
        series = {json.dumps({k: v for k, v in s.labels.items() if k != "le"}): list[float]() for s in buckets}
        for sample in buckets:
            series[json.dumps({k: v for k, v in sample.labels.items() if k != "le"})].append(sample.value)
        assert all(values == sorted(values) and len(values) == 20 for values in series.values())
        assert found.sum(f"{name}_bucket", le="+Inf") == found.sum(f"{name}_count") == total
    posted = {"destination_service_name": "product", "response_code": "200"}
    assert found.sum("istio_request_bytes_sum", **posted) == 70_704
    assert found.sum("istio_request_bytes_bucket", le="1000", **posted) + 1 == found.sum(
        "istio_request_bytes_count", **posted
    )
    assert 0 < found.sum("istio_request_duration_milliseconds_sum") < 60_000


def test_own_metrics_tell_the_same(mesh: Mesh) -> None:
    before = scrape(mesh)
    for _ in range(3):
        assert ask(mesh, "product", "/retried") == 503
    after = scrape(mesh)

    def grown(name: str, **labels: str) -> float:
        return after.sum(name, **labels) - before.sum(name, **labels)

    cluster = "outbound|80||closed.default.svc.cluster.local"
    assert grown("fastmesh_downstream_requests_total") == grown("istio_requests_total") == 3
    assert grown("fastmesh_downstream_responses_total", code_class="5xx") == 3
    assert grown("fastmesh_cluster_requests_total", cluster_name=cluster) == 3
    assert grown("fastmesh_cluster_responses_total", cluster_name=cluster, code_class="5xx") == 3
    assert grown("fastmesh_cluster_retries_total", cluster_name=cluster) == 6
    assert grown("fastmesh_cluster_retries_exhausted_total", cluster_name=cluster) == 3
    assert grown("fastmesh_endpoint_requests_total", cluster_name=cluster) == 9
    assert grown("fastmesh_endpoint_errors_total", cluster_name=cluster) == 9
    assert after.one("fastmesh_endpoint_requests_active", cluster_name=cluster).value == 0
    assert after.one("fastmesh_cluster_requests_active", cluster_name=cluster).value == 0


def test_refused_messages_are_counted(mesh: Mesh) -> None:
    before = scrape(mesh).sum("fastmesh_downstream_refused_messages_total", code="400")
    with socket.create_connection(("127.0.0.1", mesh.port), 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: a\x01b\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert scrape(mesh).sum("fastmesh_downstream_refused_messages_total", code="400") == before + 1


def test_build_and_process(mesh: Mesh) -> None:
    found = scrape(mesh)
    assert found.one("istio_build").labels == {"component": "proxy", "tag": fastmesh.__version__}
    assert found.one("fastmesh_build_info").labels["version"] == fastmesh.__version__
    assert found.one("process_resident_memory_bytes").value > 1 << 20
    assert found.one("fastmesh_arena_used_bytes").value < found.one("fastmesh_arena_size_bytes").value
    assert found.one("fastmesh_arena_overflows_total").value == 0


@pytest.mark.skipif(which("promtool") is None, reason="there is no promtool: make peers")
def test_promtool_finds_nothing_else(mesh: Mesh) -> None:
    ask(mesh, "product", "/p")
    text = mesh.page("/stats/prometheus").encode()
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=60, check=False)
    assert set(checked.stderr.decode().splitlines()) <= GIVEN_BY_ISTIO
    assert checked.returncode in (0, 3)  # 3: there was a lint line


def test_openmetrics_page_is_valid_when_served(mesh: Mesh) -> None:
    answer = fetch(mesh.admin, "/stats/prometheus", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    if answer.headers["content-type"].startswith("application/openmetrics-text"):
        assert list(parse_openmetrics(answer.body.decode()))
    else:
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")


# ---- all workers are one proxy


def connections(mesh: Mesh, count: int) -> list[socket.socket]:
    """Connections that have each answered one request. They come at once, so that no worker can take them all alone."""
    made = [socket.create_connection(("127.0.0.1", mesh.port), 10) for _ in range(count)]
    for client in made:
        client.sendall(b"GET /p HTTP/1.1\r\nHost: product.default\r\n\r\n")
    for client in made:
        read_answer(client)
    return made


def read_answer(client: socket.socket) -> None:
    got = b""
    while not got.endswith(b"xx"):
        part = client.recv(65536)
        assert part, got
        got += part
    assert got.startswith(b"HTTP/1.1 200 ")


def shared(mesh: Mesh, count: int) -> bool:
    """Whether each of the two workers has some of the `count` connections; waits until they have said so."""
    workers = eventually(lambda: [w for w in [mesh.workers()] if sum(one["connections"] for one in w[:2]) == count])[0]
    return all(worker["connections"] for worker in workers)


def test_workers_are_summed_and_survived(mesh: Mesh) -> None:
    served = {"destination_service_name": "product", "response_code": "200"}
    before = scrape(mesh).sum("istio_requests_total", **served)
    with contextlib.ExitStack() as stack:
        held: list[socket.socket] = []
        while not shared(mesh, len(held)) and len(held) < 480:
            held += [stack.enter_context(client) for client in connections(mesh, 24)]
        assert shared(mesh, len(held)), mesh.workers()
        count = len(held)
        total = scrape(mesh)
        assert total.sum("istio_requests_total", **served) == before + count
        assert total.one("fastmesh_downstream_connections_active").value == count
        victim = mesh.workers()[0]["pid"]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: victim not in [w["pid"] for w in mesh.workers()] and len(mesh.workers()) == 2)
        left = scrape(mesh)
        assert left.sum("istio_requests_total", **served) == before + count
        assert left.sum("istio_request_duration_milliseconds_bucket", le="+Inf", **served) == before + count
        lost = sum(_closed(client) for client in held)
        assert 0 < lost < count
        assert left.one("fastmesh_downstream_connections_active").value == count - lost
    for client in connections(mesh, 8):
        client.close()
    assert scrape(mesh).sum("istio_requests_total", **served) == before + count + 8
    eventually(lambda: scrape(mesh).one("fastmesh_downstream_connections_active").value == 0)
    assert scrape(mesh).one("fastmesh_worker_restarts_total").value == 1


def _closed(client: socket.socket) -> bool:
    client.settimeout(0)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


# ---- Prometheus itself


@contextlib.contextmanager
def prometheus(folder: Path, target: int) -> Iterator[int]:
    port = free_port()
    config = folder / "prometheus.yml"
    scraped = {"job_name": "mesh", "metrics_path": "/stats/prometheus"}
    jobs = [scraped | {"static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}]
    config.write_text(
        json.dumps({"global": {"scrape_interval": "250ms", "scrape_timeout": "250ms"}, "scrape_configs": jobs})
    )
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(20)


def query(port: int, promql: str) -> dict[str, float]:
    """The vector, its labels joined, its values."""
    try:
        answer = fetch(port, "/api/v1/query?" + urllib.parse.urlencode({"query": promql}))
    except OSError:
        return {}
    if answer.status != 200:
        return {}
    found = json.loads(answer.body)["data"]["result"]
    return {",".join(item["metric"].values()): float(item["value"][1]) for item in found}


@pytest.mark.skipif(which("prometheus") is None, reason="there is no Prometheus: make peers")
def test_prometheus_scrapes_and_answers_istios_dashboards(mesh: Mesh, tmp_path: Path) -> None:
    destination = 'reporter=~"source|waypoint",destination_service="product.default.svc.cluster.local"'
    with prometheus(tmp_path, mesh.admin) as port:
        ask(mesh, "product", "/p")
        eventually(lambda: query(port, 'up{job="mesh"} == 1'))
        numbers = itertools.count()

        def rate() -> dict[str, float]:
            """The service dashboard's incoming requests by code, while there is traffic."""
            assert ask(mesh, "product", f"/p?{next(numbers)}") == 200
            rates = f"irate(istio_requests_total{{{destination}}}[5m])"
            promql = f"round(sum({rates}) by (source_workload, response_code), 0.001)"
            return {key: value for key, value in query(port, promql).items() if value > 0}

        assert set(eventually(rate)) == {"200,shop-deploy"}
        buckets = f"rate(istio_request_duration_milliseconds_bucket{{{destination}}}[1m])"
        median = eventually(lambda: query(port, f"histogram_quantile(0.50, sum({buckets}) by (le))"))
        assert 0 < median[""] < 5000
        success = f'sum(rate(istio_requests_total{{{destination},response_code!~"5.*"}}[5m]))'
        ratio = query(port, f"{success} / sum(rate(istio_requests_total{{{destination}}}[5m]))")
        assert ratio == {"": 1}
        total = scrape(mesh).sum("istio_requests_total", destination_service_name="product")
        eventually(lambda: query(port, f"sum(istio_requests_total{{{destination}}})") == {"": total})
        assert query(port, "sum(istio_build) by (component)") == {"proxy": 1}
