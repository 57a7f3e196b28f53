"""SIGTERM while requests of every kind are under way: none fails, and the proxy ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.interop.h2_client import H2Client, context
from tests.interop.legs import Place
from tests.interop.meshes import gateway
from tests.interop.origin import Origin
from tests.interop.peer_grpc import calling, serving
from tests.interop.peer_websocket import client_context, dial, echoing
from tests.interop.peers import Ports
from tests.interop.pki import Authority
from tests.interop.work import ask
from tests.traffic import eventually, stats

EACH = 10


@pytest.fixture
def here(tmp_path: Path) -> Iterator[tuple[Place, Origin]]:
    """A place of its own: its gateway is going to end."""
    with Origin() as origin:
        place = Place(tmp_path, Ports(), Authority(tmp_path / "pki"), origin.port)
        tls = place.pki.server
        with serving(place.ports["grpc"], place.ports["grpc-tls"], tls), echoing(place.ports["websocket"]):
            yield place, origin


def test_a_drain_fails_nobody(here: tuple[Place, Origin]) -> None:
    place, origin = here
    port, hold = place.ports["gateway-tls"], threading.Event()

    def questions() -> Iterator[bytes]:
        yield b"first"
        assert hold.wait(20)
        yield b"last"

    with (
        gateway(place, place.folder / "gateway", ("plain", "tls")) as gate,
        ThreadPoolExecutor(EACH) as pool,
        H2Client(port, context(place.pki)) as h2,
        calling(port, "grpc.example", place.pki.client, "app.example") as calls,
        dial(port, "ws.example", client_context(place.pki)) as socket,
    ):
        over_h1 = [pool.submit(ask, place.ports["gateway-plain"], "/wait") for _ in range(EACH)]
        over_h2 = [h2.begin("/wait") for _ in range(EACH)]
        talk = calls.talk(questions(), timeout=20)
        assert next(talk) == b"first"
        active = "http.downstream_rq_active"
        eventually(lambda: stats(gate, active)[active] >= 2 * EACH + 1)
        gate.process.send_signal(signal.SIGTERM)
        while h2.goaway is None:
            h2.take()
        assert h2.goaway == 0
        socket.send("still here")
        assert socket.recv(10) == "still here"
        origin.release.set()
        hold.set()
        assert [future.result(20).status for future in over_h1] == [200] * EACH
        assert [h2.finish(stream).status for stream in over_h2] == [200] * EACH
        assert list(talk) == [b"last"]
        socket.close()
        h2.close()
        assert gate.process.wait(20) == 0
