"""HAProxy: a server for each leg, and a client for each."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from tests.interop.legs import LEGS, Leg, Place
from tests.interop.peers import program, running
from tests.interop.pki import SERVER

MAIN = """
global
    nbthread 1
    maxconn 4096
    log stderr local0 warning
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option http-keep-alive
    http-reuse always
    retries 0
"""


def configuration(place: Place) -> str:
    blocks = [MAIN]
    for leg in LEGS.values():
        blocks += [_out(place, leg), _in(place, leg)]
    blocks.append(f"backend origin\n    server origin 127.0.0.1:{place.origin}\n")
    return "\n".join(blocks)


def _out(place: Place, leg: Leg) -> str:
    server = f"127.0.0.1:{place.ports[leg.gateway]}"
    if leg.secured:
        alpn = "h2" if leg.version == "h2" else "http/1.1"
        server += f" ssl verify required ca-file {place.pki.roots} sni str({SERVER}) alpn {alpn}"
        server += f" verifyhost {SERVER}"
        server += f" crt {place.pki.client.both}" if leg.secured == "mtls" else ""
    elif leg.version == "h2":
        server += " proto h2"
    return (
        f"listen out-{leg.name}\n    bind 127.0.0.1:{place.ports[f'haproxy-out-{leg.name}']}\n"
        f"    http-request set-header host {SERVER}\n    server app {server}\n"
    )


def _in(place: Place, leg: Leg) -> str:
    bind = f"127.0.0.1:{place.ports[f'haproxy-in-{leg.name}']}"
    if leg.secured:
        alpn = "h2" if leg.version == "h2" else "http/1.1"
        bind += f" ssl crt {place.pki.server.both} alpn {alpn}"
        bind += f" verify required ca-file {place.pki.roots}" if leg.secured == "mtls" else ""
    elif leg.version == "h2":
        bind += " proto h2"
    return f"frontend in-{leg.name}\n    bind {bind}\n    default_backend origin\n"


@contextlib.contextmanager
def haproxy(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    folder = place.folder / "haproxy"
    folder.mkdir()
    file = folder / "haproxy.cfg"
    file.write_text(configuration(place))
    with running([program("haproxy"), "-db", "-f", file], folder, list(place.all_of("haproxy").values())) as child:
        yield child
