"""TLS to endpoints: who they must be, who we are, and which requests may share a connection."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509

from fastmesh.config.plan import ClientTLSPlan, CredentialPlan, Plan
from fastmesh.security.authority import Pair
from tests.security.making import DAY
from tests.tls.material import CA, OTHER_CA, credential, named, odd, revoking, svid
from tests.tls.plane import Plane, cluster, lines, make_plan, routed
from tests.tls.upstream import Endpoint, server_context

SERVER = named("a.example", "*.b.example")
FAILED = b"HTTP/1.1 503 "


def plan_to(endpoint: Endpoint, tls: ClientTLSPlan | None, *credentials: CredentialPlan, **fields: Any) -> Plan:
    return make_plan([], list(credentials), {"*": routed("*", "c")}, [cluster("c", endpoint.port, tls=tls, **fields)])


def ask(plane: Plane, host: str = "a.example", on: socket.socket | None = None) -> bytes:
    with plane.connect() as own:
        connection = on or own
        connection.sendall(b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % host.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536)
        head, _, body = answer.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body


def told(answer: bytes) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), answer
    found: dict[str, Any] = json.loads(body)
    return found


ROOTS = credential("roots", roots=[CA])
SIMPLE = ClientTLSPlan(credential="roots", sni="a.example", alpn=["http/1.1"])


def test_simple() -> None:
    with Endpoint(server_context(SERVER)) as endpoint, Plane(plan_to(endpoint, SIMPLE, ROOTS)) as plane:
        for _ in range(3):
            seen = told(ask(plane, "other.example"))
            assert (seen["sni"], seen["alpn"], seen["peer"], seen["number"]) == ("a.example", "http/1.1", None, 0)


def test_own_certificate() -> None:
    own = credential("own", named("client.example"), roots=[CA])
    tls = ClientTLSPlan(credential="own", sni="a.example")
    with Endpoint(server_context(SERVER, CA)) as endpoint, Plane(plan_to(endpoint, tls, own)) as plane:
        assert told(ask(plane))["peer"] == [["DNS", "client.example"]]


def uri(name: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(name)


@pytest.mark.parametrize(
    ("server", "fields", "reason"),
    [
        (named("a.example"), {}, None),
        (named("*.b.example"), {"sni": "x.b.example"}, None),
        (named("*.b.example"), {"sni": "y.x.b.example"}, "not for this server name"),
        (named("*.b.example"), {"sni": "b.example"}, "not for this server name"),
        (named("*.example"), {}, "not for this server name"),
        (named("*.a.example"), {}, "not for this server name"),
        (named("*"), {}, "not for this server name"),
        (named("a*.example"), {}, "not for this server name"),
        (odd(CA, uris=(), common_name="a.example"), {}, "not for this server name"),
        (named("a.example\0.evil.example"), {}, "embedded NUL"),
        (named("x.evil.example"), {"sni": ".evil.example"}, "not for this server name"),
        (named("127.0.0.1"), {"sni": "127.0.0.1"}, "not for this server name"),
        (named("a.example", ca=OTHER_CA), {}, "certificate signature failure"),
        (named("a.example", ends=-DAY / 2), {}, "certificate has expired"),
        (named("a.example", begins=DAY / 2), {}, "certificate is not yet valid"),
        (named("a.example", extended=(x509.OID_CLIENT_AUTH,)), {}, "purpose"),
        (named("b.example"), {"sans": ["b.example"]}, None),
        (named("a.example"), {"sans": ["b.example"]}, "none of the names"),
        (named("a.example"), {"sans": ["example", "xa.example", "a.exampl"]}, "none of the names"),
        (odd(CA, uris=("spiffe://td/a",)), {"sans": ["spiffe://td/a"]}, None),
        (odd(CA, uris=("spiffe://td/ab",)), {"sans": ["spiffe://td/a"]}, "none of the names"),
        (named("a.example", ca=OTHER_CA), {"verify": False}, None),
    ],
)
def test_who_the_endpoint_must_be(server: Any, fields: dict[str, Any], reason: str | None, tmp_path: Path) -> None:
    tls = ClientTLSPlan(**{"credential": "roots", "sni": "a.example", **fields})
    log = tmp_path / "log"
    with Endpoint(server_context(server)) as endpoint, Plane(plan_to(endpoint, tls, ROOTS), log=log) as plane:
        answer = ask(plane)
        if reason is None:
            told(answer)
            assert lines(log)[0]["upstream_transport_failure_reason"] is None
        else:
            assert answer.startswith(FAILED)
            assert endpoint.seen == []
            line = lines(log)[0]
            assert (line["response_flags"], line["response_code"]) == ("UF", 503)
            assert line["upstream_transport_failure_reason"].startswith("TLS_error: ")
            assert reason in line["upstream_transport_failure_reason"]


def test_revoked() -> None:
    for listed, good in (([SERVER], False), ([], True)):
        roots = credential("roots", roots=[CA], crl=revoking(CA, *listed))
        with Endpoint(server_context(SERVER)) as endpoint, Plane(plan_to(endpoint, SIMPLE, roots)) as plane:
            assert ask(plane).startswith(b"HTTP/1.1 200 ") == good


def test_an_endpoint_that_refuses_us_is_named_in_the_log(tmp_path: Path) -> None:
    """With TLS 1.3 that is known after our half of the handshake only."""
    log = tmp_path / "log"
    with Endpoint(server_context(SERVER, CA)) as endpoint, Plane(plan_to(endpoint, SIMPLE, ROOTS), log=log) as plane:
        assert ask(plane).startswith(FAILED)
        assert "certificate required" in lines(log)[0]["upstream_transport_failure_reason"]


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno", b"\x15\x03\x03\x00\x02\x02\x28", b""]
)
def test_what_comes_before_the_handshake_is_no_answer(said: bytes) -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def answer_at_once() -> None:
        connection, _ = listening.accept()
        connection.sendall(said)
        connection.recv(10)
        connection.close()

    threading.Thread(target=answer_at_once, daemon=True).start()
    plan = make_plan([], [ROOTS], {"*": routed("*", "c")}, [cluster("c", listening.getsockname()[1], tls=SIMPLE)])
    with listening, Plane(plan) as plane:
        assert ask(plane).startswith(FAILED)


def test_missing_material_fails_closed() -> None:
    with Endpoint(server_context(SERVER)) as endpoint, Plane(plan_to(endpoint, SIMPLE)) as plane:
        assert ask(plane).startswith(FAILED)
        assert endpoint.seen == []


def test_the_host_of_the_request_is_the_name_and_names_do_not_share_connections() -> None:
    tls = ClientTLSPlan(credential="roots")
    with Endpoint(server_context(SERVER)) as endpoint, Plane(plan_to(endpoint, tls, ROOTS)) as plane:
        for host, number in (
            ("a.example", 0),
            ("x.b.example", 1),
            ("a.example:80", 0),
            ("X.B.example", 1),
            ("y.b.example", 2),
        ):
            seen = told(ask(plane, host))
            assert (seen["sni"], seen["number"]) == (host.lower().partition(":")[0], number)
        assert ask(plane, "c.example").startswith(FAILED)
        assert told(ask(plane))["number"] == 0


def test_names_share_scarce_places() -> None:
    """One connection at a time: a request for another name gets its place, not its connection."""
    tls = ClientTLSPlan(credential="roots")
    one = {"max_connections": 1}
    with Endpoint(server_context(SERVER)) as endpoint, Plane(plan_to(endpoint, tls, ROOTS, **one)) as plane:
        for number, host in enumerate(("a.example", "x.b.example", "a.example")):
            assert told(ask(plane, host))["number"] == number


def test_a_changed_policy_never_gets_an_old_connection() -> None:
    other = credential("other", named("client.example"), roots=[CA])
    with Endpoint(server_context(SERVER)) as endpoint, Plane(plan_to(endpoint, SIMPLE, ROOTS)) as plane:
        assert told(ask(plane))["number"] == 0
        plane.run(plan_to(endpoint, SIMPLE, ROOTS))
        assert told(ask(plane))["number"] == 0  # nothing has changed
        for number, tls in enumerate(
            (
                ClientTLSPlan(credential="roots", sni="x.b.example"),
                ClientTLSPlan(credential="other", sni="x.b.example"),
                ClientTLSPlan(credential="other", sni="x.b.example", sans=["a.example"]),
                ClientTLSPlan(credential="other", sni="x.b.example", verify=False),
            ),
            1,
        ):
            plane.run(plan_to(endpoint, tls, ROOTS, other))
            assert told(ask(plane))["number"] == number
        plane.run(plan_to(endpoint, ClientTLSPlan(credential="roots", sni="no.example"), ROOTS))
        assert ask(plane).startswith(FAILED)


ACCOUNT = "spiffe://cluster.local/ns/a/sa/"
MESH = ClientTLSPlan(credential="mesh", mesh=True, trust_domains=["cluster.local"], sni="outbound_.80_._.a")


def mine(name: str = "own", roots: Sequence[Pair] = (CA,), **fields: Any) -> CredentialPlan:
    """Another certificate each time."""
    return credential("mesh", svid(ACCOUNT + name), roots=roots, **fields)


def test_a_renewed_certificate_costs_no_connection_and_a_changed_trust_does() -> None:
    with Endpoint(server_context(svid(ACCOUNT + "b"), CA)) as endpoint, Plane(plan_to(endpoint, MESH, mine())) as plane:
        assert told(ask(plane))["number"] == 0
        for _ in range(3):
            plane.run(plan_to(endpoint, MESH, mine()))
            assert told(ask(plane))["number"] == 0
        for number, (own, fields) in enumerate(
            (
                (mine("other"), {}),
                (mine("other", (CA, OTHER_CA)), {}),
                (mine("other", (CA, OTHER_CA), crl=revoking(CA)), {}),
                (mine("other", (CA,)), {}),
                (mine("other", (CA,)), {"sans": [ACCOUNT + "b"]}),
                (mine("other", (CA,)), {"trust_domains": ["cluster.local", "other.domain"]}),
            ),
            1,
        ):
            tls = msgspec.structs.replace(MESH, **fields)
            plane.run(plan_to(endpoint, tls, own))
            seen = told(ask(plane))
            assert (seen["number"], seen["peer"]) == (number, [["URI", ACCOUNT + "other"]])
        assert plane.counts()["upstream_tls_outdated"] == 6
        plane.run(plan_to(endpoint, MESH, mine(roots=(OTHER_CA,))))
        assert ask(plane).startswith(FAILED)


def test_a_certificate_without_an_identity_stands_for_itself_alone() -> None:
    tls = ClientTLSPlan(credential="own", sni="a.example")
    with Endpoint(server_context(SERVER, CA)) as endpoint:
        made = (plan_to(endpoint, tls, credential("own", named("client.example"), roots=[CA])) for _ in range(2))
        with Plane(next(made)) as plane:
            assert told(ask(plane))["number"] == 0
            plane.run(next(made))
            assert told(ask(plane))["number"] == 1


def test_connections_of_a_renewed_certificate_end_one_by_one() -> None:
    """Between a third of the time and all of it; here each host has a connection of its own."""
    hosts = [f"h{number}.b.example" for number in range(12)]
    by_host = ClientTLSPlan(credential="mesh")
    with (
        Endpoint(server_context(SERVER, CA)) as endpoint,
        Plane(plan_to(endpoint, by_host, mine()), renewed=1500) as plane,
    ):
        first = {host: told(ask(plane, host))["number"] for host in hosts}
        began = time.monotonic()
        plane.run(plan_to(endpoint, by_host, mine()))
        last: dict[str, float] = {}  # when the old connection answered, each time
        while (now := time.monotonic() - began) < 3 and len(first) > 0:
            for host in list(first):
                if told(ask(plane, host))["number"] != first[host]:
                    last[host] = time.monotonic() - began
                    del first[host]
        assert first == {}, now
        assert min(last.values()) >= 0.5
        assert max(last.values()) - min(last.values()) > 0.2
        assert plane.counts()["upstream_tls_outdated"] == len(hosts)


def test_sessions_are_resumed_with_the_same_endpoint_and_name() -> None:
    tls = ClientTLSPlan(credential="roots")
    with Endpoint(server_context(SERVER)) as endpoint, Plane(plan_to(endpoint, tls, ROOTS)) as plane:
        resumed = []
        for host in ("a.example", "a.example", "x.b.example", "a.example"):
            resumed.append(told(ask(plane, host))["resumed"])
            endpoint.drop()
            plane.await_cluster("upstream_cx_active", 0)
        assert resumed == [False, True, False, True]
        plane.run(plan_to(endpoint, ClientTLSPlan(credential="roots", sans=["a.example"]), ROOTS))
        assert told(ask(plane))["resumed"] is False


def test_auto_is_decided_by_endpoint() -> None:
    tls = ClientTLSPlan(credential="mesh", mesh=True, trust_domains=["cluster.local"], auto=True)
    own = credential("mesh", svid("spiffe://cluster.local/ns/a/sa/own"), roots=[CA])
    there = server_context(svid("spiffe://cluster.local/ns/a/sa/b"), CA)
    for mesh_tls, context in ((True, there), (False, None)):
        with Endpoint(context) as endpoint:
            parts = cluster("c", endpoint.port, tls=tls, mesh_tls=mesh_tls)
            with Plane(make_plan([], [own], {"*": routed("*", "c")}, [parts])) as plane:
                told(ask(plane))


@pytest.mark.parametrize(
    ("server", "good"),
    [
        (svid("spiffe://cluster.local/ns/a/sa/b"), True),
        (svid("spiffe://other.domain/ns/a/sa/b"), False),
        (svid("spiffe://cluster.local/ns/a/sa/b", ca=OTHER_CA), False),
        (svid("spiffe://cluster.local/ns/a/sa/b", extended=(x509.OID_CLIENT_AUTH,)), False),
        (svid("spiffe://cluster.local/ns/a/sa/b", names=(uri("spiffe://cluster.local/ns/a/sa/c"),)), False),
        (named("cluster.local"), False),
    ],
)
def test_mesh_endpoints(server: Any, good: bool) -> None:
    tls = ClientTLSPlan(credential="mesh", mesh=True, trust_domains=["cluster.local"], sni="outbound_.80_._.a")
    own = credential("mesh", svid("spiffe://cluster.local/ns/a/sa/own"), roots=[CA])
    with Endpoint(server_context(server, CA)) as endpoint, Plane(plan_to(endpoint, tls, own)) as plane:
        answer = ask(plane)
        assert answer.startswith(b"HTTP/1.1 200 " if good else FAILED)
        if good:
            seen = told(answer)
            assert (seen["sni"], seen["peer"]) == ("outbound_.80_._.a", [["URI", "spiffe://cluster.local/ns/a/sa/own"]])


def test_a_close_delimited_body_needs_the_farewell() -> None:
    """Without close_notify somebody may have cut it (RFC 8446 section 6.1): the client sees a broken response."""
    context = server_context(SERVER)
    for farewell in (True, False):
        listening = socket.create_server(("127.0.0.1", 0))

        def answer(listening: socket.socket = listening, farewell: bool = farewell) -> None:
            connection = context.wrap_socket(listening.accept()[0], server_side=True)
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nhalf a body")
            if farewell:
                connection.unwrap()
            connection.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=answer, daemon=True).start()
        plan = make_plan([], [ROOTS], {"*": routed("*", "c")}, [cluster("c", listening.getsockname()[1], tls=SIMPLE)])
        with listening, Plane(plan) as plane, plane.connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
            got = b""
            while piece := connection.recv(65536):
                got += piece
            assert got.endswith(b"\r\n0\r\n\r\n") == farewell
