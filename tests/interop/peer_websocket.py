"""The `websockets` package, server and client, in plaintext and in TLS."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.interop.pki import Authority, Party

websockets = pytest.importorskip("websockets", reason="websockets is not installed: pip install websockets")
from websockets.sync.client import ClientConnection, connect  # noqa: E402
from websockets.sync.server import Server, ServerConnection, serve  # noqa: E402

PATIENCE = 10


def _echo(connection: ServerConnection) -> None:
    """Sends back what comes, `close` apart: that ends it from this side."""
    for message in connection:
        if message == "close":
            connection.close(4001, "said so")
        else:
            connection.send(message)


def _first_offered(connection: ServerConnection, offered: Sequence[Any]) -> Any:
    return offered[0] if offered else None


@contextlib.contextmanager
def echoing(port: int, party: Party | None = None) -> Iterator[Server]:
    context = None
    if party is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(party.chain, party.key)
    with serve(_echo, "127.0.0.1", port, ssl=context, select_subprotocol=_first_offered, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(PATIENCE)


def client_context(pki: Authority, party: Party | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(pki.roots))
    if party:
        context.load_cert_chain(party.chain, party.key)
    return context


def in_one_thread(tls: ssl.SSLSocket) -> socket.socket:
    """A plain socket to the other end of `tls`. The package reads and writes in two threads, which a session of Python
    before 3.13 does not stand: a request that met the server's tickets was lost. Here one thread does both.
    """
    near, far = socket.socketpair()

    def relay() -> None:
        data = b"something"
        with tls, far, contextlib.suppress(OSError):
            while data:
                ready = [tls] if tls.pending() else select.select([tls, far], [], [])[0]
                if far in ready:
                    data = far.recv(65536)
                    tls.settimeout(PATIENCE)
                    tls.sendall(data)
                if tls in ready:
                    tls.settimeout(0)
                    with contextlib.suppress(ssl.SSLWantReadError):  # tickets are nothing to read
                        data = tls.recv(65536)
                        far.sendall(data)

    threading.Thread(target=relay, daemon=True).start()
    return near


@contextlib.contextmanager
def dial(port: int, host: str, context: ssl.SSLContext | None = None, **how: Any) -> Iterator[ClientConnection]:
    how = {"open_timeout": PATIENCE, "max_size": None, "proxy": None, **how}
    raw = socket.create_connection(("127.0.0.1", port), PATIENCE)
    if context is not None:
        tls = context.wrap_socket(raw, server_hostname="app.example")
        raw = in_one_thread(tls)
    with connect(f"ws://{host}/chat?room=1", sock=raw, **how) as connection:
        yield connection
