"""Names: short ones, wildcards, and which of several is the most specific."""

from __future__ import annotations

import pytest

from fastmesh.config import hosts, protocols
from fastmesh.config.gateway_names import gateway_name
from fastmesh.config.hosts import HostIndex
from fastmesh.config.routes.virtual_hosts import short_names


@pytest.mark.parametrize(
    ("host", "full"),
    [
        ("reviews", "reviews.shop.svc.cluster.local"),
        ("Reviews", "reviews.shop.svc.cluster.local"),
        ("reviews.prod", "reviews.prod"),
        ("*", "*"),
        ("*.foo.com", "*.foo.com"),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_a_short_name_belongs_to_the_namespace_of_the_rule(host: str, full: str) -> None:
    assert hosts.fqdn(host, "shop") == full


@pytest.mark.parametrize(
    ("pattern", "host", "covered"),
    [
        ("*.foo.com", "a.foo.com", True),
        ("*.foo.com", "a.b.foo.com", True),
        ("*.foo.com", "foo.com", False),
        ("*foo.com", "barfoo.com", True),
        ("*", "anything", True),
        ("*.com", "*.foo.com", True),
        ("*.foo.com", "*.com", False),
        ("foo.com", "*.foo.com", False),
    ],
)
def test_a_wildcard_is_a_suffix(pattern: str, host: str, covered: bool) -> None:
    assert hosts.covers(pattern, host) is covered


@pytest.mark.parametrize(
    ("left", "right", "common"),
    [
        ("foo.com", "*.com", "foo.com"),
        ("*.com", "foo.com", "foo.com"),
        ("*.net", "*.bar.net", "*.bar.net"),
        ("foo.com", "bar.com", None),
        ("*", "*.bar.net", "*.bar.net"),
        ("*.bar.net", "bar.net", None),
    ],
)
def test_two_hosts_agree_on_the_more_specific_one(left: str, right: str, common: str | None) -> None:
    assert hosts.intersection(left, right) == common


def test_the_most_specific_value_wins() -> None:
    index: HostIndex[str] = HostIndex()
    for host in ("*", "*.com", "*.foo.com", "a.foo.com", "*.com"):
        index.put(host, host)
    wanted = {
        "a.foo.com": "a.foo.com",
        "b.foo.com": "*.foo.com",
        "foo.com": "*.com",
        "x": "*",
        "*.b.foo.com": "*.foo.com",
    }
    assert {host: index.most_specific(host) for host in wanted} == wanted
    assert index.most_specific("*.b.foo.com") == "*.foo.com"
    assert list(index.covering("b.foo.com")) == ["*.foo.com", "*.com", "*"]


def test_the_first_value_of_a_host_stays() -> None:
    index: HostIndex[int] = HostIndex()
    index.put("a", 1)
    index.put("a", 2)
    assert index.get("a") == 1


@pytest.mark.parametrize(
    ("export_to", "viewer", "seen"),
    [
        ([], "b", True),
        (["*"], "b", True),
        (["."], "a", True),
        (["."], "b", False),
        (["b"], "b", True),
        (["~"], "a", False),
    ],
)
def test_who_sees_an_object_of_namespace_a(export_to: list[str], viewer: str, seen: bool) -> None:
    assert hosts.exported(export_to, "a", viewer) is seen


@pytest.mark.parametrize(
    ("host", "namespace", "names"),
    [
        ("n.ns.svc.cluster.local", "ns", ["n.ns.svc", "n.ns", "n"]),
        ("n.ns.svc.cluster.local", "other", ["n.ns.svc", "n.ns"]),
        ("api.example.com", "ns", []),
    ],
)
def test_the_short_names_of_a_service(host: str, namespace: str, names: list[str]) -> None:
    assert short_names(host, namespace) == names


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("mesh", "mesh"),
        ("gw", "a/gw"),
        ("b/gw", "b/gw"),
        ("./gw", "a/gw"),
        ("gw.b", "b/gw"),
        ("gw.b.svc.cluster.local", "b/gw"),
    ],
)
def test_the_name_of_a_gateway_in_namespace_a(written: str, name: str) -> None:
    assert gateway_name(written, "a") == name


@pytest.mark.parametrize(
    ("number", "name", "transport", "app", "protocol"),
    [
        (80, "http", "TCP", None, "HTTP"),
        (80, "HTTP2-api", "TCP", None, "HTTP2"),
        (80, "grpc-web-x", "TCP", None, "GRPC-WEB"),
        (80, "web", "TCP", None, "SNIFF"),
        (80, "", "TCP", None, "SNIFF"),
        (3306, "db", "TCP", None, "TCP"),
        (3306, "http", "TCP", None, "HTTP"),
        (53, "http", "UDP", None, "UDP"),
        (443, "https", "TCP", None, "HTTPS"),
        (80, "tcp", "TCP", "http", "HTTP"),
        (80, "http", "TCP", "kubernetes.io/h2c", "HTTP2"),
        (80, "http", "TCP", "kubernetes.io/wss", "HTTPS"),
        (80, "http", "TCP", "example.com/own", "SNIFF"),
    ],
)
def test_the_protocol_of_a_port(number: int, name: str, transport: str, app: str | None, protocol: str) -> None:
    assert protocols.of_service_port(number, name, transport, app) == protocol
