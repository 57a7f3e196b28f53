"""Both ends of a proxy under test: an upstream that keeps what reached it byte for byte, a client that reads with h11.

The client sends bytes as they are and says what came back: the final answers, whether the proxy closed, and whether an
answer broke off. The upstream parses with h11 only to know when to answer; what it kept is parsed again, and judged,
after the conversation (`check_arrived`).
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h11

from fastmesh.core.wire.h1_probe import normalize_path, split_authority
from tests.core.wire.test_h1_corpora import messages
from tests.ports import free_port
from tests.running import Proxy, Upstream, service

QUIET = 0.6  # seconds without a byte after which a connection that waits is taken to wait for ever
PATIENCE = 10.0

GATEWAY = """
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: door}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec:
  hosts: ["*"]
  gateways: [door]
  http: [{route: [{destination: {host: app, port: {number: 80}}}], retries: {attempts: 0}}]
"""

HOP_BY_HOP = {
    b"host", b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"http2-settings", b"content-length",
    b"transfer-encoding", b"expect",
}  # fmt: skip
ADDED = {b"x-request-id", b"x-forwarded-for", b"x-forwarded-proto"}


@dataclass
class Message:
    """A request, as h11 reads it. `complete` is False when the bytes end in its body."""

    method: bytes
    target: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    complete: bool = False


def read_requests(data: bytes) -> tuple[list[Message], str | None]:
    """The requests in one connection's bytes, and h11's complaint where it could not go on."""
    found: list[Message] = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data.removeprefix(b"\r\n"))  # RFC 9112 2.2, which h11 does not know
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                fields = [(bytes(name), bytes(value)) for name, value in event.headers]
                found.append(Message(bytes(event.method), bytes(event.target), fields))
            elif isinstance(event, h11.Data):
                found[-1].body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                found[-1].complete = True
                found[-1].trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
            elif (
                (event is h11.PAUSED and not follow_on(connection, found[-1]))
                or event is h11.NEED_DATA
                or isinstance(event, h11.ConnectionClosed)
            ):
                return found, None
    except h11.RemoteProtocolError as error:
        return found, str(error)


def follow_on(connection: h11.Connection, message: Message) -> bool:
    """Answer what was read, so that h11 goes on to the next request; False where the connection ends with this one."""
    if message.method == b"CONNECT":
        return False
    connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    if connection.their_state is not h11.DONE or connection.our_state is not h11.DONE:
        return False
    connection.start_next_cycle()
    return True


class Recorder:
    """Answers every request with 200 and `ok`; `streams` holds what came in on each connection."""

    def __init__(self) -> None:
        self.streams: list[bytearray] = []
        self.lock = threading.Lock()

    def __call__(self, connection: socket.socket) -> None:
        stream, unanswered = bytearray(), b""
        with self.lock:
            self.streams.append(stream)
        while data := connection.recv(65536):
            with self.lock:
                stream += data
            unanswered += data
            found, _ = read_requests(unanswered)
            if found and all(message.complete for message in found):  # nobody asks twice before the answer
                for message in found:
                    body = b"" if message.method == b"HEAD" else b"ok"
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + body)
                unanswered = b""

    def forget(self) -> None:
        with self.lock:
            for stream in self.streams:
                stream.clear()

    def raw(self) -> list[bytes]:
        with self.lock:
            return [bytes(stream) for stream in self.streams if stream]


@dataclass
class Answers:
    """What one client connection got back."""

    raw: bytes = b""
    closed: bool = False
    statuses: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    broken: bool = False  # the last answer has no proper end


def read_answers(raw: bytes, closed: bool, methods: list[bytes]) -> Answers:
    """h11's reading of what came back, for requests of these methods (one more is taken to be GET)."""
    result = Answers(raw, closed)
    while raw:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        method = methods[len(result.statuses)] if len(result.statuses) < len(methods) else b"GET"
        connection.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        connection.send(h11.EndOfMessage())
        connection.receive_data(raw)
        if closed:
            connection.receive_data(b"")
        body = b""
        try:
            while True:
                event = connection.next_event()
                if isinstance(event, h11.Response):
                    result.statuses.append(event.status_code)
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    break
                elif event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                    result.broken = True
                    break
        except h11.RemoteProtocolError:
            result.broken = True
        result.bodies.append(body)
        raw = b"" if result.broken else connection.trailing_data[0]
    return result


def converse(
    address: tuple[str, int], steps: list[bytes], enough: Callable[[bytes], bool], quiet: float = QUIET
) -> tuple[bytes, bool]:
    """Send the steps at once, one behind the other; read until the proxy closes, or `enough` came and it went quiet."""
    got = b""
    with socket.create_connection(address, PATIENCE) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sender = threading.Thread(target=send_all, args=(client, steps))
        sender.start()
        end = time.monotonic() + PATIENCE
        try:
            while time.monotonic() < end:
                client.settimeout(0.03 if enough(got) else quiet)
                try:
                    data = client.recv(65536)
                except TimeoutError:
                    if not sender.is_alive():
                        return got, False
                    continue
                except ConnectionResetError:
                    return got, True
                if not data:
                    return got, True
                got += data
            return got, False
        finally:
            sender.join(PATIENCE)


