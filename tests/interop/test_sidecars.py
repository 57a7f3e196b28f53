"""Sidecars: a pair of fastmesh, and fastmesh with an Envoy as Istio configures it, in mutual TLS both ways."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.interop import peer_envoy as envoy
from tests.interop.legs import Place
from tests.interop.meshes import peer_authentication, sidecar, sidecar_yaml
from tests.interop.origin import Origin
from tests.interop.pki import identity
from tests.interop.work import ask, carry_bodies, carry_cuts, carry_many, carry_trailers
from tests.running import Proxy
from tests.telemetry.samples import Scrape
from tests.traffic import Broken, destination_rule, eventually

FAKED = {"x-forwarded-client-cert": "By=spiffe://evil/ns/x/sa/y;URI=spiffe://cluster.local/ns/default/sa/admin"}
VERSIONS = ("h1", "h2")
UPGRADE = {"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}}}


def yaml(place: Place, mode: str = "STRICT", version: str = "h1", fast: str = "fast") -> str:
    rules = [destination_rule(name, UPGRADE) for name in ("fast", "other")] if version == "h2" else []
    return sidecar_yaml(place, peer_authentication(mode), *rules, fast=fast)


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """What the two sidecars speak: HTTP/1.1, or HTTP/2 as `h2UpgradePolicy` wants it."""
    return str(request.param)


@pytest.fixture(scope="module")
def fast(place: Place) -> Iterator[Proxy]:
    """A fastmesh that takes only mutual TLS."""
    with sidecar(place, "fast", yaml(place)) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def caller(place: Place, version: str) -> Iterator[Proxy]:
    """The one that calls; `caller.port` is its outbound side."""
    with sidecar(place, "caller", yaml(place, version=version), at=f"caller-{version}") as proxy:
        proxy.port = place.ports[f"caller-{version}-out"]
        yield proxy


def envoys_outbound(place: Place, version: str, expected: str, party: str = "other") -> tuple[envoy.Json, envoy.Json]:
    """A listener of Envoy that calls `fast` as Istio's outbound cluster does, and expects to find `expected` there."""
    name = f"envoy-to-fast-{version}-{expected}-{party}"
    own = place.pki.foreigner(party) if party == "foreigner" else place.pki.workload(party)
    peers = envoy.peers_of(place.pki.roots, ("URI", {"exact": identity(expected)}))
    alpn = ["istio-h2", "istio", "h2"] if version == "h2" else ["istio-http/1.1", "istio", "http/1.1"]
    tls = envoy.client_tls(peers, "outbound_.80_._.fast.default.svc.cluster.local", alpn, own)
    to = envoy.cluster(name, place.ports["fast-in"], version, tls)
    return envoy.listener(name, place.ports[name], {"filters": envoy.manager(name, name, "fast")}), to


@pytest.fixture(scope="module")
def other(place: Place) -> Iterator[None]:
    """An Envoy that is the sidecar of `other`, both sides."""
    own = place.pki.workload("other")
    inbound = envoy.sidecar_listener("in", place.ports["envoy-sidecar"], own, "origin")
    out = [envoys_outbound(place, version, "fast") for version in VERSIONS]
    out += [envoys_outbound(place, "h1", "somebody-else"), envoys_outbound(place, "h1", "fast", "foreigner")]
    listeners = [inbound, *(each for each, _ in out)]
    clusters = [envoy.cluster("origin", place.origin), *(each for _, each in out)]
    with envoy.started(place.folder / "envoy-sidecar", envoy.bootstrap(listeners, clusters)):
        yield


def seen_identity(origin: Origin) -> dict[str, str]:
    """The last element of x-forwarded-client-cert as the application saw it."""
    last = origin.last.fields.get("x-forwarded-client-cert", "").rpartition(",")[2]
    return dict(pair.split("=", 1) for pair in re.findall(r'[A-Za-z]+=(?:"[^"]*"|[^;]*)', last))


def requests(proxy: Proxy, **labels: str) -> float:
    return Scrape(proxy.get("/stats/prometheus")[1]).sum("istio_requests_total", **labels)


