"""Envoy at its best: one worker, no statistics, no timers, no request id, no headers of its own."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

from . import install
from .certificates import Pem, spiffe
from .peers import Peer, Setup

LOG_FORMAT = {
    "start_time": "%START_TIME%",
    "route_name": "%ROUTE_NAME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
}
BUFFER = 4 << 20  # bytes under way on a connection: large bodies cost less than with the default of 1 MiB
# A pair of sidecars speaks HTTP/2: HTTP/1.1 costs it a fifth more. Windows and streams make no difference.
H2_OPTIONS = {
    "max_concurrent_streams": 1024,
    "initial_stream_window_size": 1 << 20,
    "initial_connection_window_size": 1 << 26,
}
UPSTREAM = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
TYPES = "type.googleapis.com/envoy.extensions"


class Envoy(Peer):
    name = "envoy"

    def missing(self) -> str | None:
        return install.envoy()

    def version(self) -> str:
        said = subprocess.run([str(install.ENVOY), "--version"], capture_output=True, text=True).stdout
        found = re.search(r"/(\d+\.\d+\.\d+)/", said)
        return found[1] if found else "unknown"

    def command(self, setup: Setup) -> list[str]:
        config = setup.folder / "envoy.json"
        config.write_text(json.dumps(_bootstrap(setup)))
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        return [str(install.ENVOY), "-c", str(config), *options]


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _bootstrap(setup: Setup) -> dict[str, Any]:
    return {
        "stats_config": {"stats_matcher": {"reject_all": True}},
        "static_resources": {"listeners": [_listener(setup)], "clusters": [_cluster(setup)]},
    }


def _cluster(setup: Setup) -> dict[str, Any]:
    """`app`, or the inbound side of a pair of sidecars."""
    endpoint = {"endpoint": {"address": _address(setup.upstream)}}
    most = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
    extra: dict[str, Any] = {}
    if setup.side == "outbound" and setup.workload:
        extra["transport_socket"] = _originates(setup.workload)
    if setup.app != "h1" or setup.side == "outbound":
        extra["typed_extension_protocol_options"] = {UPSTREAM: _upstream_h2()}
    return extra | {
        "name": "app",
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_policy": "ROUND_ROBIN",
        "per_connection_buffer_limit_bytes": BUFFER,
        "circuit_breakers": {"thresholds": [most]},
        "load_assignment": {"cluster_name": "app", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _listener(setup: Setup) -> dict[str, Any]:
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "codec_type": "HTTP2" if setup.clients == "h2" or setup.side == "inbound" else "HTTP1",
        "http2_protocol_options": H2_OPTIONS,
        "generate_request_id": setup.log,
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": "0s",
        "common_http_protocol_options": {"idle_timeout": "0s"},
        "route_config": {"name": "routes", "virtual_hosts": _hosts(setup)},
        "http_filters": [_router()],
        "access_log": _log(setup),
    }
    if setup.raw:
        passed = {"@type": f"{TYPES}.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "in", "cluster": "app"}
        chain = {"filters": [{"name": "tcp", "typed_config": passed}]}
    else:
        chain = _chain(setup, manager)
    return {
        "name": "in",
        "address": _address(setup.port),
        "enable_reuse_port": True,
        "tcp_backlog_size": 4096,
        "per_connection_buffer_limit_bytes": BUFFER,
        "filter_chains": [chain],
    }


def _chain(setup: Setup, manager: dict[str, Any]) -> dict[str, Any]:
    chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": manager}]}
    shown = setup.workload if setup.side == "inbound" else setup.tls
    if shown:
        chain["transport_socket"] = _terminates(shown, "client" if setup.side else None)
    return chain


def _hosts(setup: Setup) -> list[dict[str, Any]]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "app", "timeout": "0s"}}
    return [{"name": name, "domains": [name], "routes": [route]} for name in setup.names]


def _upstream_h2() -> dict[str, Any]:
    return {
        "@type": f"type.googleapis.com/{UPSTREAM}",
        "explicit_http_config": {"http2_protocol_options": H2_OPTIONS},
    }


def _common(own: Pem, peer: str | None) -> dict[str, Any]:
    """TLS 1.3 with `own` certificate; the other side's, if one is wanted, has the mesh name of `peer`, as in Istio."""
    common: dict[str, Any] = {
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
            "ecdh_curves": ["X25519"],
        },
        "tls_certificates": [
            {"certificate_chain": {"filename": str(own.chain)}, "private_key": {"filename": str(own.key)}}
        ],
    }
    if peer:
        name = {"san_type": "URI", "matcher": {"exact": spiffe(peer)}}
        common["validation_context"] = {
            "trusted_ca": {"filename": str(own.roots)},
            "match_typed_subject_alt_names": [name],
        }
    return common


def _terminates(own: Pem, peer: str | None) -> dict[str, Any]:
    """Tickets are on by default; TLS 1.3 needs no cache beside them."""
    config = {
        "@type": f"{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": _common(own, peer),
        "require_client_certificate": peer is not None,
    }
    return {"name": "tls", "typed_config": config}


def _originates(own: Pem) -> dict[str, Any]:
    config = {
        "@type": f"{TYPES}.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": _common(own, "bench"),
        "sni": "bench",
    }
    return {"name": "tls", "typed_config": config}


def _router() -> dict[str, Any]:
    config = {
        "@type": f"{TYPES}.filters.http.router.v3.Router",
        "dynamic_stats": False,
        "suppress_envoy_headers": True,
    }
    return {"name": "router", "typed_config": config}


def _log(setup: Setup) -> list[dict[str, Any]]:
    if not setup.log:
        return []
    config = {
        "@type": f"{TYPES}.access_loggers.file.v3.FileAccessLog",
        "path": str(setup.log_file),
        "log_format": {"json_format": LOG_FORMAT},
    }
    return [{"name": "file", "typed_config": config}]
