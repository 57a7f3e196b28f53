"""Istio's Bookinfo samples route as their names say: asked of the compiled snapshot through `fastmesh explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conformance.explaining import ask
from tests.corpora import corpora_dir

pytest.importorskip("fastmesh.core.proxy.explain")

SAMPLES = corpora_dir() / "istio" / "samples" / "bookinfo"
NETWORKING = SAMPLES / "networking"
APPS = {"productpage": 1, "details": 2, "ratings": 3, "reviews": 4}
JASON = ("-H", "end-user: jason")
ALL_V1 = "virtual-service-all-v1.yaml"


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An address for version N of every app: 10.0.APP.N."""
    path = tmp_path_factory.mktemp("bookinfo") / "addresses.yaml"
    path.write_text("---".join(
        f"""
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {app}-v{version}}}
spec: {{address: 10.0.{number}.{version}, labels: {{app: {app}, version: v{version}}}}}
"""
        for app, number in APPS.items()
        for version in (1, 2, 3)
    ))  # fmt: skip
    return path


def request(addresses: Path, app: str, *files: str, options: tuple[str, ...] = ()) -> dict[str, Any]:
    base = [SAMPLES / "platform/kube/bookinfo.yaml", NETWORKING / "destination-rule-all.yaml", addresses]
    return ask([*base, *(NETWORKING / file for file in files)], "GET", f"http://{app}:9080/x", *options)


def shares(answer: dict[str, Any]) -> dict[str, float]:
    """Version to share."""
    if answer["weights"]:
        return {name.split("|")[2]: share for name, share in answer["weights"].items()}
    return {answer["cluster"].split("|")[2]: 1.0}


@pytest.mark.parametrize("app", APPS)
def test_without_rules_all_versions_answer(addresses: Path, app: str) -> None:
    answer = request(addresses, app)
    assert answer["cluster"] == f"outbound|9080||{app}.default.svc.cluster.local"
    assert answer["endpoints"] == [f"10.0.{APPS[app]}.{version}:9080" for version in (1, 2, 3)]
    assert (answer["rule"]["kind"], answer["status"]) == ("Service", None)


@pytest.mark.parametrize("app", APPS)
def test_all_v1(addresses: Path, app: str) -> None:
    answer = request(addresses, app, ALL_V1)
    assert answer["cluster"] == f"outbound|9080|v1|{app}.default.svc.cluster.local"
    assert answer["endpoints"] == [f"10.0.{APPS[app]}.1:9080"]


@pytest.mark.parametrize(
    ("file", "everyone", "jason"),
    [
        ("reviews-test-v2", {"v1": 1}, {"v2": 1}),
        ("reviews-jason-v2-v3", {"v3": 1}, {"v2": 1}),
        ("reviews-80-20", {"v1": 0.8, "v2": 0.2}, None),
        ("reviews-90-10", {"v1": 0.9, "v2": 0.1}, None),
        ("reviews-50-v3", {"v1": 0.5, "v3": 0.5}, None),
        ("reviews-v2-v3", {"v2": 0.5, "v3": 0.5}, None),
        ("reviews-v3", {"v3": 1}, None),
    ],
)
def test_reviews(addresses: Path, file: str, everyone: dict[str, float], jason: dict[str, float] | None) -> None:
    name = f"virtual-service-{file}.yaml"
    assert shares(request(addresses, "reviews", name)) == pytest.approx(everyone)
    assert shares(request(addresses, "reviews", name, options=JASON)) == pytest.approx(jason or everyone)


def test_details_v2(addresses: Path) -> None:
    assert shares(request(addresses, "details", "virtual-service-details-v2.yaml")) == {"v2": 1}


def test_ratings_test_delay(addresses: Path) -> None:
    answer = request(addresses, "ratings", "virtual-service-ratings-test-delay.yaml", options=JASON)
    (fault,) = [step for step in answer["steps"] if step["step"] == "fault"]
    assert "7000 ms" in fault["decision"]
    assert "100 %" in fault["why"]
    assert shares(answer) == {"v1": 1}
    others = request(addresses, "ratings", "virtual-service-ratings-test-delay.yaml")
    assert "fault" not in [step["step"] for step in others["steps"]]


