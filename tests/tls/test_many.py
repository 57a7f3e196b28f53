"""A gateway with thousands of server names and certificates, and what hundreds of renewals leave behind."""

from __future__ import annotations

import random
import socket
import ssl
import time
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fastmesh.config.plan import Plan
from fastmesh.security.authority import Pair
from tests.http2 import PREFACE
from tests.security.making import odd
from tests.tls.gateway import Gate, Secured, gateway, saying, secret, server, stranger
from tests.tls.material import CA, credential
from tests.tls.plane import Plane, make_plan, terminate

NAMES, CERTIFICATES = 5000, 1000
KEY = ec.generate_private_key(ec.SECP256R1())  # one for all: what is slow here is not ours


def numbered(serial: int) -> Pair:
    return odd(CA, uris=(), common_name="many", key=KEY, serial=serial)


def shown(port: int, name: str) -> int:
    """The serial number of the certificate that a client for `name` is shown."""
    with stranger().wrap_socket(socket.create_connection(("127.0.0.1", port), 20), server_hostname=name) as tls:
        return int(tls.getpeercert()["serialNumber"], 16)  # type: ignore[index,arg-type]


def test_five_thousand_names_and_a_thousand_certificates(tmp_path: Path) -> None:
    """As a user writes them: a server, a Secret and a VirtualService for each certificate, five names each."""
    each = NAMES // CERTIFICATES
    names = [[f"n{n}.c{c}.com" for n in range(each - 1)] + [f"*.w.c{c}.com"] for c in range(CERTIFICATES)]
    servers = [server(f"s{c}", *hosts, mode="SIMPLE", credentialName=f"c{c}") for c, hosts in enumerate(names)]
    yaml = gateway(*servers) + saying(*(hosts[0] for hosts in names))
    yaml += "".join(secret(f"c{c}", numbered(c + 1)) for c in range(CERTIFICATES))
    began = time.monotonic()
    with Gate(tmp_path, yaml, 443) as gate:
        took = time.monotonic() - began
        used = sum(private(pid) for pid in [gate.process.pid, *gate.workers()])
        print(f"{took:.1f} s to start, {used >> 20} MiB of master and worker")
        assert used < 400 << 20
        chance = random.Random(1)
        for c in chance.sample(range(CERTIFICATES), 60):
            assert shown(gate.port, chance.choice(names[c]).replace("*", "any.thing")) == c + 1
            with Secured(gate.port, names[c][0]) as h2:
                assert h2.wait(h2.get(names[c][0]))[0].body.decode() == names[c][0]
        for name in ("c1.com", "w.c1.com", f"n{each}.c1.com", f"n0.c{CERTIFICATES}.com"):
            with pytest.raises(OSError):  # noqa: PT011
                shown(gate.port, name)


def private(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * int(next(line.split()[1] for line in text.splitlines() if line.startswith("Private_Dirty")))


# --- renewals ---------------------------------------------------------------------------------------------------------

CHAINS = 80  # some of them with an SSL_CTX of their own, the rest with a shared one


def renewed(serial: int) -> Plan:
    """The certificates of the odd chains are new; every other time a client's certificate is asked for, too."""
    client = "optional" if serial % 2 else "none"
    chains = [terminate(f"c{n}", names=[f"n{n}.com"], client=client, alpn=["h2", "http/1.1"]) for n in range(CHAINS)]
    credentials = [credential(f"c{n}", numbered(1 + n % 2 * serial), roots=[CA]) for n in (0, 1)]
    both = [msgspec.structs.replace(credentials[n % 2], name=f"c{n}") for n in range(CHAINS)]
    return make_plan(chains, both)


def descriptors(plane: Plane) -> int:
    return len(list(Path(f"/proc/{plane.process.pid}/fd").iterdir()))


def visit(plane: Plane, name: str, serial: int, alpn: str) -> ssl.SSLSocket:
    """A client that asks, and stays."""
    tls = stranger(None, alpn).wrap_socket(plane.connect(), server_hostname=name)
    assert int(tls.getpeercert()["serialNumber"], 16) == serial  # type: ignore[index,arg-type]
    tls.sendall(PREFACE if alpn == "h2" else f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    assert tls.recv(65536)
    return tls


def renewals(plane: Plane, first: int, times: int) -> None:
    """Clients of three generations are there, and leave in turn."""
    staying: list[ssl.SSLSocket] = []
    for serial in range(first, first + times):
        plane.run(renewed(serial))
        staying.append(
            visit(plane, f"n{CHAINS - 1 - serial % 2 * 2}.com", 1 + serial, "h2" if serial % 3 else "http/1.1")
        )
        staying.append(visit(plane, "n0.com", 1, "http/1.1"))
        while len(staying) > 6:
            staying.pop(0).close()
    for tls in staying:
        tls.close()
    plane.await_count("http.downstream_cx_active", 0)


@pytest.mark.timeout(300)
def test_six_hundred_renewals_leave_nothing_behind() -> None:
    with Plane(renewed(1)) as plane:
        renewals(plane, 2, 150)  # what is kept for reuse, and holes in the heap, are there by now
        before, open_before = plane.memory(), descriptors(plane)
        renewals(plane, 152, 300)
        middle = plane.memory()
        renewals(plane, 452, 150)
        after = plane.memory()
        print(f"{before >> 10}, {middle >> 10}, {after >> 10} KiB, {open_before} descriptors")
        assert descriptors(plane) == open_before
        assert after - before < 2 << 20  # 450 generations of one context alone would be 6 MB
