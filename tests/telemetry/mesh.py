"""A real proxy on loopback, with upstreams that remember what reached them."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import fastmesh
from tests.ports import free_port

ROOT = Path(fastmesh.__file__).resolve().parents[1]
PATIENCE = 20.0
T = TypeVar("T")


def eventually(what: Callable[[], T], patience: float = PATIENCE) -> T:
    """Ask until the answer is true; for states of other processes that send no event."""
    ends = time.monotonic() + patience
    while True:
        answer = what()
        if answer:
            return answer
        assert time.monotonic() < ends, f"still {answer!r} after {patience} s"
        time.sleep(0.02)


class Upstream:
    """Answers `ok` to everything, and remembers the heads that it got."""

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []
        seen = self.seen

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                seen.append({name.lower(): value for name, value in self.headers.items()})
                self.rfile.read(int(self.headers.get("content-length", 0)))
                body = b"x" * int(self.headers.get("x-size", 2))
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

            do_POST = do_GET  # noqa: N815

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port: int = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


def fetch(
    port: int,
    path: str = "/",
    host: str = "",
    headers: dict[str, str | bytes] | None = None,
    body: bytes | None = None,
) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.putrequest("GET" if body is None else "POST", path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", host or f"127.0.0.1:{port}")
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


class Mesh:
    """A running `fastmesh proxy`."""

    def __init__(self, folder: Path, yaml: str, *flags: str, **environment: str) -> None:
        self.port, self.admin = free_port(), free_port()
        file = folder / "mesh.yaml"
        file.write_text(yaml)
        command = [sys.executable, "-m", "fastmesh", "proxy", "-f", str(file), "--no-watch", "--workers", "2"]
        command += ["--listen", f"127.0.0.1:{self.port}", "--admin", f"127.0.0.1:{self.admin}", *flags]
        self.said = folder / "stderr.log"
        with self.said.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stderr=errors,
                stdout=errors,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            )
        try:
            eventually(self._ready)
        except BaseException:
            self.close()
            raise

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.said.read_text()
        try:
            return fetch(self.admin, "/ready").status == 200
        except OSError:
            return False

    def ask(self, host: str, path: str = "/", headers: dict[str, str | bytes] | None = None) -> Answer:
        return fetch(self.port, path, host, headers)

    def page(self, path: str, **headers: str | bytes) -> str:
        answer = fetch(self.admin, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        assert answer.status == 200, answer.body
        return answer.body.decode()

    def workers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.page("/server_info"))["workers"]
        return [worker for worker in found if worker["stage"] == "serving"]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def running(folder: Path, yaml: str, *flags: str, **environment: str) -> Iterator[Mesh]:
    mesh = Mesh(folder, yaml, "--drain-timeout", "200ms", "--drain-idle", "0ms", *flags, **environment)
    try:
        yield mesh
    finally:
        mesh.close()


def service(name: str, port: int, app: str = "") -> str:
    return f"""---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec:
  selector: {{app: {app or name}}}
  ports: [{{name: http, port: 80, targetPort: {port}}}]
"""


def workload(name: str, app: str, version: str = "v1") -> str:
    return f"""---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}, namespace: default}}
spec:
  address: 127.0.0.1
  serviceAccount: {app}-account
  labels: {{app: {app}, version: {version}}}
"""
