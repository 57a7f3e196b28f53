"""An endpoint that tells what came: its connections, its TLS, and the heads of its requests."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from typing import Any

from fastmesh.security.authority import Pair
from tests.tls.material import load, roots_pem


def server_context(pair: Pair, *clients: Pair, alpn: list[str] | None = None) -> ssl.SSLContext:
    """With `clients` (their roots) a certificate of the client is required."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load(context, pair)
    context.set_alpn_protocols(alpn or ["http/1.1"])
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=roots_pem(*clients).decode())
    return context


class Endpoint:
    """Answers each request with what it saw, as JSON. Without a context it speaks plaintext."""

    def __init__(self, context: ssl.SSLContext | None = None, where: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self._socket = socket.create_server(where)
        self.port = int(self._socket.getsockname()[1])
        self.context = context
        self.seen: list[dict[str, Any]] = []  # of each connection that got through its handshake
        self.failures: list[str] = []
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self.drop()

    def drop(self) -> None:
        """Close all connections."""
        while self._open:
            with contextlib.suppress(OSError):
                self._open.pop().close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        facts: dict[str, Any] = {"sni": None, "number": len(self.seen)}
        try:
            if self.context is not None:
                self.context.sni_callback = lambda _socket, name, _context: facts.update(sni=name)
                connection = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                connection.do_handshake()
                facts["alpn"] = connection.selected_alpn_protocol()
                facts["resumed"] = connection.session_reused
                facts["peer"] = (connection.getpeercert() or {}).get("subjectAltName")
        except OSError as error:
            self.failures.append(str(error))
            with contextlib.suppress(OSError), socket.socket(fileno=connection.detach()) as raw:
                raw.shutdown(socket.SHUT_WR)  # the alert must not be reset away by what the client has sent already
                while raw.recv(65536):
                    pass
            return
        self.seen.append(facts)
        self._open.append(connection)
        with contextlib.suppress(OSError):
            self._answer(connection, facts)

    def _answer(self, connection: socket.socket, facts: dict[str, Any]) -> None:
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                piece = connection.recv(65536)
                if not piece:
                    return
                data += piece
            head, _, data = data.partition(b"\r\n\r\n")
            first, *fields = head.decode().split("\r\n")
            headers = [field.split(": ", 1) for field in fields]
            body = json.dumps({"request": first, "headers": headers, **facts}).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
