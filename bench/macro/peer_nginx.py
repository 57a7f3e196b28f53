"""nginx at its best: one worker, kept upstream connections, buffers in memory, buffered log."""

from __future__ import annotations

import re
import subprocess

from . import install
from .peers import Peer, Setup, host_names

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
        keepalive 256;
        keepalive_requests 1000000000;
        keepalive_timeout 600s;
    }}
{server}
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
        listen 127.0.0.1:{port} reuseport backlog=4096;
        server_name {names};
        location / {{ proxy_pass http://app; }}
{large}
    }}"""


class Nginx(Peer):
    name = "nginx"

    def missing(self) -> str | None:
        return install.debian("nginx")

    def version(self) -> str:
        said = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr
        found = re.search(r"nginx/(\S+)", said)
        return found[1] if found else "unknown"

    def command(self, setup: Setup) -> list[str]:
        names = "\n            ".join(host_names(setup.hosts))
        server = SERVER.format(port=setup.port, names=names, large=LARGE)
        config = setup.folder / "nginx.conf"
        config.write_text(CONFIG.format(folder=setup.folder, upstream=setup.upstream, log=_log(setup), server=server))
        return ["nginx", "-c", str(config), "-p", str(setup.folder)]


def _log(setup: Setup) -> str:
    if not setup.log:
        return "access_log off;"
    keys = ",".join(f'"{key}":"{value}"' for key, value in LOG_KEYS.items())
    return f"log_format json escape=json '{{{keys}}}';\n    access_log {setup.log_file} json buffer=64k flush=1s;"
