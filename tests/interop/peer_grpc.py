"""grpcio, server and client, without generated code: messages are bytes. One method of each kind, and the odd ones.

`Echo` one for one; `Many` as many messages as the request says; `Count` how many bytes came; `Talk` one for each;
`Fail` ends with a status, details and trailers; `Sleep` answers when the client has gone.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.interop.pki import Party

grpc = pytest.importorskip("grpc", reason="grpcio is not installed: pip install grpcio")
SERVICE = "interop.Echo"
BIG = 4 << 20


class Servicer:
    def __init__(self) -> None:
        self.arrived, self.left = threading.Event(), threading.Event()  # a client of Sleep
        self.metadata: dict[str, Any] = {}

    def echo(self, request: bytes, context: Any) -> bytes:
        self.metadata = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-first", "1"),))
        context.set_trailing_metadata((("x-last", "2"), ("x-last-bin", b"\x00\xff")))
        return request

    def many(self, request: bytes, context: Any) -> Iterator[bytes]:
        count, size = map(int, request.split())
        for number in range(count):
            yield b"%d " % number + bytes(size)

    def count(self, requests: Iterator[bytes], context: Any) -> bytes:
        return b"%d" % sum(len(request) for request in requests)

    def talk(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        yield from requests

    def fail(self, request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("x-why", "tested"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: 100 % über")
        raise AssertionError

    def sleep(self, request: bytes, context: Any) -> bytes:
        gone = threading.Event()
        self.arrived.set()
        context.add_callback(gone.set)
        assert gone.wait(30)
        self.left.set()
        return request

    def methods(self) -> dict[str, Any]:
        return {
            "Echo": grpc.unary_unary_rpc_method_handler(self.echo),
            "Many": grpc.unary_stream_rpc_method_handler(self.many),
            "Count": grpc.stream_unary_rpc_method_handler(self.count),
            "Talk": grpc.stream_stream_rpc_method_handler(self.talk),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Sleep": grpc.unary_unary_rpc_method_handler(self.sleep),
        }


SIZES = [("grpc.max_receive_message_length", BIG), ("grpc.max_send_message_length", BIG)]


@contextlib.contextmanager
def serving(port: int, tls_port: int, party: Party) -> Iterator[Servicer]:
    """A server in plaintext and another in TLS."""
    servicer = Servicer()
    server = grpc.server(ThreadPoolExecutor(16), options=[*SIZES, ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, servicer.methods())])
    server.add_insecure_port(f"127.0.0.1:{port}")
    key = grpc.ssl_server_credentials([(party.key.read_bytes(), party.chain.read_bytes())])
    server.add_secure_port(f"127.0.0.1:{tls_port}", key)
    server.start()
    try:
        yield servicer
    finally:
        server.stop(None).wait(5)


class Calls:
    """A client's methods."""

    def __init__(self, channel: Any) -> None:
        at = f"/{SERVICE}/"
        self.echo = channel.unary_unary(at + "Echo")
        self.many = channel.unary_stream(at + "Many")
        self.count = channel.stream_unary(at + "Count")
        self.talk = channel.stream_stream(at + "Talk")
        self.fail = channel.unary_unary(at + "Fail")
        self.sleep = channel.unary_unary(at + "Sleep")
        self.nothing = channel.unary_unary(at + "Nothing")


@contextlib.contextmanager
def calling(port: int, host: str, party: Party | None = None, name: str = "") -> Iterator[Calls]:
    """A channel with a connection of its own; in TLS when it is told whose roots to believe."""
    options = [*SIZES, ("grpc.default_authority", host), ("grpc.use_local_subchannel_pool", 1)]
    target = f"127.0.0.1:{port}"
    if party is None:
        channel = grpc.insecure_channel(target, options)
    else:
        options.append(("grpc.ssl_target_name_override", name or host))
        credentials = grpc.ssl_channel_credentials(
            party.roots.read_bytes(), party.key.read_bytes(), party.chain.read_bytes()
        )
        channel = grpc.secure_channel(target, credentials, options)
    with channel:
        yield Calls(channel)
