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
