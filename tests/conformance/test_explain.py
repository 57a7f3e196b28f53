"""The command `fastmesh explain`: its options, its two outputs, its errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson
import pytest

from tests.conformance.explaining import ask, run

pytest.importorskip("fastmesh.core.proxy.explain")

KEYS = [
    "action", "status", "rule", "cluster", "weights", "endpoints", "authority", "path", "request_headers", "location",
    "timeout_ms", "retries", "flags", "steps",
]  # fmt: skip
CONFIG = """
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {ports: [{name: http, port: 80}, {name: http-b, port: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: shop}
spec:
  hosts: [a]
  gateways: [mesh, gw]
  http:
  - name: web
    match: [{sourceLabels: {app: web}}]
    route: [{destination: {host: a, port: {number: 8080}}}]
  - name: plain
    route: [{destination: {host: a, port: {number: 80}}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: shop}
spec:
  selector: {istio: ingress}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 8080, name: http-b, protocol: HTTP}, hosts: [b.example.com]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: other, namespace: shop}
spec:
  selector: {istio: other}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"], tls: {httpsRedirect: true}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: named}
spec:
  hosts: [api.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
  endpoints: [{address: one.example.net, ports: {http: 81}}, {address: 10.0.0.1}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def test_the_answer_has_all_keys(file: Path) -> None:
    answer = ask([file], "GET", "http://a.shop/")
    assert list(answer) == KEYS
    rule = answer["rule"]
    assert (rule["kind"], rule["namespace"], rule["name"], rule["route"]) == ("VirtualService", "shop", "a", "plain")
    assert (rule["file"], rule["line"]) == (str(file), CONFIG.split("\n").index("  - name: plain") + 1)


@pytest.mark.parametrize(
    ("request_", "cluster"),
    [
        (("http://a.shop/",), "outbound|80||a.shop.svc.cluster.local"),
        (("a.shop/x",), "outbound|80||a.shop.svc.cluster.local"),
        (("http://a.shop/", "--labels", "app=web,x=y"), "outbound|8080||a.shop.svc.cluster.local"),
        (("http://a/",), "PassthroughCluster"),
        (("http://a/", "--namespace", "shop"), "outbound|80||a.shop.svc.cluster.local"),
        (("http://elsewhere/", "-H", "Host: a.shop"), "outbound|80||a.shop.svc.cluster.local"),
        (("http://a.shop:81/",), "PassthroughCluster"),
        (("http://a.shop/", "--port", "81"), "PassthroughCluster"),
        (("http://a.shop:8080/",), "outbound|80||a.shop.svc.cluster.local"),
        (("http://A.Shop./",), "outbound|80||a.shop.svc.cluster.local"),
    ],
)
def test_who_asks_and_where(file: Path, request_: tuple[str, ...], cluster: str) -> None:
    assert ask([file], "GET", *request_)["cluster"] == cluster


def test_names_that_dns_would_answer_stand_for_themselves(file: Path) -> None:
    assert ask([file], "GET", "http://api.example.com/")["endpoints"] == ["one.example.net:81", "10.0.0.1:80"]


def gateway(file: Path, *request: str, name: str = "shop/gw") -> dict[str, Any]:
    return ask([file], "GET", *request, "--gateway", name)


def test_a_gateway_answers_on_its_ports(file: Path) -> None:
    assert gateway(file, "http://a.shop.svc.cluster.local/")["action"] == "route"
    assert gateway(file, "http://a.shop.svc.cluster.local/", "--port", "8080")["status"] == 404
    assert gateway(file, "http://a.shop.svc.cluster.local:9999/")["action"] == "route"  # the port in a Host is ignored


def test_a_gateway_of_another_workload_has_its_own_listener(file: Path) -> None:
    answer = gateway(file, "http://a.shop.svc.cluster.local/x?y", name="shop/other")
    assert (answer["action"], answer["status"]) == ("redirect", 301)
    assert answer["location"] == "https://a.shop.svc.cluster.local/x?y"


@pytest.mark.parametrize(
    "arguments",
    [
        ("GET", "http://a/", "--gateway", "shop/nobody"),
        ("GET", "http://a/", "--gateway", "shop/gw", "--port", "81"),
        ("GET", "ftp://a/"),
        ("GET", "http://a:x/"),
        ("GET", "http://a/", "-H", "no colon"),
        ("GET", "http://a/", "--labels", "app"),
        ("GET",),
    ],
)
def test_usage_errors(file: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(click.UsageError):
        run("-f", str(file), *arguments)


def test_a_refused_configuration_is_shown_whole_and_answers_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec: {host: a, htp: []}\n"
    )
    code, out, err = run("-f", str(path), "GET", "http://a/")
    assert (code, out) == (65, "")
    assert f"{path}:4: VirtualService/x: spec.host" in err
    assert "spec.htp" in err


def test_the_text_says_the_decision_first(file: Path) -> None:
    code, out, _ = run("-f", str(file), "GET", "http://a.shop/")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("route")
    assert f"VirtualService shop/a route plain ({file}:" in lines[1]
    assert any(line.split() == ["cluster", "outbound|80||a.shop.svc.cluster.local"] for line in lines)


def test_nothing_but_json_is_on_standard_output(file: Path) -> None:
    file.write_text(
        CONFIG.replace("networking.istio.io/v1\nkind: ServiceEntry", "istio.io/v1alpha3\nkind: ServiceEntry")
    )
    code, out, err = run("-f", str(file), "GET", "http://a.shop/", "-o", "json")
    assert code == 0
    assert orjson.loads(out)["action"] == "route"
    assert "warning" in err
