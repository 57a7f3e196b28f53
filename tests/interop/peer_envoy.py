"""Envoy: a server for each leg, a client for each, and a sidecar as Istio configures it (`sidecar_listener`)."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.interop.legs import LEGS, Leg, Place
from tests.interop.peers import program, running
from tests.interop.pki import DOMAIN, SERVER, Party

Json = dict[str, Any]
TYPES = "type.googleapis.com/envoy.extensions"
TLS = f"{TYPES}.transport_sockets.tls.v3"
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
ALPN = {"h1": ["http/1.1"], "h2": ["h2"]}


def address(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def typed(name: str, kind: str, **fields: Any) -> Json:
    return {"name": name, "typed_config": {"@type": kind, **fields}}


def certificates(party: Party) -> list[Json]:
    return [{"certificate_chain": {"filename": str(party.chain)}, "private_key": {"filename": str(party.key)}}]


def peers_of(roots: Path, *names: tuple[str, Json]) -> Json:
    """Whom to believe: signed by `roots`, and one of `names` (kind and matcher) when there are some."""
    context: Json = {"trusted_ca": {"filename": str(roots)}}
    if names:
        context["match_typed_subject_alt_names"] = [{"san_type": kind, "matcher": match} for kind, match in names]
    return context


def server_tls(party: Party, alpn: list[str], peers: Json | None = None) -> Json:
    common: Json = {"tls_certificates": certificates(party), "alpn_protocols": alpn}
    if peers:
        common["validation_context"] = peers
    context = {"common_tls_context": common, "require_client_certificate": peers is not None}
    return typed("tls", f"{TLS}.DownstreamTlsContext", **context)


def client_tls(peers: Json, sni: str, alpn: list[str], party: Party | None = None) -> Json:
    common: Json = {"validation_context": peers, "alpn_protocols": alpn}
    if party:
        common["tls_certificates"] = certificates(party)
    return typed("tls", f"{TLS}.UpstreamTlsContext", common_tls_context=common, sni=sni)


def cluster(name: str, port: int, version: str = "h1", tls: Json | None = None) -> Json:
    speaks: Json = {"http_protocol_options": {"enable_trailers": True}}
    if version == "h2":
        speaks = {"http2_protocol_options": {}}
    options = {"@type": f"type.googleapis.com/{OPTIONS}", "explicit_http_config": speaks}
    found = {
        "name": name,
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}],
        },
        "typed_extension_protocol_options": {OPTIONS: options},
    }
    return {**found, "transport_socket": tls} if tls else found


def manager(name: str, target: str, host: str = "", **fields: Any) -> list[Json]:
    """The filters of a chain that sends every request to the cluster `target`."""
    action = {"cluster": target, "timeout": "0s", **({"host_rewrite_literal": host} if host else {})}
    hosts = [{"name": name, "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": action}]}]
    config = {
        "stat_prefix": name,
        "http_protocol_options": {"enable_trailers": True},
        "http2_protocol_options": {"allow_connect": True},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "delayed_close_timeout": "0s",  # else it keeps what it cut open for a second
        "route_config": {"virtual_hosts": hosts},
        "http_filters": [typed("router", f"{TYPES}.filters.http.router.v3.Router")],
        **fields,
    }
    kind = f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return [typed("http", kind, **config)]


def listener(name: str, port: int, *chains: Json, **fields: Any) -> Json:
    return {"name": name, "address": address(port), "filter_chains": list(chains), **fields}


def _out(place: Place, leg: Leg) -> tuple[Json, Json]:
    name, tls = f"envoy-out-{leg.name}", None
    if leg.secured:
        peers = peers_of(place.pki.roots, ("DNS", {"exact": SERVER}))
        tls = client_tls(peers, SERVER, ALPN[leg.version], place.pki.client if leg.secured == "mtls" else None)
    chain = {"filters": manager(name, name, SERVER)}
    return listener(name, place.ports[name], chain), cluster(name, place.ports[leg.gateway], leg.version, tls)


def _in(place: Place, leg: Leg) -> Json:
    name = f"envoy-in-{leg.name}"
    chain: Json = {"filters": manager(name, "origin")}
    if leg.secured:
        peers = peers_of(place.pki.roots) if leg.secured == "mtls" else None
        chain["transport_socket"] = server_tls(place.pki.server, ALPN[leg.version], peers)
    return listener(name, place.ports[name], chain)


def sidecar_listener(name: str, port: int, party: Party, target: str, *, strict: bool = True) -> Json:
    """The inbound side as istiod writes it: mTLS by ALPN and certificate, who it was in x-forwarded-client-cert."""
    fields = {
        "forward_client_cert_details": "APPEND_FORWARD",
        "set_current_client_cert_details": {"subject": True, "dns": True, "uri": True},
    }
    peers = peers_of(party.roots, ("URI", {"prefix": f"spiffe://{DOMAIN}/"}))
    chain = {
        "filter_chain_match": {"transport_protocol": "tls"},
        "transport_socket": server_tls(party, ["h2", "http/1.1"], peers),
        "filters": manager(name, target, **fields),
    }
    plain = {"filter_chain_match": {"transport_protocol": "raw_buffer"}, "filters": manager(name, target, **fields)}
    inspect = typed("tls_inspector", f"{TYPES}.filters.listener.tls_inspector.v3.TlsInspector")
    return listener(name, port, chain, *([] if strict else [plain]), listener_filters=[inspect])


def bootstrap(listeners: list[Json], clusters: list[Json]) -> Json:
    return {
        "stats_config": {"stats_matcher": {"reject_all": True}},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


@contextlib.contextmanager
def started(folder: Path, config: Json) -> Iterator[subprocess.Popen[bytes]]:
    folder.mkdir(parents=True)
    file = folder / "envoy.json"
    file.write_text(json.dumps(config))
    ports = [each["address"]["socket_address"]["port_value"] for each in config["static_resources"]["listeners"]]
    command = [program("envoy"), "-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    with running(command, folder, ports) as child:
        yield child


@contextlib.contextmanager
def envoy(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    out = [_out(place, leg) for leg in LEGS.values()]
    listeners = [each for each, _ in out] + [_in(place, leg) for leg in LEGS.values()]
    clusters = [each for _, each in out] + [cluster("origin", place.origin)]
    with started(place.folder / "envoy", bootstrap(listeners, clusters)) as child:
        yield child
