"""grpcio before fastmesh and behind it: all kinds of calls, errors with their trailers, deadlines, cancelling."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.interop.legs import Place
from tests.interop.origin import pattern
from tests.interop.peer_grpc import Calls, Servicer, calling, grpc, serving
from tests.running import Proxy
from tests.traffic import eventually, stats

PATIENCE = 20


@pytest.fixture(scope="module")
def servicer(place: Place) -> Iterator[Servicer]:
    """The server of gRPC, in plaintext and in TLS."""
    with serving(place.ports["grpc"], place.ports["grpc-tls"], place.pki.server) as made:
        yield made


@pytest.fixture(scope="module", params=["plain-plain", "plain-tls", "tls-plain", "mtls-tls"])
def road(request: pytest.FixtureRequest) -> str:
    """How the client speaks to fastmesh, and fastmesh to the server."""
    return str(request.param)


@pytest.fixture(scope="module")
def calls(road: str, place: Place, gate: Proxy, servicer: Servicer) -> Iterator[Calls]:
    front, _, back = road.partition("-")
    host = "grpc.example" if back == "plain" else "grpcs.example"
    party = None if front == "plain" else place.pki.client
    with calling(place.ports[f"gateway-{front}"], host, party, "app.example") as made:
        yield made


def test_unary(calls: Calls, servicer: Servicer) -> None:
    for size in (0, 1, 16 << 10, 1 << 20):
        got, call = calls.echo.with_call(pattern(size), timeout=PATIENCE, metadata=(("x-mine", "yes"),))
        assert got == pattern(size)
        assert ("x-first", "1") in call.initial_metadata()
        assert {("x-last", "2"), ("x-last-bin", b"\x00\xff")} <= set(call.trailing_metadata())
        assert servicer.metadata["x-mine"] == "yes"


def test_many_answers(calls: Calls) -> None:
    got = list(calls.many(b"200 5000", timeout=PATIENCE))
    assert got == [b"%d " % number + bytes(5000) for number in range(200)]
    assert list(calls.many(b"0 0", timeout=PATIENCE)) == []


def test_many_questions(calls: Calls) -> None:
    assert calls.count(iter([bytes(7000)] * 200), timeout=PATIENCE) == b"1400000"
    assert calls.count(iter([]), timeout=PATIENCE) == b"0"


def test_talk(calls: Calls) -> None:
    """Each question waits for the answer to the one before: nothing is held back."""
    heard = threading.Semaphore(1)

    def questions() -> Iterator[bytes]:
        for number in range(100):
            assert heard.acquire(timeout=PATIENCE)
            yield b"%d" % number

    for number, reply in enumerate(calls.talk(questions(), timeout=PATIENCE)):
        assert reply == b"%d" % number
        heard.release()


def test_errors_come_with_their_trailers(calls: Calls) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        calls.fail(b"", timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == "not today: 100 % über"
    assert ("x-why", "tested") in caught.value.trailing_metadata()
    with pytest.raises(grpc.RpcError) as caught:
        calls.nothing(b"", timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_deadlines_and_cancelling_reach_the_server(calls: Calls, servicer: Servicer) -> None:
    for how in ("deadline", "cancel"):
        servicer.arrived.clear()
        servicer.left.clear()
        waiting = calls.sleep.future(b"", timeout=1 if how == "deadline" else PATIENCE)
        assert servicer.arrived.wait(PATIENCE)
        if how == "cancel":
            waiting.cancel()
        else:
            assert waiting.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert servicer.left.wait(PATIENCE)


def test_many_at_once(calls: Calls, gate: Proxy) -> None:
    made = [calls.echo.future(b"%d" % number, timeout=PATIENCE) for number in range(200)]
    assert [call.result() for call in made] == [b"%d" % number for number in range(200)]
    eventually(lambda: set(stats(gate, "rq_active").values()) == {0})
