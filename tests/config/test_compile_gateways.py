"""Gateway listeners: ports, hosts, whose VirtualServices, and how several merge."""

from __future__ import annotations

from typing import Any

import pytest

from fastmesh.config.plan import Plan, RulePlan, VirtualHostPlan
from tests.config.asking import clusters, plan_of, rule_for, vhost_for


def gateway(name: str, *servers: str, namespace: str = "default", selector: str = "{}") -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{selector: {selector}, servers: [{", ".join(servers)}]}}
"""


def server(*hosts: str, port: int = 80, protocol: str = "HTTP", more: str = "") -> str:
    names = ", ".join(f"'{host}'" for host in hosts)
    return f"{{port: {{number: {port}, name: p{port}, protocol: {protocol}}}, hosts: [{names}]{more}}}"


def rule(name: str, hosts: str, http: str, gateways: str = "gw", namespace: str = "default") -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{hosts: [{hosts}], gateways: [{gateways}], http: [{http}]}}
"""


def to(host: str, match: str = "") -> str:
    clause = f"match: [{match}], " if match else ""
    return f"{{{clause}route: [{{destination: {{host: {host}.example.net}}}}]}}"


def plan(text: str, **role: Any) -> Plan:
    return plan_of(text.removeprefix("\n---\n"), kind="gateway", **role)


def vhost(found: Plan, host: str, listener: int = 0) -> VirtualHostPlan | None:
    return vhost_for(found, host, listener=found.listeners[listener])


def first(found: Plan, host: str, path: str = "/") -> str | None:
    there = vhost(found, host)
    names = clusters(rule_for(there, path)) if there is not None else []
    return names[0].split("|")[3].split(".")[0] if names else None


@pytest.mark.parametrize(
    ("server_hosts", "rule_hosts", "domains"),
    [
        (["*"], "a.com, '*.b.com'", {"a.com", "*.b.com"}),
        (["*.b.com"], "a.com, x.b.com", {"x.b.com"}),
        (["x.b.com", "y.b.com"], "'*.b.com'", {"x.b.com", "y.b.com"}),
        (["*.b.com"], "b.com", set()),
        (["a.com"], "'*'", {"a.com"}),
        (["default/a.com"], "a.com", {"a.com"}),
        (["./a.com"], "a.com", {"a.com"}),
        (["*/a.com"], "a.com", {"a.com"}),
        (["other/a.com"], "a.com", set()),
    ],
)
def test_hosts_are_what_server_and_rule_have_in_common(
    server_hosts: list[str], rule_hosts: str, domains: set[str]
) -> None:
    found = plan(gateway("gw", server(*server_hosts)) + rule("v", rule_hosts, to("x")))
    assert {domain.domain for domain in found.listeners[0].domains} == domains
    assert all(domain.port == 0 for domain in found.listeners[0].domains)


def test_rules_of_one_host_merge_and_what_fits_always_goes_last() -> None:
    text = gateway("gw", server("*"))
    text += rule("one", "a.com", to("one", "{uri: {prefix: /one}}, {uri: {prefix: /}}"))
    text += rule("two", "a.com", to("two", "{uri: {prefix: /two}}"))
    text += rule("three", "a.com", to("three"))
    found = plan(text)
    assert [first(found, "a.com", path) for path in ("/one", "/two", "/three")] == ["one", "two", "one"]
    there = vhost(found, "a.com")
    assert there is not None
    assert [_shown(item) for item in there.rules] == ["one:/one", "two:/two", "one:/", "three:"]


def _shown(item: RulePlan) -> str:
    return f"{item.origin.name}:{','.join(match.path.value for match in item.matches if match.path)}"


def test_gateways_of_one_port_share_its_listener() -> None:
    text = gateway("gw", server("a.com")) + gateway("other", server("b.com"), namespace="edge")
    text += rule("a", "a.com", to("a")) + rule("b", "b.com", to("b"), gateways="edge/other")
    text += rule("nobody", "b.com", to("nobody"))  # bound to gw, which has no b.com
    found = plan(text)
    assert [(item.name, item.origins) for item in found.listeners] == [("0.0.0.0_80", ["default/gw", "edge/other"])]
    assert (first(found, "a.com"), first(found, "b.com")) == ("a", "b")


def test_listeners_have_mapped_ports_and_their_own_binds() -> None:
    text = gateway("gw", server("*"), server("*", port=8080), server("*", port=9090, more=", bind: 127.0.0.2"))
    found = plan(text, bind="127.0.0.1", ports={80: 18080})
    assert [(item.name, item.port, item.address) for item in found.listeners] == [
        ("0.0.0.0_80", 80, "127.0.0.1:18080"),
        ("0.0.0.0_8080", 8080, "127.0.0.1:8080"),
        ("127.0.0.2_9090", 9090, "127.0.0.2:9090"),
    ]


def test_servers_of_bytes() -> None:
    text = gateway("gw", server("*", port=31400, protocol="TCP"), server("*", port=27017, protocol="MONGO"))
    found = [(each.port, [(chain.kind, chain.transport) for chain in each.chains]) for each in plan(text).listeners]
    assert found == [(31400, [("tcp", "any")]), (27017, [("tcp", "any")])]


def test_labels_choose_the_gateways() -> None:
    text = gateway("gw", server("*"), selector="{istio: ingress}") + gateway(
        "in", server("*", port=81), selector="{istio: b}"
    )
    assert [item.port for item in plan(text).listeners] == [80, 81]
    assert [item.port for item in plan(text, labels={"istio": "ingress", "x": "y"}).listeners] == [80]


def test_ports_and_gateways_of_clauses_are_static() -> None:
    text = gateway("gw", server("*"), server("*", port=8080)) + gateway("other", server("*", port=81))
    text += rule(
        "v",
        "a.com",
        ", ".join([to("port", "{port: 8080}"), to("other", "{gateways: [other]}"), to("rest")]),
        gateways="gw, other",
    )
    found = plan(text)
    by_port = {item.port: number for number, item in enumerate(found.listeners)}
    wanted = {80: "rest", 8080: "port", 81: "other"}
    for port, name in wanted.items():
        there = vhost(found, "a.com", by_port[port])
        assert there is not None
        assert clusters(rule_for(there))[0].split("|")[1:] == [str(port), "", f"{name}.example.net"]


def test_hosts_with_equal_rules_share_a_virtual_host() -> None:
    found = plan(gateway("gw", server("*")) + rule("v", "a.com, b.com, c.com", to("x")) + rule("w", "c.com", to("y")))
    assert (len(found.vhosts), len(found.listeners[0].domains)) == (2, 3)


def test_a_rule_that_is_private_elsewhere_is_not_served() -> None:
    hidden = rule("v", "a.com", to("x"), gateways="default/gw", namespace="team").replace(
        "hosts:", "exportTo: ['.'], hosts:", 1
    )
    assert plan(gateway("gw", server("*")) + hidden).listeners[0].domains == []
    assert plan(gateway("gw", server("*")) + hidden, namespace="team").listeners[0].domains != []


def test_a_redirect_server_without_rules_still_knows_its_hosts() -> None:
    found = plan(gateway("gw", server("*.a.com", "b.com", more=", tls: {httpsRedirect: true}")))
    assert found.listeners[0].https_redirect == ["*.a.com", "b.com"]
    assert vhost(found, "x.a.com") is not None
