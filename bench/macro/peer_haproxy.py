"""HAProxy at its best: one thread, shared kept upstream connections, spliced big bodies, a map for many hosts."""

from __future__ import annotations

import re
import subprocess

from . import install
from .peers import Peer, Setup

LOG_KEYS = {
    "start_time": "%[date,utime(%Y-%m-%dT%H:%M:%SZ)]",
    "route_name": "%b",
    "method": "%HM",
    "path": "%HU",
    "protocol": "%HV",
    "response_code": "%ST",
    "response_flags": "%tsc",
    "bytes_received": "%U",
    "bytes_sent": "%B",
    "duration": "%Ta",
    "upstream_service_time": "%Tr",
    "x_forwarded_for": "%[capture.req.hdr(0),json(utf8s)]",
    "user_agent": "%[capture.req.hdr(1),json(utf8s)]",
    "request_id": "%ID",
    "authority": "%[capture.req.hdr(2),json(utf8s)]",
    "upstream_host": "%si:%sp",
    "upstream_cluster": "%b",
    "upstream_local_address": "%bi:%bp",
    "downstream_local_address": "%fi:%fp",
    "downstream_remote_address": "%ci:%cp",
}

CONFIG = """\
global
    nbthread 1
    maxconn 10500
    maxpipes 128
    no strict-limits
    {log_target}
    tune.bufsize {bufsize}
    tune.maxpollevents 256
    tune.pipesize 262144
    tune.pool-high-fd-ratio 50
    tune.pool-low-fd-ratio 40
    tune.runqueue-depth 1000
    tune.sched.low-latency {low_latency}
    tune.h2.max-concurrent-streams 1024
    tune.ssl.cachesize 0
    no insecure-fork-wanted
defaults
    mode {mode}
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-keep-alive 600s
    timeout http-request 600s
{how}
    maxconn 10500
frontend in
    bind 127.0.0.1:{port} backlog 4096 {accept}
{log}
{route}
backend app
    server app 127.0.0.1:{upstream} {forward}
"""
REQUESTS = """\
    option http-keep-alive
    option splice-response
    http-reuse always"""
BYTES = "    option splice-request\n    option splice-response"


class Haproxy(Peer):
    name = "haproxy"
    log_to_stdout = True
    bufsize = 16384

    def missing(self) -> str | None:
        return install.debian("haproxy")

    def version(self) -> str:
        said = subprocess.run(["haproxy", "-v"], capture_output=True, text=True).stdout
        found = re.search(r"version (\S+)", said)
        return found[1] if found else "unknown"

    def command(self, setup: Setup) -> list[str]:
        config = setup.folder / "haproxy.cfg"
        config.write_text(
            CONFIG.format(
                port=setup.port,
                upstream=setup.upstream,
                bufsize=self.bufsize,
                low_latency="on" if setup.clients == "h2" and setup.app != "grpc" else "off",
                accept=_accept(setup),
                forward="" if setup.raw else f"pool-max-conn -1 pool-purge-delay 600s {_forward(setup)}",
                mode="tcp" if setup.raw else "http",
                how=BYTES if setup.raw else REQUESTS,
                log_target="log stdout len 4096 format raw local0 info" if setup.log else "",
                log=_log(setup),
                route=_route(setup),
            )
        )
        return ["haproxy", "-db", "-f", str(config)]


def _accept(setup: Setup) -> str:
    shown = setup.workload if setup.side == "inbound" else setup.tls
    if not shown:
        return "proto h2" if setup.clients == "h2" else ""
    own = shown.together(setup.folder / "shown.pem")
    checked = f" ca-file {shown.roots} verify required" if setup.side else ""
    return f"ssl crt {own} ssl-min-ver TLSv1.3 curves X25519 alpn http/1.1{checked}"


def _forward(setup: Setup) -> str:
    if setup.side != "outbound" or not setup.workload:
        return "" if setup.app == "h1" else "proto h2"
    own = setup.workload.together(setup.folder / "own.pem")
    return f"ssl crt {own} ca-file {setup.workload.roots} verify required verifyhost bench ssl-min-ver TLSv1.3"


def _route(setup: Setup) -> str:
    if setup.hosts == 1:
        return "    default_backend app"
    table = setup.folder / "hosts.map"
    table.write_text("".join(f"{name} app\n" for name in setup.names))
    return f"    use_backend %[req.hdr(host),map_str({table})]"


def _log(setup: Setup) -> str:
    if not setup.log:
        return ""
    keys = ",".join(f'"{key}":"{value}"' for key, value in LOG_KEYS.items())
    captures = ("x-forwarded-for", "user-agent", "host")
    lines = [f"    capture request header {name} len 256" for name in captures]
    request_id = "    unique-id-format %{+X}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid"
    return "\n".join([*lines, request_id, "    log global", f"    log-format '{{{keys}}}'"])
