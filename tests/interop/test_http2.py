"""HTTP/2 clients against the gateway: the `h2` package, curl, nghttp, h2load; with prior knowledge and over TLS."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.interop.h2_client import H2Client, context
from tests.interop.legs import Place
from tests.interop.origin import Origin, pattern
from tests.interop.peers import run
from tests.interop.pki import SERVER
from tests.interop.test_tools import check_curl, curl, h2load
from tests.interop.work import SIZES
from tests.running import Proxy
from tests.traffic import eventually, stats

FRONTS = ("plain", "tls", "mtls")
PRIOR = {"plain": ("--http2-prior-knowledge",), "tls": ("--http2",), "mtls": ("--http2",)}


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest, gate: Proxy) -> str:
    return str(request.param)


def dial(place: Place, front: str, **sizes: int) -> H2Client:
    party = place.pki.client if front == "mtls" else None
    tls = None if front == "plain" else context(place.pki, party)
    return H2Client(place.ports[f"gateway-{front}"], tls, SERVER, **sizes)


def own_certificate(place: Place, front: str) -> tuple[str, ...]:
    client = place.pki.client
    return ("--cert", str(client.chain), "--key", str(client.key)) if front == "mtls" else ()


def test_curl(place: Place, front: str) -> None:
    check_curl(place, front, "2", *PRIOR[front], *own_certificate(place, front))


def test_curl_uploads(place: Place, front: str, tmp_path: Path) -> None:
    """curl 7.88 spins when a stream's window is used up (curl issue 10618, with any server): the window that
    we once forgot to open looked like its fault. tests/story/test_http2_pauses.py makes that moment certain."""
    size = 8 << 20
    body = tmp_path / "body"
    body.write_bytes(pattern(size))
    for _ in range(3):
        got = curl(place, front, "/echo", "-m", "20", "-T", str(body), *PRIOR[front], *own_certificate(place, front))
        assert (*got[:2], got[2] == pattern(size)) == ("2", "200", True)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl_in_each_version_of_tls(place: Place, gate: Proxy, version: str) -> None:
    check_curl(place, "tls", "2", "--http2", f"--tlsv{version}", "--tls-max", version)


def test_bodies(place: Place, front: str) -> None:
    with dial(place, front) as client:
        for size in SIZES:
            assert bytes(client.ask(f"/bytes/{size}").body) == pattern(size)
            assert bytes(client.ask(f"/stream/{size}").body) == pattern(size)
            assert bytes(client.ask("/echo", "POST", pattern(size)).body) == pattern(size)
            told = client.ask("/echo", "POST", pattern(size), content_length=str(size))
            assert bytes(told.body) == pattern(size)


def test_small_windows(place: Place, front: str) -> None:
    with dial(place, front, window=1000) as client:
        assert bytes(client.ask("/bytes/200000").body) == pattern(200_000)


def test_trailers(place: Place, front: str) -> None:
    with dial(place, front) as client:
        got = client.ask("/trailers", "POST", b"abc", trailers={"x-check": "42"}, te="trailers")
        assert (got.status, bytes(got.body), got.trailers) == (200, b"abc", {"x-sum": "42"})


def test_a_hundred_streams(place: Place, front: str) -> None:
    with dial(place, front) as client:
        streams = [client.begin(f"/bytes/{number}") for number in range(100)]
        got = [client.finish(stream) for stream in streams]
        assert [bytes(each.body) for each in got] == [pattern(number) for number in range(100)]


def test_cut_answers(place: Place, front: str) -> None:
    with dial(place, front) as client:
        for size in (100, 200_000):
            for _ in range(10):
                answer = client.attempt(f"/cut/{size}")
                assert answer.status in (0, 503) or answer.error == 2, "INTERNAL_ERROR, and the connection goes on"
                assert not (answer.status == 200 and answer.ended)
        assert client.ask("/bytes/1").status == 200


def test_clients_that_reset(place: Place, front: str, gate: Proxy, origin: Origin) -> None:
    with dial(place, front) as client:
        origin.release.clear()
        for stream in [client.begin("/wait") for _ in range(20)]:
            client.reset(stream)
        client.ping()
        assert client.ask("/bytes/1").status == 200
        origin.release.set()
    eventually(lambda: set(stats(gate, "rq_active").values()) == {0})


def test_heads_and_errors_without_bodies(place: Place, front: str) -> None:
    with dial(place, front) as client:
        head = client.ask("/bytes/1000", "HEAD")
        assert (head.status, head.fields.get("content-length"), bytes(head.body)) == (200, "1000", b"")


def test_nghttp(place: Place, front: str, tmp_path: Path) -> None:
    scheme = "http" if front == "plain" else "https"
    url = f"{scheme}://127.0.0.1:{place.ports[f'gateway-{front}']}"
    told = run(["nghttp", "-v", "-n", *own_certificate(place, front), f"{url}/bytes/70000", f"{url}/stream/10"])
    text = re.sub(r"\x1b\[\d*m", "", told.stdout.decode())
    assert text.count(":status: 200") == 2, text
    assert "error_code=NO_ERROR" in text, text
    body = tmp_path / "body"
    body.write_bytes(pattern(100_000))
    mine = own_certificate(place, front)
    echo = run(["nghttp", "-d", str(body), "--trailer", "x-check: 7", *mine, f"{url}/echo"])
    assert echo.stdout == pattern(100_000)


def test_h2load(place: Place, front: str) -> None:
    if front == "mtls":
        pytest.skip("h2load has no certificate of its own")
    assert h2load(place, front, requests=2000) == (2000, 0)
