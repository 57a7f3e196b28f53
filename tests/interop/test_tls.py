"""TLS as others see it: openssl s_client and curl against the gateway; what is refused, and how."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.interop.legs import Place
from tests.interop.peers import program, run
from tests.interop.pki import SERVER, Party
from tests.interop.test_tools import check_curl, curl
from tests.running import Proxy


def s_client(place: Place, front: str, *flags: str, name: str = SERVER) -> str:
    """What it says of a connection over which it asks for one byte."""
    where = ["-connect", f"127.0.0.1:{place.ports[f'gateway-{front}']}", "-servername", name]
    trust = ["-CAfile", str(place.pki.roots), "-verify_return_error"]
    asked = f"GET /bytes/1 HTTP/1.1\r\nHost: {SERVER}\r\nConnection: close\r\n\r\n".encode()
    told = run(["openssl", "s_client", *where, *trust, "-ign_eof", *flags], asked)
    return (told.stdout + told.stderr).decode(errors="replace")


def own(party: Party) -> tuple[str, ...]:
    return ("-cert", str(party.chain), "-key", str(party.key))


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl_in_each_version(place: Place, gate: Proxy, version: str) -> None:
    check_curl(place, "tls", "1.1", "--http1.1", f"--tlsv{version}", "--tls-max", version)


@pytest.mark.parametrize("version", ["1_2", "1_3"])
def test_versions_and_the_chain(place: Place, gate: Proxy, version: str) -> None:
    told = s_client(place, "tls", f"-tls{version}")
    assert f"New, TLSv{version.replace('_', '.')}" in told, told
    assert "Verify return code: 0 (ok)" in told, told
    assert "HTTP/1.1 200 OK" in told, told
    assert "Secure Renegotiation IS supported" in told or version == "1_3", told
    assert "Compression: NONE" in told or version == "1_3", told


@pytest.mark.parametrize("version", ["1", "1_1"])
def test_old_versions_are_refused(place: Place, gate: Proxy, version: str) -> None:
    told = s_client(place, "tls", f"-tls{version}", "-cipher", "DEFAULT@SECLEVEL=0")
    assert "alert protocol version" in told, told
    assert "HTTP/1.1" not in told, told


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [("h2,http/1.1", "h2"), ("http/1.1,h2", "h2"), ("http/1.1", "http/1.1"), ("h2", "h2")],
)
def test_alpn(place: Place, gate: Proxy, offered: str, chosen: str) -> None:
    assert f"ALPN protocol: {chosen}" in s_client(place, "tls", "-alpn", offered)


def test_no_alpn_is_http1(place: Place, gate: Proxy) -> None:
    told = s_client(place, "tls")
    assert "No ALPN negotiated" in told, told
    assert "HTTP/1.1 200 OK" in told, told


@pytest.mark.parametrize("front", ["tls", "mtls"])
@pytest.mark.parametrize("version", ["1_2", "1_3"])
def test_sessions_are_resumed(place: Place, gate: Proxy, tmp_path: Path, front: str, version: str) -> None:
    session, party = str(tmp_path / "session"), own(place.pki.client)
    first = s_client(place, front, f"-tls{version}", *party, "-sess_out", session)
    assert "New, TLS" in first, first
    for _ in range(4):  # whichever worker takes it
        again = s_client(place, front, f"-tls{version}", *party, "-sess_in", session)
        assert "Reused, TLS" in again, again
        assert "HTTP/1.1 200 OK" in again, again


def test_a_session_of_another_door_is_not_resumed(place: Place, gate: Proxy, tmp_path: Path) -> None:
    """A ticket from where nobody asked for a certificate opens nothing where one is demanded."""
    session = str(tmp_path / "session")
    s_client(place, "tls", "-sess_out", session)
    told = s_client(place, "mtls", "-sess_in", session)
    assert "Reused" not in told, told
    assert "HTTP/1.1 200" not in told, told


class TestClientCertificates:
    def test_a_good_one(self, place: Place, gate: Proxy) -> None:
        assert "HTTP/1.1 200 OK" in s_client(place, "mtls", *own(place.pki.client))
        client = place.pki.client
        flags = ("--http1.1", "--cert", str(client.chain), "--key", str(client.key))
        check_curl(place, "mtls", "1.1", *flags)

    @pytest.mark.parametrize("version", ["1_2", "1_3"])
    @pytest.mark.parametrize("whose", ["none", "stranger"])
    def test_none_and_a_strangers(self, place: Place, gate: Proxy, version: str, whose: str) -> None:
        flags = own(place.pki.stranger) if whose == "stranger" else ()
        told = s_client(place, "mtls", f"-tls{version}", *flags)
        assert "HTTP/1.1" not in told, told
        assert re.search(
            r"alert (unknown ca|decrypt error|certificate required|handshake failure|bad certificate)", told
        ), told


def test_plaintext_to_a_tls_port_is_no_request(place: Place, gate: Proxy) -> None:
    told = run(["curl", "-sS", "-m", "5", f"http://127.0.0.1:{place.ports['gateway-tls']}/"])
    assert told.stdout == b""
    assert told.returncode in (52, 56, 1), told


def test_tls_to_a_plaintext_port(place: Place, gate: Proxy) -> None:
    told = run(["curl", "-sSk", "-m", "5", f"https://127.0.0.1:{place.ports['gateway-plain']}/"])
    assert told.returncode == 35, told


def test_python_reads_the_end_of_tls(place: Place, gate: Proxy) -> None:
    """An answer that ends with the connection comes with close_notify: without, it could have been cut."""
    context = ssl.create_default_context(cafile=str(place.pki.roots))
    with (
        socket.create_connection(("127.0.0.1", place.ports["gateway-tls"]), 10) as raw,
        context.wrap_socket(raw, server_hostname=SERVER, suppress_ragged_eofs=False) as secured,
    ):
        secured.sendall(b"GET /stream/100000 HTTP/1.0\r\nHost: app.example\r\n\r\n")
        data = b""
        while piece := secured.recv(65536):
            data += piece
        assert len(data.partition(b"\r\n\r\n")[2]) == 100_000


def test_sslscan_finds_nothing(place: Place, gate: Proxy) -> None:
    where = f"127.0.0.1:{place.ports['gateway-tls']}"
    told = subprocess.run(
        [program("sslscan"), "--no-colour", f"--sni-name={SERVER}", where], capture_output=True, text=True, timeout=60
    ).stdout
    for version in ("SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"):
        assert re.search(rf"{re.escape(version)}\s+disabled", told), told
    for version in ("TLSv1.2", "TLSv1.3"):
        assert re.search(rf"{re.escape(version)}\s+enabled", told), told
    for line in ("does not support TLS Fallback|supports TLS Fallback SCSV", "Session renegotiation not supported",
                 "(Compression disabled|does not support compression)", "not vulnerable to heartbleed"):  # fmt: skip
        assert re.search(line, told), (line, told)
    offered = re.findall(r"(?:Accepted|Preferred)\s+TLSv1\.\d\s+(\d+) bits\s+(\S+)", told)
    assert offered
    weak = [name for bits, name in offered if int(bits) < 128 or re.search("RC4|3DES|NULL|EXP|CBC|SHA$|^AES", name)]
    assert weak == [], told
    assert curl(place, "tls", "/bytes/1", "--http1.1")[1] == "200"
