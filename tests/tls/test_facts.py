"""What a handshake proved, where the rest of the proxy needs it: headers, metrics, limits, logs, hosts gone astray."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fastmesh.config.plan import (
    ChainPlan,
    HeaderOpsPlan,
    LimitPlan,
    Plan,
    SegmentPlan,
    VirtualHostPlan,
    WorkloadPlan,
)
from fastmesh.core.proxy.account import LABELS
from fastmesh.security.authority import Pair
from fastmesh.server import words
from tests.tls.material import CA, client, credential, named, odd, roots_pem, svid
from tests.tls.plane import ORIGIN, Plane, answering, cluster, lines, make_plan, routed, terminate, text_of
from tests.tls.test_origination import told
from tests.tls.upstream import Endpoint

OWN = "spiffe://cluster.local/ns/default/sa/own"
SHOP = "spiffe://cluster.local/ns/shops/sa/shop"
SERVER = odd(CA, uris=(OWN,), names=(x509.DNSName("a.example"), x509.DNSName("b.example")))
MESH: dict[str, Any] = {"client": "required", "mesh": True, "trust_domains": ["cluster.local"]}
CREDENTIAL = credential("own", SERVER, roots=[CA])


def ask(
    plane: Plane, pair: Pair | None, *fields: str, host: str = "a.example", name: str | None = "a.example"
) -> bytes:
    """The answer over TLS, or over plaintext without a `name`."""
    head = "\r\n".join(["GET /x HTTP/1.1", f"Host: {host}", *fields]) + "\r\n\r\n"
    connection: socket.socket = plane.connect()
    if name is not None:
        connection = client(pair).wrap_socket(connection, server_hostname=name)
    with connection:
        connection.sendall(head.encode())
        return connection.recv(65536)


def forwarded(answer: bytes) -> list[str]:
    return [value for name, value in told(answer)["headers"] if name.lower() == "x-forwarded-client-cert"]


def to(endpoint: Endpoint, role: str, chains: list[ChainPlan], **fields: Any) -> Plan:
    return make_plan(chains, [CREDENTIAL], {"*": routed("*", "c")}, [cluster("c", endpoint.port)], role, **fields)


def digest(pair: Pair) -> str:
    return hashlib.sha256(pair.certificate.public_bytes(Encoding.DER)).hexdigest()


def test_the_certificate_that_an_application_hears_of() -> None:
    """In the mesh: By, Hash, Subject, URI, behind what the peers said."""
    pair = svid(SHOP, names=(x509.DNSName("shop.example"),))
    element = f'By={OWN};Hash={digest(pair)};Subject="CN=odd";URI={SHOP};DNS=shop.example'
    with Endpoint() as endpoint, Plane(to(endpoint, "inbound", [terminate("own", **MESH)])) as plane:
        assert forwarded(ask(plane, pair)) == [element]
        assert forwarded(ask(plane, pair, "X-Forwarded-Client-Cert: By=x;URI=y")) == [f"By=x;URI=y,{element}"]


def test_a_gateway_replaces_what_a_client_says_of_itself() -> None:
    pair = named("client.example")
    pem = roots_pem(pair).decode()
    for char, code in (("\n", "%0A"), (" ", "%20"), ("+", "%2B"), ("/", "%2F"), ("=", "%3D")):
        pem = pem.replace(char, code)
    element = f'By={OWN};Hash={digest(pair)};Cert="{pem}";Subject="CN=client.example";URI=;DNS=client.example'
    chains = [terminate("own", client="optional"), ChainPlan(name="plain", transport="plaintext")]
    with Endpoint() as endpoint, Plane(to(endpoint, "gateway", chains)) as plane:
        for spoofed in ((), ("X-Forwarded-Client-Cert: By=x;URI=spiffe://y", "x-forwarded-client-cert: URI=z")):
            assert forwarded(ask(plane, pair, *spoofed)) == [element]
            assert forwarded(ask(plane, None, *spoofed)) == []
            assert forwarded(ask(plane, None, *spoofed, name=None)) == []


def test_names_of_a_certificate_end_no_element_and_no_header() -> None:
    bad = "spiffe://cluster.local/x,URI=spiffe://admin;\r\nx-admin: yes"
    pair = odd(CA, uris=(bad,), common_name='a"b\r\nc')
    with Endpoint() as endpoint, Plane(to(endpoint, "gateway", [terminate("own", client="required")])) as plane:
        (value,) = forwarded(ask(plane, pair))
        assert "URI=spiffe://cluster.local/x%2CURI=spiffe://admin%3B%0D%0Ax-admin:%20yes" in value
        assert r'Subject="CN=a\"b\0D\0Ac"' in value


WORDS = ("URI_SAN", "DNS_SAN", "SUBJECT", "ISSUER", "SERIAL", "FINGERPRINT_256")


def substituted(endpoint: Endpoint, **ending: Any) -> Plan:
    """Sets a header by each word that tells of a handshake."""
    words_ = [f"DOWNSTREAM_PEER_{word}" for word in WORDS]
    words_ += ["DOWNSTREAM_TLS_VERSION", "DOWNSTREAM_TLS_CIPHER", "REQUESTED_SERVER_NAME"]
    made = [(word.lower().replace("_", "-"), [SegmentPlan(word=word)]) for word in words_]
    host = routed("*", "c")
    (rule,) = host.rules
    (target,) = rule.destinations
    target = msgspec.structs.replace(target, request_headers=[HeaderOpsPlan(set_made=made)])
    host = msgspec.structs.replace(host, rules=[msgspec.structs.replace(rule, destinations=[target])])
    return make_plan([terminate("own", **ending)], [CREDENTIAL], {"*": host}, [cluster("c", endpoint.port)], "gateway")


def test_headers_of_what_a_certificate_says() -> None:
    """The rows of Envoy's DOWNSTREAM_PEER_*, and no certificate can say more than its own header."""
    pair = odd(CA, uris=(SHOP, "spiffe://x/y"), names=(x509.DNSName("shop.example"),), common_name="a\r\nb")
    with Endpoint() as endpoint, Plane(substituted(endpoint, client="optional")) as plane:
        sent = dict(told(ask(plane, pair))["headers"])
        assert sent["downstream-peer-uri-san"] == f"{SHOP},spiffe://x/y"
        assert sent["downstream-peer-dns-san"] == "shop.example"
        assert sent["downstream-peer-subject"] == r"CN=a\0D\0Ab"
        assert sent["downstream-peer-issuer"] == CA.certificate.subject.rfc4514_string()
        assert int(sent["downstream-peer-serial"], 16) == pair.certificate.serial_number
        assert sent["downstream-peer-fingerprint-256"] == digest(pair)
        assert (sent["downstream-tls-version"], sent["requested-server-name"]) == ("TLSv1.3", "a.example")
        assert sent["downstream-tls-cipher"].startswith("TLS_")
        nobody = dict(told(ask(plane, None))["headers"])
        assert not any(name.startswith("downstream-peer") for name in nobody)
        assert nobody["requested-server-name"] == "a.example"


