"""Addresses of DNS names: asked for again every minute, the last good answer is kept when a question fails.

`getaddrinfo` blocks and knows no time to live, so it runs in a thread, and a minute is the refresh (Envoy's
STRICT_DNS asks every 5 s, or as the TTL says; Istio sets 60 s). A name that never had an answer has no addresses: its
cluster is empty (503 UH), and asked for again sooner.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import Executor

log = logging.getLogger("fastmesh.dns")

REFRESH = 60.0
REFRESH_FAILED = 5.0  # while a name has no answer at all
PATIENCE = 5.0  # one question

Lookup = Callable[[str], list[str]]


def system_lookup(name: str) -> list[str]:
    """IPv4 and IPv6 addresses, sorted: the order of an answer is chance, and a change of order alone is no change."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return sorted({str(item[4][0]) for item in found})


class Resolver:
    """Keeps `answers` fresh for the names of `want`; `changed()` is called when one of them is not what it was."""

    def __init__(self, executor: Executor, changed: Callable[[], None], lookup: Lookup = system_lookup) -> None:
        self._executor = executor
        self._changed = changed
        self._lookup = lookup
        self._names: frozenset[str] = frozenset()
        self._wake = asyncio.Event()
        self._failed: set[str] = set()
        self.answers: dict[str, list[str]] = {}

    def want(self, names: Iterable[str]) -> None:
        """The names of the configuration that runs now; answers of others are forgotten."""
        names = frozenset(names)
        fresh = names - self._names
        self._names = names
        self.answers = {name: found for name, found in self.answers.items() if name in names}
        self._failed &= names
        if fresh - self.answers.keys():
            self._wake.set()

    async def refresh(self) -> bool:
        """Ask for every name once; whether any answer is different."""
        before = dict(self.answers)
        await asyncio.gather(*(self._ask(name) for name in sorted(self._names)))
        return self.answers != before

    async def run(self) -> None:
        while True:
            unanswered = self._names - self.answers.keys()
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), REFRESH_FAILED if unanswered else REFRESH)
            except TimeoutError:
                pass
            if await self.refresh():
                self._changed()

    async def _ask(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await asyncio.wait_for(loop.run_in_executor(self._executor, self._lookup, name), PATIENCE)
        except (OSError, UnicodeError, TimeoutError) as error:
            self._fail(name, str(error) or "no answer in time")
            return
        if not found:
            self._fail(name, "the answer is empty")
            return
        if name in self._failed:
            log.info("%s is resolved again", name)
            self._failed.discard(name)
        if name in self._names:
            self.answers[name] = found

    def _fail(self, name: str, why: str) -> None:
        if name not in self._failed:
            kept = len(self.answers.get(name, ()))
            log.warning("%s cannot be resolved: %s; %d known addresses are kept", name, why, kept)
        self._failed.add(name)
