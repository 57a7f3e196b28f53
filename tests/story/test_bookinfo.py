"""Istio's Bookinfo samples in the mesh: what answers with its name stands for each version of a service.

Its gateways are in test_samples.py.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adversity.name_server import NameServer
from tests.security.making import write
from tests.story.samples import SAMPLES, near, shares, text, versions, workload
from tests.tls.material import CA, OTHER_CA, named, roots_pem, svid
from tests.tls.upstream import Endpoint, server_context
from tests.traffic import Story, ask, thing, together

VERSIONS = {
    "productpage": ("v1",),
    "details": ("v1", "v2"),
    "ratings": ("v1", "v2", "v2-mysql", "v2-mysql-vm"),
    "reviews": ("v1", "v2", "v3"),
}
PLATFORM = "bookinfo/platform/kube/bookinfo.yaml"
FAULT = SAMPLES.parent / "tests/testdata/config/rule-fault-injection.yaml"
IDENTITY = "spiffe://cluster.local/ns/default/sa/bookinfo-"


@pytest.fixture(scope="module")
def workloads() -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        yield "".join(stack.enter_context(versions(app, *names)) for app, names in VERSIONS.items())


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory, workloads: str) -> Iterator[Story]:
    """The productpage's proxy. Its certificate matters where a rule says ISTIO_MUTUAL."""
    folder = tmp_path_factory.mktemp("bookinfo")
    write(folder, svid(IDENTITY + "productpage"), roots=[CA])
    flags = ("--labels", "app=productpage,version=v1", "--certs", str(folder))
    with Story(folder, text(PLATFORM, more=workloads), *flags, workers=2) as story:
        yield story


def load(mesh: Story, workloads: str, *files: str, rules: str = "destination-rule-all") -> None:
    mesh.reload(text(PLATFORM, *(f"bookinfo/networking/{file}.yaml" for file in (rules, *files)), more=workloads))


def spread(mesh: Story, app: str, wanted: dict[str, float], **headers: str) -> None:
    """As wanted: to the letter where all goes to one version, else within 5 points of 2,000 calls."""
    times = 200 if len(wanted) == 1 else 2000
    near(shares(mesh.port, f"{app}:9080", times, f"/{app}/0", **headers), {f"{app}-{v}": s for v, s in wanted.items()})


def test_without_rules_all_versions_answer(mesh: Story) -> None:
    for app, names in VERSIONS.items():
        assert set(shares(mesh.port, f"{app}:9080", 200)) == {f"{app}-{version}" for version in names}


def test_all_v1(mesh: Story, workloads: str) -> None:
    load(mesh, workloads, "virtual-service-all-v1")
    for app in VERSIONS:
        spread(mesh, app, {"v1": 1.0})


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
    spread(mesh, "reviews", everyone)
    spread(mesh, "reviews", jason or everyone, end_user="jason")


def test_reviews_by_chance(mesh: Story, workloads: str) -> None:
    """destination-rule-reviews: RANDOM among all versions, which the subsets of another rule part."""
    load(mesh, workloads, rules="destination-rule-reviews")
    spread(mesh, "reviews", {"v1": 1 / 3, "v2": 1 / 3, "v3": 1 / 3})
    load(mesh, workloads, "virtual-service-reviews-80-20", rules="destination-rule-reviews")
    spread(mesh, "reviews", {"v1": 0.8, "v2": 0.2})


def test_details_v2(mesh: Story, workloads: str) -> None:
    load(mesh, workloads, "virtual-service-details-v2")
    spread(mesh, "details", {"v2": 1.0})


@pytest.mark.parametrize(
    ("file", "version"),
    [("ratings-db", "v2"), ("ratings-mysql", "v2-mysql"), ("ratings-mysql-vm", "v2-mysql-vm")],
)
def test_ratings_with_a_database(mesh: Story, workloads: str, file: str, version: str) -> None:
    load(mesh, workloads, f"virtual-service-{file}")
    spread(mesh, "ratings", {version: 1.0})
    spread(mesh, "reviews", {"v3": 1.0})


def test_ratings_test_abort(mesh: Story, workloads: str) -> None:
    load(mesh, workloads, "virtual-service-ratings-test-abort")
    answer, line = mesh.ask("/ratings/0", host="ratings:9080", end_user="jason")
    assert (answer.status, answer.text, line["response_flags"]) == (500, "fault filter abort", "FI")
    spread(mesh, "ratings", {"v1": 1.0})


def test_fault_injection_details(mesh: Story, workloads: str) -> None:
    """The file has a DestinationRule of its own."""
    mesh.reload(text(PLATFORM, "bookinfo/networking/fault-injection-details-v1.yaml", more=workloads))
    answer, line = mesh.ask("/details/0", host="details:9080")
    assert (answer.status, line["response_flags"]) == (555, "FI")


