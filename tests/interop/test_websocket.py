"""The `websockets` package before fastmesh and behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import pytest

from tests.interop.legs import Place
from tests.interop.origin import pattern
from tests.interop.peer_websocket import ClientConnection, client_context, dial, echoing, websockets
from tests.running import Proxy
from tests.traffic import eventually, stats

Dial = Callable[..., AbstractContextManager[ClientConnection]]


@pytest.fixture(scope="module", autouse=True)
def servers(place: Place) -> Iterator[None]:
    with echoing(place.ports["websocket"]), echoing(place.ports["websocket-tls"], place.pki.server):
        yield


@pytest.fixture(params=["plain-plain", "plain-tls", "tls-plain", "mtls-tls"])
def open_one(request: pytest.FixtureRequest, place: Place, gate: Proxy) -> Dial:
    """How the client speaks to fastmesh, and fastmesh to the server."""
    front, _, back = request.param.partition("-")
    host = "ws.example" if back == "plain" else "wss.example"
    context = None if front == "plain" else client_context(place.pki, place.pki.client)
    return lambda **how: dial(place.ports[f"gateway-{front}"], host, context, **how)


def test_messages_of_all_sizes(open_one: Dial) -> None:
    for compression in (None, "deflate"):
        with open_one(compression=compression) as connection:
            for size in (0, 1, 125, 126, 16 << 10, 1 << 20):
                connection.send(pattern(size))
                assert connection.recv(10) == pattern(size), size
                connection.send("ü" * size)
                assert connection.recv(10) == "ü" * size, size
            connection.send([b"in ", b"three ", b"frames"])
            assert connection.recv(10) == b"in three frames"
            assert connection.ping().wait(10)


def test_protocols_are_agreed_on(open_one: Dial) -> None:
    with open_one(subprotocols=["first"]) as connection:
        assert connection.subprotocol == "first"


@pytest.mark.parametrize("who", ["client", "server"])
def test_the_end_is_told_with_its_reason(open_one: Dial, gate: Proxy, who: str) -> None:
    with open_one() as connection:
        if who == "client":
            connection.close(4002, "enough")
            assert (connection.close_code, connection.close_reason) == (4002, "enough")
        else:
            connection.send("close")
            with pytest.raises(websockets.ConnectionClosed) as caught:
                connection.recv(10)
            assert caught.value.rcvd is not None
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4001, "said so")
    eventually(lambda: set(stats(gate, "rq_active").values()) == {0})


def test_many_at_once(open_one: Dial) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(open_one()) for _ in range(30)]
        for number, connection in enumerate(connections):
            connection.send(f"{number}")
        assert [connection.recv(10) for connection in connections] == [f"{number}" for number in range(30)]


def test_a_host_that_is_no_websocket_says_so(place: Place, gate: Proxy) -> None:
    with pytest.raises(websockets.InvalidStatus) as caught, dial(place.ports["gateway-plain"], "app.example"):
        pass
    assert caught.value.response.status_code == 200  # the origin's own answer: it did not switch
