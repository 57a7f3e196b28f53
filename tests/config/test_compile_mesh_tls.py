"""TLS on the mesh listener: which server names are passed on, and where."""

from __future__ import annotations

from typing import Any

from fastmesh.config.plan import ChainPlan
from tests.config.asking import plan_of
from tests.config.test_compile_gateway_tls import sni, targets

A = "a.shop.svc.cluster.local"


def service(name: str, *ports: str, namespace: str = "shop") -> str:
    shown = ", ".join(f"{{name: {port}, port: {int(port.split('-')[1])}}}" for port in ports)
    head = f"---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
    return f"{head}spec: {{ports: [{shown}]}}\n"


def entry(host: str, port: int = 443, protocol: str = "HTTPS") -> str:
    head = "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: shop}\n"
    ports = f"ports: [{{number: {port}, name: p, protocol: {protocol}}}]"
    return f"{head}spec: {{hosts: ['{host}'], resolution: DNS, {ports}, endpoints: [{{address: 10.0.0.1}}]}}\n"


def rule(hosts: str, tls: str, gateways: str = "[]", name: str = "v") -> str:
    head = (
        f"---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: shop}}\n"
    )
    return f"{head}spec: {{hosts: [{hosts}], gateways: {gateways}, tls: [{tls}]}}\n"


def chains(text: str, **role: Any) -> list[ChainPlan]:
    return plan_of(text, **{"namespace": "shop", **role}).listeners[0].chains


def test_without_tls_nobody_looks_at_the_first_bytes() -> None:
    assert chains(service("a", "http-80", "tcp-90")) == []


def test_plaintext_goes_on_as_before() -> None:
    first = chains(service("a", "https-443"))[0]
    assert (first.transport, first.kind, first.tls, first.server_names) == ("plaintext", "http", None, [])


def test_a_service_is_reached_by_its_names() -> None:
    (chain,) = chains(service("a", "https-443"))[1:]
    assert chain.server_names == [A, "a.shop.svc", "a.shop", "a"]
    assert (chain.transport, chain.kind, chain.tls) == ("tls", "tcp", None)
    assert [each.cluster for each in chain.destinations] == [f"outbound|443||{A}"]
    assert chains(service("a", "https-443"), namespace="x")[1].server_names[-1] == "a.shop"
    assert targets(chains(entry("api.example.com"))[1:]) == {"api.example.com": ["api"]}


def test_443_is_meant_else_the_first_port_with_tls() -> None:
    def port(*ports: str) -> str:
        return chains(service("a", *ports))[1].destinations[0].cluster.split("|")[1]

    assert port("tls-8443", "https-443") == "443"
    assert port("http-80", "tls-8443", "https-9443") == "8443"


def test_rules_go_before_services() -> None:
    text = service("a", "https-443") + service("b", "tls-8443") + rule(A, sni("x", A))
    found = chains(text)
    assert targets(found[1:]) == {
        A: ["x"],
        "b.shop.svc.cluster.local,b.shop.svc,b.shop,b": ["b"],
    }
    assert found[1].destinations[0].cluster == "outbound|443||x.example.net"


def test_the_first_rule_of_a_server_name_counts() -> None:
    text = service("a", "https-443") + rule("a.com, b.com", sni("x", "a.com") + ", " + sni("y", "a.com", "b.com"))
    assert targets(chains(text)[1:3]) == {"a.com": ["x"], "b.com": ["y"]}


def test_every_condition_has_to_hold() -> None:
    """Unlike in rules for requests, gateways of a match do not switch those of the source off."""
    for condition, fits in {
        "sourceLabels: {app: web}": True, "sourceLabels: {app: x}": False, "sourceNamespace: shop": True,
        "sourceNamespace: x": False, "gateways: [mesh]": True, "gateways: [gw]": False,
        "gateways: [mesh], sourceLabels: {app: x}": False, "port: 9443": True,
    }.items():  # fmt: skip
        found = chains(rule("a.com", sni("x", "a.com", more=f", {condition}")), labels={"app": "web"})
        assert bool(found) is fits, condition
    assert chains(rule("a.com", sni("x", "a.com"), gateways="[gw]")) == []
    assert chains(rule("a.com", sni("x", "a.com"), gateways="[gw, mesh]")) != []
    other = (
        f"{{match: [{{sniHosts: [{A}], sourceLabels: {{app: x}}}}], route: [{{destination: {{host: x.example.net}}}}]}}"
    )
    kept = chains(service("a", "https-443") + rule(A, other), labels={"app": "web"})
    assert targets(kept[1:]) == {f"{A},a.shop.svc,a.shop,a": ["a"]}
