"""How connections to clusters are encrypted: DestinationRule tls, auto mTLS, and the version of HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.plan import ClientTLSPlan, ClusterPlan, Plan
from tests.config.asking import config_of
from tests.config.test_peer_authentication import mtls, policy

PAY = """\
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: shop}
spec: {selector: {app: pay}, ports: [{port: 80, name: %s, targetPort: 3000}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: pay-v1, namespace: shop}
spec: {address: 10.0.0.1, labels: {app: pay, version: v1}, serviceAccount: payer, ports: {%s: 15006}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: pay-v2, namespace: shop}
spec: {address: 10.0.0.2, labels: {app: pay, version: v2}}
"""
HTTP = PAY % ("http", "http")
SHOP = "spiffe://cluster.local/ns/shop/sa/payer"


def rule(spec: str, host: str = "pay.shop.svc.cluster.local") -> str:
    head = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: pay, namespace: shop}\n"
    return f"{head}spec: {{host: {host}, {spec}}}\n"


def tls(fields: str) -> str:
    return rule(f"trafficPolicy: {{tls: {{{fields}}}}}")


def planned(text: str, **role: Any) -> tuple[Plan, list[str]]:
    plan, problems = compile_plan(config_of(text), Role(**{"namespace": "shop", "identity": True, **role}))
    return plan, [str(problem) for problem in problems if problem.code == "reference"]


def cluster(text: str, **role: Any) -> ClusterPlan:
    return planned(text, **role)[0].clusters[0]


def test_auto_mtls_is_decided_for_each_endpoint() -> None:
    found = cluster(HTTP)
    assert [endpoint.mesh_tls for endpoint in found.endpoints] == [True, False]
    assert found.tls == ClientTLSPlan(
        credential="mesh", mesh=True, auto=True, trust_domains=["cluster.local"], sans=[SHOP],
        sni="outbound_.80_._.pay.shop.svc.cluster.local", alpn=["istio-http/1.1", "istio", "http/1.1"],
    )  # fmt: skip


def test_a_label_says_whether_a_sidecar_is_there() -> None:
    said = HTTP.replace("version: v2}", "version: v2, security.istio.io/tlsMode: istio}")
    assert [endpoint.mesh_tls for endpoint in cluster(said).endpoints] == [True, True]
    denied = HTTP.replace("version: v1}", "version: v1, security.istio.io/tlsMode: disabled}")
    assert [endpoint.mesh_tls for endpoint in cluster(denied).endpoints] == [False, False]
    assert cluster(denied).tls is None


def test_pods_and_listed_endpoints_have_the_label_of_their_pod() -> None:
    pod = """---
apiVersion: v1
kind: Pod
metadata: {name: pay-x, namespace: shop, labels: {app: pay, security.istio.io/tlsMode: istio}}
spec: {serviceAccountName: %s}
status: {podIP: 10.0.0.9}
"""
    listed = """---
apiVersion: v1
kind: Endpoints
metadata: {name: pay, namespace: shop}
subsets: [{addresses: [{ip: 10.0.0.9}], ports: [{name: http, port: 3000}]}]
"""
    service = HTTP.partition("---")[0]
    for more in ("", listed):
        found = cluster(service + pod % "clerk" + more)
        assert [(each.address, each.mesh_tls) for each in found.endpoints] == [("10.0.0.9", True)]
        assert found.tls is not None
        assert found.tls.sans == ["spiffe://cluster.local/ns/shop/sa/clerk"]
    assert cluster(service + pod % "''").tls.sans == ["spiffe://cluster.local/ns/shop/sa/default"]  # type: ignore[union-attr]


def test_the_principal_of_a_workload_is_its_service_account() -> None:
    plan, _ = planned(HTTP, trust_domain="td.example")
    by_name = {workload.name: workload.principal for workload in plan.workloads}
    assert by_name["pay-v1"] == "spiffe://td.example/ns/shop/sa/payer"
    assert by_name["pay-v2"] == "unknown"
    assert plan.mesh.trust_domain == "td.example"
    assert plan.clusters[0].tls is not None
    assert plan.clusters[0].tls.trust_domains == ["td.example"]


@pytest.mark.parametrize(
    ("written", "speaks"),
    [
        (policy("p", mtls("STRICT")), True),
        (policy("p", mtls("PERMISSIVE")), True),
        (policy("p", mtls("DISABLE")), False),
        (policy("p", mtls("DISABLE"), "other"), True),
        (policy("p", "selector: {matchLabels: {app: pay}}, portLevelMtls: {3000: {mode: DISABLE}}"), False),
        (policy("p", "selector: {matchLabels: {app: pay}}, portLevelMtls: {15006: {mode: DISABLE}}"), False),
        (policy("p", "selector: {matchLabels: {app: pay}}, portLevelMtls: {80: {mode: DISABLE}}"), True),
    ],
)
def test_the_servers_policy_is_followed(written: str, speaks: bool) -> None:
    found = cluster(HTTP + written)
    assert [endpoint.mesh_tls for endpoint in found.endpoints] == [speaks, False]
    assert (found.tls is not None) is speaks


def test_a_service_outside_the_mesh_gets_no_auto_mtls() -> None:
    entry = """---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: x, namespace: shop}
