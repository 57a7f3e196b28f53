"""`fastmesh explain` and TLS: HTTPS servers, what is passed on, and how the chosen cluster is spoken to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.explaining import ask, run
from tests.conformance.test_explain import KEYS

pytest.importorskip("fastmesh.core.proxy.explain")

CONFIG = """
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: shop}
spec: {selector: {app: pay}, ports: [{name: http, port: 80}, {name: https, port: 443}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: pay-1, namespace: shop}
spec: {address: 10.0.0.1, labels: {app: pay}, serviceAccount: payer}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: pay-2, namespace: shop}
spec: {address: 10.0.0.2, labels: {app: pay}}
---
apiVersion: v1
kind: Secret
metadata: {name: web, namespace: shop}
stringData: {tls.crt: SECRET, tls.key: SECRET}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: shop}
spec:
  servers:
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.com], tls: {mode: SIMPLE, credentialName: web}}
  - {port: {number: 443, name: tls, protocol: TLS}, hosts: ["*.b.com"], tls: {mode: PASSTHROUGH}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: shop}
spec:
  hosts: [a.com, x.b.com, y.b.com]
  gateways: [gw]
  http: [{route: [{destination: {host: pay, port: {number: 80}}}]}]
  tls:
  - {match: [{sniHosts: [x.b.com]}], route: [{destination: {host: pay, port: {number: 443}}}]}
"""
SIMPLE = """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: pay, namespace: shop}
spec: {host: pay, trafficPolicy: {tls: {%s}}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def text(file: Path, *request: str) -> str:
    code, out, err = run("-f", str(file), *request)
    assert code == 0, err
    assert "SECRET" not in out + err
    return out


def test_an_https_server_is_asked_like_any_other(file: Path) -> None:
    answer = ask([file], "GET", "https://a.com/x", "--gateway", "shop/gw")
    assert list(answer) == KEYS
    assert (answer["action"], answer["cluster"]) == ("route", "outbound|80||pay.shop.svc.cluster.local")
    assert answer["request_headers"]["x-forwarded-proto"] == "https"


def test_what_is_passed_on_is_said_to_be(file: Path) -> None:
    answer = ask([file], "GET", "https://x.b.com/", "--gateway", "shop/gw")
    assert list(answer) == KEYS
    assert (answer["action"], answer["cluster"]) == ("passthrough", "outbound|443||pay.shop.svc.cluster.local")
    assert answer["endpoints"] == ["10.0.0.1:443", "10.0.0.2:443"]
    for host in ("y.b.com", "nobody.com"):
        answer = ask([file], "GET", f"https://{host}/", "--gateway", "shop/gw")
        assert (answer["action"], answer["flags"], answer["steps"][0]["decision"]) == ("none", ["NR"], "closed")


def test_tls_of_the_mesh_listener_goes_by_server_name(file: Path) -> None:
    answer = ask([file], "GET", "https://pay.shop/", "--namespace", "shop")
    assert (answer["action"], answer["cluster"]) == ("passthrough", "outbound|443||pay.shop.svc.cluster.local")
    answer = ask([file], "GET", "http://pay.shop/", "--namespace", "shop")
    assert (answer["action"], answer["cluster"]) == ("route", "outbound|80||pay.shop.svc.cluster.local")


def test_the_text_shows_the_tls_of_the_cluster(file: Path) -> None:
    shown = text(file, "GET", "http://pay/", "--namespace", "shop")
    assert (
        "  tls        mutual TLS of the mesh to 1 of 2 endpoints, the others in plaintext, server name "
        "outbound_.80_._.pay.shop.svc.cluster.local, server is spiffe://cluster.local/ns/shop/sa/payer\n"
    ) in shown
    for fields, line in (
        ("mode: DISABLE", ""),
        ("mode: SIMPLE", "TLS, server name as the Host"),
        ("mode: SIMPLE, sni: a, subjectAltNames: [b, c]", "TLS, server name a, server is b or c"),
        ("mode: SIMPLE, insecureSkipVerify: true", "TLS, server name as the Host, server not verified"),
        ("mode: SIMPLE, caCertificates: /ca", "TLS, server name as the Host, credential ca=file:/ca"),
        ("mode: ISTIO_MUTUAL, sni: a, subjectAltNames: [b]", "mutual TLS of the mesh, server name a, server is b"),
    ):
        file.write_text(CONFIG + SIMPLE % fields)
        shown = text(file, "GET", "http://pay/", "--namespace", "shop")
        assert [row for row in shown.split("\n") if row.startswith("  tls ")] == (
            [f"  tls        {line}"] if line else []
        )


def test_a_port_that_no_server_has(file: Path) -> None:
    with pytest.raises(Exception, match=r"no server on port 80 \(its ports: 443\)"):
        run("-f", str(file), "GET", "http://a.com:80/", "--gateway", "shop/gw", "--port", "80")
