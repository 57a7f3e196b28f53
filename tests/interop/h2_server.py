"""An upstream of HTTP/2 by the `h2` package, in threads, whose answers a test decides.

`act(server, stream, path)` answers; `say`, `body`, `end`, `cut` are its words. In plaintext, or in TLS with a context.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events

from tests.running import Upstream, reset

Act = Callable[["Talk", int, str], None]


class Cut(Exception):  # noqa: N818
    """The connection ends here."""


class Talk:
    """One connection."""

    def __init__(self, connection: socket.socket, act: Act) -> None:
        self.socket, self.act = connection, act
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.heads: dict[int, dict[str, str]] = {}
        self.gone: set[int] = set()  # streams that the client reset

    def run(self) -> None:
        self.h2.initiate_connection()
        self.flush()
        with contextlib.suppress(Cut):
            while data := self.socket.recv(65536):
                for event in self.h2.receive_data(data):
                    self._note(event)
                self.flush()

    def _note(self, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self.heads[event.stream_id or 0] = {str(name): str(value) for name, value in event.headers or ()}
        elif isinstance(event, h2.events.DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
        elif isinstance(event, h2.events.StreamReset):
            self.gone.add(event.stream_id or 0)
        elif isinstance(event, h2.events.StreamEnded):
            self.act(self, event.stream_id or 0, self.heads[event.stream_id or 0][":path"])

    def flush(self) -> None:
        if data := self.h2.data_to_send():
            self.socket.sendall(data)

    def say(self, stream: int, status: int = 200, *, end: bool = False, **fields: str) -> None:
        head = [(":status", str(status)), *((name.replace("_", "-"), value) for name, value in fields.items())]
        self.h2.send_headers(stream, head, end_stream=end)
        self.flush()

    def body(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """No more than the windows hold."""
        for start in range(0, len(data), 16_384):
            piece = data[start : start + 16_384]
            self.h2.send_data(stream, piece, end_stream=end and start + 16_384 >= len(data))
        self.flush()

    def cut(self, how: str, stream: int) -> None:
        """`fin` and `reset` end the connection, `stream` the stream, `goaway` both by their own words."""
        if how == "stream":
            self.h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
            self.flush()
            return
        if how == "goaway":
            self.h2.close_connection(h2.errors.ErrorCodes.INTERNAL_ERROR)
            self.flush()
        if how == "reset":
            reset(self.socket)
        raise Cut


class H2Upstream(Upstream):
    def __init__(self, act: Act, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(self._talk)
        self.act, self.tls = act, tls

    def _talk(self, connection: socket.socket) -> None:
        if self.tls is None:
            Talk(connection, self.act).run()
            return
        with self.tls.wrap_socket(connection, server_side=True) as secured:
            Talk(secured, self.act).run()
