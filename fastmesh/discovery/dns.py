"""Addresses of DNS names: asked for again every minute, the last good answer is kept when a question fails.

`getaddrinfo` blocks and knows no time to live, so it runs in a thread, and a minute is the refresh (Envoy's
STRICT_DNS asks every 5 s, or as the TTL says; Istio sets 60 s, MeshConfig's `dnsRefreshRate` another). A name that
never had an answer has no addresses: its cluster is empty (503 UH), and asked for again sooner.

There are few threads, and a question to a dead server holds one for long. So a name has at most one question under
way, they are answered in the order asked, and an answer counts also when nobody waits for it any more: dead names
cannot keep the others from being asked.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from functools import partial

log = logging.getLogger("fastmesh.dns")

REFRESH = 60.0
REFRESH_FAILED = 5.0  # while a name has no answer at all
PATIENCE = 5.0  # a start, a reload or a refresh waits this long for answers

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
        self._refresh = 0.0
        self._wake = asyncio.Event()
        self._failed: set[str] = set()
        self._under_way: dict[str, asyncio.Future[list[str]]] = {}
        self._awaited: set[str] = set()
        self.answers: dict[str, list[str]] = {}
        self.questions = {"answered": 0, "failed": 0}

    def want(self, names: Iterable[str], refresh: float = 0.0) -> None:
        """The names of the configuration that runs now; answers of others are forgotten."""
        names = frozenset(names)
        fresh = names - self._names
        if fresh - self.answers.keys() or refresh != self._refresh:
            self._wake.set()
        self._names, self._refresh = names, refresh
        self.answers = {name: found for name, found in self.answers.items() if name in names}
        self._failed &= names

    def names(self) -> dict[str, int]:
        """How many have the answer of their last question, how many only an older one, and how many none."""
        stale = len(self._failed & self.answers.keys())
        return {
            "fresh": len(self.answers) - stale,
            "stale": stale,
            "unanswered": len(self._names - self.answers.keys()),
        }

    async def meet(self, names: Iterable[str]) -> bool:
        """Ask for names that may be wanted next; whether one that is new has an answer."""
        fresh = frozenset(names) - self._names
        self._names |= fresh
        await self._ask_all(fresh)
        return bool(fresh & self.answers.keys())

    async def refresh(self) -> bool:
        """Ask for every name once; whether any answer is different."""
        before = dict(self.answers)
        await self._ask_all(self._names)
        return self.answers != before

    async def run(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), self._pause())
            except TimeoutError:
                pass
            self._wake.clear()
            if await self.refresh():
                self._changed()

    def _pause(self) -> float:
        usual = self._refresh or REFRESH
        return min(usual, REFRESH_FAILED) if self._names - self.answers.keys() else usual

    async def _ask_all(self, names: Iterable[str]) -> None:
        wanted = sorted(names)
        if not wanted:
            return
        self._awaited = set(wanted)
        _, late = await asyncio.wait([self._ask(name) for name in wanted], timeout=PATIENCE)
        self._awaited = set()
        if late:
            for name in wanted:
                if self._under_way.get(name) in late:
                    self._fail(name, "no answer in time")

    def _ask(self, name: str) -> asyncio.Future[list[str]]:
        question = self._under_way.get(name)
        if question is None:
            question = asyncio.get_running_loop().run_in_executor(self._executor, self._lookup, name)
            self._under_way[name] = question
            question.add_done_callback(partial(self._answered, name))
        return question

    def _answered(self, name: str, question: asyncio.Future[list[str]]) -> None:
        del self._under_way[name]
        if question.cancelled():
            return
        error = question.exception()
        found = question.result() if error is None else []
        self.questions["answered" if found else "failed"] += 1
        if name not in self._names:
            return
        if not found:
            self._fail(name, str(error) if error is not None else "the answer is empty")
            return
        if name in self._failed:
            log.info("%s is resolved again", name)
            self._failed.discard(name)
        if self.answers.get(name) != found:
            self.answers[name] = found
            if name not in self._awaited:
                self._changed()

    def _fail(self, name: str, why: str) -> None:
        if name not in self._failed:
            kept = len(self.answers.get(name, ()))
            log.warning("%s cannot be resolved: %s; %d known addresses are kept", name, why, kept)
        self._failed.add(name)
