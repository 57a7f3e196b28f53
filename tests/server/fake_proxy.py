"""`fastmesh proxy` made of test parts: the real master and worker life, a JSON file as configuration, no compiled core.

The file: {"version": "v1", "problems": [...], "warnings": [...], "listeners": {"name": "HOST:PORT"}, "hosts": [...]}.
"""

from __future__ import annotations

import json
import mmap
import os
from pathlib import Path
from typing import Any

import click
import msgspec

from fastmesh.cli.proxy import proxy_options, run_proxy
from fastmesh.config.plan import ListenerPlan, MeshPlan, Plan, WorkloadPlan, encode
from fastmesh.security.material import Loaded, Request
from fastmesh.server.configure import Answers, Compiled
from fastmesh.server.failure import SourcesError
from fastmesh.server.parts import Parts
from fastmesh.server.settings import ProxySettings
from fastmesh.server.sources import FileSources

LAYOUT = os.environ.get("FAKE_ARENA_LAYOUT", "1").encode()


class FakeArena:
    """Memory that counts how often each slot was released."""

    def __init__(self, fd: int, slots: int) -> None:
        self.fd = fd
        self.slots = slots
        self.memory = mmap.mmap(fd, 4096)

    @staticmethod
    def create(size: int, slots: int) -> FakeArena:
        fd = os.memfd_create("fake-arena", os.MFD_CLOEXEC)
        os.ftruncate(fd, 4096)
        arena = FakeArena(fd, slots)
        arena.memory[:2] = LAYOUT + bytes([slots])
        return arena

    @staticmethod
    def attach(fd: int) -> FakeArena:
        memory = mmap.mmap(fd, 4096)
        if memory[:1] != LAYOUT:
            raise ValueError("the shared arena has another layout")
        return FakeArena(fd, memory[1])

    def release_slot(self, slot: int) -> None:
        self.memory[64 + slot] = (self.memory[64 + slot] + 1) % 256

    usage = (0, 4096, 0, 0)

    def entries(self) -> list[Any]:
        return []


class FakeSources(FileSources):
    """The file says all but the credentials: `requests` and --certs are read, checked and watched as ever."""

    def compile(self, answers: Answers, running: Compiled | None) -> Compiled:
        file = self._settings.files[0]
        try:
            written = json.loads(Path(file).read_text())
        except (OSError, ValueError) as error:
            raise SourcesError([f"{file}: {error}"]) from None
        if written.get("problems"):
            raise SourcesError(written["problems"])
        version = written["version"] + "".join(f" {host}={','.join(found)}" for host, found in sorted(answers.items()))
        listeners = written.get("listeners") or {"mesh": self._settings.listen}
        plan = Plan(
            mesh=MeshPlan(version=version, workload=WorkloadPlan()),
            workloads=[WorkloadPlan()],
            limits=[],
            clusters=[],
            vhosts=[],
            listeners=[ListenerPlan(name=name, role="mesh", port=0, address=a) for name, a in listeners.items()],
        )
        requests = [msgspec.convert(request, Request) for request in written.get("requests", [])]
        plan, loaded = self.with_credentials(plan, requests, running.loaded if running is not None else Loaded())
        return Compiled(
            plan=plan,
            encoded=encode(plan),
            warnings=written.get("warnings", []),
            hosts=frozenset(written.get("hosts", [])),
            requests=requests,
            loaded=loaded,
        )


def make_parts(settings: ProxySettings) -> Parts:
    return Parts(FakeSources(settings), "tests.server.fake_worker", FakeArena.create, FakeArena.attach, lambda: None)


@click.command()
@proxy_options
def fake_proxy(preflight: bool, **given: Any) -> int:
    return run_proxy(given, preflight, make_parts)


if __name__ == "__main__":
    raise SystemExit(fake_proxy.main(standalone_mode=False))
