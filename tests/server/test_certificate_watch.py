"""The watch over certificates by itself."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fastmesh.config.plan import MeshPlan, Plan, WorkloadPlan, encode
from fastmesh.server import rotation
from fastmesh.server.configure import Answers, Compiled
from fastmesh.server.reload import Reloader
from fastmesh.server.rotation import Rotation

PLAN = Plan(
    mesh=MeshPlan(version="1", workload=WorkloadPlan()), workloads=[], limits=[], clusters=[], vhosts=[], listeners=[]
)


class Broken:
    """Sources whose disk has an idea of its own, and is well again later."""

    def __init__(self) -> None:
        self.asked = 0

    def compile(self, answers: Answers, running: Compiled | None, /) -> Compiled:
        raise AssertionError

    def readdress(self, answers: Answers, running: Compiled, /) -> Compiled:
        raise AssertionError

    def renew(self, running: Compiled, /) -> Compiled:
        raise AssertionError

    def watched(self, running: Compiled, /) -> list[str]:
        self.asked += 1
        if self.asked < 3:
            raise RuntimeError("a surprise")
        return []


def test_a_surprise_does_not_end_the_watch(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(rotation, "AGAIN", 0.01)

    async def nothing(*_: Any) -> None:
        return None

    async def look() -> None:
        sources = Broken()
        with ThreadPoolExecutor(1) as threads:
            reloader = Reloader(sources, threads, nothing, lambda busy: None)
            reloader.current = Compiled(plan=PLAN, encoded=encode(PLAN))
            task = asyncio.create_task(Rotation(sources, reloader, threads).run(True))
            while sources.asked < 4:  # the fourth look is the first after one that went well
                assert not task.done()
                await asyncio.sleep(0.01)
            task.cancel()

    asyncio.run(asyncio.wait_for(look(), 20))
    assert caplog.text.count("RuntimeError: a surprise") == 2
