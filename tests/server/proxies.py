"""Starts a proxy of test parts and talks to it, as an operator and as a client would."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 15.0
DEFAULTS = (
    ("--listen", "127.0.0.1:0"),
    ("--admin", "127.0.0.1:0"),
    ("--workers", "2"),
    ("--drain-idle", "300ms"),
)
READY = re.compile(r"fastmesh ready: listening on (\S+?)(?:, (\S+?))* \((\d+) workers\)(?:, admin (\S+?))?(?:,|$)")


class Proxy:
    """A running master. `say(...)` rewrites its configuration; `wait_for` waits for a line of its log."""

    def __init__(
        self,
        folder: Path,
        *flags: str,
        command: tuple[str, ...] = ("tests.server.fake_proxy",),
        prefix: tuple[str, ...] = (),
        defaults: tuple[tuple[str, str], ...] = DEFAULTS,
        **config: Any,
    ) -> None:
        self.file = folder / "mesh.yaml"
        self.said: list[str] = []
        self._news = threading.Condition()
        self.say(**({"version": "v1"} | config))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        given = [part for name, value in defaults if name not in flags for part in (name, value)] + list(flags)
        whole = [*prefix, sys.executable, "-m", *command, "-f", str(self.file), *given]
        self.process = subprocess.Popen(whole, stderr=subprocess.PIPE, text=True, env=environment)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def say(self, **config: Any) -> None:
        """Replace the file in one step, as editors and ConfigMaps do."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps(config))
        fresh.rename(self.file)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.said.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    # ---- the log

    def wait_for(self, pattern: str, count: int = 1) -> str:
        """The `count`th line that matches."""

        def found() -> list[str]:
            return [line for line in self.said if re.search(pattern, line)]

        with self._news:
            enough = self._news.wait_for(lambda: len(found()) >= count or self.process.poll() is not None, PATIENCE)
            assert len(found()) >= count, f"no {pattern!r} ({enough=}) in:\n" + "\n".join(self.said)
            return found()[count - 1]

    def ready(self, count: int = 1) -> Proxy:
        found = READY.search(self.wait_for("^fastmesh ready", count))
        assert found is not None
        self.address, self.admin = found[1], found[4]
        return self

    # ---- the operator

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        return request(self.admin, path, method, **headers)

    def info(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.ask("/server_info")[1])
        return answer

    def workers(self, stage: str = "serving") -> list[int]:
        return [worker["pid"] for worker in self.info()["workers"] if worker["stage"] == stage]

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(PATIENCE + 20)
        self._reader.join(PATIENCE)
        return code


def request(address: str, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, str]:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def eventually(what: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Ask until the answer is true; for states of other processes that send no event."""
    ends = time.monotonic() + patience
    while True:
        answer = what()
        if answer:
            return answer
        assert time.monotonic() < ends, f"still {answer!r} after {patience} s"
        time.sleep(0.01)
