"""Bytes of tcp chains: passed on as they are, by server name and weight, both ways, to their end."""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import select
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fastmesh.config.plan import (
    ChainPlan,
    ClientTLSPlan,
    ClusterPlan,
    DestinationPlan,
    EjectionPlan,
    Origin,
    OutlierPlan,
    Plan,
    ResiliencePlan,
)
from fastmesh.core.proxy.account import TCP_LABELS
from fastmesh.server import words
from tests.ports import free_port
from tests.tls.material import CA, client, credential, named, svid
from tests.tls.plane import Plane, cluster, lines, make_plan, terminate, text_of
from tests.tls.upstream import Endpoint, server_context
from tests.traffic import eventually

SERVER = named("a.example", "b.example")
CREDENTIAL = credential("own", SERVER, roots=[CA])


def leads(*places: tuple[str, int], **fields: Any) -> ChainPlan:
    destinations = [DestinationPlan(cluster=name, weight=weight) for name, weight in places]
    return ChainPlan(**{"name": "tcp", "kind": "tcp", "destinations": destinations, **fields})


def tcp(chain: ChainPlan, *clusters: ClusterPlan, **fields: Any) -> Plan:
    return make_plan([chain], [CREDENTIAL], {}, list(clusters), **fields)


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket], None], port: int = 0) -> Iterator[int]:
    """A server that runs `answer` for each connection."""
    listening = socket.create_server(("127.0.0.1", port))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = listening.accept()[0]
                threading.Thread(target=run, args=(connection,), daemon=True).start()

    def run(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            answer(connection)

    threading.Thread(target=accept, daemon=True).start()
    with listening:
        yield int(listening.getsockname()[1])


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


def read(connection: socket.socket, size: int = -1) -> bytes:
    """`size` bytes, or all until the end."""
    data = bytearray()
    while len(data) != size and (piece := connection.recv(size - len(data) if size > 0 else 1 << 20)):
        data += piece
    return bytes(data)


def series(plane: Plane) -> list[tuple[dict[str, str], list[int]]]:
    found = [(key, values) for kind, key, values in plane.arena.entries() if kind == words.ENTRY_TCP_SERIES]
    return [(dict(zip(TCP_LABELS, key[2:].decode().split("\x1f"), strict=False)), list(v[:4])) for key, v in found]


def test_plain_bytes() -> None:
    with serving(echo) as port, Plane(tcp(leads(("c", 1)), cluster("c", port))) as plane:
        with plane.connect() as connection:
            for size in (1, 1000, 100_000):
                connection.sendall(os.urandom(size))
                assert len(read(connection, size)) == size
            connection.shutdown(socket.SHUT_WR)
            assert read(connection) == b""
        plane.await_count("http.downstream_cx_active", 0)
        ((labels, counts),) = series(plane)
        assert counts == [1, 1, 101_001, 101_001]
        assert (labels["request_protocol"], labels["response_flags"], labels["reporter"]) == ("tcp", "-", "source")
        assert plane.cluster()["upstream_cx_active"] == 0
        assert plane.counts()["server.open_fds"] == 0


def test_the_endpoint_may_speak_first() -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"220 hello\r\n")
        echo(connection)

    opaque = leads(("c", 1), transport="tls")
    for chains in ([leads(("c", 1))], [opaque, leads(("c", 1), transport="plaintext")]):
        with serving(greet) as port, Plane(make_plan(chains, [], {}, [cluster("c", port)])) as plane:
            assert read(plane.connect(), 11) == b"220 hello\r\n"


def test_who_waits_for_the_endpoint_beside_a_tls_chain_is_passed_on_in_the_end() -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"220")

    chains = [terminate("own", kind="tcp"), leads(("c", 1), transport="plaintext")]
    with serving(greet) as port:
        plan = make_plan(chains, [CREDENTIAL], {}, [cluster("c", port)])
        with Plane(plan, handshake=200) as plane, plane.connect() as connection:
            assert read(connection) == b"220"


@pytest.mark.parametrize("ended", [True, False])
def test_a_fin_is_passed_on_and_the_other_direction_goes_on(ended: bool) -> None:
    """FIN one way, then a mebibyte back."""
    body = os.urandom(1 << 20)

    def answer(connection: socket.socket) -> None:
        assert read(connection, -1 if ended else 8) == b"question"
        connection.sendall(body)

    with serving(answer) as port, Plane(tcp(leads(("c", 1)), cluster("c", port))) as plane:
        connection = plane.connect()
        connection.sendall(b"question")
        if ended:
            connection.shutdown(socket.SHUT_WR)
        assert hashlib.sha256(read(connection)).digest() == hashlib.sha256(body).digest()


