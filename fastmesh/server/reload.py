"""One change of the configuration after the other: compile, compare, apply; a bad one is refused whole.

Compiling happens in a thread of the master, so neither requests (they are in the workers) nor the admin interface wait.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial

import msgspec

from fastmesh.server.configure import Answers, Compiled, Sources
from fastmesh.server.failure import SourcesError
from fastmesh.server.push import PushError
from fastmesh.server.sockets import BindError

log = logging.getLogger("fastmesh.config")

DNS = "dns"  # the reason that needs no file


class Outcome(msgspec.Struct, frozen=True):
    """The last reload, as /config_dump shows it."""

    at: float  # wall clock
    result: str  # accepted, unchanged, refused
    reason: str  # why it was tried: SIGHUP, files, dns
    milliseconds: float = 0.0
    problems: list[str] = []


class Reloader:
    """`apply(compiled)` makes the workers run it; BindError and PushError say that it could not. `busy(True)` is called
    before each reload and `busy(False)` after it, whatever its result.
    """

    def __init__(
        self,
        sources: Sources,
        executor: Executor,
        apply: Callable[[Compiled], Awaitable[None]],
        busy: Callable[[bool], None],
    ) -> None:
        self._sources = sources
        self._executor = executor
        self.apply = apply
        self._busy = busy
        self._wanted: str | None = None
        self._wake = asyncio.Event()
        self.lock = asyncio.Lock()  # one change at a time: reloads and upgrades exclude each other
        self.current: Compiled | None = None
        self.answers: Answers = {}
        self.accepted = 0
        self.refused = 0
        self.unchanged = 0
        self.last: Outcome | None = None
        self._told: set[str] = set()
        self.meet_names: Callable[[Compiled], Awaitable[bool]] = _nobody
        self.on_compiled: Callable[[Compiled | None, Compiled], None] = lambda running, fresh: None
        self.on_applied: Callable[[Compiled], None] = lambda running: None

    def trigger(self, reason: str) -> None:
        """Reload soon; what is asked for while one is running is done once after it."""
        if reason != DNS or self._wanted is None:  # what reads the files uses the new addresses too
            self._wanted = reason
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            reason, self._wanted = self._wanted or "", None
            async with self.lock:
                self._busy(True)
                await self._reload(reason)
                self._busy(False)

    async def compile(self, reason: str = "") -> Compiled:
        """SourcesError has every problem; anything else that goes wrong is told as one problem."""
        loop = asyncio.get_running_loop()
        try:
            if reason == DNS and self.current is not None:
                work = partial(self._sources.readdress, self.answers, self.current)
            else:
                work = partial(self._sources.compile, self.answers, self.current)
            compiled = await loop.run_in_executor(self._executor, work)
        except SourcesError:
            raise
        except Exception as error:
            log.exception("the configuration could not be compiled")
            raise SourcesError([f"internal error: {type(error).__name__}: {error}"]) from error
        self.on_compiled(self.current, compiled)
        self.tell(compiled)
        return compiled

    def tell(self, compiled: Compiled) -> None:
        """Each problem once: again only when it was gone in between."""
        warnings = [*compiled.warnings, *compiled.loaded.warnings]
        said = ((logging.ERROR, compiled.errors), (logging.WARNING, warnings), (logging.INFO, compiled.notes))
        for level, lines in said:
            for line in dict.fromkeys(lines):
                if line not in self._told:
                    log.log(level, "%s", line)
        self._told = {*compiled.errors, *warnings, *compiled.notes}

    async def _reload(self, reason: str) -> None:
        began = time.monotonic()
        result, problems = "accepted", list[str]()
        try:
            compiled = await self.compile(reason)
            if await self.meet_names(compiled):  # else a service would be without endpoints until they are known
                compiled = await self.compile(reason)
            if self.current is not None and compiled.encoded == self.current.encoded:
                result = "unchanged"
            else:
                await self.apply(compiled)
            self.current, problems = compiled, compiled.errors
            self.on_applied(compiled)
        except SourcesError as error:
            result, problems = "refused", error.problems
        except (BindError, PushError) as error:
            result, problems = "refused", [str(error)]
        took = (time.monotonic() - began) * 1000
        self.last = Outcome(time.time(), result, reason, took, problems)
        self._count(self.last)

    def _left_out(self) -> str:
        number = self.current.refused() if self.current is not None else 0
        return f", {number} wrong objects left out" if number else ""

    def _count(self, outcome: Outcome) -> None:
        match outcome.result:
            case "accepted":
                self.accepted += 1
                took, without = f"{outcome.milliseconds:.0f} ms", self._left_out()
                log.info("reload %d (%s) accepted in %s%s", self.accepted, outcome.reason, took, without)
            case "unchanged":
                self.unchanged += 1
                log.info("reload (%s): nothing changed%s", outcome.reason, self._left_out())
            case _:
                self.refused += 1
                for problem in outcome.problems:
                    log.error("%s", problem)
                log.error("reload (%s) refused; the last good configuration keeps serving", outcome.reason)


async def _nobody(compiled: Compiled) -> bool:
    return False
