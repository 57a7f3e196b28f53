"""istio/istio pilot/pkg/networking/core/httproute_test.go, TestGenerateVirtualHostDomains: the names of a service.

A trailing dot is taken off before a name is looked up, so it stands in no table of ours.
"""

from __future__ import annotations

import pytest
import yaml

from tests.config.asking import plan_of

V6 = "2406:3003:2064:35b8:864:a648:4b96:e37d"
ECHO = ["echo.default.svc.cluster.local", "echo.default.svc", "echo.default"]
HEADLESS = ["headless.default.svc.cluster.local", "headless.default.svc", "headless.default", "headless"]

# name, host, addresses ("None": headless), namespace of the client, domains
TABLE = [
    ("k8s service with default domain", "echo", [], "default", [*ECHO, "echo"]),
    ("k8s service with default domain and different namespace", "echo", [], "mesh", ECHO),
    ("different domains with no shared dns", "foo.local.campus.net", [], "default", ["foo.local.campus.net"]),
    ("non-k8s service", "foo.default.svc.bar.baz", [], "default", ["foo.default.svc.bar.baz"]),
    ("k8s service with custom domain 2", "google.local", [], "foo", ["google.local"]),
    ("back subset of cluster domain in address", "aaa.example.local", [], "tests", ["aaa.example.local"]),
    ("front subset of cluster domain in address", "aaa.example.my", [], "tests", ["aaa.example.my"]),
    ("large subset of cluster domain in address", "aaa.example.my.long", [], "tests", ["aaa.example.my.long"]),
    ("no overlap of cluster domain in address", "aaa.example.com", [], "tests", ["aaa.example.com"]),
    ("wildcard", "headless", ["None"], "default", HEADLESS + ["*." + name for name in HEADLESS]),
    ("dual stack k8s service with default domain", "echo", ["1.2.3.4", V6], "default",
     [*ECHO, "echo", "1.2.3.4", f"[{V6}]"]),
    ("service entry with multiple VIPs, IPv4 only", "echo", ["1.2.3.4", "1.2.3.5"], "default",
     [*ECHO, "echo", "1.2.3.4", "1.2.3.5"]),
    ("service entry with multiple VIPs, IPv6 only", "echo", ["2001:2::f0f0:239", "2001:2::f0f0:240"], "default",
     [*ECHO, "echo", "[2001:2::f0f0:239]", "[2001:2::f0f0:240]"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "host", "addresses", "namespace", "wanted"), TABLE, ids=[row[0] for row in TABLE])
def test_domains(name: str, host: str, addresses: list[str], namespace: str, wanted: list[str]) -> None:
    ports = [{"number": 8123, "name": "http", "protocol": "HTTP"}]
    if "." in host:
        spec = {"hosts": [host], "ports": ports, "resolution": "NONE"}
        written = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": "a"},
            "spec": spec,
        }
    else:
        spec = {"ports": [{"name": "http", "port": 8123}]}
        if addresses:
            spec |= {"clusterIP": addresses[0], "clusterIPs": addresses}
        written = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": host}, "spec": spec}
    (listener,) = plan_of(yaml.safe_dump(written), namespace=namespace).listeners
    assert sorted(domain.domain for domain in listener.domains if domain.port == 8123) == sorted(wanted)


TWICE = "test-duplicate-domains"
WHOLE = f"{TWICE}.default.svc.cluster.local"
# TestSidecarOutboundHTTPRouteConfigWithDuplicateHosts: services, hosts and destinations of VirtualServices, and the
# domains of port 80 with their clusters.
DUPLICATES: list[tuple[str, list[tuple[str, list[int]]], list[tuple[list[str], str]], dict[str, str]]] = [
    ("more exact first", [("test.local", [80]), ("test", [80])], [],
     {"test.local": "test.local", "test": "test"}),
    ("more exact first with full cluster domain", [("test.default.svc.cluster.local", [80]), ("test", [80])], [],
     {"test.default.svc.cluster.local": "test.default.svc.cluster.local", "test": "test",
      "test.default.svc": "test.default.svc.cluster.local", "test.default": "test.default.svc.cluster.local"}),
    ("more exact second", [("test", [80]), ("test.local", [80])], [], {"test.local": "test.local", "test": "test"}),
    ("virtual service", [(WHOLE, [80])], [([WHOLE, f"{TWICE}.default"], f"{TWICE}.default")],
     dict.fromkeys((WHOLE, TWICE, f"{TWICE}.default.svc", f"{TWICE}.default"), f"{TWICE}.default")),
    ("virtual service duplicate case sensitive domains", [(WHOLE, [80])],
     [([WHOLE, f"{TWICE}.default"], f"{TWICE}.default"), ([WHOLE.replace("test", "Test", 1)], f"{TWICE}.default")],
     dict.fromkeys((WHOLE, TWICE, f"{TWICE}.default.svc", f"{TWICE}.default"), f"{TWICE}.default")),
    ("virtual service conflict", [("test.default.svc.cluster.local", [80])], [(["test.default"], "test.default")],
     {"test.default.svc.cluster.local": "test.default.svc.cluster.local", "test": "test.default.svc.cluster.local",
      "test.default.svc": "test.default.svc.cluster.local", "test.default": "test.default"}),
    ("multiple ports", [("test.local", [70, 80, 90])], [], {"test.local": "test.local"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "services", "rules", "wanted"), DUPLICATES, ids=[row[0] for row in DUPLICATES])
def test_duplicate_hosts(
    name: str, services: list[tuple[str, list[int]]], rules: list[tuple[list[str], str]], wanted: dict[str, str]
) -> None:
    written = []
    for number, (host, ports) in enumerate(services):
        if host.endswith(".svc.cluster.local"):
            spec = {"ports": [{"name": f"http-{port}", "port": port} for port in ports]}
            written.append(_thing("Service", host.partition(".")[0], spec, "v1"))
            continue
        named = [{"number": port, "name": f"http-{port}", "protocol": "HTTP"} for port in ports]
        written.append(
            _thing("ServiceEntry", f"entry-{number}", {"hosts": [host], "ports": named, "resolution": "NONE"})
        )
    for number, (hosts, to) in enumerate(rules):
        spec = {"hosts": hosts, "http": [{"route": [{"destination": {"host": to}}]}]}
        written.append(_thing("VirtualService", f"rule-{number}", spec))
    plan = plan_of(yaml.safe_dump_all(written))
    found = {
        domain.domain: plan.vhosts[domain.vhost].rules[0].destinations[0].cluster
        for domain in plan.listeners[0].domains
        if domain.port == 80
    }
    assert found == {domain: f"outbound|80||{cluster}" for domain, cluster in wanted.items()}


def _thing(kind: str, name: str, spec: object, version: str = "networking.istio.io/v1") -> dict[str, object]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec}