def test_the_endpoints_fin_leaves_the_client_its_direction() -> None:
    got: queue.Queue[int] = queue.Queue()

    def answer(connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_WR)
        got.put(len(read(connection)))

    with serving(answer) as port, Plane(tcp(leads(("c", 1)), cluster("c", port))) as plane:
        with plane.connect() as connection:
            connection.sendall(b"x")
            assert read(connection) == b""
            for _ in range(10):
                connection.sendall(bytes(100_000))
        plane.await_count("http.downstream_cx_active", 0)
        assert got.get(timeout=20) == 1_000_001


def test_a_reset_of_one_side_resets_the_other(tmp_path: Path) -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(10)
        connection.sendall(b"half")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    log = tmp_path / "log"
    with serving(answer) as port, Plane(tcp(leads(("c", 1)), cluster("c", port)), log=log) as plane:
        with plane.connect() as connection:
            connection.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                read(connection)
        assert lines(log)[0]["response_flags"] == "UC"


def test_a_slow_reader_holds_the_sender_back() -> None:
    """Hundreds of megabytes wait in the endpoint, not in the proxy."""
    sent = [0]

    def answer(connection: socket.socket) -> None:
        block = bytes(1 << 20)
        connection.recv(1)
        for _ in range(200):
            connection.sendall(block)
            sent[0] += len(block)

    with serving(answer) as port, Plane(tcp(leads(("c", 1)), cluster("c", port))) as plane:
        before = plane.memory()
        with plane.connect() as connection:
            connection.sendall(b"x")
            read(connection, 1 << 20)
            seen = -1
            while seen != sent[0]:  # until the kernel's buffers are full, too
                seen = sent[0]
                time.sleep(0.3)
            assert sent[0] < 100 << 20
            assert plane.memory() - before < 4 << 20
            total = 1 << 20
            while piece := connection.recv(1 << 20):
                total += len(piece)
            assert total == 200 << 20


def test_weights() -> None:
    def saying(text: bytes) -> Callable[[socket.socket], None]:
        return lambda connection: connection.sendall(text)

    with serving(saying(b"a")) as one, serving(saying(b"b")) as other:
        plan = tcp(leads(("one", 80), ("other", 20)), cluster("one", one), cluster("other", other))
        with Plane(plan) as plane:
            counts: Counter[bytes] = Counter()
            for _ in range(200):
                with plane.connect() as connection:
                    counts[read(connection)] += 1
            assert 130 < counts[b"a"] < 185
            assert counts[b"a"] + counts[b"b"] == 200


def test_passed_on_by_server_name(tmp_path: Path) -> None:
    """The endpoints' own certificates; who asks for a name that nobody has is closed unanswered."""
    log = tmp_path / "log"
    with Endpoint(server_context(named("a.example"))) as a, Endpoint(server_context(named("x.b.example"))) as b:
        chains = [
            leads(("a", 1), transport="tls", server_names=["a.example"]),
            leads(("b", 1), transport="tls", server_names=["*.b.example"]),
        ]
        plan = make_plan(chains, [], {}, [cluster("a", a.port), cluster("b", b.port)])
        with Plane(plan, log=log) as plane:
            for name in ("a.example", "x.b.example"):
                with client().wrap_socket(plane.connect(), server_hostname=name) as tls:
                    tls.sendall(b"GET / HTTP/1.1\r\nHost: any\r\n\r\n")
                    assert f'"sni": "{name}"' in tls.recv(65536).decode()
            for unknown in ("c.example", "b.example", None):
                context = client()
                context.check_hostname = False
                with pytest.raises(OSError):  # noqa: PT011
                    context.wrap_socket(plane.connect(), server_hostname=unknown)
            plane.await_count("listener.no_filter_chain_match", 3)
            first = lines(log, 2)[0]
            assert (first["requested_server_name"], first["upstream_cluster"]) == ("a.example", "a")
            assert (first["method"], first["path"], first["protocol"], first["response_code"]) == (None, None, None, 0)
            assert first["bytes_received"] > 200
            assert first["bytes_sent"] > 500
            assert first["upstream_host"] == f"127.0.0.1:{a.port}"


