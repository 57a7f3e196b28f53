"""Every mode of a Gateway's TLS, from the YAML of a user to real clients: who is let in and as whom, where bytes go."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from fastmesh.security.authority import Pair
from tests.running import read_message
from tests.security.making import write
from tests.tls.gateway import Gate, gateway, secret, server, stranger
from tests.tls.material import CA, OTHER_CA, named, svid
from tests.tls.test_tcp import echo, serving
from tests.tls.upstream import Endpoint, server_context
from tests.traffic import eventually, thing

OWN = "spiffe://cluster.local/ns/default/sa/gw"
CLIENT = named("client.example")
WRONG = named("client.example", ca=OTHER_CA)
SHOP = svid("spiffe://cluster.local/ns/shop/sa/shop")
FOREIGN = svid("spiffe://cluster.local/ns/shop/sa/shop", ca=OTHER_CA)
ELSEWHERE = svid("spiffe://other.domain/ns/shop/sa/shop")
SIDECAR = {"security.istio.io/tlsMode": "istio"}
AUTO = "outbound_.443_._.auto.default.svc.cluster.local"
ENDS = ["simple.com", "mutual.com", "optional.com", "mesh.com", "new.com", "old.com", "ciphers.com"]
SERVERS = [
    server("simple", "simple.com", mode="SIMPLE", credentialName="one"),
    server("mutual", "mutual.com", mode="MUTUAL", credentialName="one"),
    server("optional", "optional.com", mode="OPTIONAL_MUTUAL", credentialName="one"),
    server("mesh", "mesh.com", mode="ISTIO_MUTUAL"),
    server("new", "new.com", mode="SIMPLE", credentialName="one", minProtocolVersion="TLSV1_3"),
    server("old", "old.com", mode="SIMPLE", credentialName="one", maxProtocolVersion="TLSV1_2"),
    server(
        "ciphers", "ciphers.com", mode="SIMPLE", credentialName="one", maxProtocolVersion="TLSV1_2",
        cipherSuites=["ECDHE-ECDSA-AES256-GCM-SHA384"],
    ),
    server("passed", "passed.com", "*.raw.com", protocol="TLS", mode="PASSTHROUGH"),
    server("auto", "*.local", port=15443, protocol="TLS", mode="AUTO_PASSTHROUGH"),
    server("plain", "simple.com", port=80, protocol="HTTP", httpsRedirect=True),
]  # fmt: skip


def entry(name: str, protocol: str, port: int, **labels: str) -> str:
    """The service NAME.default.svc.cluster.local with one endpoint."""
    ports = [{"name": protocol, "port": 80 if protocol == "http" else 443}]
    text = thing("Service", name, {"selector": {"app": name}, "ports": ports}, "v1")
    labels["app"] = name
    return text + thing("WorkloadEntry", name, {"address": "127.0.0.1", "ports": {protocol: port}, "labels": labels})


def passed(name: str, host: str) -> str:
    match = [{"sniHosts": [host]}]
    route = [{"destination": {"host": name, "port": {"number": 443}}}]
    spec = {"hosts": [host], "gateways": ["gw"], "tls": [{"match": match, "route": route}]}
    return thing("VirtualService", name, spec)


class House(NamedTuple):
    gate: Gate
    app: Endpoint
    passed: Endpoint


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("modes")
    write(folder / "certs", svid(OWN), roots=[CA])
    theirs = server_context(named("passed.com", ca=OTHER_CA), CA)
    auto = server_context(named("auto", ca=OTHER_CA), alpn=["istio"])
    with Endpoint() as app, Endpoint(theirs) as other, Endpoint(auto) as mesh, serving(echo) as raw:
        yaml = gateway(*SERVERS) + secret("one", named(*ENDS), CA)
        yaml += (
            entry("app", "http", app.port)
            + entry("passed", "tls", other.port)
            + entry("auto", "tls", mesh.port, **SIDECAR)
        )
        yaml += entry("raw", "tls", raw) + passed("passed", "passed.com") + passed("raw", "*.raw.com")
        route = {"route": [{"destination": {"host": "app"}}]}
        yaml += thing("VirtualService", "app", {"hosts": ENDS, "gateways": ["gw"], "http": [route]})
        flags = ("--certs", str(folder / "certs"))
        with Gate(folder, yaml, 443, 80, 15443, flags=flags) as gate:
            assert "warning" not in gate.text()
            yield House(gate, app, other)


def connect(house: House, port: int = 443) -> socket.socket:
    return socket.create_connection(("127.0.0.1", house.gate.ports[port]), 10)


def enter(
    house: House, name: str, pair: Pair | None = None, fields: Sequence[str] = (), context: ssl.SSLContext | None = None
) -> dict[str, Any]:
    """What the application saw of a request; AssertionError with the alert when the client was not let in."""
    try:
        with (context or stranger(pair)).wrap_socket(connect(house), server_hostname=name) as tls:
            head = "\r\n".join(["GET /x HTTP/1.1", f"Host: {name}", *fields])
            tls.sendall(f"{head}\r\n\r\n".encode())
            answer, body = read_message(tls)
            assert answer.startswith(b"HTTP/1.1 200 "), answer
            seen = json.loads(body)
            return {**seen, "tls": (tls.version(), tls.cipher()), "names": tls.getpeercert()["subjectAltName"]}  # type: ignore[index]
    except ssl.SSLError as error:
        raise AssertionError(str(error)) from None


def xfcc(seen: dict[str, Any]) -> list[str]:
    return [value for name, value in seen["headers"] if name.lower() == "x-forwarded-client-cert"]


def digest(pair: Pair) -> str:
    return hashlib.sha256(pair.certificate.public_bytes(Encoding.DER)).hexdigest()


SPOOFED = ("X-Forwarded-Client-Cert: By=x;Hash=y;URI=spiffe://cluster.local/ns/a/sa/admin",)


@pytest.mark.parametrize(
    ("name", "pair", "hears"),
    [
        ("simple.com", None, False),
        ("simple.com", CLIENT, False),  # nobody asks for it
        ("mutual.com", CLIENT, True),
        ("optional.com", CLIENT, True),
        ("optional.com", None, False),
        ("mesh.com", SHOP, True),
    ],
)
def test_who_is_let_in_and_as_whom(house: House, name: str, pair: Pair | None, hears: bool) -> None:
    """What a client says of its certificate itself never gets to the application."""
    for fields in ((), SPOOFED):
        seen = enter(house, name, pair, fields)
        found = xfcc(seen)
        assert len(found) == hears, found
        if pair is not None and hears:
            assert f"Hash={digest(pair)};" in found[0]
            assert "admin" not in found[0]
            wanted = "URI=spiffe://cluster.local/ns/shop/sa/shop" if name == "mesh.com" else "DNS=client.example"
            assert wanted in found[0]
        shown = (("URI", OWN),) if name == "mesh.com" else tuple(("DNS", host) for host in ENDS)
        assert seen["names"] == shown


@pytest.mark.parametrize(
    ("name", "pair", "alert"),
    [
        ("mutual.com", None, "certificate required"),
        ("mutual.com", WRONG, "unknown ca|decrypt error"),
        ("optional.com", WRONG, "unknown ca|decrypt error"),
        ("mesh.com", None, "certificate required"),
        ("mesh.com", FOREIGN, "unknown ca|decrypt error"),
        ("mesh.com", ELSEWHERE, "certificate"),
        ("mesh.com", CLIENT, "certificate"),  # no identity
    ],
)
def test_who_is_refused(house: House, name: str, pair: Pair | None, alert: str) -> None:
    before = len(house.app.seen)
    for newest, wanted in ((ssl.TLSVersion.TLSv1_3, alert), (ssl.TLSVersion.TLSv1_2, "alert")):
        context = stranger(pair)
        context.maximum_version = newest
        with pytest.raises(AssertionError, match=f"(?i){wanted.replace(' ', '.')}"):
            enter(house, name, context=context)
    assert len(house.app.seen) == before


def limited(low: ssl.TLSVersion, high: ssl.TLSVersion, ciphers: str = "") -> ssl.SSLContext:
    context = stranger()
    context.minimum_version, context.maximum_version = low, high
    if ciphers:
        context.set_ciphers(ciphers)
    return context


V2, V3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(
    ("name", "context", "version"),
    [
        ("new.com", limited(V2, V3), "TLSv1.3"),
        ("old.com", limited(V2, V3), "TLSv1.2"),
        ("ciphers.com", limited(V2, V3), "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("simple.com", limited(V2, V2, "ECDHE-ECDSA-AES128-GCM-SHA256"), "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ],
)
def test_versions_and_ciphers_that_are_chosen(house: House, name: str, context: ssl.SSLContext, version: str) -> None:
    found, cipher = enter(house, name, context=context)["tls"]
    assert version in (found, cipher[0])


@pytest.mark.parametrize(
    ("name", "context", "alert"),
    [
        ("new.com", limited(V2, V2), "protocol version"),
        ("old.com", limited(V3, V3), "protocol version"),
        ("ciphers.com", limited(V2, V2, "ECDHE-ECDSA-AES128-GCM-SHA256"), "handshake failure"),
        ("ciphers.com", limited(V3, V3), "protocol version"),
        ("simple.com", limited(V2, V2, "AES128-SHA:AES256-SHA:AES128-GCM-SHA256"), "handshake failure"),
        ("simple.com", limited(V2, V2, "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA"), "handshake failure"),
    ],
)
def test_versions_and_ciphers_that_are_refused(house: House, name: str, context: ssl.SSLContext, alert: str) -> None:
    with pytest.raises(AssertionError, match=f"(?i){alert.replace(' ', '.')}"):
        enter(house, name, context=context)


# --- passed on --------------------------------------------------------------------------------------------------------


def hello(name: str | None, *alpn: str) -> bytes:
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        stranger(None, *alpn).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def test_the_bytes_of_a_passed_on_connection_are_not_touched(house: House) -> None:
    """The endpoint sends back what came."""
    for name in ("a.raw.com", "b.c.raw.com"):
        with connect(house) as raw:
            sent = hello(name) + bytes(range(256)) * 300
            raw.sendall(sent)
            raw.shutdown(socket.SHUT_WR)
            came = b""
            while piece := raw.recv(65536):
                came += piece
            assert came == sent


def test_tls_of_a_passed_on_connection_is_the_endpoints(house: House) -> None:
    """Its certificate, by another CA, is seen by the client, and the client's by it."""
    context = stranger(CLIENT, ca=OTHER_CA)
    context.check_hostname = True
    with context.wrap_socket(connect(house), server_hostname="passed.com") as tls:
        tls.sendall(b"GET / HTTP/1.1\r\nHost: anything\r\n\r\n")
        seen = json.loads(read_message(tls)[1])
        assert (seen["sni"], seen["peer"], xfcc(seen)) == ("passed.com", [["DNS", "client.example"]], [])
    before = len(house.passed.failures)
    without = stranger(ca=OTHER_CA).wrap_socket(connect(house), server_hostname="passed.com")
    with without, pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):  # the endpoint demands it
        without.recv(1)
    eventually(lambda: len(house.passed.failures) == before + 1)  # its thread may be later than its alert