def test_delays(mesh: Story, workloads: str) -> None:
    """ratings-test-delay holds jason's requests for 7 s; rule-fault-injection says 503 after 5 s. A tenth will do."""
    names = ("destination-rule-all", "virtual-service-ratings-test-delay")
    files = [f"bookinfo/networking/{name}.yaml" for name in names]
    written = text(PLATFORM, *files, more=workloads + "---\n" + FAULT.read_text())
    for seconds in (7, 5):
        assert f"fixedDelay: {seconds}s" in written
        written = written.replace(f"fixedDelay: {seconds}s", f"fixedDelay: {seconds}00ms")
    mesh.reload(written)
    assert ask(mesh.port, "/ratings/0", host="ratings:9080").seconds < 0.5
    (held, line), (refused, other) = together([
        lambda: mesh.ask("/ratings/0", host="ratings:9080", end_user="jason"),
        lambda: mesh.ask("/", host="fault.test.istio.io:8080", version="v2"),
    ])  # fmt: skip
    assert (held.status, held.text, line["response_flags"]) == (200, "<ratings-v1>", "DI")
    assert 0.7 <= held.seconds < 1.7
    assert (refused.status, refused.text, other["response_flags"]) == (503, "fault filter abort", "DI,FI")
    assert 0.5 <= refused.seconds < 1.5
    assert ask(mesh.port, host="fault.test.istio.io:8080").status == 404


def services() -> str:
    """A service for each version: HTTPRoutes know no subsets."""
    yaml = ""
    for app, names in VERSIONS.items():
        for version in names:
            spec = {"selector": {"app": app, "version": version}, "ports": [{"name": "http", "port": 9080}]}
            yaml += thing("Service", f"{app}-{version}", spec, "v1")
    return yaml


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("route-all-v1", {"v1": 1.0}),
        ("route-reviews-v1", {"v1": 1.0}),
        ("route-reviews-v3", {"v3": 1.0}),
        ("route-reviews-90-10", {"v1": 0.9, "v2": 0.1}),
        ("route-reviews-50-v3", {"v1": 0.5, "v3": 0.5}),
    ],
)
def test_http_routes_of_the_mesh(mesh: Story, workloads: str, file: str, wanted: dict[str, float]) -> None:
    mesh.reload(text(PLATFORM, f"bookinfo/gateway-api/{file}.yaml", more=services() + workloads))
    spread(mesh, "reviews", wanted)
    if file == "route-all-v1":
        for app in VERSIONS:
            spread(mesh, app, {"v1": 1.0})


# --- TLS on the wire


def test_mutual_tls_between_all(mesh: Story) -> None:
    """destination-rule-all-mtls: each service is asked in mutual TLS, and has to be the one whose account it has."""
    with contextlib.ExitStack() as stack:
        more, there = "", {}
        for app in VERSIONS:
            context = server_context(svid(IDENTITY + app), CA)
            there[app] = stack.enter_context(Endpoint(context))
            more += account(app, there[app].port)
        impostor = stack.enter_context(Endpoint(server_context(svid(IDENTITY + "ratings"), CA)))
        load(mesh, more, "virtual-service-all-v1", rules="destination-rule-all-mtls")
        for app, endpoint in there.items():
            assert ask(mesh.port, f"/{app}/0", host=f"{app}:9080").status == 200
            (seen,) = endpoint.seen
            assert seen["peer"] == (("URI", IDENTITY + "productpage"),)
            assert seen["sni"] == f"outbound_.9080_.v1_.{app}.default.svc.cluster.local"
        load(mesh, account("reviews", impostor.port), rules="destination-rule-all-mtls")
        answer, line = mesh.ask("/reviews/0", host="reviews:9080")
        assert (answer.status, line["response_flags"]) == (503, "UF,URX")
        assert impostor.seen == []


def account(app: str, port: int) -> str:
    return workload(app, port, {"app": app, "version": "v1"}, serviceAccount=f"bookinfo-{app}")


def test_egress_to_google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """egress-rule-google-apis: what is sent to port 80 in plaintext arrives at 443 in TLS, and at nobody else's."""
    roots = tmp_path / "roots.pem"
    roots.write_bytes(roots_pem(CA))
    address = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
    stranger = server_context(named("www.googleapis.com", ca=OTHER_CA))
    with NameServer(tmp_path) as names, Endpoint(stranger, (address, 443)) as google:
        names.zone = {"www.googleapis.com": [address]}
        monkeypatch.setenv("SSL_CERT_FILE", str(roots))
        yaml = text("bookinfo/networking/egress-rule-google-apis.yaml")
        with Story(tmp_path, yaml, prefix=names.prefix) as story:
            answer, line = story.ask("/books/v1/volumes", host="www.googleapis.com")
            assert (answer.status, line["response_flags"]) == (503, "UF,URX")
            assert "certificate signature failure" in line["upstream_transport_failure_reason"]
            google.context = server_context(named("www.googleapis.com"))
            answer, line = story.ask("/books/v1/volumes", host="www.googleapis.com")
            assert (answer.status, line["upstream_cluster"]) == (200, "outbound|443||www.googleapis.com")
            assert google.seen[0]["sni"] == "www.googleapis.com"
