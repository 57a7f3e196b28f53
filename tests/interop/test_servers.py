"""Servers of others behind fastmesh that are no proxies: nghttpd and openssl s_server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.legs import LEGS, Leg, Place
from tests.interop.meshes import upstream
from tests.interop.origin import pattern
from tests.interop.peers import program, running
from tests.interop.work import SIZES, ask, carry_many, digest
from tests.running import Proxy
from tests.traffic import together

NGHTTPD = ("h2", "h2-tls", "h2-mtls")
S_SERVER = ("h1-tls", "h1-mtls")


@pytest.fixture(scope="module")
def files(place: Place) -> Path:
    folder = place.folder / "files"
    folder.mkdir()
    for size in SIZES:
        (folder / f"{size}").write_bytes(pattern(size))
    return folder


def nghttpd(place: Place, files: Path, leg: Leg, *flags: str) -> list[str | Path]:
    party, port = place.pki.server, place.ports[f"nghttpd-in-{leg.name}"]
    command: list[str | Path] = [program("nghttpd"), "-a", "127.0.0.1", "-d", files, *flags]
    if not leg.secured:
        return [*command, "--no-tls", f"{port}"]
    if leg.secured == "mtls":
        command.append("--verify-client")
    return [*command, f"{port}", party.key, party.chain]


def s_server(place: Place, leg: Leg) -> list[str | Path]:
    party, port = place.pki.server, place.ports[f"s_server-in-{leg.name}"]
    command: list[str | Path] = [program("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-WWW", "-quiet"]
    command += ["-cert", party.chain, "-key", party.key, "-alpn", "http/1.1"]
    if leg.secured == "mtls":
        command += ["-Verify", "1", "-verify_return_error", "-CAfile", party.roots]
    return command


@pytest.fixture(scope="module")
def static(place: Place, files: Path) -> Iterator[Proxy]:
    """fastmesh in front of both."""
    yaml = "".join(upstream(place, f"nghttpd-{leg}", LEGS[leg], place.ports[f"nghttpd-in-{leg}"]) for leg in NGHTTPD)
    yaml += "".join(
        upstream(place, f"s-server-{leg}", LEGS[leg], place.ports[f"s_server-in-{leg}"]) for leg in S_SERVER
    )
    folder = place.folder / "static"
    folder.mkdir()
    with Proxy(folder, yaml) as proxy:
        yield proxy


@pytest.mark.parametrize("leg", NGHTTPD)
def test_nghttpd(place: Place, files: Path, static: Proxy, leg: str, tmp_path: Path) -> None:
    port = place.ports[f"nghttpd-in-{leg}"]
    command = nghttpd(place, files, LEGS[leg], "--echo-upload")
    with running(command, tmp_path, [port], SSL_CERT_FILE=str(place.pki.roots)):
        host = f"nghttpd-{leg}"
        for size in SIZES:
            got = ask(static.port, f"/{size}", host=host)
            assert (got.status, digest(got.body)) == (200, digest(pattern(size))), size
            got = ask(static.port, "/echo", "POST", pattern(size), host=host)
            assert (got.status, digest(got.body)) == (200, digest(pattern(size))), f"echo {size}"
        assert ask(static.port, "/none", host=host).status == 404
        carry_many(static.port, host=host)


@pytest.mark.parametrize("leg", S_SERVER)
def test_s_server(place: Place, files: Path, static: Proxy, leg: str) -> None:
    """It answers in HTTP/1.0 and ends each answer with the connection."""
    port = place.ports[f"s_server-in-{leg}"]
    with running(s_server(place, LEGS[leg]), files, [port]):
        host = f"s-server-{leg}"
        for size in SIZES:
            got = ask(static.port, f"/{size}", host=host)
            assert (got.status, digest(got.body)) == (200, digest(pattern(size))), size
        answers = together([lambda: ask(static.port, "/16384", host=host)] * 10)
        assert {digest(answer.body) for answer in answers} == {digest(pattern(16384))}
