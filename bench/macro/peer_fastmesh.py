"""fastmesh with the mesh on: routing, balancing, connection limits, outlier detection, token bucket and metrics."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from pathlib import Path

from .build import ROOT
from .peers import Peer, Setup, host_names

FASTMESH = Path(sys.executable).parent / "fastmesh"

MESH = """\
apiVersion: v1
kind: Service
metadata: {{name: bench, namespace: default}}
spec:
  selector: {{app: bench}}
  ports:
  - {{name: http, port: 80, targetPort: {upstream}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: bench-1, namespace: default}}
spec:
  address: 127.0.0.1
  ports: {{http: {upstream}}}
  labels: {{app: bench, version: v1}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: bench, namespace: default}}
spec:
  host: bench.default.svc.cluster.local
  trafficPolicy:
    connectionPool:
      tcp: {{maxConnections: 1024}}
      http: {{http1MaxPendingRequests: 1024, http2MaxRequests: 1024}}
    outlierDetection: {{consecutive5xxErrors: 5, interval: 10s, baseEjectionTime: 30s}}
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
---
apiVersion: fastmesh.io/v1alpha1
kind: RateLimit
metadata: {{name: bench, namespace: default}}
spec:
  targetRef: {{kind: Service, name: bench}}
  limits:
  - {{requests: 1000000, per: second}}
"""
RULE = """\
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: [{host}]
  http:
  - match: [{{uri: {{prefix: /}}}}]
    route:
    - destination: {{host: bench.default.svc.cluster.local, subset: v1, port: {{number: 80}}}}
"""


class Fastmesh(Peer):
    name = "fastmesh"
    patience = 90.0

    def missing(self) -> str | None:
        return None if FASTMESH.exists() else "not installed: make build"

    def version(self) -> str:
        said = subprocess.run([str(FASTMESH), "--version"], capture_output=True, text=True, timeout=30)
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
        return f"{said.stdout.strip() or 'unknown'} at {commit.stdout.strip() or 'unknown'}"

    def uncounted(self, setup: Setup, requests: int) -> int:
        return max(0, requests - _counted(setup.admin))

    def command(self, setup: Setup) -> list[str]:
        config = setup.folder / "fastmesh.yaml"
        rules = [_rule(name) for name in host_names(setup.hosts)]
        config.write_text(MESH.format(upstream=setup.upstream) + "".join(rules))
        log = ["--access-log", str(setup.log_file), "--access-log-format", "json"]
        return [
            *(str(FASTMESH), "proxy", "-f", str(config), "--listen", f"127.0.0.1:{setup.port}"),
            *("--workers", "1", "--admin", f"127.0.0.1:{setup.admin}", "--no-watch"),
            *(log if setup.log else ("--access-log", "off")),
        ]


def _counted(admin: int) -> int:
    """The sum of istio_requests_total, 0 when the metrics do not have it."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/stats/prometheus", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0
    return int(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("istio_requests_total{")))


def _rule(host: str) -> str:
    full = "bench.default.svc.cluster.local" if host == "bench" else host
    return RULE.format(name=host.partition(".")[0], host=full)
