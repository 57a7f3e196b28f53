"""A real proxy, a real upstream and a load client, each in a process of its own, for the life-cycle stories."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.ports import free_port
from tests.server.proxies import DEFAULTS, ROOT, Proxy

HOST = "origin.example"

MESH = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: origin, namespace: default}}
spec:
  hosts: [origin.example]
  location: MESH_INTERNAL
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{http: {port}}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: origin, namespace: default}}
spec:
  hosts: [origin.example]
  http:
  - name: r{version}
    timeout: {version}s
    route: [{{destination: {{host: origin.example}}}}]
"""


class MeshProxy(Proxy):
    """`fastmesh proxy` in front of the origin; `say(version=N)` writes a rule that differs from the last one."""

    def __init__(
        self,
        folder: Path,
        origin: int,
        *flags: str,
        prefix: tuple[str, ...] = (),
        text: Callable[[int], str] | None = None,
    ) -> None:
        self.origin = origin
        self.loads: list[LoadRun] = []
        first = {"text": text(origin)} if text is not None else {"version": 30}
        defaults = DEFAULTS if "--role" not in flags else tuple(item for item in DEFAULTS if item[0] != "--listen")
        super().__init__(folder, *flags, command=("fastmesh", "proxy"), prefix=prefix, defaults=defaults, **first)

    def load(self, rate: int, fresh: int, address: str = "", certs: str = "") -> LoadRun:
        self.loads.append(LoadRun(address or self.address, rate, fresh, certs))
        return self.loads[-1]

    def clean_up(self) -> None:
        for process in (*(load.process for load in self.loads), self.process):
            if process.poll() is None:
                process.kill()
        self.wait()

    def say(self, **config: Any) -> None:
        text = config.get("text") or MESH.format(port=self.origin, version=config["version"])
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.file)


class Report(dict[str, Any]):
    def __str__(self) -> str:
        return str({name: value for name, value in self.items() if name != "failed_at"})

    @property
    def failed(self) -> int:
        return sum(self["failed"].values())


class LoadRun:
    def __init__(self, address: str, rate: int, fresh: int, certs: str = "") -> None:
        command = [sys.executable, "-m", "tests.story.load", address, HOST, str(rate), str(fresh), certs]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "load ready\n"

    def end(self) -> Report:
        self.process.send_signal(signal.SIGTERM)
        return Report(json.loads(self.process.communicate(timeout=30)[0]))


@contextlib.contextmanager
def origin() -> Iterator[int]:
    """The port of an upstream that runs."""
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.story.origin", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "origin ready\n"
        yield port
    finally:
        process.kill()
        process.communicate()
