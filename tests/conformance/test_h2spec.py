"""h2spec, strict, and the byte streams that were recorded of it with the verdicts of libnghttp2."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.corpora import corpus, decoded
from tests.http2 import GOAWAY, RST_STREAM, Http2
from tests.interop.pki import Authority
from tests.ports import free_port
from tests.running import Proxy
from tests.traffic import Replica, replicas_of, thing, virtual_service


def gateway(folder: Path) -> str:
    """Everything to `app`, on a port for plaintext and on one for TLS."""
    party = Authority(folder).server
    tls = {"mode": "SIMPLE", "serverCertificate": str(party.chain), "privateKey": str(party.key)}
    servers = [
        {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]},
        {"port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["*"], "tls": tls},
    ]
    route = {"route": [{"destination": {"host": "app"}}]}
    gate = thing("Gateway", "front", {"selector": {}, "servers": servers})
    return gate + virtual_service("all", route, hosts=["*"], gateways=["front"])


# A plaintext port speaks both versions: what is neither is answered as HTTP/1.1 has to, 400 and closed.
NOT_ON_PLAINTEXT = {"Sends invalid connection preface"}

# id -> why the answer is another one than libnghttp2's
DIFFERENT = {
    "h2spec/1e27187b10c0": "the 101st stream: REFUSED_STREAM (RFC 9113 5.1.2), which is safe to repeat",
    "h2spec/efc0f664cf2e": "a stream id that goes back: PROTOCOL_ERROR (RFC 9113 5.1.1)",
}


class Gate(NamedTuple):
    plain: int
    secure: int


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    folder = tmp_path_factory.mktemp("h2spec")
    made = Gate(free_port(), free_port())
    flags = ("--role", "gateway", "--bind", "127.0.0.1", "--map", f"80={made.plain}", "--map", f"443={made.secure}")
    with (
        Replica("app") as app,
        Proxy(folder, replicas_of("app", app.port) + gateway(folder), *flags, role="gateway"),
    ):
        yield made


@pytest.mark.parametrize("secure", [False, True], ids=["plaintext", "TLS"])
def test_h2spec(gate: Gate, tmp_path: Path, secure: bool) -> None:
    program = shutil.which("h2spec") or shutil.which("h2spec", path=Path.home() / "go/bin")
    if program is None:
        pytest.skip("no h2spec (go install github.com/summerwind/h2spec/cmd/h2spec@af83a65f)")
    where = ["-t", "-k", "-p", str(gate.secure)] if secure else ["-p", str(gate.plain)]
    told = subprocess.run(
        [program, "--strict", "--host", "127.0.0.1", *where, "-j", str(tmp_path / "told.xml")],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    cases = list(ElementTree.parse(tmp_path / "told.xml").iter("testcase"))
    bad = {case.get("classname", "") for case in cases if {"failure", "error"} & {part.tag for part in case}}
    assert len(cases) == 147, told.stdout
    assert bad == (set() if secure else NOT_ON_PLAINTEXT), told.stdout


def answered(port: int, raw: bytes, patience: float) -> tuple[str, str]:
    """Send at once, then read: connection_error, stream_error or ok, and the code."""
    with Http2(port, greet=False, timeout=patience) as client:
        client.send(raw)
        verdict = "ok", ""
        with contextlib.suppress(TimeoutError):
            while (got := client.read()) is not None:
                if got.kind == GOAWAY and got.code != "NO_ERROR":
                    return "connection_error", got.code
                if got.kind == RST_STREAM and got.code != "NO_ERROR":
                    return "stream_error", got.code
        return verdict


@pytest.mark.parametrize("case", corpus("h2/h2spec-recorded.json"), ids=lambda case: case["id"])
def test_recorded(gate: Gate, case: dict[str, Any]) -> None:
    raw = decoded(case["bytes_b64"])
    if not raw.startswith(b"PRI"):
        with socket.create_connection(("127.0.0.1", gate.plain), 10) as client:
            client.sendall(raw)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(12) == b"HTTP/1.1 400"
        return
    wanted = case["nghttp2"]["verdict"]
    different = case["id"] in DIFFERENT
    verdict, code = answered(gate.plain, raw, 0.1 if wanted == "ok" and not different else 2)
    assert verdict == wanted or (different and verdict != "ok"), code
    with Http2(gate.plain) as client:
        assert client.ask().status == 200
