"""nginx: a server for each leg, and a client for each; HTTP/2 as a client is its gRPC module."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from tests.interop.legs import LEGS, Leg, Place
from tests.interop.peers import program, running
from tests.interop.pki import SERVER

MAIN = """
daemon off; master_process off; pid nginx.pid; error_log stderr warn;
events { worker_connections 4096; }
http {
    access_log off; client_max_body_size 0; keepalive_timeout 60;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; proxy_next_upstream off;
    proxy_ssl_name %(name)s; proxy_ssl_server_name on; proxy_ssl_verify on; proxy_ssl_trusted_certificate %(roots)s;
    grpc_ssl_name %(name)s; grpc_ssl_server_name on; grpc_ssl_verify on; grpc_ssl_trusted_certificate %(roots)s;
    proxy_set_header Host %(name)s; grpc_set_header Host %(name)s; grpc_next_upstream off;
    ssl_certificate %(chain)s; ssl_certificate_key %(key)s; ssl_client_certificate %(roots)s; ssl_session_cache off;
%(upstreams)s
%(servers)s
}
"""
OWN_CERTIFICATE = "%(module)s_ssl_certificate %(chain)s; %(module)s_ssl_certificate_key %(key)s;"


def configuration(place: Place) -> str:
    server = place.pki.server
    words = {"name": SERVER, "roots": place.pki.roots, "chain": server.chain, "key": server.key}
    upstreams = [f"    upstream app-{leg} {{ server 127.0.0.1:{_gateway(place, leg)}; keepalive 8; }}" for leg in LEGS]
    upstreams.append(f"    upstream origin {{ server 127.0.0.1:{place.origin}; keepalive 32; }}")
    servers = [_out(place, leg) for leg in LEGS.values()] + [_in(place, leg) for leg in LEGS.values()]
    return MAIN % {**words, "upstreams": "\n".join(upstreams), "servers": "\n".join(servers)}


def _gateway(place: Place, leg: str) -> int:
    return place.ports[LEGS[leg].gateway]


def _out(place: Place, leg: Leg) -> str:
    module = "grpc" if leg.version == "h2" else "proxy"
    scheme = {"h1": "http", "h2": "grpc"}[leg.version] + ("s" if leg.secured else "")
    client = place.pki.client
    own = ""
    if leg.secured == "mtls":
        own = OWN_CERTIFICATE % {"module": module, "chain": client.chain, "key": client.key}
    port = place.ports[f"nginx-out-{leg.name}"]
    return f"    server {{ listen 127.0.0.1:{port}; {own} location / {{ {module}_pass {scheme}://app-{leg.name}; }} }}"


def _in(place: Place, leg: Leg) -> str:
    listen = f"127.0.0.1:{place.ports[f'nginx-in-{leg.name}']}"
    listen += (" ssl" if leg.secured else "") + (" http2" if leg.version == "h2" else "")
    verify = "ssl_verify_client on;" if leg.secured == "mtls" else ""
    return f"    server {{ listen {listen}; {verify} location / {{ proxy_pass http://origin; }} }}"


@contextlib.contextmanager
def nginx(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    folder = place.folder / "nginx"
    folder.mkdir()
    (folder / "nginx.conf").write_text(configuration(place))
    command = [program("nginx"), "-p", str(folder), "-c", "nginx.conf"]
    with running(command, folder, list(place.all_of("nginx").values())) as child:
        yield child
