"""Command line clients against the gateway."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from tests.interop.legs import Place
from tests.interop.origin import Origin, pattern
from tests.interop.peers import run
from tests.interop.pki import SERVER
from tests.interop.work import SIZES
from tests.running import Proxy


def curl(place: Place, port: str, path: str, *flags: str, given: bytes = b"") -> tuple[str, str, bytes]:
    """Version, status and body. By name, so that SNI and Host say who is asked."""
    scheme = "http" if port == "plain" else "https"
    number = place.ports[f"gateway-{port}"]
    where = ("--connect-to", f"::127.0.0.1:{number}", "--cacert", str(place.pki.roots))
    told = run(
        ["curl", "-sS", *where, "-w", "%{stderr}%{http_version} %{http_code}", *flags, f"{scheme}://{SERVER}{path}"],
        given,
    )
    version, _, status = told.stderr.decode().strip().rpartition("\n")[2].partition(" ")
    return version, status, told.stdout


def check_curl(place: Place, port: str, version: str, *flags: str) -> None:
    for size in SIZES:
        wanted = pattern(size)
        got = curl(place, port, f"/bytes/{size}", *flags)
        assert (*got[:2], hashlib.sha256(got[2]).digest()) == (version, "200", hashlib.sha256(wanted).digest()), size
        got = curl(place, port, "/echo", "--data-binary", "@-", *flags, given=wanted)
        assert (*got[:2], got[2] == wanted) == (version, "200", True), f"echo {size}"


class TestHttp1:
    def test_curl(self, place: Place, gate: Proxy) -> None:
        check_curl(place, "plain", "1.1", "--http1.1")

    def test_curl_of_another_time(self, place: Place, gate: Proxy) -> None:
        assert curl(place, "plain", "/bytes/1000", "--http1.0") == ("1.1", "200", pattern(1000))

    def test_curl_asks_before_it_sends(self, place: Place, gate: Proxy, origin: Origin, tmp_path: Path) -> None:
        body = tmp_path / "body"
        body.write_bytes(pattern(2 << 20))
        got = curl(place, "plain", "/echo", "--http1.1", "-T", str(body), "-X", "POST", "-H", "Expect: 100-continue")
        assert got[:2] == ("1.1", "200")
        assert got[2] == pattern(2 << 20)

    def test_h2load(self, place: Place, gate: Proxy) -> None:
        assert h2load(place, "plain", "--h1") == (400, 0)


def h2load(place: Place, port: str, *flags: str, requests: int = 400) -> tuple[int, int]:
    """Requests that succeeded, and that failed in any way."""
    scheme = "http" if port == "plain" else "https"
    url = f"{scheme}://127.0.0.1:{place.ports[f'gateway-{port}']}/bytes/1000"
    told = run(["h2load", "-n", str(requests), "-c", "4", "-m", "10", *flags, url]).stdout.decode()
    numbers = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", told)
    assert numbers, told
    good, *bad = map(int, numbers.groups())
    return good, sum(bad)
