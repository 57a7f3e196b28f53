"""Sidecar: which one holds for a workload, what it imports, and the listeners that it asks for."""

from __future__ import annotations

from typing import Any

import pytest

from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.plan import ListenerPlan, Plan
from tests.config.asking import config_of, plan_of, route, vhost_for

SERVICES = "".join(
    f"""---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{ports: [{{name: http, port: 80}}, {{name: http-more, port: 8080}}, {{name: tcp, port: 5432}}]}}
"""
    for name, namespace in (("cart", "shop"), ("pay", "shop"), ("stock", "store"), ("books", "library"))
)


def sidecar(spec: str, name: str = "own", namespace: str = "shop") -> str:
    return f"""---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"""


def rule(host: str, to: str, namespace: str = "shop") -> str:
    return f"""---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: rule-{to.split(".")[0]}, namespace: {namespace}}}
spec: {{hosts: [{host}], http: [{{route: [{{destination: {{host: {to}}}}}]}}]}}
"""


def plan(text: str, **role: Any) -> Plan:
    return plan_of(SERVICES + text, **{"namespace": "shop", **role})


def seen(text: str, **role: Any) -> set[str]:
    """The services that have names on the mesh listener."""
    names = {domain.domain for domain in plan(text, **role).listeners[0].domains}
    return {name.split(".")[0] for name in names if name.endswith(".svc.cluster.local")}


@pytest.mark.parametrize(
    ("hosts", "wanted"),
    [
        ("['*/*']", "cart pay stock books"),
        ("['./*']", "cart pay"),
        ("['~/*']", ""),
        ("['./cart.shop.svc.cluster.local']", "cart"),
        ("['store/*']", "stock"),
        ("['./*', 'store/*']", "cart pay stock"),
        ("['*/stock.store.svc.cluster.local']", "stock"),
        ("['*/*.shop.svc.cluster.local']", "cart pay"),
        ("['shop/*.store.svc.cluster.local']", ""),
        ("['*/*', '~store/*']", "cart pay books"),
        ("['*/*', '~*/pay.shop.svc.cluster.local']", "cart stock books"),
        ("['*/*', '~./*']", "stock books"),
    ],
)
def test_what_egress_hosts_import(hosts: str, wanted: str) -> None:
    assert seen(sidecar(f"{{egress: [{{hosts: {hosts}}}]}}")) == set(wanted.split())


CHOSEN = "{workloadSelector: {labels: {app: cart}}, egress: [{hosts: ['store/*']}]}"
WHOLE = "{egress: [{hosts: ['./*']}]}"
MESH = "{egress: [{hosts: ['library/*']}]}"


@pytest.mark.parametrize(
    ("written", "labels", "wanted"),
    [
        (sidecar(WHOLE, "a") + sidecar(CHOSEN, "b"), {"app": "cart"}, "stock"),
        (sidecar(WHOLE, "a") + sidecar(CHOSEN, "b"), {"app": "pay"}, "cart pay"),
        (sidecar(CHOSEN), {}, "cart pay stock books"),
        (sidecar(MESH, namespace="istio-system"), {}, "books"),
        (sidecar(MESH, namespace="istio-system") + sidecar(WHOLE), {}, "cart pay"),
        (sidecar(CHOSEN, namespace="istio-system"), {"app": "cart"}, "cart pay stock books"),
        (sidecar(WHOLE, "a") + sidecar(MESH, "b"), {}, "cart pay"),
        (sidecar(WHOLE, namespace="store"), {}, "cart pay stock books"),
        (sidecar("{inboundConnectionPool: {tcp: {maxConnections: 1}}}"), {}, "cart pay stock books"),
    ],
)
def test_which_one_holds(written: str, labels: dict[str, str], wanted: str) -> None:
    assert seen(written, labels=labels) == set(wanted.split())


def test_a_gateway_has_no_sidecar() -> None:
    text = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: shop}
spec:
  hosts: ['*']
  gateways: [edge]
  http: [{route: [{destination: {host: stock.store.svc.cluster.local, port: {number: 80}}}]}]
"""
    found = plan(text + sidecar(WHOLE), kind="gateway")
    assert [cluster.name for cluster in found.clusters] == ["outbound|80||stock.store.svc.cluster.local"]


def test_where_an_imported_rule_sends_is_reached_and_has_no_name_of_its_own() -> None:
    found = plan(rule("cart", "stock.store.svc.cluster.local") + sidecar(WHOLE))
    assert route(found, "cart.shop", 80) == ["outbound|80||stock.store.svc.cluster.local"]
    assert vhost_for(found, "stock.store", 80) is None
    cluster = next(each for each in found.clusters if each.host == "stock.store.svc.cluster.local")
    assert cluster.service_name == "stock"


def test_a_rule_that_is_not_imported_has_no_effect() -> None:
    text = rule("cart.shop.svc.cluster.local", "pay.shop.svc.cluster.local", "store") + sidecar(WHOLE)
    assert route(plan(text), "cart", 80) == ["outbound|80||cart.shop.svc.cluster.local"]


def test_one_host_in_two_namespaces_is_the_imported_one() -> None:
    text = "".join(
        f"""---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: api, namespace: {namespace}}}
