"""Two workloads and their sidecars: `cart` calls `orders`, which is the origin. All of it real processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastmesh.security import certs, spiffe
from fastmesh.security.authority import Pair, issue
from tests.ports import free_port
from tests.security.making import DAY, root, write
from tests.story.lifecycle import HOST, MeshProxy

ORIGIN = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: origin, namespace: shop}}
spec:
  hosts: [origin.example]
  location: MESH_INTERNAL
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  workloadSelector: {{labels: {{app: orders}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: origin, namespace: shop}}
spec:
  host: origin.example
  trafficPolicy: {{connectionPool: {{http: {{{pool}}}}}}}
---
"""
PAIR = """\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: orders, namespace: shop}}
spec:
  address: 127.0.0.1
  ports: {{{protocol}: {inbound}}}
  labels: {{app: orders, security.istio.io/tlsMode: istio}}
  serviceAccount: orders
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: cart, namespace: shop}}
spec: {{address: 127.0.0.1, labels: {{app: cart}}, serviceAccount: cart}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: istio-system}}
spec: {{mtls: {{mode: {mode}}}}}
"""


class Workload:
    """A certificate in a folder, and the sidecar that runs with it."""

    def __init__(self, ca: Pair, folder: Path, name: str, made: bool = False) -> None:
        self.ca = ca
        self.name = name
        self.certs = folder / f"{name}.shop"
        if not made:
            self.renew()

    def renew(self) -> str:
        """Another certificate at the place of the last one; its serial number."""
        made = issue(self.ca, spiffe.of_workload("cluster.local", "shop", self.name), DAY)
        write(self.certs, made, roots=[self.ca])
        return certs.serial(made.certificate)

    @property
    def flags(self) -> tuple[str, ...]:
        return ("--role", "sidecar", "--workload", f"{self.name}.shop", "--certs", str(self.certs))


class Sidecars:
    """`cart.address` is where the client of the story connects; what it says goes through both. `made`: somebody has
    put certificates into `folder`. `more`: YAML behind that of the pair. `instead`: another service than the origin: by
    the name of its port, its YAML and the port of its application.
    """

    def __init__(
        self,
        mesh: Callable[..., MeshProxy],
        folder: Path,
        mode: str = "STRICT",
        workers: int = 1,
        outbound: bool = True,
        made: bool = False,
        more: str = "",
        pool: str = "maxRequestsPerConnection: 10",
        instead: tuple[str, str, int] | None = None,
    ) -> None:
        ca = root()
        self.client, self.server = (Workload(ca, folder, name, made) for name in ("cart", "orders"))
        self.inbound = free_port()

        def text(origin: int) -> str:
            protocol, service, self.origin = instead or ("http", ORIGIN.format(pool=pool), origin)
            return service + PAIR.format(protocol=protocol, inbound=self.inbound, mode=mode) + more

        def start(workload: Workload, *flags: str) -> MeshProxy:
            return mesh(*workload.flags, *flags, "--workers", str(workers), text=text)

        first = start(self.client, "--outbound", "127.0.0.1:0")
        pair = f"127.0.0.1:{self.inbound}=127.0.0.1:{self.origin}"
        self.orders = start(self.server, "--inbound", pair, *(("--outbound", "127.0.0.1:0") if outbound else ()))
        self.cart = first


__all__ = ["HOST", "Sidecars"]
