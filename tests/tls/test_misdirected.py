"""Requests that come through the connection of another TLS server are answered 421 (RFC 9110 section 15.5.20).

A host that demands certificates is never reached through a server that does not, whatever is done to the name or the
configuration.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fastmesh.config.plan import ChainPlan, Plan
from tests.running import read_all, read_message
from tests.tls.gateway import Gate, Secured, gateway, saying, secret, server, stranger
from tests.tls.material import CA, credential, named
from tests.tls.plane import Plane, make_plan, terminate
from tests.traffic import eventually, reload

CLIENT = named("client.example")
HOSTS = ["a.com", "b.com", "c.com", "v.com", "m.com", "o.com", "*.w.com", "deep.w.com", "x.w.com", "*"]
SERVERS = [
    server("a", "a.com", mode="SIMPLE", credentialName="one"),
    server("b", "b.com", mode="SIMPLE", credentialName="two"),
    server("c", "c.com", mode="SIMPLE", credentialName="one"),
    server("v", "v.com", mode="SIMPLE", credentialName="one", minProtocolVersion="TLSV1_3"),
    server("m", "m.com", "deep.w.com", mode="MUTUAL", credentialName="one"),
    server("o", "o.com", mode="OPTIONAL_MUTUAL", credentialName="one"),
    server("w", "*.w.com", mode="SIMPLE", credentialName="one"),
    server("p", "p.com", protocol="TLS", mode="PASSTHROUGH"),
]
REST = server("rest", "*", mode="SIMPLE", credentialName="two")
STRICT = [  # on another port whoever is not known must have a certificate
    server("a2", "a.com", port=444, mode="SIMPLE", credentialName="one"),
    server("w2", "*.w.com", port=444, mode="SIMPLE", credentialName="one"),
    server("rest2", "*", port=444, mode="MUTUAL", credentialName="one"),
]
SECRETS = secret("one", named("a.com", "c.com", "*.w.com"), CA) + secret("two", named("b.com"), CA)


def passing() -> str:
    """p.com is passed on; nobody is there."""
    return """---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: p}
