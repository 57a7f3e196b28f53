"""TLS of clients ends at the proxy: certificates by name, versions, protocols, and what is refused unanswered."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from fastmesh.config.plan import ChainPlan
from tests.tls.material import CA, client, credential, named, roots_pem
from tests.tls.plane import Plane, make_plan, terminate

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"


def ask(
    plane: Plane, name: str | None, context: ssl.SSLContext | None = None, request: bytes = GET
) -> tuple[ssl.SSLSocket, bytes]:
    tls = (context or client()).wrap_socket(plane.connect(), server_hostname=name)
    tls.sendall(request)
    return tls, tls.recv(65536)


def test_requests_over_one_connection() -> None:
    plan = make_plan([terminate("a")], [credential("a", named("a.example"))])
    with Plane(plan) as plane:
        tls, answer = ask(plane, "a.example")
        with tls:
            assert (tls.version(), tls.cipher()[0]) == ("TLSv1.3", "TLS_AES_128_GCM_SHA256")  # type: ignore[index]
            for _ in range(3):
                assert answer.endswith(b"\r\n\r\nhello")
                tls.sendall(GET)
                answer = tls.recv(65536)
        plane.await_count("http.downstream_cx_active", 0)
        counts = plane.counts()
        assert counts["listener.ssl.handshake"] == counts["listener.ssl.no_certificate"] == 1


def test_the_name_chooses_the_certificate() -> None:
    names = {"a": "a.example", "any": "*.example", "deep": "*.b.example"}
    chains = [terminate(key, names=[name]) for key, name in names.items()]
    plan = make_plan(chains, [credential(key, named(f"{key}.cert")) for key in names])
    context = client()
    context.check_hostname = False
    with Plane(plan) as plane:
        for name, wanted in (
            ("a.example", "a"),
            ("A.Example", "a"),
            ("b.example", "any"),
            ("x.a.example", "any"),
            ("c.b.example", "deep"),
            ("d.c.b.example", "deep"),
        ):
            with context.wrap_socket(plane.connect(), server_hostname=name) as tls:
                assert tls.getpeercert()["subjectAltName"] == (("DNS", f"{wanted}.cert"),)  # type: ignore[index]
        for name in ("example", "b.other", None):
            with pytest.raises(OSError):  # noqa: PT011
                context.wrap_socket(plane.connect(), server_hostname=name)
        plane.await_count("listener.no_filter_chain_match", 3)


def test_two_kinds_of_key() -> None:
    pair = [credential("ec", named("a.example")), credential("rsa", named("a.example", use_rsa=True))]
    with Plane(make_plan([terminate("ec", "rsa")], pair)) as plane:
        for suites, wanted in (("ECDHE-RSA-AES128-GCM-SHA256", "RSA"), ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDSA")):
            context = client()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(suites)
            with context.wrap_socket(plane.connect(), server_hostname="a.example") as tls:
                assert wanted in tls.cipher()[0]  # type: ignore[index]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_curves_of_the_key_exchange(version: ssl.TLSVersion) -> None:
    for curves, served in (([], True), (["X25519", "P-384"], True), (["P-521", "P-256"], False)):
        context = client()
        context.minimum_version = context.maximum_version = version
        context.set_ecdh_curve("secp384r1")
        pair = [credential("a", named("a.example", use_rsa=True))]
        with Plane(make_plan([terminate("a", curves=curves)], pair)) as plane:
            if served:
                assert ask(plane, "a.example", context)[1].endswith(b"hello")
            else:
                with pytest.raises(ssl.SSLError):
                    ask(plane, "a.example", context)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize(
    ("low", "high", "offered", "served"),
    [
        ("TLSV1_2", "TLSV1_3", ssl.TLSVersion.TLSv1_2, True),
        ("TLSV1_2", "TLSV1_3", ssl.TLSVersion.TLSv1_1, False),
        ("TLSV1_3", "TLSV1_3", ssl.TLSVersion.TLSv1_2, False),
        ("TLSV1_2", "TLSV1_2", ssl.TLSVersion.TLSv1_3, False),
        ("TLSV1_0", "TLSV1_3", ssl.TLSVersion.TLSv1, True),
    ],
)
def test_versions(low: str, high: str, offered: ssl.TLSVersion, served: bool) -> None:
    chain = terminate("a", min_version=low, max_version=high)
    context = client()
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = context.maximum_version = offered
    with Plane(make_plan([chain], [credential("a", named("a.example"))])) as plane:
        if served:
            tls, answer = ask(plane, "a.example", context)
            assert answer.endswith(b"hello")
            tls.close()
        else:
            with pytest.raises(ssl.SSLError, match=r"version|handshake"):
                context.wrap_socket(plane.connect(), server_hostname="a.example")
            plane.await_count("listener.ssl.connection_error")


def test_alpn_is_chosen_by_the_servers_preference() -> None:
    plan = make_plan([terminate("a", alpn=["http/1.1", "http/1.0"])], [credential("a", named("a.example"))])
    with Plane(plan) as plane:
        for offered, wanted in (
            (["http/1.0", "http/1.1"], "http/1.1"),
            (["http/1.0"], "http/1.0"),
            (["x"], None),
            ([], None),
        ):
            with client(alpn=offered).wrap_socket(plane.connect(), server_hostname="a.example") as tls:
                assert tls.selected_alpn_protocol() == wanted


def test_a_hello_in_any_split() -> None:
    """One byte at a time, and the request right behind the handshake's end."""
    plan = make_plan([terminate("a", names=["a.example"])], [credential("a", named("a.example"))])
    with Plane(plan) as plane, plane.connect() as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client().wrap_bio(incoming, outgoing, server_hostname="a.example")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        for byte in outgoing.read():
            raw.sendall(bytes([byte]))
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                incoming.write(raw.recv(65536))
        tls.write(GET)
        raw.sendall(outgoing.read())
        answer = b""
        while not answer.endswith(b"hello"):
            incoming.write(raw.recv(65536))
            try:
                answer += tls.read(65536)
            except ssl.SSLWantReadError:
                continue


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"\x80\x2e\x01\x03\x01" + bytes(41),
        b"\x16\x03\x01\x02\x00\x02" + bytes(511),
        b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\x03",
    ],
)
def test_what_a_tls_port_closes_unanswered(first: bytes) -> None:
    with Plane(make_plan([terminate("a")], [credential("a", named("a.example"))])) as plane, plane.connect() as raw:
        raw.sendall(first)
        assert raw.recv(100) == b""
        plane.await_count("http.downstream_cx_active", 0)
        assert plane.counts()["http.downstream_rq_total"] == 0


