"""nginx at its best: one worker, kept upstream connections, buffers in memory, buffered log."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import ClassVar

from . import install
from .certificates import Pem
from .peers import Peer, Setup

LOG_KEYS = {
    "start_time": "$time_iso8601",
    "route_name": "default",
    "method": "$request_method",
    "path": "$request_uri",
    "protocol": "$server_protocol",
    "response_code": "$status",
    "bytes_received": "$request_length",
    "bytes_sent": "$body_bytes_sent",
    "duration": "$request_time",
    "upstream_service_time": "$upstream_response_time",
    "x_forwarded_for": "$http_x_forwarded_for",
    "user_agent": "$http_user_agent",
    "request_id": "$request_id",
    "authority": "$http_host",
    "upstream_host": "$upstream_addr",
    "downstream_local_address": "$server_addr:$server_port",
    "downstream_remote_address": "$remote_addr:$remote_port",
    "requested_server_name": "$ssl_server_name",
}

CONFIG = """\
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 20000;
error_log stderr crit;
pid {folder}/pid;
pcre_jit on;
events {{
    use epoll;
    worker_connections 16384;
    multi_accept on;
    accept_mutex off;
}}
http {{
    {log}
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server_tokens off;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    http2_max_concurrent_streams 1024;
    http2_recv_buffer_size 256k;
    reset_timedout_connection on;
    server_names_hash_max_size 131072;
    server_names_hash_bucket_size 128;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_max_temp_file_size 0;
    proxy_buffer_size 16k;
    proxy_buffers 8 32k;
    proxy_busy_buffers_size 64k;
    upstream app {{
        server 127.0.0.1:{upstream};
        keepalive 1000;
        keepalive_requests 1000000000;
        keepalive_timeout 600s;
    }}
{server}
}}
"""
STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
RAW = ("tcp_small", "tcp_1m", "tcp_new")
BYTES = """\
load_module {module};
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 20000;
error_log stderr crit;
pid {folder}/pid;
events {{
    use epoll;
    worker_connections 16384;
    multi_accept on;
    accept_mutex off;
}}
stream {{
    tcp_nodelay on;
    proxy_timeout 600s;
    proxy_buffer_size 256k;
    server {{
        listen 127.0.0.1:{port} reuseport backlog=4096;
        proxy_pass 127.0.0.1:{upstream};
    }}
}}
"""
LARGE = """\
        location /1m {
            proxy_buffering off;
            proxy_buffer_size 512k;
            proxy_buffers 2 512k;
            proxy_busy_buffers_size 512k;
            proxy_pass http://app;
        }"""
SERVER = """\
    server {{
        listen 127.0.0.1:{port} {how} reuseport backlog=4096;
        server_name {names};
{tls}
        location / {{ {forward} }}
{large}
    }}"""
# Tickets, not a cache: TLS 1.3 resumes without shared memory.
SHOWN = """\
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.3;
        ssl_ecdh_curve X25519;
        ssl_session_cache off;
        ssl_session_tickets on;
        ssl_session_timeout 1d;"""
CHECKED = """
        ssl_client_certificate {roots};
        ssl_verify_client on;"""
ORIGINATED = """\
        proxy_ssl_certificate {chain};
        proxy_ssl_certificate_key {key};
        proxy_ssl_trusted_certificate {roots};
        proxy_ssl_verify on;
        proxy_ssl_name bench;
        proxy_ssl_protocols TLSv1.3;
        proxy_ssl_session_reuse on;"""


class Nginx(Peer):
    name = "nginx"
    unable: ClassVar = {
        **Peer.unable,
        "h2_to_h2": "it speaks HTTP/2 to applications only as gRPC, one call a connection at a time",
    }

    def missing(self) -> str | None:
        lacking = install.debian("nginx")
        if not lacking and (raw := install.debian("libnginx-mod-stream", STREAM)):
            Nginx.unable = {**Nginx.unable, **dict.fromkeys(RAW, raw)}
        return lacking

    def version(self) -> str:
        said = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr
        found = re.search(r"nginx/(\S+)", said)
        return found[1] if found else "unknown"

    def command(self, setup: Setup) -> list[str]:
        config = setup.folder / "nginx.conf"
        if setup.raw:
            config.write_text(
                BYTES.format(module=STREAM, folder=setup.folder, port=setup.port, upstream=setup.upstream)
            )
            return ["nginx", "-c", str(config), "-p", str(setup.folder)]
        log, server = _log(setup), _server(setup)
        config.write_text(CONFIG.format(folder=setup.folder, upstream=setup.upstream, log=log, server=server))
        return ["nginx", "-c", str(config), "-p", str(setup.folder)]


def _server(setup: Setup) -> str:
    scheme = "https" if setup.side == "outbound" else "http"
    return SERVER.format(
        port=setup.port,
        how="ssl" if _shows(setup) else "http2" if setup.clients == "h2" else "",
        names="\n            ".join(setup.names),
        tls=_tls(setup),
        forward="grpc_pass grpc://app;" if setup.app == "grpc" else f"proxy_pass {scheme}://app;",
        large="" if setup.side else LARGE,
    )


def _shows(setup: Setup) -> Pem | None:
    return setup.workload if setup.side == "inbound" else setup.tls


def _tls(setup: Setup) -> str:
    if setup.side == "outbound" and setup.workload:
        own = setup.workload
        return ORIGINATED.format(chain=own.chain, key=own.key, roots=own.roots)
    shown = _shows(setup)
    if not shown:
        return ""
    checked = CHECKED.format(roots=shown.roots) if setup.side else ""
    return SHOWN.format(chain=shown.chain, key=shown.key) + checked


def _log(setup: Setup) -> str:
    if not setup.log:
        return "access_log off;"
    keys = ",".join(f'"{key}":"{value}"' for key, value in LOG_KEYS.items())
    return f"log_format json escape=json '{{{keys}}}';\n    access_log {setup.log_file} json buffer=64k flush=1s;"
