"""nginx, HAProxy and Envoy before fastmesh and behind it, over every leg."""

from __future__ import annotations

import pytest

from tests.interop.legs import LEGS, Place
from tests.interop.work import carry_bodies, carry_cuts, carry_many, carry_trailers
from tests.running import Proxy

SERVED = tuple(LEGS)
CALLED = ("h1", "h2")
NO_TRAILERS = {"nginx"}  # it drops those of HTTP/1.1 both ways


@pytest.mark.parametrize("leg", LEGS)
class TestAsServer:
    """The peer is fastmesh's client."""

    def test_bodies(self, place: Place, gate: Proxy, peer: str, leg: str) -> None:
        carry_bodies(place.ports[f"{peer}-out-{leg}"])

    def test_many_at_once(self, place: Place, gate: Proxy, peer: str, leg: str) -> None:
        carry_many(place.ports[f"{peer}-out-{leg}"])

    def test_cut_answers(self, place: Place, gate: Proxy, peer: str, leg: str) -> None:
        carry_cuts(place.ports[f"{peer}-out-{leg}"])

    def test_trailers(self, place: Place, gate: Proxy, peer: str, leg: str) -> None:
        if peer in NO_TRAILERS:
            pytest.skip(f"{peer} does not pass trailers on")
        carry_trailers(place.ports[f"{peer}-out-{leg}"])


@pytest.mark.parametrize("leg", LEGS)
class TestAsClient:
    """The peer is fastmesh's upstream."""

    def test_bodies(self, caller: Proxy, peer: str, leg: str) -> None:
        carry_bodies(caller.port, host=f"{peer}-{leg}")

    def test_many_at_once(self, caller: Proxy, peer: str, leg: str) -> None:
        carry_many(caller.port, host=f"{peer}-{leg}")

    def test_cut_answers(self, caller: Proxy, peer: str, leg: str) -> None:
        carry_cuts(caller.port, host=f"{peer}-{leg}")

    def test_trailers(self, caller: Proxy, peer: str, leg: str) -> None:
        if peer in NO_TRAILERS:
            pytest.skip(f"{peer} does not pass trailers on")
        carry_trailers(caller.port, host=f"{peer}-{leg}")
