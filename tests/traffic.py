"""Replicas that remember what they were asked, and clients that check what they got: HTTP/1.1 by hand, in threads."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from tests.running import Proxy, Upstream

T = TypeVar("T")
PATIENCE = 10.0
NETWORKING = "networking.istio.io/v1"


def eventually(what: Callable[[], T], patience: float = PATIENCE) -> T:
    """Ask until the answer is true: for states of other processes that send no event."""
    ends = time.monotonic() + patience
    while not (answer := what()):
        assert time.monotonic() < ends, f"still {answer!r} after {patience} s"
        time.sleep(0.005)
    return answer


def together(calls: Iterable[Callable[[], T]]) -> list[T]:
    """Make all the calls at once; their results in the same order."""
    waiting = list(calls)
    with concurrent.futures.ThreadPoolExecutor(len(waiting)) as pool:
        return [future.result(60) for future in [pool.submit(call) for call in waiting]]


# --- configuration ----------------------------------------------------------------------------------------------------


def thing(kind: str, name: str, spec: dict[str, Any], version: str = NETWORKING, **metadata: Any) -> str:
    """One object; JSON is YAML."""
    whole = {"apiVersion": version, "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}
    return "---\n" + json.dumps(whole) + "\n"


def replicas_of(name: str, *ports: int, versions: tuple[str, ...] = (), weights: tuple[int, ...] = ()) -> str:
    """A service on port 80, and a workload on loopback for each port."""
    spec = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8000}]}
    text = thing("Service", name, spec, "v1")
    for number, port in enumerate(ports):
        labels = {"app": name, "version": versions[number] if versions else "v1"}
        entry: dict[str, Any] = {"address": "127.0.0.1", "ports": {"http": port}, "labels": labels}
        if weights:
            entry["weight"] = weights[number]
        text += thing("WorkloadEntry", f"{name}-{number}", entry)
    return text


def virtual_service(name: str, *rules: dict[str, Any], **spec: Any) -> str:
    """Rules without a route go to the service of the same name."""
    http = [rule if {"redirect", "directResponse"} & set(rule) else {"route": to(name), **rule} for rule in rules]
    return thing("VirtualService", name, {"hosts": [name], **spec, "http": http})


def destination_rule(name: str, policy: dict[str, Any] | None = None, *subsets: str) -> str:
    spec: dict[str, Any] = {"host": name}
    if policy:
        spec["trafficPolicy"] = policy
    if subsets:
        spec["subsets"] = [{"name": subset, "labels": {"version": subset}} for subset in subsets]
    return thing("DestinationRule", name, spec)


def rate_limit(name: str, spec: dict[str, Any]) -> str:
    return thing("RateLimit", name, spec, "fastmesh.io/v1alpha1")


def to(host: str, subset: str = "") -> list[dict[str, Any]]:
    return [{"destination": {"host": host, "subset": subset} if subset else {"host": host}}]


def prefix(path: str) -> list[dict[str, Any]]:
    return [{"uri": {"prefix": path}}]


# --- upstream ---------------------------------------------------------------------------------------------------------


class Request(NamedTuple):
    method: str
    target: str
    headers: dict[str, str]  # names in lower case, repeated ones joined
    body: bytes
    replica: Replica
    connection: socket.socket

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


Action = int | bytes | None  # a status to answer, bytes to send as they are, or nothing: close


class Replica(Upstream):
    """A keep-alive server. It answers with its name unless `act` wants something else, and keeps what it saw."""

    def __init__(self, name: str = "", act: Callable[[Request], Action] | None = None) -> None:
        super().__init__(self._talk)
        self.name = name
        self.act = act or (lambda request: 200)
        self.seen: list[Request] = []

    def _talk(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while (request := read_request(stream, self, connection)) is not None:
                self.seen.append(request)
                action = self.act(request)
                if action is None:
                    return
                if isinstance(action, int):
                    body = b"" if request.method == "HEAD" else self.name.encode()
                    head = b"HTTP/1.1 %d Said\r\ncontent-length: %d\r\nx-replica: %s\r\n\r\n"
                    action = head % (action, len(self.name), self.name.encode()) + body
                connection.sendall(action)

    def count(self, path: str = "") -> int:
        return sum(1 for request in self.seen if not path or request.path == path)

    @property
    def last(self) -> Request:
        return self.seen[-1]


def read_request(stream: Any, replica: Replica, connection: socket.socket) -> Request | None:
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        return None
    method, target, _ = line.decode().split(" ")
    headers = read_fields(stream)
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(stream.readline().split(b";")[0] or b"0", 16):
            body += stream.read(size)
            stream.readline()
        read_fields(stream)
    else:
        body = stream.read(int(headers.get("content-length", 0)))
    return Request(method, target, headers, body, replica, connection)


def read_fields(stream: Any) -> dict[str, str]:
    fields: dict[str, str] = {}
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        name, value = name.strip().lower(), value.strip()
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


@contextlib.contextmanager
def replicas(*names: str, act: Callable[[Request], Action] | None = None) -> Iterator[list[Replica]]:
    with contextlib.ExitStack() as stack:
        made = [Replica(name, act) for name in names]
        for replica in made:
            stack.enter_context(replica)
        yield made


class Script:
    """What comes next, by path: each request for it takes one action; when none is left, 200."""

    def __init__(self) -> None:
        self.lines: dict[str, Iterator[Action]] = {}
        self.lock = threading.Lock()

    def say(self, path: str, *actions: Action, forever: bool = False) -> str:
        self.lines[path] = itertools.cycle(actions) if forever else iter(actions)
        return path

    def __call__(self, request: Request) -> Action:
        with self.lock:
            return next(self.lines.get(request.path, iter(())), 200)


class Gate:
    """An action that holds its requests until it is opened."""

    def __init__(self, action: Action = 200) -> None:
        self.action = action
        self.opened = threading.Event()
        self.held = 0

    def __call__(self, request: Request) -> Action:
        self.held += 1
        assert self.opened.wait(60)
        return self.action


# --- client -----------------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def text(self) -> str:
        return self.body.decode()


class Broken(Exception):  # noqa: N818
    """The connection ended before the answer did."""


class Client:
    """One keep-alive connection, opened anew when the proxy has closed it."""

    def __init__(self, port: int, host: str = "app", timeout: float = PATIENCE) -> None:
        self.port = port
        self.host = host
        self.timeout = timeout
        self.socket: socket.socket | None = None
        self.stream: Any = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.socket is not None:
            self.stream.close()
            self.socket.close()
            self.socket = None

    def connect(self) -> socket.socket:
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self.port), self.timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.stream = self.socket.makefile("rb")
        return self.socket

    def ask(
        self, target: str = "/", method: str = "GET", body: bytes | None = None, host: str = "", **headers: str
    ) -> Answer:
        """Send a request and read its answer; `x_user="1"` is the header x-user."""
        fields = [("host", host or self.host), *((name.replace("_", "-"), value) for name, value in headers.items())]
        if body is not None:
            fields.append(("content-length", str(len(body))))
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields)
        return self.exchange(head.encode("latin-1") + b"\r\n" + (body or b""), method)

    def exchange(self, raw: bytes, method: str = "GET") -> Answer:
        began = time.monotonic()
        try:
            self.connect().sendall(raw)
            status, headers, body = read_answer(self.stream, method)
        except (Broken, ConnectionError):
            self.close()
            raise
        if headers.get("connection") == "close":
            self.close()
        return Answer(status, headers, body, time.monotonic() - began)


def read_answer(stream: Any, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """The final answer; interim ones are skipped."""
    status = 100
    while status < 200:
        line = stream.readline()
        if not line.endswith(b"\r\n"):
            raise Broken(line)
        status = int(line.split(b" ")[1])
        headers = read_fields(stream)
    if method == "HEAD" or status in (204, 304):
        return status, headers, b""
    if "transfer-encoding" in headers:
        body = b""
        while size := int(whole_line(stream), 16):
            body += whole(stream, size)
            whole(stream, 2)
        read_fields(stream)
        return status, headers, body
    if "content-length" in headers:
        return status, headers, whole(stream, int(headers["content-length"]))
    return status, headers, stream.read()


def whole_line(stream: Any) -> bytes:
    line: bytes = stream.readline()
    if not line.endswith(b"\r\n"):
        raise Broken(line)
    return line


def whole(stream: Any, size: int) -> bytes:
    data: bytes = stream.read(size)
    if len(data) < size:
        raise Broken(f"{len(data)} of {size}")
    return data


def ask(proxy: Proxy | int, target: str = "/", method: str = "GET", **more: Any) -> Answer:
    """One request on a connection of its own."""
    with Client(proxy if isinstance(proxy, int) else proxy.port) as client:
        return client.ask(target, method, **more)


# --- proxy ------------------------------------------------------------------------------------------------------------


class Story:
    """A proxy with an access log, asked for one request at a time."""

    def __init__(
        self,
        directory: Path,
        yaml: str,
        *args: str,
        workers: int = 1,
        role: str = "mesh",
        prefix: tuple[str, ...] = (),
    ) -> None:
        self.file = directory / "access.log"
        args = args if role == "mesh" else ("--role", role, *args)
        args = ("--access-log", str(self.file), *args)
        self.proxy = Proxy(directory, yaml, *args, workers=workers, role=role, prefix=prefix)

    def __enter__(self) -> Story:
        self.proxy.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.__exit__()

    @property
    def port(self) -> int:
        return self.proxy.port

    def ask(self, target: str = "/", method: str = "GET", **more: Any) -> tuple[Answer, dict[str, Any]]:
        """The answer and its line in the access log."""
        request_id = str(uuid.uuid4())
        answer = ask(self.proxy, target, method, x_request_id=request_id, **more)
        return answer, self.line(request_id)

    def line(self, request_id: str) -> dict[str, Any]:
        return eventually(lambda: next(iter(self.lines(request_id)), None))  # type: ignore[return-value]

    def lines(self, wanted: str = "") -> list[dict[str, Any]]:
        text = self.file.read_text() if self.file.exists() else ""
        return [json.loads(line) for line in text.split("\n")[:-1] if wanted in line]

    def reload(self, yaml: str) -> None:
        reload(self.proxy, yaml)

    def stats(self, name: str) -> dict[str, int]:
        return stats(self.proxy, name)


def open_sockets(pid: int) -> int:
    """How many sockets a process holds. (It may keep pipes for later bodies.)"""
    found = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")
    return found


def reload(proxy: Proxy, yaml: str) -> None:
    """Write the file anew, SIGHUP, and wait until the workers run it."""
    before = proxy.text().count(" reload ")
    proxy.file.write_text(yaml)
    proxy.process.send_signal(signal.SIGHUP)
    eventually(lambda: proxy.text().count(" reload ") > before)
    last = [line for line in proxy.text().splitlines() if " reload " in line][-1]
    assert "accepted" in last or "nothing changed" in last, proxy.text()


def stats(proxy: Proxy, pattern: str) -> dict[str, int]:
    """Counters and gauges of all workers together, whose name matches."""
    text = proxy.get(f"/stats?filter={quote(pattern)}")[1]
    lines = (line.rpartition(": ") for line in text.splitlines())
    return {name: int(value) for name, _, value in lines if value.isdigit()}