def test_sni_of_a_mesh_port_needs_mesh_alpn() -> None:
    """AUTO_PASSTHROUGH: the name of a cluster, and only from a proxy of the mesh."""
    name = "outbound_.80_._.a.default.svc.cluster.local"
    with Endpoint(server_context(named("a.example"), alpn=["istio"])) as endpoint:
        chain = leads(("c", 1), transport="tls", server_names=[name], mesh_alpn=True)
        with Plane(tcp(chain, cluster("c", endpoint.port))) as plane:
            for alpn, good in (["istio"], True), (["h2"], False), ([], False):
                context = client(alpn=alpn)
                context.check_hostname = False
                if good:
                    context.wrap_socket(plane.connect(), server_hostname=name).close()
                else:
                    with pytest.raises(OSError):  # noqa: PT011
                        context.wrap_socket(plane.connect(), server_hostname=name)


def test_tls_ends_here_and_begins_again() -> None:
    tls = ClientTLSPlan(credential="own", sni="b.example")
    chain = terminate("own", kind="tcp", alpn=[])

    def answer(connection: socket.socket) -> None:
        with server_context(SERVER).wrap_socket(connection, server_side=True) as inner:
            assert read(inner, 8) == b"question"
            inner.sendall(bytes(300_000))
            inner.unwrap()

    chain = msgspec.structs.replace(chain, destinations=leads(("c", 1)).destinations)
    with serving(answer) as port, Plane(tcp(chain, cluster("c", port, tls=tls))) as plane:
        outer = client().wrap_socket(plane.connect(), server_hostname="a.example")
        outer.sendall(b"question")
        assert read(outer) == bytes(300_000)  # and a farewell behind it, or this would raise


def test_large_bodies_through_tls() -> None:
    """Both ways at once, more than all buffers; the hashes are equal."""
    sent = os.urandom(8 << 20)
    chain = msgspec.structs.replace(terminate("own", kind="tcp", alpn=[]), destinations=leads(("c", 1)).destinations)
    with serving(echo) as port, Plane(tcp(chain, cluster("c", port))) as plane:
        tls = client().wrap_socket(plane.connect(), server_hostname="a.example")
        tls.setblocking(False)
        at, got = 0, bytearray()
        while len(got) < len(sent):  # one thread: two may not use one session
            select.select([tls], [tls] if at < len(sent) else [], [], 20)
            with contextlib.suppress(ssl.SSLWantWriteError, ssl.SSLWantReadError):
                at += tls.send(sent[at : at + 65536])
            with contextlib.suppress(ssl.SSLWantReadError):
                got += tls.recv(1 << 20)
        assert hashlib.sha256(got).digest() == hashlib.sha256(sent).digest()


