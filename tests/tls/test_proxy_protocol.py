"""PROXY headers from clients and to endpoints: whose connection it is, in the log, in x-forwarded-for, and beyond."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fastmesh.config.plan import ChainPlan, ClientTLSPlan, ClusterPlan, DestinationPlan, Plan
from tests.running import Upstream, read_all, read_head
from tests.tls.material import CA, client, credential, named
from tests.tls.plane import Plane, cluster, lines, make_plan, routed, terminate
from tests.tls.test_tcp import echo, leads, read
from tests.tls.upstream import Endpoint, server_context

CREDENTIAL = credential("own", named("a.example"), roots=[CA])
V1 = b"PROXY TCP4 192.0.2.1 10.0.0.5 56324 5432\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V2 = (
    SIGNATURE
    + struct.pack(">BBH", 0x21, 0x11, 15)
    + socket.inet_aton("192.0.2.1")
    + socket.inet_aton("10.0.0.5")
    + struct.pack(">HH", 56324, 5432)
    + b"\x04\0\0"
)
LOCAL = SIGNATURE + b"\x20\0\0\0"
GET = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"


def demanding(plan: Plan) -> Plan:
    """Connections have to begin with a PROXY header."""
    listener = msgspec.structs.replace(plan.listeners[0], proxy_protocol=True)
    return msgspec.structs.replace(plan, listeners=[listener])


def http(*clusters: ClusterPlan, chains: list[ChainPlan] | None = None) -> Plan:
    return demanding(make_plan(chains or [], [CREDENTIAL], {"*": routed("*", "c")}, list(clusters)))


def fields_of(answer: bytes) -> dict[str, str]:
    told: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return dict(told["headers"])


@pytest.mark.parametrize("header", [V1, V2])
@pytest.mark.parametrize("cut", ["whole", "bytes", "apart"])
def test_a_request(header: bytes, cut: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Endpoint() as endpoint, Plane(http(cluster("c", endpoint.port)), log=log) as plane:
        with plane.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pieces = {"whole": [header + GET], "apart": [header, GET]}
            for piece in pieces.get(cut) or [bytes([byte]) for byte in header + GET]:
                connection.sendall(piece)
            answer = read_all(connection)
        assert fields_of(answer)["x-forwarded-for"] == "192.0.2.1"
        (line,) = lines(log)
        assert line["downstream_remote_address"] == "192.0.2.1:56324"
        assert line["downstream_local_address"] == "10.0.0.5:5432"


def test_a_proxy_that_speaks_for_itself(tmp_path: Path) -> None:
    """LOCAL and UNKNOWN: the addresses are those of the connection."""
    for number, header in enumerate((LOCAL, b"PROXY UNKNOWN\r\n")):
        log = tmp_path / f"log{number}"
        with Endpoint() as endpoint, Plane(http(cluster("c", endpoint.port)), log=log) as plane:
            with plane.connect() as connection:
                own = f"127.0.0.1:{connection.getsockname()[1]}"
                connection.sendall(header + GET)
                assert fields_of(read_all(connection))["x-forwarded-for"] == "127.0.0.1"
            assert lines(log)[0]["downstream_remote_address"] == own


def test_before_tls(tmp_path: Path) -> None:
    """The header is outside of TLS; in one piece with the ClientHello or before it."""
    log = tmp_path / "log"
    with Endpoint() as endpoint:
        plan = http(cluster("c", endpoint.port), chains=[terminate("own")])
        with Plane(plan, log=log) as plane:
            for header in (V1, V2):
                connection = plane.connect()
                connection.sendall(header)
                with client().wrap_socket(connection, server_hostname="a.example") as tls:
                    tls.sendall(GET)
                    assert fields_of(read_all(tls))["x-forwarded-for"] == "192.0.2.1"
            assert {line["downstream_remote_address"] for line in lines(log, 2)} == {"192.0.2.1:56324"}


def test_bytes_behind_it(tmp_path: Path) -> None:
    """The header does not go on to the endpoint; one that asks for it gets its own."""
    log = tmp_path / "log"
    with Upstream(echo) as upstream:
        plan = demanding(make_plan([leads(("c", 1))], [], {}, [cluster("c", upstream.port)]))
        with Plane(plan, log=log) as plane:
            with plane.connect() as connection:
                connection.sendall(V2 + b"hello")
                assert read(connection, 5) == b"hello"
            assert lines(log)[0]["downstream_remote_address"] == "192.0.2.1:56324"


@pytest.mark.parametrize(
    "first", [GET, b"\x16\x03\x01\x02\x00\x01", V1[:-2] + b"\n\n", V2[:12] + b"\x2f" + V2[13:], b"PROXY x"]
)
def test_what_begins_otherwise_is_closed_unanswered(first: bytes) -> None:
    with Endpoint() as endpoint, Plane(http(cluster("c", endpoint.port))) as plane:
        with plane.connect() as connection:
            connection.sendall(first)
            assert read_all(connection) == b""
        plane.await_count("listener.proxy_proto_error")
        plane.await_count("http.downstream_cx_active", 0)
        assert endpoint.seen == []


@pytest.mark.parametrize("first", [b"", V1[:20], V2[:15]])
def test_nobody_is_waited_for_for_ever(first: bytes) -> None:
    with Endpoint() as endpoint, Plane(http(cluster("c", endpoint.port)), handshake=200) as plane:
        with plane.connect() as connection:
            connection.sendall(first)
            assert read_all(connection) == b""
        plane.await_count("listener.downstream_pre_cx_timeout")


def test_a_flood_of_beginnings_costs_what_it_holds() -> None:
    """200 clients that stop in the middle of a header do not keep others out."""
    with Endpoint() as endpoint, Plane(http(cluster("c", endpoint.port)), handshake=2000) as plane:
        with contextlib.ExitStack() as stack:
            for number in range(200):
                slow = stack.enter_context(plane.connect())
                slow.sendall(V2[: 1 + number % 20])
            begun = time.monotonic()
            with plane.connect() as connection:
                connection.sendall(V1 + GET)
                assert read_all(connection).startswith(b"HTTP/1.1 200")
            print(f"served after {time.monotonic() - begun:.3f} s")
            plane.await_count("listener.downstream_pre_cx_timeout", 200)
        plane.await_count("http.downstream_cx_active", 0)


# --- where a client wanted to go ------------------------------------------------------------------------------------


def wanting(target: str, port: int, size: int = 4) -> bytes:
    family, zero = (socket.AF_INET, "192.0.2.1") if size == 4 else (socket.AF_INET6, "2001:db8::1")
    raw = socket.inet_pton(family, zero) + socket.inet_pton(family, target) + struct.pack(">HH", 1, port)
    return SIGNATURE + struct.pack(">BBH", 0x21, 0x11 if size == 4 else 0x21, len(raw)) + raw


PLACES = [
    ("whole", 5432, ["10.0.0.5/32"]),
    ("wide", 5432, ["10.0.0.0/8", "2001:db8:1::/48"]),
    ("six", 5432, ["2001:db8:1:2::/64"]),
    ("port", 5432, []),
    ("other", 6379, ["10.0.0.5/32"]),
    ("block", 0, ["172.16.0.0/12"]),
]
AIMS = [
    ("10.0.0.5", 5432, "whole"),
    ("10.0.0.6", 5432, "wide"),
    ("10.255.255.255", 5432, "wide"),
    ("11.0.0.1", 5432, "port"),
    ("2001:db8:1:2::9", 5432, "six"),
    ("2001:db8:1:3::9", 5432, "wide"),
    ("2001:db8:2::9", 5432, "port"),
    ("10.0.0.5", 6379, "other"),
    ("10.0.0.6", 6379, "default"),
    ("172.31.0.1", 1234, "block"),
    ("172.32.0.1", 1234, "default"),
]


def test_the_port_first_then_the_longest_prefix() -> None:
    with contextlib.ExitStack() as stack:
        clusters, chains = [], []
        for name, port, blocks in [*PLACES, ("default", 0, [])]:
            answer = stack.enter_context(Upstream(lambda each, name=name: each.sendall(name.encode())))  # type: ignore[misc]
            clusters.append(cluster(name, answer.port))
            chains.append(leads((name, 1), port=port, to=blocks))
        plane = stack.enter_context(Plane(demanding(make_plan(chains, [], {}, clusters))))
        for address, port, wanted in AIMS:
            with plane.connect() as connection:
                connection.sendall(wanting(address, port, 16 if ":" in address else 4))
                assert read_all(connection) == wanted.encode(), (address, port)


def test_on_to_where_the_client_wanted_to_go(tmp_path: Path) -> None:
    """A cluster without endpoints of its own: the one that was meant, counted under one name."""
    log = tmp_path / "log"
    passing = ClusterPlan(name="PassthroughCluster", kind="original_dst")
    with Upstream(echo) as upstream:
        plan = demanding(make_plan([leads(("PassthroughCluster", 1), to=["::/0"])], [], {}, [passing]))
        with Plane(plan, log=log) as plane:
            with plane.connect() as connection:
                connection.sendall(wanting("127.0.0.1", upstream.port) + b"x")
                assert read(connection, 1) == b"x"
            line = lines(log)[0]
            assert (line["upstream_host"], line["upstream_cluster"]) == (
                f"127.0.0.1:{upstream.port}",
                "PassthroughCluster",
            )
            assert plane.cluster("PassthroughCluster")["upstream_cx_total"] == 1
            with plane.connect() as connection:
                connection.sendall(LOCAL)  # nowhere
                assert read_all(connection) == b""


# --- to endpoints ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("secure", [False, True])
def test_an_endpoint_is_told_who_the_client_is(version: Any, secure: bool) -> None:
    told = []

    def answer(connection: socket.socket) -> None:
        told.append(read(connection, len(V1) if version == 1 else len(V2) - 3))
        if secure:
            connection = server_context(named("a.example")).wrap_socket(connection, server_side=True)
        connection.sendall(read(connection, 5))

    tls = ClientTLSPlan(credential="own", sni="a.example") if secure else None
    with Upstream(answer) as upstream:
        target = cluster("c", upstream.port, proxy_protocol=version, tls=tls)
        plan = demanding(make_plan([leads(("c", 1))], [CREDENTIAL], {}, [target]))
        with Plane(plan) as plane, plane.connect() as connection:
            connection.sendall(V2 + b"hello")
            assert read(connection, 5) == b"hello"
    assert told == [V1 if version == 1 else V2[:14] + b"\0\x0c" + V2[16:-3]]


@pytest.mark.parametrize("http_version", ["http1"])
def test_requests_of_different_clients_share_no_connection(http_version: Any) -> None:
    """Each connection to the endpoint speaks for one client, and is used again by that one alone."""
    heads: list[tuple[int, bytes]] = []

    def answer(connection: socket.socket) -> None:
        whole = b""
        while b"\n" not in whole:
            whole += connection.recv(1)
        number = connection.getpeername()[1]
        while True:
            head, _ = read_head(connection)
            if not head:
                return
            heads.append((number, whole))
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    keep = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
    with Upstream(answer) as upstream:
        plan = http(cluster("c", upstream.port, proxy_protocol=1, http=http_version))
        with Plane(plan) as plane, plane.connect() as one, plane.connect() as other:
            one.sendall(V1)
            other.sendall(V1.replace(b"56324", b"56325"))
            for connection in (one, other, one, other, other, one):
                connection.sendall(keep)
                assert read_head(connection)[0].startswith(b"HTTP/1.1 200")
    by_client = {line: [number for number, each in heads if each == line] for _, line in heads}
    assert sorted(len(numbers) for numbers in by_client.values()) == [3, 3]
    assert all(len(set(numbers)) == 1 for numbers in by_client.values())
    assert {line.split()[4] for line in by_client} == {b"56324", b"56325"}


# --- a proxy on the way ---------------------------------------------------------------------------------------------

CONNECT = "CONNECT db.example:5432 HTTP/1.1\r\nHost: db.example:5432\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        (b"HTTP/1.1 200 Connection established\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\nvia: x\r\n\r\n", True),
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", False),
        (b"HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n", False),
        (b"220 not http\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\n", False),
    ],
)
def test_a_tunnel_through_a_proxy(answer: bytes, good: bool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    asked = []

    def proxy(connection: socket.socket) -> None:
        asked.append(read_head(connection)[0])
        connection.sendall(answer + (b"220 first\r\n" if good else b""))
        if good:
            echo(connection)

    with Upstream(proxy) as upstream:
        plan = make_plan([leads(("c", 1))], [], {}, [cluster("c", upstream.port, tunnel=CONNECT, connect_timeout=3000)])
        with Plane(plan, log=log) as plane:
            with contextlib.suppress(ConnectionResetError), plane.connect() as connection:
                if good:
                    assert read(connection, 11) == b"220 first\r\n"  # it came in one piece with the answer
                    connection.sendall(b"hello")
                    assert read(connection, 5) == b"hello"
                else:
                    assert read_all(connection) == b""
            line = lines(log)[0]
            assert line["response_flags"] == ("-" if good else "UF,URX")
            assert (line["bytes_sent"], line["bytes_received"]) == ((16, 5) if good else (0, 0))
            plane.await_count("server.open_fds", 0)
        assert asked == [CONNECT.encode()]


def test_a_proxy_that_does_not_answer(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Upstream(lambda connection: read_all(connection) and None) as upstream:
        plan = make_plan([leads(("c", 1))], [], {}, [cluster("c", upstream.port, tunnel=CONNECT, connect_timeout=200)])
        with Plane(plan, log=log) as plane:
            with contextlib.suppress(ConnectionResetError), plane.connect() as connection:
                assert read_all(connection) == b""
            assert lines(log)[0]["response_flags"] == "UF,URX"
            assert plane.cluster()["upstream_cx_connect_timeout"] == 1


# --- time -----------------------------------------------------------------------------------------------------------


def test_idle_and_age(tmp_path: Path) -> None:
    """`tcp.idleTimeout` of the first destination goes before the proxy's; `maxConnectionDuration` ends who moves."""
    for number, (fields, flag, count) in enumerate(
        [
            ({"tcp_idle": 200}, "SI", "http.downstream_rq_idle_timeout"),
            ({"max_connection_duration": 300, "tcp_idle": 0}, "DT", "tcp.max_downstream_connection_duration"),
        ]
    ):
        log = tmp_path / f"log{number}"
        with Upstream(echo) as upstream:
            to = [DestinationPlan(cluster="c", weight=1)]
            chain = ChainPlan(name="tcp", kind="tcp", destinations=to)
            with Plane(make_plan([chain], [], {}, [cluster("c", upstream.port, **fields)]), log=log) as plane:
                with contextlib.suppress(ConnectionError), plane.connect() as connection:
                    while flag == "DT" or number == 0:
                        connection.sendall(b"x")
                        read(connection, 1)
                        if flag == "SI":
                            assert read_all(connection) == b""
                            break
                assert lines(log)[0]["response_flags"] == flag
                plane.await_count(count)