def send_all(client: socket.socket, steps: list[bytes]) -> None:
    with contextlib.suppress(OSError):  # the proxy may close before it has read everything
        for step in steps:
            client.sendall(step)


def path_of(message: Message) -> bytes:
    target = message.target
    if target.lower().startswith((b"http://", b"https://")):
        rest = target.partition(b"://")[2]
        target = (
            b"/" + rest.partition(b"/")[2]
            if b"/" in rest.partition(b"?")[0]
            else b"/" + rest[len(rest.partition(b"?")[0]) :]
        )
    path, mark, query = target.partition(b"?")
    return (normalize_path(path, 1) or b"refused") + mark + query


def end_to_end(message: Message) -> list[tuple[bytes, bytes]]:
    named = {
        option.strip().lower()
        for name, value in message.fields
        if name == b"connection"
        for option in value.split(b",")
    }
    return [
        (name, value)
        for name, value in message.fields
        if name not in HOP_BY_HOP | ADDED | named and not name.startswith(b"x-envoy-")
    ]


def same_host(host: bytes, meant: list[bytes]) -> bool:
    """Ports that are the default of http or https may come and go with an absolute target."""
    if not meant:
        return host.endswith(b".svc.cluster.local")  # HTTP/1.0 without Host: the service that it is sent to
    parts = [split_authority(text) or (text, 0) for text in (host, meant[0])]
    names = [(name.lower(), 0 if port in (80, 443) else port) for name, port in parts]
    return names[0] == names[1]


def check_arrived(sent: list[Message], streams: list[bytes]) -> int:
    """Everything that arrived is one of the messages sent, in their order; how many arrived whole."""
    arrived: list[Message] = []
    for stream in streams:
        found, complaint = read_requests(stream)
        assert complaint is None, (complaint, stream)
        # Our own parser, stricter than h11, reads it too.
        assert messages(stream, fields=128)[1]["verdict"] != "bad", stream
        assert b"\n" not in stream.replace(b"\r\n", b"") or any(message.body for message in found), stream
        arrived += found
    for was, now in zip(sent, arrived, strict=False):
        assert (now.method, now.target) == (was.method, path_of(was) if was.target != b"*" else b"*")
        hosts = [value for name, value in now.fields if name == b"host"]
        assert len(hosts) == 1
        assert same_host(hosts[0], [value for name, value in was.fields if name == b"host"])
        framing = [name for name, _ in now.fields if name in (b"content-length", b"transfer-encoding")]
        assert len(framing) <= 1, now
        assert end_to_end(now) == end_to_end(was)
        assert was.body.startswith(now.body)
        if now.complete:
            assert now.body == was.body
    assert len(arrived) <= len(sent), ("smuggled", arrived[len(sent) :])
    return sum(message.complete for message in arrived)


def gateway_at(port: int) -> list[str]:
    return ["--role", "gateway", "--bind", "127.0.0.1", "--map", f"80={port}"]


@dataclass
class Bench:
    address: tuple[str, int]
    recorder: Recorder
    turn: int = 0

    def run(self, steps: list[bytes], wanted: int) -> tuple[Answers, list[bytes]]:
        """Send, read, then let a sentinel through: what is recorded before it is all there will be."""
        self.recorder.forget()
        methods = [message.method for message in read_requests(b"".join(steps))[0]]
        raw, closed = converse(
            self.address, steps, lambda got: len(read_answers(got, False, methods).statuses) >= max(wanted, 1)
        )
        self.turn += 1
        name = b"/sentinel-%d" % self.turn
        answer, _ = converse(
            self.address, [b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % name], lambda got: False
        )
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        arrived = [b"".join(stream.split(b"GET " + name)[:1]) for stream in self.recorder.raw()]
        return read_answers(raw, closed, methods), [stream for stream in arrived if stream]


@contextlib.contextmanager
def recording_proxy(directory: Path) -> Iterator[Bench]:
    """A gateway for any Host in front of a recording upstream."""
    recorder, port = Recorder(), free_port()
    with Upstream(recorder) as upstream:
        yaml = service("app", upstream.port) + GATEWAY
        with Proxy(directory, yaml, *gateway_at(port), role="gateway"):
            yield Bench(("127.0.0.1", port), recorder)
        assert not upstream.errors, upstream.errors


def ask_scripted(directory: Path, scripts: list[bytes], together: int = 8) -> list[Answers]:
    """What a client gets when the upstream answers with each of these bytes and then closes; one GET for each."""
    port, result = free_port(), [Answers()] * len(scripts)

    def upstream_side(connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data and (got := connection.recv(65536)):
            data += got
        if data:
            connection.sendall(scripts[int(data.split(b" ", 2)[1].lstrip(b"/"))])
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    def client_side(start: int) -> None:
        for number in range(start, len(scripts), together):
            request = b"GET /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % number
            raw, closed = converse(("127.0.0.1", port), [request], lambda got: False, PATIENCE)
            result[number] = read_answers(raw, closed, [b"GET"])

    with Upstream(upstream_side) as upstream:
        yaml = service("app", upstream.port) + GATEWAY
        with Proxy(directory, yaml, *gateway_at(port), role="gateway"):
            threads = [threading.Thread(target=client_side, args=(start,)) for start in range(together)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not upstream.errors, upstream.errors
    return result
