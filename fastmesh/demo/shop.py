"""Brings the shop up: replicas, the gateway in front, the mesh listener beside order, and the YAML that they run on."""

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

from fastmesh.demo import replica
from fastmesh.demo.client import Client
from fastmesh.demo.processes import Child, Children, DemoError

HOST = "127.0.0.1"
FILES = ("services.yaml", "workloads.yaml", "rules.yaml", "gateway.yaml", "limits.yaml")
GATEWAY_LABELS = "istio=ingressgateway"
READY = r"^fastmesh ready: listening on ([^\s,]+).*\badmin ([^\s,]+)"
REPLICAS = (
    ("product", "product-v1-a", "v1"),
    ("product", "product-v1-b", "v1"),
    ("product", "product-v2-a", "v2"),
    ("order", "order-v1-a", "v1"),
    ("payment", "payment-v1-a", "v1"),
    ("stock", "stock-v1-a", "v1"),
)
PAYMENT_FAILS_EVERY = 5  # requests


@dataclass(frozen=True, slots=True)
class Replica:
    """`address` is its own port: asking there goes around the mesh."""

    service: str
    name: str
    version: str
    address: str

    async def behave(self, wanted: str = "") -> dict[str, int]:
        """Its counters, after it was told how to behave: `status=500`, `every=5`."""
        client = Client(self.address)
        try:
            answer = await client.get(f"/-/behaviour?{wanted}", method="PUT" if wanted else "GET")
        finally:
            client.close()
        counters: dict[str, int] = answer.json()
        return counters


@dataclass(frozen=True, slots=True)
class Proxy:
    address: str
    admin: str


@dataclass(frozen=True, slots=True)
class Shop:
    folder: Path
    gateway: Proxy
    mesh: Proxy
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
    sockets = {name: stack.enter_context(socket.create_server((HOST, 0))) for _, name, _ in REPLICAS}
    ports = {name: sock.getsockname()[1] for name, sock in sockets.items()}
    _write_rules(folder, ports)

    def start_replica(service: str, name: str, version: str, mesh: str = "") -> Child:
        descriptor = sockets[name].fileno()
        arguments = [replica.__name__, service, name, version, str(descriptor), mesh]
        return children.start(name, arguments, [descriptor])

    mesh = _start_proxy(children, folder, watch, "the mesh listener", "--listen", f"{HOST}:0", "--labels", "app=order")
    front = ["--role", "gateway", "--map", f"80={port}", "--bind", HOST, "--labels", GATEWAY_LABELS]
    gateway = _start_proxy(children, folder, watch, "the gateway", *front)
    replicas = [start_replica(*each) for each in REPLICAS if each[0] != "order"]
    beside_order = Proxy(*(await mesh.ready(READY)).groups())
    replicas += [start_replica(*each, beside_order.address) for each in REPLICAS if each[0] == "order"]
    in_front = Proxy(*(await gateway.ready(READY)).groups())
    for child in replicas:
        await child.ready(replica.READY)
    for sock in sockets.values():
        sock.close()  # theirs alone: a replica that ends is refused, not silent
    known = {name: Replica(service, name, version, f"{HOST}:{ports[name]}") for service, name, version in REPLICAS}
    shop = Shop(folder, in_front, beside_order, known, children)
    for each in shop.of("payment"):
        await each.behave(f"every={PAYMENT_FAILS_EVERY}")
    return shop


def _start_proxy(children: Children, folder: Path, watch: bool, name: str, *flags: str) -> Child:
    common = ["-f", str(folder), "--workers", "1", "--admin", f"{HOST}:0", "--watch" if watch else "--no-watch"]
    return children.start(name, ["fastmesh", "proxy", *flags, *common, "--drain-timeout", "1s", "--drain-idle", "50ms"])


def _write_rules(folder: Path, ports: dict[str, int]) -> None:
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
