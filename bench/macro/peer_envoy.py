"""Envoy at its best: one worker, no statistics, no timers, no request id, no headers of its own."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

from . import install
from .peers import Peer, Setup, host_names

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
    endpoint = {"endpoint": {"address": _address(setup.upstream)}}
    most = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
    return {
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
        "codec_type": "HTTP1",
        "generate_request_id": setup.log,
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": "0s",
        "common_http_protocol_options": {"idle_timeout": "0s"},
        "route_config": {"name": "routes", "virtual_hosts": _hosts(setup)},
        "http_filters": [_router()],
        "access_log": _log(setup),
    }
    return {
        "name": "in",
        "address": _address(setup.port),
        "enable_reuse_port": True,
        "tcp_backlog_size": 4096,
        "per_connection_buffer_limit_bytes": BUFFER,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _hosts(setup: Setup) -> list[dict[str, Any]]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "app", "timeout": "0s"}}
    return [{"name": name, "domains": [name], "routes": [route]} for name in host_names(setup.hosts)]


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