def test_who_was_not_verified_is_nobody() -> None:
    pair = odd(uris=(SHOP,))
    with Endpoint() as endpoint, Plane(to(endpoint, "gateway", [terminate("own", accept_unverified=True)])) as plane:
        assert forwarded(ask(plane, pair)) == []


def test_https_upstream_and_in_rules() -> None:
    chains = [terminate("own"), ChainPlan(name="plain", transport="plaintext")]
    with Endpoint() as endpoint, Plane(to(endpoint, "gateway", chains)) as plane:
        for name, wanted in (("a.example", "https"), (None, "http")):
            told_ = dict(told(ask(plane, None, "X-Forwarded-Proto: ftp", name=name))["headers"])
            assert told_["x-forwarded-proto"] == wanted


def series(plane: Plane) -> list[tuple[dict[str, str], int]]:
    """Labels and requests; the worker counts before it answers."""
    found = [(key, values) for kind, key, values in plane.arena.entries() if kind == words.ENTRY_SERIES]
    return [(dict(zip(LABELS, key[2:].decode().split("\x1f"), strict=False)), values[0]) for key, values in found]


def test_metrics_of_the_application_side() -> None:
    shop = {"namespace": "shops", "app": "shop", "canonical_service": "shop", "principal": SHOP}
    own = WorkloadPlan(name="own-v1", namespace="default", app="own", principal=OWN)
    several = [WorkloadPlan(name="shop-v1", version="v1", **shop), WorkloadPlan(name="shop-v2", version="v2", **shop)]
    several[1:1] = [WorkloadPlan(name=f"other-{number}", principal=f"{SHOP}-{number}") for number in range(600)]
    chains = [terminate("own", **MESH), ChainPlan(name="plain", transport="plaintext")]
    for pair, name, wanted in (
        (svid(SHOP), "a.example", (SHOP, OWN, "mutual_tls", "shop", "unknown", "shops")),
        (svid(SHOP + "2"), "a.example", (SHOP + "2", OWN, "mutual_tls", "unknown", "unknown", "shops")),
        (None, None, ("unknown", "unknown", "none", "unknown", "unknown", "unknown")),
    ):
        with Endpoint() as endpoint, Plane(to(endpoint, "inbound", chains, workloads=several, own=own)) as plane:
            for _ in range(2):
                told(ask(plane, pair, name=name))
            ((labels, count),) = series(plane)
            assert count == 2
            assert labels["reporter"] == "destination"
            assert labels["destination_workload"] == "own-v1"
            found = [labels[key] for key in ("source_principal", "destination_principal", "connection_security_policy")]
            found += [labels[key] for key in ("source_app", "source_version", "source_workload_namespace")]
            assert tuple(found) == wanted