spec: {hosts: [p.com], ports: [{number: 443, name: tls, protocol: TLS}], resolution: STATIC,
       endpoints: [{address: 127.0.0.1, ports: {tls: 1}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: p}
spec:
  hosts: [p.com]
  gateways: [gw]
  tls: [{match: [{sniHosts: [p.com]}], route: [{destination: {host: p.com}}]}]
"""


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    yaml = gateway(*SERVERS, REST, *STRICT) + SECRETS + saying(*HOSTS) + passing()
    with Gate(tmp_path_factory.mktemp("gate"), yaml, 443, 444) as running:
        yield running


# Port, server name, Host, and who answers; "" is 421
WAYS: list[tuple[int, str | None, str, str]] = [
    (443, "a.com", "a.com", "a.com"),
    (443, "a.com", "A.Com:443", "a.com"),
    (443, "a.com", "b.com", ""),  # another certificate
    (443, "b.com", "a.com", ""),
    (443, "a.com", "c.com", "c.com"),  # the same certificate and settings: one server to a client
    (443, "c.com", "A.COM", "a.com"),
    (443, "a.com", "v.com", ""),  # the same certificate, but not every client may come
    (443, "v.com", "a.com", ""),
    (443, "a.com", "m.com", ""),
    (443, "a.com", "M.COM:443", ""),
    (443, "a.com", "o.com", ""),
    (443, "o.com", "m.com", ""),  # whoever was asked, and had none
    (443, "o.com", "a.com", ""),
    (443, "x.w.com", "x.w.com", "x.w.com"),
    (443, "x.w.com", "y.z.w.com", "*.w.com"),
    (443, "x.w.com", "deep.w.com", ""),  # a better fitting server
    (443, "x.w.com", "w.com", ""),  # no wildcard stands for nothing
    (443, "a.com", "x.w.com", "x.w.com"),
    (443, "b.com", "x.w.com", ""),
    (443, "a.com", "p.com", ""),  # passed on to somebody else
    (443, "a.com", "nobody.com", ""),
    (443, "a.com", "b.com.", ""),
    (443, "b.com", "nobody.com", "*"),  # with the certificate of the rest
    (443, "nobody.com", "other.com", "*"),
    (443, "nobody.com", "a.com", ""),
    (443, None, "nobody.com", "*"),
    (443, None, "a.com", ""),
    (443, None, "m.com", ""),
    (443, None, "x.w.com", ""),
    (443, None, "b.com", "b.com"),
    (444, "a.com", "a.com", "a.com"),
    (444, "a.com", "nobody.com", ""),
    (444, "x.w.com", "nobody.com", ""),
    (444, "x.w.com", ".w.com", ""),  # the routes of the rest would serve it
    (444, "x.w.com", "w.com", ""),
    (444, "a.com", "a.com.", "a.com"),
    (444, "a.com", "[::1]", ""),
    (444, "a.com", "127.0.0.1:443", ""),
]


def said(answer: tuple[bytes, bytes]) -> str:
    head, body = answer
    status = head[9:12]
    assert status in (b"200", b"421"), head
    return body.decode() if status == b"200" else ""


def dial(gate: Gate, port: int, name: str | None) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", gate.ports[port]), 10)
    return stranger().wrap_socket(raw, server_hostname=name)


@pytest.mark.parametrize(("port", "name", "host", "who"), WAYS)
def test_over_http1(gate: Gate, port: int, name: str | None, host: str, who: str) -> None:
    with dial(gate, port, name) as tls:
        for head in (f"GET / HTTP/1.1\r\nHost: {host}", f"GET https://{host}/ HTTP/1.1\r\nHost: {host}") * 2:
            tls.sendall(f"{head}\r\n\r\n".encode())  # the connection goes on behind it
            assert said(read_message(tls)) == who, head
        tls.sendall(f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello".encode())
        assert said(read_message(tls)) == who


@pytest.mark.parametrize(("port", "name", "host", "who"), WAYS)
def test_over_http2(gate: Gate, port: int, name: str | None, host: str, who: str) -> None:
    with Secured(gate.ports[port], name) as h2:
        own = {None: "nobody.com"}.get(name, name or "")
        before = h2.get(own, "POST", end=False)
        first, second = h2.get(host), h2.get(host, "POST", ("content-length", "5"), end=False)
        h2.data(second, b"hello", end=True)
        for reply in h2.wait(first, second):
            assert (reply.status, reply.body.decode()) == ((200, who) if who else (421, ""))
        h2.data(before, b"", end=True)
        after = h2.get(own)
        assert [reply.status for reply in h2.wait(before, after)] == [200, 200]  # other streams work
        assert h2.goaway is None


@pytest.mark.parametrize("head", ["GET / HTTP/1.0\r\n", "GET / HTTP/1.1\r\nHost:\r\n", "GET / HTTP/1.0\r\nHost: \r\n"])
def test_a_request_for_no_host_at_all(gate: Gate, head: str) -> None:
    """The routes for every host would serve it; they are the rest's, which demands a certificate."""
    for port, name, wanted in ((444, "a.com", b"421"), (443, "a.com", b"421"), (443, "nobody.com", b"200")):
        with dial(gate, port, name) as tls:
            tls.sendall(head.encode() + b"\r\n")
            assert read_message(tls)[0][9:12] in (wanted, b"400")


def test_two_names_of_one_request(gate: Gate) -> None:
    for head in (
        b"GET https://m.com/ HTTP/1.1\r\nHost: a.com\r\n\r\n",
        b"GET https://a.com/ HTTP/1.1\r\nHost: m.com\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.com\r\nHost: m.com\r\n\r\n",
    ):
        with dial(gate, 443, "a.com") as tls:
            tls.sendall(head)
            assert read_message(tls)[0][9:12] == b"400"
    for authority, host in (("a.com", "m.com"), ("m.com", "a.com")):
        with Secured(gate.port, "a.com") as h2:
            (reply,) = h2.wait(h2.get(authority, "GET", ("host", host)))
            assert (reply.status, reply.body) != (200, b"m.com")


def test_who_has_the_certificate_comes_in_by_the_right_name_only(gate: Gate) -> None:
    for name, host, status in (("m.com", "m.com", 200), ("m.com", "deep.w.com", 200), ("m.com", "a.com", 421),
                               ("a.com", "m.com", 421), ("o.com", "m.com", 421)):  # fmt: skip
        with Secured(gate.port, name, CLIENT) as h2:
            assert h2.wait(h2.get(host))[0].status == status, (name, host)


# --- reloads ----------------------------------------------------------------------------------------------------------


def test_a_server_becomes_mutual_while_clients_are_there(tmp_path: Path) -> None:
    def yaml(mode: str) -> str:
        return gateway(server("a", "a.com", mode=mode, credentialName="one")) + SECRETS + saying("a.com")

    request = b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n"
    with Gate(tmp_path, yaml("SIMPLE"), 443) as gate, Secured(gate.port, "a.com") as h2:
        with dial(gate, 443, "a.com") as idle, dial(gate, 443, "a.com") as half:
            idle.sendall(request)
            assert said(read_message(idle)) == "a.com"
            half.sendall(request[:20])
            assert h2.wait(h2.get("a.com"))[0].status == 200
            reload(gate, yaml("MUTUAL"))
            eventually(lambda: idle.recv(1) == b"")  # closed at rest
            half.sendall(request[20:])
            answer = read_all(half)
            assert answer.startswith(b"HTTP/1.1 421 "), answer
            assert b"connection: close" in answer.lower()
            stream = h2.get("a.com")
            assert h2.wait(stream)[0].status == 421
            assert h2.goaway is not None
        with Secured(gate.port, "a.com", CLIENT) as other:
            assert other.wait(other.get("a.com"))[0].status == 200
            reload(gate, yaml("OPTIONAL_MUTUAL").replace("OPTIONAL_MUTUAL", "SIMPLE"))
            assert other.wait(other.get("a.com"))[0].status == 200  # who proved more than is asked stays
            assert other.goaway is None


OWN = credential("own", named("a.example"), roots=[CA])
GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"


def planned(*chains: ChainPlan) -> Plan:
    return make_plan(list(chains), [OWN])


def test_a_handshake_that_began_before_the_reload() -> None:
    with Plane(planned(terminate("own"))) as plane, plane.connect() as raw:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = stranger().wrap_bio(incoming, outgoing, server_hostname="a.example")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        raw.sendall(outgoing.read())
        while True:
            incoming.write(raw.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                break
        plane.run(planned(terminate("own", client="required")))
        tls.write(GET)
        raw.sendall(outgoing.read())
        with contextlib.suppress(ConnectionResetError):
            while raw.recv(65536):  # a ticket
                pass
        plane.await_count("http.downstream_cx_active", 0)
        assert plane.counts()["http.downstream_rq_total"] == 0


def test_a_plaintext_port_becomes_a_tls_port() -> None:
    with Plane(planned()) as plane, plane.connect() as idle, plane.connect() as half:
        idle.sendall(GET)
        assert read_message(idle)[0][9:12] == b"200"
        half.sendall(GET[:20])
        plane.await_count("http.downstream_cx_active", 2)
        plane.run(planned(terminate("own")))
        assert idle.recv(1) == b""
        half.sendall(GET[20:])
        assert read_all(half).startswith(b"HTTP/1.1 421 ")


def test_what_asks_nothing_new_keeps_its_connections() -> None:
    """Another certificate, other roots, more names and other protocols are for new connections."""
    plan = planned(terminate("own", client="optional"))
    with Plane(plan) as plane, stranger().wrap_socket(plane.connect(), server_hostname="a.example") as tls:
        for changed in (
            msgspec.structs.replace(plan, credentials=[credential("own", named("a.example"), roots=[CA])]),
            msgspec.structs.replace(plan, credentials=[credential("own", named("a.example"), roots=[named("x")])]),
            planned(terminate("own", client="optional", names=["*.example", "b.com"])),
            planned(terminate("own", client="optional", min_version="TLSV1_3")),
            planned(terminate("own")),
        ):
            plane.run(changed)
            tls.sendall(GET)
            head = read_message(tls)[0]
            assert head[9:12] == b"200"
            assert b"connection: close" not in head.lower()