@pytest.mark.parametrize(
    ("fields", "flag"),
    [
        ({"clusters": []}, "NC"),
        ({"clusters": [cluster("c")]}, "UH"),
        ({"clusters": [cluster("c", 1)]}, "UF,URX"),
        ({"clusters": [cluster("c", 1, max_connections=0, tls=ClientTLSPlan(credential="missing"))]}, "UF,URX"),
    ],
)
def test_who_cannot_be_connected_is_closed(fields: dict[str, Any], flag: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    destination = DestinationPlan(cluster="c", weight=1, missing=not fields["clusters"])
    chain = ChainPlan(name="tcp", kind="tcp", destinations=[destination])
    with Plane(tcp(chain, *fields["clusters"]), log=log) as plane:
        with contextlib.suppress(ConnectionResetError), plane.connect() as connection:
            assert read(connection) == b""
        assert lines(log)[0]["response_flags"] == flag
        ((labels, counts),) = series(plane)
        assert (labels["response_flags"], counts) == (flag, [1, 1, 0, 0])
        plane.await_count("http.downstream_cx_active", 0)
        assert plane.counts()["server.open_fds"] == 0


def test_a_limit_of_connections(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(echo) as port, Plane(tcp(leads(("c", 1)), cluster("c", port, max_connections=2)), log=log) as plane:
        kept = [plane.connect() for _ in range(2)]
        for connection in kept:
            connection.sendall(b"x")
            assert read(connection, 1) == b"x"
        with contextlib.suppress(ConnectionResetError), plane.connect() as third:
            assert read(third) == b""
        assert lines(log)[0]["response_flags"] == "UO"
        kept.pop().close()
        plane.await_cluster("upstream_cx_active", 1)
        with plane.connect() as again:
            again.sendall(b"x")
            assert read(again, 1) == b"x"
        kept.pop().close()


def test_an_endpoint_that_does_not_answer_is_ejected() -> None:
    outlier = OutlierPlan(consecutive_5xx=2, max_percent=100, base=60_000)
    with serving(echo) as port:
        both = cluster("c", port, 1, outlier=outlier, balancer="ROUND_ROBIN")
        with Plane(tcp(leads(("c", 1)), both)) as plane:
            good = 0
            for _ in range(20):
                with contextlib.suppress(ConnectionResetError), plane.connect() as connection:
                    connection.sendall(b"x")
                    good += read(connection, 1) == b"x"
            assert good == 18


def test_a_connection_is_the_trial_of_an_ejected_endpoint() -> None:
    origin = Origin(kind="Resilience", namespace="default", name="c")
    ejection = EjectionPlan(base=50, max_percent=100, trials=1, successes=2)
    resilience = ResiliencePlan(origin=origin, half_life=1000, ejection=ejection)
    outlier = OutlierPlan(consecutive_5xx=1, max_percent=100, base=50, interval=10)
    late = free_port()
    with serving(echo) as port:
        both = cluster("c", port, late, outlier=outlier, balancer="ROUND_ROBIN", resilience=resilience)
        with Plane(tcp(leads(("c", 1)), both)) as plane:

            def good() -> bool:
                with contextlib.suppress(ConnectionResetError), plane.connect() as connection:
                    connection.sendall(b"x")
                    return read(connection, 1) == b"x"
                return False

            def trials() -> list[int]:
                places = [list(words.GUARD_WORDS).index(name) for name in ("GU_TRIALS_PASSED", "GU_TRIALS_FAILED")]
                return next([v[n] for n in places] for kind, _, v in plane.arena.entries() if kind == words.ENTRY_GUARD)

            eventually(lambda: good() and trials()[1] > 0)
            taken: list[int] = []

            def counting(connection: socket.socket) -> None:
                taken.append(1)
                echo(connection)

            with serving(counting, late):
                eventually(lambda: good() and trials()[0] == 2)
                before = len(taken)
                assert [good() for _ in range(4)] == [True] * 4
                assert len(taken) == before + 2, "it has its share again"


def test_nothing_moves_for_too_long(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(echo) as port, Plane(tcp(leads(("c", 1)), cluster("c", port)), log=log, tunnel=300) as plane:
        with plane.connect() as connection:
            for _ in range(4):  # what moves stays
                time.sleep(0.1)
                connection.sendall(b"x")
                assert read(connection, 1) == b"x"
            with pytest.raises(ConnectionResetError):
                read(connection)
        assert lines(log)[0]["response_flags"] == "SI"
        assert plane.counts()[words.WORKER_WORDS["WK_TUNNEL_IDLE"]] == 1


def test_mesh_facts_of_a_connection() -> None:
    own = credential("own", svid("spiffe://cluster.local/ns/a/sa/own"), roots=[CA])
    mesh = terminate("own", kind="tcp", alpn=[], client="required", mesh=True, trust_domains=["cluster.local"])
    mesh = msgspec.structs.replace(mesh, destinations=leads(("c", 1)).destinations)
    context = client(svid("spiffe://cluster.local/ns/a/sa/shop"))
    context.check_hostname = False
    with serving(echo) as port:
        plan = make_plan([mesh], [own], {}, [cluster("c", port)], "inbound")
        with Plane(plan) as plane, context.wrap_socket(plane.connect(), server_hostname="any") as tls:
            tls.sendall(b"x")
            assert tls.recv(1) == b"x"
            ((labels, _),) = series(plane)
            assert labels["reporter"] == "destination"
            assert labels["source_principal"] == "spiffe://cluster.local/ns/a/sa/shop"
            assert labels["destination_principal"] == "spiffe://cluster.local/ns/a/sa/own"
            assert labels["connection_security_policy"] == "mutual_tls"


@pytest.mark.parametrize("log_format", ["text", "ecs"])
def test_other_forms_of_the_log(log_format: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(echo) as port:
        plan = tcp(leads(("c", 1), transport="tls", server_names=["a.example"]), cluster("c", port))
        with Plane(plan, log=log, log_format=log_format) as plane:
            with pytest.raises(ssl.SSLError):  # its own hello comes back
                client().wrap_socket(plane.connect(), server_hostname="a.example")
            if log_format == "text":
                assert '] "- - -" 0 ' in text_of(log)
                assert " a.example -" in text_of(log)
            else:
                line = lines(log)[0]
                assert (line["tls.client.server_name"], line["event.category"]) == ("a.example", ["network"])