def test_a_handshake_that_does_not_go_on() -> None:
    plan = make_plan([terminate("a")], [credential("a", named("a.example"))])
    with Plane(plan, handshake=200) as plane:
        for first in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"):
            with plane.connect() as raw:
                raw.sendall(first)
                assert raw.recv(100) == b""
        plane.await_count("listener.downstream_pre_cx_timeout", 3)


def test_plaintext_and_tls_on_one_port() -> None:
    chains = [terminate("a"), ChainPlan(name="plain", transport="plaintext")]
    with Plane(make_plan(chains, [credential("a", named("a.example"))])) as plane:
        tls, answer = ask(plane, "a.example")
        tls.close()
        assert answer.endswith(b"hello")
        with plane.connect() as raw:
            raw.sendall(GET[:1])
            raw.sendall(GET[1:])
            assert raw.recv(65536).endswith(b"hello")


def test_without_material_every_handshake_fails() -> None:
    with Plane(make_plan([terminate("missing")], [])) as plane:
        with pytest.raises(OSError):  # noqa: PT011
            client().wrap_socket(plane.connect(), server_hostname="a.example")
        plane.await_count("listener.server_ssl_socket_factory.downstream_context_secrets_not_ready")


def test_curl(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(roots_pem(CA))
    with Plane(make_plan([terminate("a")], [credential("a", named("a.example"))])) as plane:
        url = f"https://a.example:{plane.port}/"
        command = [
            "curl",
            "-sS",
            "--cacert",
            str(tmp_path / "ca.pem"),
            "--connect-to",
            f"a.example:{plane.port}:127.0.0.1:",
        ]
        assert subprocess.run([*command, url, url], capture_output=True, check=True, timeout=20).stdout == b"hellohello"