def test_a_cluster_by_its_name(house: House) -> None:
    """AUTO_PASSTHROUGH: of the services that the server's hosts cover, for proxies of the mesh."""
    context = stranger(None, "istio", ca=OTHER_CA)
    with context.wrap_socket(connect(house, 15443), server_hostname=AUTO) as tls:
        assert tls.getpeercert()["subjectAltName"] == (("DNS", "auto"),)  # type: ignore[index]
        tls.sendall(b"GET / HTTP/1.1\r\nHost: anything\r\n\r\n")
        assert json.loads(read_message(tls)[1])["sni"] == AUTO


# --- nobody's ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("port", "first"),
    [
        (443, hello("nobody.com")),
        (443, hello("x.simple.com")),
        (443, hello("com")),
        (443, hello("raw.com")),
        (443, hello(None)),
        (443, hello(AUTO, "istio")),  # another port's
        (443, b"GET / HTTP/1.1\r\nHost: simple.com\r\n\r\n"),
        (15443, hello(AUTO)),  # not of the mesh
        (15443, hello(AUTO, "h2", "http/1.1")),
        (15443, hello(AUTO.replace("443", "444"), "istio")),
        (15443, hello(AUTO.replace("auto", "nobody"), "istio")),
        (15443, hello(AUTO.replace("auto", "passed"), "istio")),  # its endpoint has no mutual TLS of the mesh
        (15443, hello("simple.com", "istio")),
        (15443, hello(None, "istio")),
    ],
)
def test_who_means_nobody_is_closed_without_a_word(house: House, port: int, first: bytes) -> None:
    with connect(house, port) as raw:
        raw.sendall(first)
        with contextlib.suppress(ConnectionResetError):
            assert raw.recv(65536) == b""


def test_https_redirect(house: House) -> None:
    before = len(house.app.seen)
    for host, status, place in (
        ("simple.com", b"301", b"location: https://simple.com/x?y=1\r\n"),
        ("mutual.com", b"404", b""),
    ):
        with connect(house, 80) as raw:
            raw.sendall(f"GET /x?y=1 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            head = read_message(raw)[0]
            assert head[9:12] == status
            assert place in head.lower()
    assert len(house.app.seen) == before
