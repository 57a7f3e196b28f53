"""Istio's Bookinfo samples with traffic: echo replicas stand for each version of each service."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.corpora import corpora_dir
from tests.ports import free_port
from tests.traffic import Client, Replica, Story, ask, thing, together

SAMPLES = corpora_dir() / "istio" / "samples" / "bookinfo"
NETWORKING = SAMPLES / "networking"
VERSIONS = {
    "productpage": ("v1",),
    "details": ("v1", "v2"),
    "ratings": ("v1", "v2", "v2-mysql", "v2-mysql-vm"),
    "reviews": ("v1", "v2", "v3"),
}
JASON = {"end-user": "jason"}


@pytest.fixture(scope="module")
def workloads() -> Iterator[str]:
    """YAML that gives each version an address; each answers with its own name."""
    with contextlib.ExitStack() as stack:
        yaml = ""
        for app, versions in VERSIONS.items():
            for version in versions:
                replica = stack.enter_context(Replica(f"{app}-{version}"))
                labels = {"app": app, "version": version}
                entry = {"address": "127.0.0.1", "ports": {"http": replica.port}, "labels": labels}
                yaml += thing("WorkloadEntry", replica.name, entry)
        yield yaml


def text(workloads: str, *files: str) -> str:
    found = ["platform/kube/bookinfo.yaml", *files]
    return "\n---\n".join([*((SAMPLES / file).read_text() for file in found), workloads])


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory, workloads: str) -> Iterator[Story]:
    with Story(tmp_path_factory.mktemp("bookinfo"), text(workloads), workers=2) as story:
        yield story


def load(mesh: Story, workloads: str, *files: str) -> None:
    mesh.reload(text(workloads, "networking/destination-rule-all.yaml", *(f"networking/{file}.yaml" for file in files)))


def spread(mesh: Story, app: str, times: int, **headers: str) -> collections.Counter[str]:
    """Versions that answered."""

    def some() -> list[str]:
        with Client(mesh.port, f"{app}:9080") as client:
            return [client.ask(f"/{app}/0", **headers).text.removeprefix(f"{app}-") for _ in range(times // 4)]

    return collections.Counter(name for names in together([some] * 4) for name in names)


def test_without_rules_all_versions_answer(mesh: Story) -> None:
    for app, versions in VERSIONS.items():
        assert set(spread(mesh, app, 80)) == set(versions)


def test_all_v1(mesh: Story, workloads: str) -> None:
    load(mesh, workloads, "virtual-service-all-v1")
    for app in VERSIONS:
        assert spread(mesh, app, 100) == {"v1": 100}


@pytest.mark.parametrize(
    ("file", "everyone", "jason"),
    [
        ("reviews-test-v2", {"v1": 1.0}, {"v2": 1.0}),
        ("reviews-jason-v2-v3", {"v3": 1.0}, {"v2": 1.0}),
        ("reviews-80-20", {"v1": 0.8, "v2": 0.2}, None),
        ("reviews-90-10", {"v1": 0.9, "v2": 0.1}, None),
        ("reviews-50-v3", {"v1": 0.5, "v3": 0.5}, None),
        ("reviews-v2-v3", {"v2": 0.5, "v3": 0.5}, None),
        ("reviews-v3", {"v3": 1.0}, None),
    ],
)
def test_reviews(
    mesh: Story, workloads: str, file: str, everyone: dict[str, float], jason: dict[str, float] | None
) -> None:
    load(mesh, workloads, f"virtual-service-{file}")
    for headers, shares in (({}, everyone), (JASON, jason or everyone)):
        times = 100 if len(shares) == 1 else 1200
        counts = spread(mesh, "reviews", times, **headers)
        assert set(counts) == set(shares)
        for version, share in shares.items():
            assert abs(counts[version] / times - share) < 0.06, counts


def test_details_v2(mesh: Story, workloads: str) -> None:
    load(mesh, workloads, "virtual-service-details-v2")
    assert spread(mesh, "details", 40) == {"v2": 40}


@pytest.mark.parametrize(
    ("file", "version"),
    [("ratings-db", "v2"), ("ratings-mysql", "v2-mysql"), ("ratings-mysql-vm", "v2-mysql-vm")],
)
def test_ratings_with_a_database(mesh: Story, workloads: str, file: str, version: str) -> None:
    load(mesh, workloads, f"virtual-service-{file}")
    assert spread(mesh, "ratings", 40) == {version: 40}
    assert spread(mesh, "reviews", 40) == {"v3": 40}


def test_ratings_test_abort(mesh: Story, workloads: str) -> None:
    load(mesh, workloads, "virtual-service-ratings-test-abort")
    answer, line = mesh.ask("/ratings/0", host="ratings:9080", end_user="jason")
    assert (answer.status, answer.text, line["response_flags"]) == (500, "fault filter abort", "FI")
    assert spread(mesh, "ratings", 40) == {"v1": 40}


def test_fault_injection_details(mesh: Story, workloads: str) -> None:
    load(mesh, workloads, "fault-injection-details-v1")
    answer, line = mesh.ask("/details/0", host="details:9080")
    assert (answer.status, line["response_flags"]) == (555, "FI")


def test_ratings_test_delay(mesh: Story, workloads: str) -> None:
    load(mesh, workloads, "virtual-service-ratings-test-delay")
    assert ask(mesh.port, "/ratings/0", host="ratings:9080").seconds < 0.5
    answer, line = mesh.ask("/ratings/0", host="ratings:9080", end_user="jason")
    assert (answer.status, answer.text, line["response_flags"]) == (200, "ratings-v1", "DI")
    assert 7.0 <= answer.seconds < 7.3


@pytest.mark.parametrize("folder", ["networking", "gateway-api"])
def test_the_gateway(tmp_path: Path, workloads: str, folder: str) -> None:
    port = free_port()
    yaml = text(workloads, f"{folder}/bookinfo-gateway.yaml")
    flags = ("--bind", "127.0.0.1", "--map", f"80={port}", "--map", f"8080={port}")
    with Story(tmp_path, yaml, *flags, role="gateway"), Client(port, "bookinfo.example.com") as client:
        for path in ("/productpage", "/static/bootstrap.css", "/login", "/logout", "/api/v1/products/0"):
            answer = client.ask(path)
            assert (answer.status, answer.text) == (200, "productpage-v1"), path
        for path in ("/nope", "/productpage/x", "/"):
            assert client.ask(path).status == 404, path


def versions() -> str:
    """A service for each version: HTTPRoutes know no subsets."""
    yaml = ""
    for app, names in VERSIONS.items():
        for version in names:
            spec = {"selector": {"app": app, "version": version}, "ports": [{"name": "http", "port": 9080}]}
            yaml += thing("Service", f"{app}-{version}", spec, "v1")
    return yaml


@pytest.mark.parametrize(
    ("file", "shares"),
    [
        ("route-all-v1", {"v1": 1.0}),
        ("route-reviews-v3", {"v3": 1.0}),
        ("route-reviews-90-10", {"v1": 0.9, "v2": 0.1}),
        ("route-reviews-50-v3", {"v1": 0.5, "v3": 0.5}),
    ],
)
def test_http_routes_of_the_mesh(mesh: Story, workloads: str, file: str, shares: dict[str, float]) -> None:
    mesh.reload(text(workloads, f"gateway-api/{file}.yaml") + versions())
    times = 100 if len(shares) == 1 else 1200
    counts = spread(mesh, "reviews", times)
    assert set(counts) == set(shares)
    for version, share in shares.items():
        assert abs(counts[version] / times - share) < 0.06, counts