spec:
  hosts: [x.example.com]
  location: %s
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.9, serviceAccount: payer}]
"""
    assert cluster(entry % "MESH_EXTERNAL").tls is None
    assert cluster(entry % "MESH_INTERNAL").tls is not None


def test_without_an_identity_plaintext_goes_out_and_a_strict_server_is_told_of() -> None:
    plan, told = planned(HTTP, identity=False)
    assert (plan.clusters[0].tls, told) == (None, [])
    _, told = planned(HTTP + policy("p", mtls("STRICT")), identity=False)
    assert told == [
        "test.yaml:19: warning: PeerAuthentication/p: spec: without --certs DIR this proxy speaks plaintext, and "
        "pay.shop.svc.cluster.local refuses it by PeerAuthentication shop/p (STRICT)"
    ]
    _, told = planned(HTTP + policy("p", mtls("STRICT")) + tls("mode: DISABLE"))
    assert "DestinationRule/pay: spec.trafficPolicy.tls: mode DISABLE sends plaintext, and pay.shop" in told[0]
    assert told[0].startswith("test.yaml:24:")


def test_a_tls_block_switches_the_automatism_off() -> None:
    assert cluster(HTTP + tls("mode: DISABLE")).tls is None
    found = cluster(HTTP + tls("mode: ISTIO_MUTUAL")).tls
    assert found is not None
    assert (found.auto, found.mesh, found.credential, found.sans) == (False, True, "mesh", [SHOP])
    assert found.sni == "outbound_.80_._.pay.shop.svc.cluster.local"
    found = cluster(HTTP + tls("mode: ISTIO_MUTUAL, sni: pay.example.com, subjectAltNames: [spiffe://x/y]")).tls
    assert found is not None
    assert (found.sni, found.sans) == ("pay.example.com", ["spiffe://x/y"])


def test_istio_mutual_without_an_identity_is_said() -> None:
    plan, told = planned(HTTP + tls("mode: ISTIO_MUTUAL"), identity=False)
    assert plan.clusters[0].tls is not None
    assert plan.sources == []  # and so there is no credential of this name: nothing is sent in plaintext
    assert "spec.trafficPolicy.tls.mode: needs the identity of this proxy, start it with --certs DIR" in told[0]


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ("mode: SIMPLE", {"alpn": ["http/1.1"]}),
        ("mode: SIMPLE, sni: a.com", {"sni": "a.com"}),
        ("mode: SIMPLE, caCertificates: /ca", {"credential": "ca=file:/ca"}),
        ("mode: SIMPLE, caCertificates: /ca, caCrl: /crl", {"credential": "ca=file:/ca+crl=file:/crl"}),
        ("mode: SIMPLE, subjectAltNames: [a.com, spiffe://b]", {"sans": ["a.com", "spiffe://b"]}),
        ("mode: SIMPLE, insecureSkipVerify: true", {"verify": False, "credential": ""}),
        ("mode: MUTUAL, clientCertificate: /c, privateKey: /k", {"credential": "file:/c"}),
        (
            "mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /ca",
            {"credential": "file:/c+ca=file:/ca"},
        ),
        ("mode: MUTUAL, credentialName: pay", {"credential": "secret:shop/pay+ca=secret:shop/pay"}),
    ],
)
def test_every_field_of_tls(fields: str, wanted: dict[str, Any]) -> None:
    secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: pay, namespace: shop}\n"
    secret += "stringData: {cert: c, key: k, cacert: r}\n"
    plan, told = planned(HTTP + tls(fields) + secret, kind="mesh")
    found = plan.clusters[0].tls
    if "credentialName" in fields:  # a proxy of the mesh wants a workloadSelector beside it
        assert "workloadSelector" in told[0]
        chosen = tls(fields).replace("spec: {", "spec: {workloadSelector: {matchLabels: {app: x}}, ")
        plan, told = planned(HTTP + chosen + secret, labels={"app": "x"})
        found = plan.clusters[0].tls
    assert told == []
    plain = ClientTLSPlan(alpn=["http/1.1"])
    assert found is not None
    assert {name: getattr(found, name) for name in found.__struct_fields__} == {
        **{name: getattr(plain, name) for name in plain.__struct_fields__}, **wanted,
    }  # fmt: skip


def test_a_service_entry_names_its_certificates() -> None:
    entry = """---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: x, namespace: shop}
