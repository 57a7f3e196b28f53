"""Who is let in by a sidecar, seen from outside: clients of its own trust domain, of another one, and impostors.
And what a gateway shows besides its certificate.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from fastmesh.security import pem
from fastmesh.security.authority import Pair
from fastmesh.security.files import CHAIN, KEY, ROOTS
from tests.ports import free_port
from tests.security.making import DAY, leaf, odd, root, write
from tests.security.test_load import response
from tests.server.proxies import eventually
from tests.story.lifecycle import MeshProxy
from tests.story.load import mutual_tls
from tests.story.sidecars import Sidecars

MakeMesh = Callable[..., MeshProxy]
ASK = b"GET / HTTP/1.1\r\nhost: origin.example\r\nconnection: close\r\n\r\n"


def is_let_in(pair: Sidecars, folder: Path, who: Pair) -> bool:
    """Whether a client with this certificate gets an answer of the origin."""
    write(folder, who, roots=[pair.server.ca])
    context = mutual_tls(str(folder))
    said = b""
    try:
        plain = socket.create_connection(("127.0.0.1", pair.inbound), 10)
        with context.wrap_socket(plain) as secure:
            secure.sendall(ASK)
            while more := secure.recv(65536):
                said += more
    except (ssl.SSLError, ConnectionError):
        return False
    return said.startswith(b"HTTP/1.1 200")


def test_who_is_let_in(mesh: MakeMesh, tmp_path: Path) -> None:
    pair = Sidecars(mesh, tmp_path)
    own, east = pair.server.ca, root("east")
    client = tmp_path / "client"
    cart, stranger = "spiffe://cluster.local/ns/shop/sa/cart", "spiffe://east/ns/shop/sa/cart"
    assert is_let_in(pair, client, leaf(own, cart))
    assert not is_let_in(pair, client, leaf(east, stranger))
    pair.orders.file.write_text("not: meant yet")  # roots are taken whatever the other files say meanwhile
    pair.orders.wait_for("refused")
    bundle = pair.server.certs / "bundle-east.pem"
    bundle.write_bytes(pem.of_certificates([east.certificate]))
    eventually(lambda: is_let_in(pair, client, leaf(east, stranger)))
    assert not is_let_in(pair, client, odd(east, uris=(cart,)))  # roots of one domain sign nobody of another
    assert not is_let_in(pair, client, odd(own, uris=(stranger,)))
    assert not is_let_in(pair, client, odd(own, uris=(cart, cart + "2")))
    assert not is_let_in(pair, client, odd(own, uris=()))
    assert not is_let_in(pair, client, odd(own, uris=(cart,), begins=-2 * DAY, ends=-DAY))
    assert not is_let_in(pair, client, odd(root(), uris=(cart,)))
    bundle.unlink()
    eventually(lambda: not is_let_in(pair, client, leaf(east, stranger)))
    assert is_let_in(pair, client, leaf(own, cart))


GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{}}
  servers:
  - port: {{number: 443, name: https, protocol: HTTPS}}
    hosts: ["*"]
    tls: {{mode: SIMPLE, serverCertificate: {chain}, privateKey: {key}}}
"""


@pytest.mark.parametrize("fits", [True, False])
def test_a_staple_is_shown_while_it_fits(mesh: MakeMesh, tmp_path: Path, fits: bool) -> None:
    ca = root()
    server = odd(ca, uris=(), names=[x509.DNSName("shop.example")])
    folder, port = tmp_path / "edge", free_port()
    write(folder, server, roots=[ca])
    (folder / (CHAIN + ".ocsp")).write_bytes(response(server if fits else leaf(ca), ca))
    text = GATEWAY.format(chain=folder / CHAIN, key=folder / KEY)
    flags = ("--role", "gateway", "--bind", "127.0.0.1", "--map", f"443={port}")
    one = mesh(*flags, "--workers", "1", text=lambda origin: text)
    if not fits:
        one.wait_for(f"{CHAIN}.ocsp: is about another certificate .*; it is not stapled")
    asked = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "shop.example", "-status"]
    done = subprocess.run(
        [*asked, "-CAfile", str(folder / ROOTS)], input="", capture_output=True, text=True, timeout=20, check=False
    )
    assert "Verify return code: 0 (ok)" in done.stdout
    assert ("OCSP Response Status: successful" in done.stdout) is fits
