"""The processes that the demo starts: each is known by its pid, waited for until it is ready, and ended with the demo.

A child's standard error is a pipe. What it says is kept for the message when it fails, and its end says that the child
and everything that it forked are gone, so nothing here has to poll.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from fastmesh.errors import FastmeshError

START_PATIENCE = 30.0  # seconds; a cold start on a busy machine
END_PATIENCE = 5.0
KEPT_LINES = 8


class DemoError(FastmeshError):
    """The demo could not start, or something that it needs is gone."""


class Child:
    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.pid = process.pid
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.gone = asyncio.Event()
        self._process = process
        self._news = asyncio.Condition()
        self._task = asyncio.create_task(self._listen())

    async def ready(self, pattern: str) -> re.Match[str]:
        """The first line that matches; DemoError with the child's own words when it ends or stays silent."""
        wanted = re.compile(pattern)

        def found() -> re.Match[str] | None:
            return next((match for line in self.lines if (match := wanted.search(line))), None)

        try:
            async with asyncio.timeout(START_PATIENCE), self._news:
                await self._news.wait_for(lambda: found() or self.gone.is_set())
        except TimeoutError:
            raise DemoError(f"{self.name} was not ready after {START_PATIENCE:.0f} s{self._said()}") from None
        match = found()
        if match is None:
            raise DemoError(f"{self.name} did not start{self._said()}")
        return match

    async def done(self) -> None:
        """When it has ended by itself; DemoError with its own words when that was a failure."""
        await self.gone.wait()
        if self._process.wait():
            raise DemoError(f"{self.name} failed{self._said()}")

    async def end(self) -> None:
        """Ask it to leave, then insist."""
        self._process.terminate()
        try:
            async with asyncio.timeout(END_PATIENCE):
                await self.gone.wait()
        except TimeoutError:
            self._process.kill()
        self._process.wait()
        self._task.cancel()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _said(self) -> str:
        return "".join(f"\n  {line}" for line in self.lines)

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self._process.stderr)
        try:
            async for line in reader:
                async with self._news:
                    self.lines.append(line.decode(errors="replace").rstrip())
                    self._news.notify_all()
        finally:
            transport.close()
        async with self._news:
            self.gone.set()
            self._news.notify_all()


class Children:
    """`async with Children() as children`: what was started in it has ended when it is left, however that happens."""

    def __init__(self) -> None:
        self._all: list[Child] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        # The front first, so that nobody asks a service that has left.
        await asyncio.gather(*(child.end() for child in reversed(self._all)))

    def start(self, name: str, arguments: Sequence[str], descriptors: Sequence[int] = ()) -> Child:
        """`python -m ARGUMENTS` in a session of its own: a Ctrl-C in the terminal is for the demo, which tells them."""
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=descriptors,
            start_new_session=True,
            env={key: value for key, value in os.environ.items() if not key.startswith("FASTMESH_")},
        )
        child = Child(name, process)
        self._all.append(child)
        return child

    async def run(self, name: str, arguments: Sequence[str]) -> None:
        """Start what ends by itself, and wait for that."""
        child = self.start(name, arguments)
        await child.done()
        await child.end()
        self._all.remove(child)

    @property
    def lost(self) -> list[Child]:
        return [child for child in self._all if child.gone.is_set()]
