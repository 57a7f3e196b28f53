"""One of each peer for the whole session: an Envoy costs a second to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.legs import PROXIES, Place
from tests.interop.meshes import gateway, upstreams
from tests.interop.origin import Origin
from tests.interop.peer_envoy import envoy
from tests.interop.peer_haproxy import haproxy
from tests.interop.peer_nginx import nginx
from tests.interop.peers import Ports
from tests.interop.pki import Authority
from tests.running import Proxy

STARTERS = {"nginx": nginx, "haproxy": haproxy, "envoy": envoy}


@pytest.fixture(scope="session")
def origin() -> Iterator[Origin]:
    with Origin() as server:
        yield server
        assert not server.errors, server.errors


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, origin: Origin) -> Place:
    folder = tmp_path_factory.mktemp("interop")
    return Place(folder, Ports(), Authority(folder / "pki"), origin.port)


@pytest.fixture(scope="session", params=PROXIES)
def peer(request: pytest.FixtureRequest, place: Place) -> Iterator[str]:
    """The name of a proxy of others that runs, each in turn."""
    with STARTERS[request.param](place):
        yield request.param


@pytest.fixture(scope="session")
def gate(place: Place) -> Iterator[Proxy]:
    """fastmesh as the server of every leg."""
    with gateway(place, place.folder / "gateway", ("plain", "tls", "mtls")) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def caller(place: Place) -> Iterator[Proxy]:
    """fastmesh as the client of every leg of every peer: `PEER-LEG` is the host to ask for."""
    folder = place.folder / "caller"
    folder.mkdir()
    with Proxy(folder, "".join(upstreams(place, name) for name in PROXIES)) as proxy:
        yield proxy