spec:
  hosts: [x.example.com]
  resolution: STATIC
  subjectAltNames: [spiffe://x/a]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 443}]
  endpoints: [{address: 10.0.0.9}]
"""
    simple = rule("trafficPolicy: {tls: {mode: SIMPLE}}", "x.example.com")
    assert cluster(entry + simple).tls == ClientTLSPlan(sans=["spiffe://x/a"], alpn=["http/1.1"])
    named = rule("trafficPolicy: {tls: {mode: SIMPLE, subjectAltNames: [b]}}", "x.example.com")
    assert cluster(entry + named).tls == ClientTLSPlan(sans=["b"], alpn=["http/1.1"])
    mutual = cluster(entry + rule("trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}", "x.example.com")).tls
    assert mutual is not None
    assert mutual.sans == ["spiffe://x/a"]


def test_levels_of_a_rule_replace_each_other_and_problems_point_at_the_one_that_counts() -> None:
    levels = rule(
        "trafficPolicy: {tls: {mode: SIMPLE, sni: whole}, portLevelSettings: [{port: {number: 80}, "
        "tls: {mode: SIMPLE, sni: port}}]}, subsets: [{name: v1, labels: {version: v1}, trafficPolicy: "
        "{tls: {mode: ISTIO_MUTUAL}}}, {name: v2, labels: {version: v2}}]"
    )
    routes = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: pay, namespace: shop}
spec:
  hosts: [pay]
  http:
  - route: [{destination: {host: pay, subset: v1}, weight: 1}, {destination: {host: pay, subset: v2}, weight: 1}]
"""
    plan, told = planned(HTTP + levels + routes, identity=False)
    plans = {each.subset: each.tls for each in plan.clusters}
    assert plans["v1"] is not None
    assert plans["v2"] is not None
    assert (plans["v1"].sni, plans["v2"].sni) == ("outbound_.80_.v1_.pay.shop.svc.cluster.local", "port")
    assert "spec.subsets[0].trafficPolicy.tls.mode: needs the identity" in told[0]
    bare = rule("trafficPolicy: {tls: {mode: SIMPLE}, portLevelSettings: [{port: {number: 80}, loadBalancer: {}}]}")
    assert cluster(HTTP + bare).tls is not None  # a port that says nothing of tls goes back to auto mTLS
    assert cluster(HTTP + bare).tls.auto  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "pool", "version", "alpn"),
    [
        ("http", "", "http1", ["istio-http/1.1", "istio", "http/1.1"]),
        ("http2", "", "http2", ["istio-h2", "istio", "h2"]),
        ("grpc", "", "http2", ["istio-h2", "istio", "h2"]),
        ("grpc-web", "", "http2", ["istio-h2", "istio", "h2"]),
        ("what", "", "client", ["istio-h2", "istio-http/1.1", "istio", "h2", "http/1.1"]),
        ("http", "h2UpgradePolicy: UPGRADE", "http2", ["istio-h2", "istio", "h2"]),
        ("http", "h2UpgradePolicy: DO_NOT_UPGRADE", "http1", ["istio-http/1.1", "istio", "http/1.1"]),
        ("http", "useClientProtocol: true", "client", ["istio-h2", "istio-http/1.1", "istio", "h2", "http/1.1"]),
        ("grpc", "useClientProtocol: true", "client", ["istio-h2", "istio-http/1.1", "istio", "h2", "http/1.1"]),
    ],
)
def test_the_version_of_http(name: str, pool: str, version: str, alpn: list[str]) -> None:
    text = PAY % (name, name)
    found = cluster(text + rule(f"trafficPolicy: {{connectionPool: {{http: {{{pool}}}}}}}") if pool else text)
    assert found.http == version
    assert found.tls is not None
    assert found.tls.alpn == alpn


def test_a_gateway_does_not_take_over_what_its_client_speaks() -> None:
    route = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: shop}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: pay, namespace: shop}
spec: {hosts: [a.com], gateways: [gw], http: [{route: [{destination: {host: pay}}]}]}
"""
    assert cluster(PAY % ("what", "what") + route, kind="gateway").http == "http1"
    assert cluster(PAY % ("grpc", "grpc") + route, kind="gateway").http == "http2"


def test_limits_of_http2_connections() -> None:
    pool = "{http: {maxConcurrentStreams: 50, http2KeepAlive: {interval: 10s, timeout: 1500ms}}}"
    found = cluster(HTTP + rule(f"trafficPolicy: {{connectionPool: {pool}}}"))
    assert (found.max_streams, found.h2_ping) == (50, (10_000, 1_500))
    assert (cluster(HTTP).max_streams, cluster(HTTP).h2_ping) == (0, None)