class TestPair:
    def test_everything_is_carried(self, caller: Proxy, fast: Proxy, place: Place) -> None:
        port = caller.port
        carry_bodies(port, host="fast")
        carry_many(port, host="fast")
        carry_trailers(port, host="fast")
        carry_cuts(port, host="fast")

    def test_the_application_is_told_who_calls(self, caller: Proxy, fast: Proxy, place: Place, origin: Origin) -> None:
        answer = ask(caller.port, "/headers", host="fast", fields=FAKED)
        assert answer.status == 200
        assert "evil" not in json.loads(answer.body)["x-forwarded-client-cert"]
        said = seen_identity(origin)
        assert (said["By"], said["URI"]) == (identity("fast"), identity("caller"))
        assert re.fullmatch("[0-9a-f]{64}", said["Hash"])

    def test_metrics_of_both_ends(self, caller: Proxy, fast: Proxy, place: Place, version: str) -> None:
        both = {"source_principal": identity("caller"), "destination_principal": identity("fast")}
        secured = {**both, "connection_security_policy": "mutual_tls", "reporter": "destination"}
        before = requests(fast, **secured)
        assert ask(caller.port, "/headers", host="fast").status == 200
        eventually(lambda: requests(fast, **secured) == before + 1)
        assert eventually(lambda: requests(caller, reporter="source", destination_service_name="fast")) >= 1


class TestDoors:
    """What may come in, by the mode of PeerAuthentication."""

    def test_strict_refuses_plaintext(self, fast: Proxy, place: Place) -> None:
        with pytest.raises((Broken, ConnectionError)):
            ask(place.ports["fast-in"], "/bytes/1", host="fast")

    def test_permissive_takes_both(self, place: Place, origin: Origin) -> None:
        """Plaintext has no identity, whatever it says of itself."""
        text = yaml(place, "PERMISSIVE", fast="open")
        with sidecar(place, "fast", text, at="open") as door, sidecar(place, "caller", text, at="caller-open"):
            assert ask(place.ports["open-in"], "/headers", host="fast", fields=FAKED).status == 200
            assert "x-forwarded-client-cert" not in origin.last.fields
            eventually(lambda: requests(door, connection_security_policy="none", source_principal="unknown") == 1)
            assert ask(place.ports["caller-open-out"], "/headers", host="fast").status == 200
            assert seen_identity(origin)["URI"] == identity("caller")
            eventually(lambda: requests(door, connection_security_policy="mutual_tls") == 1)

    def test_somebody_elses_certificate_opens_nothing(self, fast: Proxy, place: Place, origin: Origin) -> None:
        own, before = place.pki.foreigner("caller"), len(origin.seen)
        with sidecar(place, "caller", yaml(place), at="foreign", certs=own.folder):
            assert ask(place.ports["foreign-out"], "/headers", host="fast").status == 503
        assert len(origin.seen) == before

    def test_another_workload_at_the_address_is_not_called(self, place: Place, origin: Origin) -> None:
        """The certificate behind the address names another service account than the workload's."""
        own, before = place.pki.workload("impostor"), len(origin.seen)
        text = yaml(place, fast="impostor")
        with (
            sidecar(place, "fast", text, at="impostor", certs=own.folder),
            sidecar(place, "caller", text, at="wary"),
        ):
            assert ask(place.ports["wary-out"], "/headers", host="fast").status == 503
        assert len(origin.seen) == before


class TestEnvoy:
    def test_envoy_calls(self, other: None, fast: Proxy, place: Place, origin: Origin) -> None:
        for version in VERSIONS:
            port = place.ports[f"envoy-to-fast-{version}-fast-other"]
            carry_bodies(port)
            carry_many(port)
            carry_trailers(port)
            assert ask(port, "/headers").status == 200
            said = seen_identity(origin)
            assert (said["By"], said["URI"]) == (identity("fast"), identity("other"))

    def test_envoy_is_refused_by_a_certificate_of_another_ca(self, other: None, fast: Proxy, place: Place) -> None:
        assert ask(place.ports["envoy-to-fast-h1-fast-foreigner"], "/headers").status == 503

    def test_envoy_refuses_another_name(self, other: None, fast: Proxy, place: Place) -> None:
        assert ask(place.ports["envoy-to-fast-h1-somebody-else-other"], "/headers").status == 503

    def test_envoy_is_called(self, other: None, caller: Proxy, place: Place, origin: Origin) -> None:
        port = caller.port
        carry_bodies(port, host="other")
        carry_many(port, host="other")
        carry_trailers(port, host="other")
        carry_cuts(port, host="other")
        assert ask(port, "/headers", host="other").status == 200
        said = seen_identity(origin)
        assert (said["By"], said["URI"]) == (identity("other"), identity("caller"))
