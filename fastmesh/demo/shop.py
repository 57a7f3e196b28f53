"""Brings the shop up: replicas, a sidecar before each, the gateway in front, their certificates and YAML.

gateway --mTLS--> sidecar -> product, stock, payment
        --mTLS--> sidecar -> order -> the same sidecar --mTLS--> sidecar -> product, payment
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

from fastmesh.demo import certificates, replica
from fastmesh.demo.certificates import NAMESPACE
from fastmesh.demo.client import Client
from fastmesh.demo.processes import Child, Children, DemoError

HOST = "127.0.0.1"
FILES = ("services.yaml", "workloads.yaml", "rules.yaml", "gateway.yaml", "limits.yaml", "security.yaml")
GATEWAY_LABELS = "istio=ingressgateway"
GATEWAY_ACCOUNT = "gateway"
READY = r"^fastmesh ready: listening on ([^\s,]+).*\badmin ([^\s,]+)"
REPLICAS = (
    ("product", "product-v1-a", "v1"),
    ("product", "product-v1-b", "v1"),
    ("product", "product-v2-a", "v2"),
    ("order", "order-v1-a", "v1"),
    ("payment", "payment-v1-a", "v1"),
    ("stock", "stock-v1-a", "v1"),
)
CALLERS = ("order",)  # services that call others
PAYMENT_FAILS_EVERY = 5  # requests


@dataclass(frozen=True, slots=True)
class Proxy:
    address: str
    admin: str


@dataclass(frozen=True, slots=True)
class Replica:
    """`address` is how the mesh reaches it, its sidecar's; `behind` is its own: asking there goes around the mesh."""

    service: str
    name: str
    version: str
    behind: str
    sidecar: Proxy

    @property
    def address(self) -> str:
        return self.sidecar.address

    async def behave(self, wanted: str = "") -> dict[str, int]:
        """Its counters, after it was told how to behave: `status=500`, `every=5`."""
        client = Client(self.behind)
        try:
            answer = await client.get(f"/-/behaviour?{wanted}", method="PUT" if wanted else "GET")
        finally:
            client.close()
        counters: dict[str, int] = answer.json()
        return counters


@dataclass(frozen=True, slots=True)
class Shop:
    """`folder` has the YAML, `certs` a folder for each service account and the CA's."""

    folder: Path
    certs: Path
    gateway: Proxy
    replicas: dict[str, Replica]
    children: Children

    @property
    def url(self) -> str:
        return f"http://{self.gateway.address}"

    def of(self, service: str) -> list[Replica]:
        return [each for each in self.replicas.values() if each.service == service]


@asynccontextmanager
async def open_shop(port: int, watch: bool) -> AsyncIterator[Shop]:
    """The shop in working order; everything that was started ends with this context, also when a start fails."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastmesh-demo-")))
        _refuse_taken(port)
        async with Children() as children:
            yield await _start(children, stack, folder, port, watch)


async def _start(children: Children, stack: ExitStack, folder: Path, port: int, watch: bool) -> Shop:
    """Replicas start while certificates are made, then all proxies at once."""
    mesh, certs = folder / "mesh", folder / "certs"
    sockets = {name: stack.enter_context(socket.create_server((HOST, 0))) for _, name, _ in REPLICAS}
    behind = {name: f"{HOST}:{sock.getsockname()[1]}" for name, sock in sockets.items()}
    before = {name: _hold_port(stack) for _, name, _ in REPLICAS}
    outbound = {name: f"{HOST}:{_hold_port(stack)}" for service, name, _ in REPLICAS if service in CALLERS}
    _write_rules(mesh, before)

    replicas = []
    for service, name, version in REPLICAS:
        descriptor = sockets[name].fileno()
        arguments = [replica.__name__, service, name, version, str(descriptor), outbound.get(name, "")]
        replicas.append(children.start(name, arguments, [descriptor]))
    accounts = dict.fromkeys([*(service for service, _, _ in REPLICAS), GATEWAY_ACCOUNT])
    await certificates.issue(children, certs, accounts)

    def start_proxy(name: str, account: str, *flags: str) -> Child:
        identity = ["--certs", str(certs / account)]
        return _start_proxy(children, mesh, watch, name, *flags, *identity)

    sidecars = {}
    for service, name, _ in REPLICAS:
        flags = ["--workload", f"{name}.{NAMESPACE}", "--inbound", f"{HOST}:{before[name]}={behind[name]}"]
        flags += ["--outbound", outbound[name]] if name in outbound else []
        sidecars[name] = start_proxy(f"the sidecar of {name}", service, "--role", "sidecar", *flags)
    front = ["--role", "gateway", "--map", f"80={port}", "--bind", HOST, "--labels", GATEWAY_LABELS]
    gateway = start_proxy("the gateway", GATEWAY_ACCOUNT, *front)

    for child in replicas:
        await child.ready(replica.READY)
    for sock in sockets.values():
        sock.close()  # theirs alone: a replica that ends is refused, not silent
    known = {}
    for service, name, version in REPLICAS:
        admin = (await sidecars[name].ready(READY))[2]
        known[name] = Replica(service, name, version, behind[name], Proxy(f"{HOST}:{before[name]}", admin))
    shop = Shop(mesh, certs, Proxy(*(await gateway.ready(READY)).groups()), known, children)
    for each in shop.of("payment"):
        await each.behave(f"every={PAYMENT_FAILS_EVERY}")
    return shop


def _start_proxy(children: Children, folder: Path, watch: bool, name: str, *flags: str) -> Child:
    common = ["-f", str(folder), "--workers", "1", "--admin", f"{HOST}:0", "--watch" if watch else "--no-watch"]
    return children.start(name, ["fastmesh", "proxy", *flags, *common, "--drain-timeout", "1s", "--drain-idle", "50ms"])


def _hold_port(stack: ExitStack) -> int:
    """A free port for a proxy. It is bound here, so that nobody is given it by chance, and does not listen: the proxy,
    which sets SO_REUSEADDR as well, may bind it.
    """
    sock = stack.enter_context(socket.socket())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((HOST, 0))
    port: int = sock.getsockname()[1]
    return port


def _write_rules(folder: Path, ports: dict[str, int]) -> None:
    """`ports` are those of the sidecars."""
    folder.mkdir(exist_ok=True)
    names = {name.replace("-", "_"): port for name, port in ports.items()}
    for name in FILES:
        text = resources.files(__package__).joinpath(name).read_text()
        (folder / name).write_text(Template(text).substitute(names) if name == "workloads.yaml" else text)


def _refuse_taken(port: int) -> None:
    """Say it before anything is started."""
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise DemoError(
            f"port {port}: {os.strerror(error.errno or 0)}; choose another with --port (0: any free one)"
        ) from None
