"""A gateway as a user runs it: Gateways and Secrets in YAML, `fastmesh proxy`, and clients that say what they mean."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastmesh.security import pem
from fastmesh.security.authority import Pair
from tests.http2 import PREFACE, Http2, settings
from tests.ports import free_port
from tests.running import Proxy
from tests.tls.material import CA, client, roots_pem
from tests.traffic import thing


def secret(name: str, pair: Pair | None, *roots: Pair) -> str:
    data = {"ca.crt": roots_pem(*roots).decode()} if roots else {}
    if pair is not None:
        data |= {"tls.crt": roots_pem(pair).decode(), "tls.key": pem.of_key(pair.key).decode()}
    whole = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
    return "---\n" + json.dumps(whole) + "\n"


def server(name: str, *hosts: str, port: int = 443, protocol: str = "HTTPS", **tls: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {"port": {"number": port, "name": name, "protocol": protocol}, "hosts": list(hosts)}
    return whole | ({"tls": tls} if tls else {})


def gateway(*servers: dict[str, Any], name: str = "gw") -> str:
    return thing("Gateway", name, {"selector": {}, "servers": list(servers)})


def saying(*hosts: str) -> str:
    """Hosts that answer with their name."""
    text = ""
    for number, host in enumerate(hosts):
        rule = {"directResponse": {"status": 200, "body": {"string": host}}}
        text += thing("VirtualService", f"says-{number}", {"hosts": [host], "gateways": ["gw"], "http": [rule]})
    return text


class Gate(Proxy):
    """`fastmesh proxy` in the role of a gateway; `ports` says where the ports of its servers really are."""

    def __init__(self, folder: Path, yaml: str, *numbers: int, flags: Sequence[str] = ()) -> None:
        self.ports = {number: free_port() for number in numbers}
        maps = [word for number, port in self.ports.items() for word in ("--map", f"{number}={port}")]
        super().__init__(folder, yaml, "--role", "gateway", "--bind", "127.0.0.1", *maps, *flags, role="gateway")
        self.port = self.ports[numbers[0]]


class Secured(Http2):
    """HTTP/2 over TLS that was begun for `name`."""

    def __init__(self, port: int, name: str | None, pair: Pair | None = None) -> None:
        super().__init__(port, greet=False)
        self.socket = stranger(pair, "h2").wrap_socket(self.socket, server_hostname=name)
        assert self.socket.selected_alpn_protocol() == "h2"
        self.send(PREFACE + settings())

    def get(self, host: str, method: str = "GET", *more: tuple[str, str], end: bool = True) -> int:
        whole = [(":method", method), (":scheme", "https"), (":path", "/"), (":authority", host), *more]
        return self.open(whole, end)


def stranger(pair: Pair | None = None, *alpn: str, ca: Pair = CA) -> ssl.SSLContext:
    """A client that checks who signed, and leaves it to the test whose certificate it is."""
    context = client(pair, ca, alpn)
    context.check_hostname = False
    return context
