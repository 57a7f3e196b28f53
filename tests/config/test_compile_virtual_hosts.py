"""The mesh listener's names and ports."""

from __future__ import annotations

import time

from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.read import load
from fastmesh.config.store import read_documents
from tests.config.asking import clusters, plan_of, route, rule_for, vhost_for

A = "outbound|80||a.shop.svc.cluster.local"
SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec:
  clusterIP: 10.0.0.1
  clusterIPs: [10.0.0.1, "2001:db8::1"]
  ports: [{name: http, port: 80}, {name: http-b, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: shop}
spec: {ports: [{name: web, port: 9080}, {name: tcp, port: 9090}, {name: https, port: 443}]}
"""


def rule(name: str, spec: str, namespace: str = "shop") -> str:
    head = f"metadata: {{name: {name}, namespace: {namespace}}}"
    return f"\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n{head}\nspec: {spec}\n"


def test_a_service_is_known_by_its_names_and_addresses() -> None:
    plan = plan_of(SERVICES, namespace="shop")
    for host in ("a.shop.svc.cluster.local", "a.shop.svc", "a.shop", "a", "10.0.0.1", "[2001:db8::1]"):
        assert route(plan, host, 80) == [A], host
        assert route(plan, host) == [A], host
        assert route(plan, host, 8080) == [A.replace("80|", "8080|", 1)], host
        assert route(plan, host, 81) is None, host


def test_the_bare_name_is_for_clients_of_the_namespace() -> None:
    plan = plan_of(SERVICES)
    assert route(plan, "a") is None
    assert route(plan, "a.shop") == [A]


def test_a_host_without_a_port_falls_back_to_the_first_http_port() -> None:
    plan = plan_of(SERVICES, namespace="shop")
    assert route(plan, "b") == route(plan, "b", 9080) == ["outbound|9080||b.shop.svc.cluster.local"]


def test_declared_tcp_and_tls_ports_are_not_http() -> None:
    plan = plan_of(SERVICES, namespace="shop")
    assert route(plan, "b", 9090) is None
    assert route(plan, "b", 443) is None
    assert not [cluster for cluster in plan.clusters if cluster.port == 9090]


def test_a_short_name_never_hides_a_full_one() -> None:
    entry = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e}
spec: {hosts: [a.shop], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
"""
    assert route(plan_of(SERVICES + entry), "a.shop", 80) == ["outbound|80||a.shop"]


def test_a_host_that_rides_along_is_served_on_the_ports_of_the_service() -> None:
    hosts = "{hosts: [b, ride.example.com], http: [{route: [{destination: {host: b}}]}]}"
    plan = plan_of(SERVICES + rule("v", hosts), namespace="shop")
    assert route(plan, "ride.example.com", 9080) == ["outbound|9080||b.shop.svc.cluster.local"]
    assert route(plan, "ride.example.com", 80) is None


def test_rules_without_a_match_are_a_404_and_not_the_default_route() -> None:
    only = "{hosts: [a], http: [{match: [{uri: {exact: /x}}], route: [{destination: {host: a}}]}]}"
    plan = plan_of(SERVICES + rule("v", only))
    assert route(plan, "a.shop", path="/x") == [A]
    assert route(plan, "a.shop", path="/y") == []


def test_a_rule_for_one_port_leaves_the_default_route_of_the_others() -> None:
    only = "{hosts: [a], http: [{match: [{port: 80}], route: [{destination: {host: b, port: {number: 9080}}}]}]}"
    plan = plan_of(SERVICES + rule("v", only))
    assert route(plan, "a.shop", 80) == ["outbound|9080||b.shop.svc.cluster.local"]
    assert route(plan, "a.shop", 8080) == [A.replace("80|", "8080|", 1)]


def test_a_younger_rule_serves_where_the_older_one_has_nothing_to_say() -> None:
    older = rule(
        "older", "{hosts: [a], http: [{match: [{port: 8080}], route: [{destination: {host: d.example.com}}]}]}"
    )
    younger = rule("younger", "{hosts: [a], http: [{route: [{destination: {host: c.example.com}}]}]}")
    plan = plan_of(SERVICES + older + younger)
    assert route(plan, "a.shop", 80) == ["outbound|80||c.example.com"]
    assert route(plan, "a.shop", 8080) == ["outbound|8080||d.example.com"]


def test_rules_for_gateways_only_are_not_for_the_mesh() -> None:
    plan = plan_of(SERVICES + rule("v", "{hosts: [a], gateways: [gw], http: [{route: [{destination: {host: b}}]}]}"))
    assert route(plan, "a.shop") == [A]


def test_export_to_hides_services_and_rules() -> None:
    private = SERVICES.replace("{name: a,", "{name: a, annotations: {networking.istio.io/exportTo: '.'},")
    assert route(plan_of(private), "a.shop") is None
    assert route(plan_of(private, namespace="shop"), "a.shop") == [A]
    hidden = rule("v", "{hosts: [a], exportTo: ['.'], http: [{route: [{destination: {host: b}}]}]}")
    assert route(plan_of(SERVICES + hidden), "a.shop") == [A]


ARTICLE = """
apiVersion: istio.io/v1alpha3
kind: VirtualService
metadata: {name: any}
spec: {hosts: ["*"], http: [{match: [{uri: {prefix: /}}], route: [{destination: {host: product}}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: product}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {ports: [{name: http, port: 80}]}
"""


def test_the_articles_any_host_takes_its_service_and_what_nobody_else_has() -> None:
    plan = plan_of(ARTICLE)
    assert vhost_for(plan, "product") is not None
    for host, kind in (("product", "VirtualService"), ("unknown.example.com", "VirtualService"), ("other", "Service")):
        vhost = vhost_for(plan, host)
        assert vhost is not None
        rule = rule_for(vhost)
        assert rule is not None
        assert (host, rule.origin.kind) == (host, kind)
    assert [(item.domain, item.port) for item in plan.listeners[0].domains if item.domain == "*"] == [("*", 0)]


def test_unknown_hosts_pass_through() -> None:
    plan = plan_of(SERVICES)
    assert plan.listeners[0].unknown == "passthrough"
    assert plan.listeners[0].address == "127.0.0.1:15001"


def test_the_version_follows_the_content() -> None:
    assert plan_of(SERVICES).mesh.version == plan_of(SERVICES).mesh.version
    assert plan_of(SERVICES).mesh.version != plan_of(SERVICES, namespace="shop").mesh.version


def test_a_large_mesh_compiles_in_well_under_a_second() -> None:
    """1,000 services of 10 endpoints and 10,000 hosts: the goal is 1 s, a shared machine gets room."""
    documents = [
        f"""apiVersion: v1
kind: Service
metadata: {{name: s{n}}}
spec: {{ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
addressType: IPv4
metadata: {{name: s{n}, labels: {{kubernetes.io/service-name: s{n}}}}}
ports: [{{name: http, port: 8080}}]
endpoints: [{", ".join(f"{{addresses: [10.{n // 250}.{n % 250}.{i}]}}" for i in range(10))}]
"""
        for n in range(1000)
    ]
    for n in range(1000):
        hosts = ", ".join(f"'{'*.' if i == 0 else ''}h{i}-{n}.example.com'" for i in range(10))
        documents.append(
            rule(f"v{n}", f"{{hosts: [{hosts}], http: [{{route: [{{destination: {{host: s{n}}}}}]}}]}}")[4:]
        )
    problems: list[object] = []
    loaded = load.load_text("\n---\n".join(documents), "x.yaml", problems)  # type: ignore[arg-type]
    config = read_documents(load.Loaded(loaded, [], ["x.yaml"])).require()
    started = time.perf_counter()
    plan, _ = compile_plan(config, Role(namespace="shop"))
    assert time.perf_counter() - started < 3
    assert sum(len(cluster.endpoints) for cluster in plan.clusters) == 10_000
    assert clusters(rule_for(plan.vhosts[0])) == ["outbound|80||s0.shop.svc.cluster.local"]
