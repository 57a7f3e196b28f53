"""A real proxy and raw upstreams for tests from outside: real processes, real sockets, ends awaited."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.ports import free_port

REPOSITORY = Path(__file__).resolve().parent.parent
DEADLINE = 20.0

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: 8000}}]
"""
WORKLOAD = """
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}-{number}}}
spec: {{address: 127.0.0.1, ports: {{http: {port}}}, labels: {{app: {name}, version: {version}}}}}
"""


def service(name: str, *ports: int, versions: tuple[str, ...] = ()) -> str:
    """YAML of a service whose replicas listen on loopback `ports`."""
    text = SERVICE.format(name=name)
    for number, port in enumerate(ports):
        version = versions[number] if versions else "v1"
        text += WORKLOAD.format(name=name, number=number, port=port, version=version)
    return text + "\n---\n"


class Proxy:
    """`fastmesh proxy` as a user starts it."""

    def __init__(
        self,
        directory: Path,
        yaml: str,
        *args: str,
        workers: int = 1,
        role: str = "mesh",
        prefix: tuple[str, ...] = (),
    ) -> None:
        self.port, self.admin = free_port(), free_port()
        self.file = directory / "mesh.yaml"
        self.file.write_text(yaml)
        self.log = open(directory / "proxy.log", "w+b")  # noqa: SIM115
        command = [sys.executable, "-m", "fastmesh", "proxy", "-f", str(self.file), "--workers", str(workers)]
        command += ["--admin", f"127.0.0.1:{self.admin}", "--no-watch"]
        if role == "mesh":
            command += ["--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen([*prefix, *command, *args], cwd=REPOSITORY, stderr=self.log, stdout=self.log)

    def __enter__(self) -> Proxy:
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                if self.get("/ready")[0] == 200:
                    return self
            time.sleep(0.02)
        self.__exit__()
        raise AssertionError(f"the proxy did not get ready:\n{self.text()}")

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()

    def text(self) -> str:
        return Path(self.log.name).read_text()  # a descriptor of its own: reading moves nobody's place in the file

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children]

    def connect(self, timeout: float = 10.0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def send(self, raw: bytes, timeout: float = 10.0) -> bytes:
        """Send bytes on a new connection, then read until the proxy closes or the answer is complete."""
        with self.connect(timeout) as connection:
            connection.sendall(raw)
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            data += chunk
    return data


def read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    """One message head and what came behind it; the head is empty when the peer closed first."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return b"", data
        data += chunk
    head, _, rest = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def read_message(connection: socket.socket) -> tuple[bytes, bytes]:
    """One message with content-length or without a body: head and body."""
    head, body = read_head(connection)
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        chunk = connection.recv(65536)
        if not chunk:
            break
        body += chunk
    return head, body


class Upstream:
    """A raw TCP server: each connection goes to `handle` in a thread; exceptions there are kept in `errors`."""

    def __init__(self, handle: Callable[[socket.socket], None]) -> None:
        self.handle = handle
        self.errors: list[BaseException] = []
        self.accepted = 0
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = int(self.socket.getsockname()[1])
        self.thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Upstream:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                self.handle(connection)
            except (ConnectionError, TimeoutError):
                pass
            except OSError as error:
                if error.errno != errno.ENOTCONN:  # shutdown after the peer's reset is no ConnectionError
                    self.errors.append(error)
            except BaseException as error:
                self.errors.append(error)


def answer(
    connection: socket.socket, body: bytes = b"ok", status: str = "200 OK", extra: bytes = b"", length: int = -1
) -> None:
    told = len(body) if length < 0 else length
    connection.sendall(b"HTTP/1.1 %s\r\ncontent-length: %d\r\n%s\r\n%s" % (status.encode(), told, extra, body))


def keep_answering(connection: socket.socket) -> None:
    """An ordinary keep-alive server that answers `ok`."""
    while read_message(connection)[0]:
        answer(connection)


@contextlib.contextmanager
def mesh(
    directory: Path, handle: Callable[[socket.socket], None], *args: str, yaml: str = "", workers: int = 1
) -> Iterator[tuple[Proxy, Upstream]]:
    """A raw upstream named `app`, and a proxy in front of it."""
    with (
        Upstream(handle) as upstream,
        Proxy(directory, service("app", upstream.port) + yaml, *args, workers=workers) as proxy,
    ):
        yield proxy, upstream


def reset(connection: socket.socket) -> None:
    """Close with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