def test_ratings_test_abort(addresses: Path) -> None:
    answer = request(addresses, "ratings", "virtual-service-ratings-test-abort.yaml", options=JASON)
    assert (answer["action"], answer["status"], answer["flags"]) == ("abort", 500, ["FI"])
    assert request(addresses, "ratings", "virtual-service-ratings-test-abort.yaml")["action"] == "route"


def test_fault_injection_details_v1(addresses: Path) -> None:
    answer = request(addresses, "details", "fault-injection-details-v1.yaml")
    assert (answer["action"], answer["status"]) == ("abort", 555)


@pytest.mark.parametrize(
    ("file", "subset"),
    [("ratings-db", "v2"), ("ratings-mysql", "v2-mysql"), ("ratings-mysql-vm", "v2-mysql-vm")],
)
def test_ratings_with_a_database(addresses: Path, file: str, subset: str) -> None:
    name = f"virtual-service-{file}.yaml"
    assert shares(request(addresses, "ratings", name)) == {subset: 1}
    assert shares(request(addresses, "reviews", name)) == {"v3": 1}


def test_the_egress_rule_changes_the_port() -> None:
    answer = ask([NETWORKING / "egress-rule-google-apis.yaml"], "GET", "http://www.googleapis.com/books")
    assert answer["cluster"] == "outbound|443||www.googleapis.com"
    assert answer["endpoints"] == ["www.googleapis.com:443"]


@pytest.mark.parametrize(
    ("path", "action"),
    [
        ("/productpage", "route"),
        ("/static/bootstrap.css", "route"),
        ("/login", "route"),
        ("/logout", "route"),
        ("/api/v1/products/0", "route"),
        ("/nope", "none"),
        ("/productpage/x", "none"),
        ("/", "none"),
    ],
)
def test_the_gateway(addresses: Path, path: str, action: str) -> None:
    files = [SAMPLES / "platform/kube/bookinfo.yaml", NETWORKING / "bookinfo-gateway.yaml", addresses]
    answer = ask(files, "GET", f"http://bookinfo.example.com{path}", "--gateway", "default/bookinfo-gateway")
    assert answer["action"] == action
    if action == "route":
        assert answer["cluster"] == "outbound|9080||productpage.default.svc.cluster.local"
        assert answer["endpoints"] == ["10.0.1.1:9080", "10.0.1.2:9080", "10.0.1.3:9080"]
    else:
        assert (answer["status"], answer["flags"]) == (404, ["NR"])


def test_every_sample_file_loads(addresses: Path) -> None:
    for file in sorted(NETWORKING.glob("*.yaml")):
        assert request(addresses, "details", file.name)["action"] in ("route", "abort"), file.name


@pytest.mark.parametrize(
    ("file", "shares_of_reviews"),
    [
        ("route-all-v1", {"v1": 1.0}),
        ("route-reviews-v1", {"v1": 1.0}),
        ("route-reviews-v3", {"v3": 1.0}),
        ("route-reviews-50-v3", {"v1": 0.5, "v3": 0.5}),
        ("route-reviews-90-10", {"v1": 0.9, "v2": 0.1}),
    ],
)
def test_http_routes_of_the_mesh(addresses: Path, file: str, shares_of_reviews: dict[str, float]) -> None:
    files = [SAMPLES / "platform/kube/bookinfo.yaml", SAMPLES / f"gateway-api/{file}.yaml", addresses]
    answer = ask(files, "GET", "http://reviews:9080/x")
    weights = answer["weights"] or {answer["cluster"]: 1.0}
    found = {name.split("|")[3].split(".")[0].removeprefix("reviews-"): share for name, share in weights.items()}
    assert found == pytest.approx(shares_of_reviews)


@pytest.mark.parametrize(("path", "action"), [("/productpage", "route"), ("/static/x", "route"), ("/staticx", "none")])
def test_the_gateway_of_the_gateway_api(addresses: Path, path: str, action: str) -> None:
    files = [SAMPLES / "platform/kube/bookinfo.yaml", SAMPLES / "gateway-api/bookinfo-gateway.yaml", addresses]
    answer = ask(files, "GET", f"http://any.example{path}", "--gateway", "default/bookinfo-gateway")
    assert answer["action"] == action
