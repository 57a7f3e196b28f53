"""fastmesh with the mesh on: routing, balancing, connection limits, outlier detection, token bucket and metrics."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from .build import ROOT
from .peers import Peer, Setup

FASTMESH = Path(sys.executable).parent / "fastmesh"

MESH = """\
apiVersion: v1
kind: Service
metadata: {{name: bench, namespace: default}}
spec:
  selector: {{app: bench}}
  ports:
  - {{name: {port_name}, port: 80, targetPort: {upstream}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: bench-1, namespace: default}}
spec:
  address: 127.0.0.1
  ports: {{{port_name}: {upstream}}}
  labels: {{app: bench, version: v1{sidecar}}}
  serviceAccount: bench
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: bench, namespace: default}}
spec:
  host: bench.default.svc.cluster.local
  trafficPolicy:
    connectionPool:
      tcp: {{maxConnections: 1024}}
      http: {{http1MaxPendingRequests: 1024, http2MaxRequests: 1024{upgrade}}}
    outlierDetection: {{consecutive5xxErrors: 5, interval: 10s, baseEjectionTime: 30s}}{hashed}
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
"""
LIMIT = """\
---
apiVersion: fastmesh.io/v1alpha1
kind: RateLimit
metadata: {name: bench, namespace: default}
spec:
  targetRef: {kind: Service, name: bench}
  limits:
  - {requests: 1000000, per: second}
"""
RULE = """\
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: [{host}]
  gateways: [{gateway}]
  http:
"""
ROUTE = """\
  - match: [{{uri: {{prefix: {path}}}}}]
    route:
    - destination: {{host: bench.default.svc.cluster.local, subset: v1, port: {{number: 80}}}}
"""
MIRROR = "    mirror: {host: bench.default.svc.cluster.local, subset: v1, port: {number: 80}}\n"
GATEWAY = """\
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: bench, namespace: default}}
spec:
  servers:
  - port: {{number: 443, name: https, protocol: HTTPS}}
    hosts: ["*"]
    tls: {{mode: SIMPLE, serverCertificate: {chain}, privateKey: {key}, minProtocolVersion: TLSV1_3}}
"""
RAW = """\
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: bench, namespace: default}
spec:
  servers:
  - port: {number: 443, name: tcp, protocol: TCP}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bench, namespace: default}
spec:
  hosts: ["*"]
  gateways: [bench]
  tcp:
  - route:
    - destination: {host: bench.default.svc.cluster.local, subset: v1, port: {number: 80}}
"""
STRICT = """\
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec:
  mtls: {mode: STRICT}
"""
CLIENT = """\
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: client-1, namespace: default}
spec: {address: 127.0.0.2, labels: {app: client}, serviceAccount: client}
"""
BEHIND_SIDECAR = ", security.istio.io/tlsMode: istio"
UPGRADE = ", h2UpgradePolicy: UPGRADE"  # between sidecars, as Envoy's pair has it
HASHED = "\n    loadBalancer: {consistentHash: {httpHeaderName: user-agent}}"
FILTER = """\
---
apiVersion: fastmesh.io/v1alpha1
kind: Filter
metadata: {name: bench, namespace: default}
spec: {function: bench_filter:Stamp}
"""
FILTER_CODE = """\
class Stamp:
    def __init__(self, config):
        pass

    def request_head(self, request):
        if request.headers.get("x-user") is None:
            request.headers["x-user"] = "nobody"

    def response_head(self, request, response):
        response.headers["x-filter"] = "bench"
"""
PORT_NAMES = {"h1": "http", "h2": "http2", "grpc": "grpc"}


class Fastmesh(Peer):
    name = "fastmesh"
    unable: ClassVar = {}

    def missing(self) -> str | None:
        return None if FASTMESH.exists() else "not installed: make build"

    def version(self) -> str:
        said = subprocess.run([str(FASTMESH), "--version"], capture_output=True, text=True, timeout=30)
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
        return f"{said.stdout.strip() or 'unknown'} at {commit.stdout.strip() or 'unknown'}"

    def uncounted(self, setup: Setup, requests: int) -> int:
        return 0 if setup.raw else max(0, requests - _counted(setup.admin))

    def command(self, setup: Setup) -> list[str]:
        config = setup.folder / "fastmesh.yaml"
        config.write_text("".join(_objects(setup)))
        (setup.folder / "code").mkdir()
        (setup.folder / "code/bench_filter.py").write_text(FILTER_CODE)
        log = ["--access-log", str(setup.log_file), "--access-log-format", "json"]
        return [
            *(str(FASTMESH), "proxy", "-f", str(config), *_role(setup)),
            *("--workers", "1", "--admin", f"127.0.0.1:{setup.admin}", "--no-watch", "--strict"),
            *(("--filter-path", str(setup.folder / "code")) if setup.filtered else ()),
            *(log if setup.log else ("--access-log", "off")),
        ]


def _role(setup: Setup) -> list[str]:
    """Where it listens, and as what."""
    address, spare = f"127.0.0.1:{setup.port}", f"127.0.0.1:{setup.spare}"
    application = f"127.0.0.1:{setup.upstream}"
    if setup.tls or setup.raw:
        return ["--role", "gateway", "--bind", "127.0.0.1", "--map", f"443={setup.port}"]
    if not setup.side or not setup.workload:
        return ["--listen", address]
    inbound = f"{address}={application}" if setup.side == "inbound" else f"{spare}=127.0.0.1:1"
    outbound = address if setup.side == "outbound" else spare
    name = "bench-1" if setup.side == "inbound" else "client-1"
    sidecar = ["--role", "sidecar", "--inbound", inbound, "--outbound", outbound]
    return [*sidecar, "--workload", f"{name}.default", "--certs", str(setup.workload.folder)]


def _objects(setup: Setup) -> Iterator[str]:
    sidecar, upgrade = (BEHIND_SIDECAR, UPGRADE) if setup.side else ("", "")
    words = {"sidecar": sidecar, "upgrade": upgrade, "hashed": HASHED if setup.hashed else ""}
    name = "tcp" if setup.raw else PORT_NAMES[setup.app]
    yield MESH.format(upstream=setup.upstream, port_name=name, **words)
    if setup.limited:
        yield LIMIT
    if setup.raw:
        yield RAW
        return
    for name in setup.names:
        full = "bench.default.svc.cluster.local" if name == "bench" else name
        yield RULE.format(name=name.partition(".")[0], host=full, gateway="bench" if setup.tls else "mesh")
        yield from (ROUTE.format(path=f"/shop/{number:03d}/") for number in range(1, setup.rules))
        yield ROUTE.format(path="/") + (MIRROR if setup.mirrored else "")
    if setup.filtered:
        yield FILTER
    if setup.tls:
        yield GATEWAY.format(chain=setup.tls.chain, key=setup.tls.key)
    if setup.side:
        yield CLIENT + STRICT


def _counted(admin: int) -> int:
    """The sum of istio_requests_total, 0 when the metrics do not have it."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/stats/prometheus", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0
    return int(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("istio_requests_total{")))