spec: {{hosts: [api.example.com], ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: STATIC,
        endpoints: [{{address: {address}}}]}}
"""
        for namespace, address in (("library", "10.0.0.1"), ("store", "10.0.0.2"), ("shop", "10.0.0.3"))
    )
    for hosts, wanted in (("store/*", "10.0.0.2"), ("*/*", "10.0.0.3"), ("library/*", "10.0.0.1")):
        found = plan(text + sidecar(f"{{egress: [{{hosts: ['{hosts}']}}]}}"))
        cluster = next(each for each in found.clusters if each.host == "api.example.com")
        assert [each.address for each in cluster.endpoints] == [wanted], hosts


@pytest.mark.parametrize(
    ("spec", "unknown"),
    [
        ("{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}", "blackhole"),
        ("{outboundTrafficPolicy: {}}", "blackhole"),
        ("{outboundTrafficPolicy: {mode: ALLOW_ANY}}", "passthrough"),
        (WHOLE, "passthrough"),
    ],
)
def test_unknown_hosts(spec: str, unknown: str) -> None:
    assert plan(sidecar(spec)).listeners[0].unknown == unknown


def test_allow_any_that_somebody_wrote_asks_dns_for_the_host_of_the_request() -> None:
    found = plan(sidecar("{outboundTrafficPolicy: {mode: ALLOW_ANY}}"))
    assert route(found, "example.com") == ["PassthroughCluster"]
    assert next(each for each in found.clusters if each.name == "PassthroughCluster").kind == "original_dst"
    assert vhost_for(plan(""), "example.com") is None  # an open proxy is nobody's default


def test_an_egress_proxy_takes_unknown_hosts() -> None:
    proxy = "{host: stock.store.svc.cluster.local, port: {number: 8080}}"
    found = plan(sidecar(f"{{outboundTrafficPolicy: {{mode: ALLOW_ANY, egressProxy: {proxy}}}}}"))
    assert route(found, "example.com") == ["outbound|8080||stock.store.svc.cluster.local"]
    assert route(found, "cart", 80) == ["outbound|80||cart.shop.svc.cluster.local"]


def test_a_listener_for_a_port_has_that_port_and_leaves_the_others_to_the_last() -> None:
    found = plan(
        sidecar(
            "{egress: [{port: {number: 8080, protocol: HTTP, name: a}, hosts: ['store/*']}, {hosts: ['./*']}]}",
        )
    )
    assert len(found.listeners) == 1
    assert route(found, "stock.store", 8080) == ["outbound|8080||stock.store.svc.cluster.local"]
    assert vhost_for(found, "stock.store", 80) is None
    assert route(found, "cart", 80) == ["outbound|80||cart.shop.svc.cluster.local"]
    assert vhost_for(found, "cart", 8080) is None


def apart(found: Plan) -> ListenerPlan:
    assert len(found.listeners) == 2
    return found.listeners[1]


def test_a_listener_with_a_bind_is_a_socket_of_its_own() -> None:
    found = plan(
        sidecar(
            "{egress: [{port: {number: 8080, protocol: HTTP, name: a}, bind: 127.0.0.7, hosts: ['*/*']}, "
            "{hosts: ['./*']}]}",
        )
    )
    listener = apart(found)
    assert (listener.role, listener.address, listener.port) == ("egress", "127.0.0.7:8080", 8080)
    assert {domain.port for domain in listener.domains} == {0}
    names = {domain.domain: found.vhosts[domain.vhost].name for domain in listener.domains}
    assert names["stock.store"] == "stock.store.svc.cluster.local:8080"
    assert "cart" in names
    assert vhost_for(found, "cart", 8080) is not None  # the mesh listener has it too


@pytest.mark.parametrize(
    ("egress", "address"),
    [
        ("port: {number: 8080, protocol: HTTP, name: a}, captureMode: NONE", "127.0.0.1:8080"),
        ("port: {number: 8080, protocol: HTTP, name: a}, bind: '::1'", "[::1]:8080"),
        ("port: {number: 0, protocol: HTTP, name: a}, bind: 'unix:///run/a.sock'", "unix:///run/a.sock"),
    ],
)
def test_where_it_listens(egress: str, address: str) -> None:
    assert apart(plan(sidecar(f"{{egress: [{{{egress}, hosts: ['*/*']}}]}}"))).address == address


def test_an_http_proxy_serves_every_port() -> None:
    listener = apart(
        plan(
            sidecar(
                "{egress: [{port: {number: 3128, protocol: HTTP_PROXY, name: a}, captureMode: NONE, hosts: ['*/*']}]}"
            )
        )
    )
    assert (listener.role, listener.address) == ("mesh", "127.0.0.1:3128")
    assert {("cart", 80), ("cart", 8080), ("cart", 0)} <= {(each.domain, each.port) for each in listener.domains}


def test_a_listener_of_bytes_goes_to_the_service_with_its_port() -> None:
    egress = "{port: {number: 5432, protocol: TCP, name: a}, bind: 127.0.0.1, hosts: ['store/*']}"
    listener = apart(plan(sidecar(f"{{egress: [{egress}]}}")))
    assert [(each.kind, each.transport, [to.cluster for to in each.destinations]) for each in listener.chains] == [
        ("tcp", "any", ["outbound|5432||stock.store.svc.cluster.local"])
    ]


# ---- ingress

CART = """---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart-v1, namespace: shop}
spec: {address: 10.1.0.1, labels: {app: cart}, serviceAccount: cart}
---
apiVersion: v1
kind: Service
metadata: {name: cart-service, namespace: shop}
spec: {selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 9080}]}
"""


def inbound(spec: str, **role: Any) -> tuple[Plan, list[str]]:
    wanted = {"kind": "sidecar", "name": "cart-v1", "namespace": "shop", "identity": True, "listen": "", **role}
    found, problems = compile_plan(config_of(CART + sidecar(spec)), Role(**wanted))
    return found, [str(problem) for problem in problems]


def ingress(more: str, protocol: str = "HTTP") -> str:
    return f"{{ingress: [{{port: {{number: 9080, protocol: {protocol}, name: a}}, {more}}}]}}"


@pytest.mark.parametrize(
    ("more", "endpoint"),
    [
        ("defaultEndpoint: 127.0.0.1:8081", ("127.0.0.1", 8081)),
        ("defaultEndpoint: '[::1]:8081'", ("::1", 8081)),
        ("defaultEndpoint: 0.0.0.0:8081", ("10.1.0.1", 8081)),
        ("defaultEndpoint: '[::]:8081'", ("10.1.0.1", 8081)),
        ("defaultEndpoint: unix:///run/cart.sock", ("unix:///run/cart.sock", 0)),
    ],
)
def test_where_an_ingress_listener_sends(more: str, endpoint: tuple[str, int]) -> None:
    found, told = inbound(ingress(more))
    assert told == []
    [listener], [cluster] = found.listeners, found.clusters
    assert (listener.role, listener.address) == ("inbound", "0.0.0.0:9080")
    assert [(each.address, each.port) for each in cluster.endpoints] == [endpoint]


def test_a_pair_keeps_its_place_and_others_are_not_opened() -> None:
    pairs = (("127.0.0.1:15006", "127.0.0.1:9080"), ("127.0.0.1:15007", "127.0.0.1:9999"))
    found, told = inbound(ingress("defaultEndpoint: 127.0.0.1:8081"), inbound=pairs)
    assert [listener.address for listener in found.listeners] == ["127.0.0.1:15006"]
    assert [endpoint.port for endpoint in found.clusters[0].endpoints] == [8081]
    assert told == [
        "--inbound 127.0.0.1:15007:0: warning: Sidecar shop/own has no ingress for this port, so it is not opened"
    ]


def test_an_ingress_without_endpoint_is_a_loop_when_it_listens_where_the_application_does() -> None:
    _, told = inbound(ingress("bind: 10.1.0.1"))
    assert len(told) == 1
    assert "spec.ingress[0]: 10.1.0.1:9080 forwards to 10.1.0.1:9080, where this proxy itself listens" in told[0]


POOLS = [
    ("defaultEndpoint: 127.0.0.1:8081, connectionPool: {tcp: {maxConnections: 7}}", "", 7),
    ("defaultEndpoint: 127.0.0.1:8081", ", inboundConnectionPool: {tcp: {maxConnections: 5}}", 5),
    ("defaultEndpoint: 127.0.0.1:8081, connectionPool: {tcp: {maxConnections: 7}}",
     ", inboundConnectionPool: {tcp: {maxConnections: 5}}", 7),
]  # fmt: skip


@pytest.mark.parametrize(("more", "whole", "wanted"), POOLS)
def test_limits_of_what_comes_in(more: str, whole: str, wanted: int) -> None:
    found, _ = inbound(ingress(more).removesuffix("}") + whole + "}")
    assert found.clusters[0].max_connections == wanted


def test_limits_without_ingress() -> None:
    pairs = (("127.0.0.1:15006", "127.0.0.1:9080"),)
    found, _ = inbound("{inboundConnectionPool: {http: {http2MaxRequests: 3}}}", inbound=pairs)
    assert found.clusters[0].max_requests == 3


def test_tls_of_an_ingress_listener_needs_the_meshs_own_to_be_off() -> None:
    tls = "defaultEndpoint: 127.0.0.1:8081, tls: {mode: SIMPLE, serverCertificate: /c.pem, privateKey: /k.pem}"
    found, told = inbound(ingress(tls, "HTTPS"))
    assert len(told) == 1
    assert "spec.ingress[0].tls: has an effect only where PeerAuthentication is DISABLE" in told[0]
    off = """---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: off, namespace: shop}
spec: {mtls: {mode: DISABLE}}
"""
    found, problems = compile_plan(
        config_of(CART + off + sidecar(ingress(tls, "HTTPS"))),
        Role(kind="sidecar", name="cart-v1", namespace="shop", identity=True, listen=""),
    )
    assert not problems
    [chain] = found.listeners[0].chains
    assert (chain.transport, chain.kind) == ("tls", "http")
    assert chain.tls is not None
    assert chain.tls.credentials == ["file:/c.pem"]