def test_peers_are_told_apart_in_metrics() -> None:
    with Endpoint() as endpoint, Plane(to(endpoint, "inbound", [terminate("own", **MESH)])) as plane:
        for number in (1, 2, 1):
            told(ask(plane, svid(f"{SHOP}{number}")))
        counts = {labels["source_principal"]: count for labels, count in series(plane)}
        assert counts == {f"{SHOP}1": 2, f"{SHOP}2": 1}


def test_a_limit_for_each_principal() -> None:
    limit = LimitPlan(
        name="l", origin=ORIGIN, requests=1, period=3_600_000, burst=1, keys=[("sourcePrincipal", "")], status=429
    )
    plan = make_plan([terminate("own", **MESH)], [CREDENTIAL], role="inbound")
    host = VirtualHostPlan(name="*:80", rules=answering("*").rules, limits=[0])
    with Plane(msgspec.structs.replace(plan, limits=[limit], vhosts=[host])) as plane:
        statuses = [ask(plane, svid(f"{SHOP}{number}"))[9:12] for number in (1, 2, 1, 2, 3)]
        assert statuses == [b"200", b"200", b"429", b"429", b"200"]


def test_the_access_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Plane(make_plan([terminate("own")], [CREDENTIAL]), log=log) as plane:
        ask(plane, None)
        line = lines(log)[0]
        assert (line["requested_server_name"], line["upstream_transport_failure_reason"]) == ("a.example", None)


def test_the_access_log_of_ecs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    pair = odd(CA, uris=(), common_name='quo"te')
    with Plane(make_plan([terminate("own", client="optional")], [CREDENTIAL]), log=log, log_format="ecs") as plane:
        ask(plane, pair)
        line = lines(log)[0]
    assert (line["url.scheme"], line["tls.version"], line["tls.client.server_name"]) == ("https", "1.3", "a.example")
    assert (line["tls.established"], line["tls.resumed"]) == (True, False)
    assert line["tls.cipher"] == "TLS_AES_128_GCM_SHA256"
    assert line["tls.client.subject"] == r"CN=quo\"te"
    assert line["tls.client.hash.sha256"] == digest(pair)


def test_the_access_log_as_text(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Plane(make_plan([terminate("own")], [CREDENTIAL]), log=log, log_format="text") as plane:
        ask(plane, None)
        assert text_of(log).rstrip().endswith(" a.example default")


# --- a host of another chain ------------------------------------------------------------------------------------------

ASTRAY = [
    ("a.example", "a.example", b"200"),
    ("a.example", "A.Example:443", b"200"),
    ("a.example", "b.example", b"421"),
    ("a.example", "x.b.example", b"421"),
    ("a.example", "other", b"421"),  # the chain for any name serves it
    ("b.example", "b.example", b"200"),
    ("b.example", "a.example", b"421"),
    ("z.example", "other", b"200"),
    ("z.example", "b.example", b"421"),
]


def astray() -> Plan:
    chains = [
        terminate("own", names=["a.example"]),
        terminate("own", names=["b.example", "*.b.example"], client="optional"),
        terminate("own"),
    ]
    for chain in chains:
        assert chain.tls is not None
    return make_plan(chains, [CREDENTIAL])


def test_a_misdirected_request() -> None:
    context = client()
    context.check_hostname = False
    with Plane(astray()) as plane:
        for name, host, status in ASTRAY:
            with context.wrap_socket(plane.connect(), server_hostname=name) as tls:
                for _ in range(2):  # the connection stays
                    tls.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                    assert tls.recv(65536)[9:12] == status, (name, host)
        plane.run(astray())
        with context.wrap_socket(plane.connect(), server_hostname="a.example") as tls:
            plane.run(astray())
            tls.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
            assert tls.recv(65536)[9:12] == b"200"


def test_one_chain_serves_every_host_of_its_own() -> None:
    with Plane(make_plan([terminate("own", names=["a.example"])], [CREDENTIAL])) as plane:
        assert ask(plane, None, host="anything")[9:12] == b"200"
