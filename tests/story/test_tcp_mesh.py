"""Bytes in the mesh: sockets of single services, redirected connections, and two sidecars between. Real processes."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.running import Proxy, Upstream
from tests.server.proxies import eventually
from tests.story.lifecycle import MeshProxy
from tests.story.sidecars import Sidecars
from tests.story.test_tcp_gateway import ask, saying, tcp_metrics
from tests.traffic import thing

# What iptables would have done: the listener's connections were meant for another place.
SHIM = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
int getsockopt(int fd, int level, int option, void *value, socklen_t *size) {
    static int (*real)(int, int, int, void *, socklen_t *);
    if (!real) real = dlsym(RTLD_NEXT, "getsockopt");
    if (level == IPPROTO_IP && option == 80 && getenv("ORIGINAL_DST")) {
        struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(atoi(getenv("ORIGINAL_PORT")))};
        inet_pton(AF_INET, getenv("ORIGINAL_DST"), &there.sin_addr);
        memcpy(value, &there, sizeof there);
        *size = sizeof there;
        return 0;
    }
    return real(fd, level, option, value, size);
}
"""


def service(name: str, address: str, port: int, *replicas: tuple[str, int]) -> str:
    spec = {"clusterIP": address, "selector": {"app": name}, "ports": [{"name": "tcp", "port": port, "targetPort": 1}]}
    text = thing("Service", name, spec, "v1")
    for version, own in replicas:
        labels = {"app": name, "version": version}
        entry = {"address": "127.0.0.1", "ports": {"tcp": own}, "labels": labels}
        text += thing("WorkloadEntry", f"{name}-{version}", entry)
    return text


def split(first: int, second: int) -> str:
    route = [
        {"destination": {"host": "db", "subset": name}, "weight": weight}
        for name, weight in (("v1", first), ("v2", second))
    ]
    subsets = [{"name": name, "labels": {"version": name}} for name in ("v1", "v2")]
    rule = thing("DestinationRule", "db", {"host": "db", "subsets": subsets})
    return rule + thing("VirtualService", "db", {"hosts": ["db"], "tcp": [{"route": route}]})


def test_a_service_on_an_address_of_this_machine(tmp_path: Path) -> None:
    port = free_port()
    with Upstream(saying(b"one")) as one, Upstream(saying(b"two")) as two:
        text = service("db", "127.0.0.77", port, ("v1", one.port), ("v2", two.port)) + split(0, 1)
        with Proxy(tmp_path, text) as proxy:
            assert ask(port, address="127.0.0.77") == b"two hello\n"
            assert tcp_metrics(proxy, "-")["opened"] == 1


def test_an_egress_listener(tmp_path: Path) -> None:
    port = free_port()
    with Upstream(saying(b"one")) as one, Upstream(saying(b"two")) as two:
        text = service("db", "10.0.0.5", port, ("v1", one.port), ("v2", two.port)) + split(1, 1)
        egress = {"port": {"number": port, "name": "db", "protocol": "TCP"}, "bind": "127.0.0.1", "hosts": ["./*"]}
        text += thing("Sidecar", "default", {"egress": [egress, {"hosts": ["./*"]}]})
        with Proxy(tmp_path, text) as proxy:
            found = {ask(port) for _ in range(40)}
            assert found == {b"one hello\n", b"two hello\n"}
            assert "unserved" not in proxy.text()


def shim(folder: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler, which makes what stands for iptables")
    source, library = folder / "shim.c", folder / "shim.so"
    source.write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


@pytest.mark.parametrize(
    ("address", "port", "wanted"),
    [("10.0.0.5", 5432, b"one hello\n"), ("127.0.0.1", 0, b"two hello\n"), ("127.0.0.1", 1, b"")],
)
def test_redirected_connections(
    address: str, port: int, wanted: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a service by its address; to whatever else it was meant for; to nobody."""
    log = tmp_path / "log"
    with Upstream(saying(b"one")) as one, Upstream(saying(b"two")) as two:
        text = service("db", "10.0.0.5", 5432, ("v1", one.port))
        monkeypatch.setenv("LD_PRELOAD", str(shim(tmp_path)))
        monkeypatch.setenv("ORIGINAL_DST", address)
        monkeypatch.setenv("ORIGINAL_PORT", str(port or two.port))
        flags = ("--interception-mode", "redirect", "--access-log", str(log), "--access-log-format", "text")
        with Proxy(tmp_path, text, *flags) as proxy:
            monkeypatch.delenv("LD_PRELOAD")
            assert ask(proxy.port) == wanted
            cluster = "outbound|5432||db.default.svc.cluster.local" if port == 5432 else "PassthroughCluster"
            flag = "-" if wanted else "UF,URX"
            pattern = rf'"- - -" 0 {flag} .* {re.escape(cluster)} - {address}:{port or two.port} '
            eventually(lambda: re.search(pattern, log.read_text()))
            if port != 5432:
                lines = [
                    each for each in proxy.get("/stats/prometheus")[1].splitlines() if "tcp_connections_opened" in each
                ]
                assert any('destination_service_name="PassthroughCluster"' in each for each in lines)


SERVICE = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: db, namespace: shop}}
spec:
  hosts: [db.example]
  addresses: [127.0.0.78]
  location: MESH_INTERNAL
  ports: [{{number: {port}, name: tcp, protocol: TCP}}]
  resolution: STATIC
  workloadSelector: {{labels: {{app: orders}}}}
---
"""


@pytest.mark.parametrize("mode", ["STRICT", "PERMISSIVE", "DISABLE"])
def test_two_sidecars(mode: str, mesh: Callable[..., MeshProxy], tmp_path: Path) -> None:
    """Mutual TLS between them where the policy has it; who comes in plaintext is let in where it says so."""
    port = free_port()
    with Upstream(saying(b"one")) as application:
        db = ("tcp", SERVICE.format(port=port), application.port)
        pair = Sidecars(mesh, tmp_path, mode, outbound=False, instead=db)
        assert ask(port, address="127.0.0.78") == b"one hello\n"
        assert ask(pair.inbound) == (b"" if mode == "STRICT" else b"one hello\n")
        told = pair.orders.ask("/stats/prometheus")[1].splitlines()
        lines = [each for each in told if "tcp_connections_opened" in each]
        (own,) = [each for each in lines if ('"mutual_tls"' in each) == (mode != "DISABLE") and each[0] != "#"]
        if mode != "DISABLE":
            assert 'source_principal="spiffe://cluster.local/ns/shop/sa/cart"' in own
        assert 'reporter="destination"' in own
