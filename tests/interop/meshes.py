"""fastmesh's side: a gateway that takes every leg, and a mesh proxy that calls every peer over every leg."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.interop.legs import LEGS, Leg, Place
from tests.interop.pki import SERVER
from tests.running import Proxy
from tests.traffic import destination_rule, thing, virtual_service

NUMBERS = {"plain": 80, "tls": 443, "mtls": 444}  # of the gateway's ports as the configuration has them


def gateway_yaml(place: Place, ports: Iterable[str], *more: dict[str, Any]) -> str:
    """A Gateway with these ports, all in front of the origin."""
    servers = [_server(place, name) for name in ports]
    app = thing("Service", "app", {"selector": {"app": "app"}, "ports": [{"name": "http", "port": 80}]}, "v1")
    app += thing("WorkloadEntry", "app-0", workload(place.origin, "app"))
    route = {"route": [{"destination": {"host": "app"}}]}
    gate = thing("Gateway", "gate", {"selector": {}, "servers": [*servers, *more]})
    return gate + app + virtual_service("app", route, hosts=["*"], gateways=["gate"]) + behind(place)


def behind(place: Place) -> str:
    """What the gateway reaches besides: `grpc.example`, `ws.example`, and with an s the same in TLS."""
    text = ""
    for name, leg, port in (
        ("grpc", "h2", "grpc"),
        ("grpcs", "h2-tls", "grpc-tls"),
        ("ws", "h1", "websocket"),
        ("wss", "h1-tls", "websocket-tls"),
    ):
        route = {"route": [{"destination": {"host": name}}]}
        text += upstream(place, name, LEGS[leg], place.ports[port], "grpc" if "grpc" in name else "")
        text += virtual_service(name, route, hosts=[f"{name}.example"], gateways=["gate"])
    return text


def _server(place: Place, name: str) -> dict[str, Any]:
    number = NUMBERS[name]
    if name == "plain":
        return {"port": {"number": number, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    party = place.pki.server
    tls = {"mode": "SIMPLE", "serverCertificate": str(party.chain), "privateKey": str(party.key)}
    if name == "mtls":
        tls |= {"mode": "MUTUAL", "caCertificates": str(party.roots)}
    return {"port": {"number": number, "name": f"https-{name}", "protocol": "HTTPS"}, "hosts": ["*"], "tls": tls}


def workload(port: int, app: str, name: str = "http", **fields: Any) -> dict[str, Any]:
    return {"address": "127.0.0.1", "ports": {name: port}, "labels": {"app": app}, **fields}


@contextlib.contextmanager
def gateway(place: Place, folder: Path, ports: Iterable[str], *args: str) -> Iterator[Proxy]:
    names = list(ports)
    maps = [word for name in names for word in ("--map", f"{NUMBERS[name]}={place.ports[f'gateway-{name}']}")]
    flags = ("--role", "gateway", "--bind", "127.0.0.1", *maps, *args)
    folder.mkdir(parents=True, exist_ok=True)
    with Proxy(folder, gateway_yaml(place, names), *flags, role="gateway") as proxy:
        yield proxy


def upstream(place: Place, name: str, leg: Leg, port: int, kind: str = "") -> str:
    """The service `name`, which is spoken to over the leg at `port`."""
    kind = kind or ("http2" if leg.version == "h2" else "http")
    text = thing("Service", name, {"selector": {"app": name}, "ports": [{"name": kind, "port": 80}]}, "v1")
    text += thing("WorkloadEntry", f"{name}-0", workload(port, name, kind))
    if leg.secured:
        party = place.pki.client
        tls = {"mode": "SIMPLE", "caCertificates": str(place.pki.roots), "sni": SERVER, "subjectAltNames": [SERVER]}
        if leg.secured == "mtls":
            tls |= {"mode": "MUTUAL", "clientCertificate": str(party.chain), "privateKey": str(party.key)}
        text += destination_rule(name, {"tls": tls})
    return text


def upstreams(place: Place, peer: str, legs: Iterable[str] = LEGS) -> str:
    return "".join(upstream(place, f"{peer}-{leg}", LEGS[leg], place.ports[f"{peer}-in-{leg}"]) for leg in legs)


def sidecar_yaml(place: Place, *more: str, fast: str = "fast") -> str:
    """Three workloads behind sidecars, all in front of the origin: `caller`, `fast` (fastmesh) and `other` (Envoy).
    `fast` is found at the port of that name.
    """
    text = "".join(more)
    for name, port in (("caller", "caller-in"), ("fast", f"{fast}-in"), ("other", "envoy-sidecar")):
        ports = [{"name": "http", "port": 80, "targetPort": place.origin}]
        text += thing("Service", name, {"selector": {"app": name}, "ports": ports}, "v1")
        entry = workload(place.ports[port], name, serviceAccount=name)
        text += thing("WorkloadEntry", f"{name}-v1", entry)
    return text


def peer_authentication(mode: str) -> str:
    return thing("PeerAuthentication", "default", {"mtls": {"mode": mode}}, "security.istio.io/v1")


@contextlib.contextmanager
def sidecar(place: Place, name: str, yaml: str, *args: str, at: str = "", certs: Path | None = None) -> Iterator[Proxy]:
    """The sidecar of the workload `NAME-v1`, with ports `AT-in` and `AT-out`."""
    at = at or name
    folder = place.folder / "sidecars" / at
    folder.mkdir(parents=True)
    flags = ["--role", "sidecar", "--workload", f"{name}-v1.default"]
    flags += ["--inbound", f"127.0.0.1:{place.ports[f'{at}-in']}=127.0.0.1:{place.origin}"]
    flags += ["--outbound", f"127.0.0.1:{place.ports[f'{at}-out']}"]
    flags += ["--certs", str(certs or place.pki.workload(name).folder)]
    with Proxy(folder, yaml, *flags, *args, role="sidecar") as proxy:
        yield proxy
