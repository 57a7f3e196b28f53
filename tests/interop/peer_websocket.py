"""The `websockets` package, server and client, in plaintext and in TLS."""

from __future__ import annotations

import contextlib
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


@contextlib.contextmanager
def dial(port: int, host: str, context: ssl.SSLContext | None = None, **how: Any) -> Iterator[ClientConnection]:
    scheme = "ws" if context is None else "wss"
    how = {"open_timeout": PATIENCE, "max_size": None, "proxy": None, **how}
    if context is not None:
        how |= {"ssl": context, "server_hostname": "app.example"}
    raw = socket.create_connection(("127.0.0.1", port), PATIENCE)
    with connect(f"{scheme}://{host}/chat?room=1", sock=raw, **how) as connection:
        yield connection
