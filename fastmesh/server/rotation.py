"""Certificates that change while the proxy runs: their files are watched, and what changed goes to the workers as the
same plan with new material.

Files are looked at four times a second, so that new connections see a new certificate within one. Chain and key are two
files, and whoever writes them may be between the two: material that does not fit is looked at again a moment later
before it is called bad. What runs then stays, and a warning and a counter say so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from fastmesh.security.expiry import Expiry
from fastmesh.security.material import Loaded, Material
from fastmesh.security.reader import Look, looks
from fastmesh.security.times import moment, span, utc_now
from fastmesh.server.configure import Compiled, Sources
from fastmesh.server.push import PushError
from fastmesh.server.reload import Reloader
from fastmesh.server.sockets import BindError

Result = TypeVar("Result")
Seen = tuple[tuple[str, ...], tuple[Look | None, ...]]  # paths, and how the files looked

log = logging.getLogger("fastmesh.certificates")

NOTHING: Seen = ((), ())
PERIOD = 0.25  # seconds between two looks
SHARE = 20  # looking takes at most a 20th of the time, however many files there are
SETTLE = 0.1  # two looks in a row agree: nobody is writing
BETWEEN = 0.5  # patience with files that do not fit each other
AGAIN = 60.0  # between two looks at the calendar, and at material that was bad


class Rotation:
    def __init__(self, sources: Sources, reloader: Reloader, executor: Executor) -> None:
        self._sources = sources
        self._reloader = reloader
        self._executor = executor
        self._expiry = Expiry()
        self._seen = NOTHING
        self._calendar = 0.0
        self._again = 0.0
        self.failures: Counter[str] = Counter()  # by credential: bad material that was not taken
        self.renewals: Counter[str] = Counter()

    # ---- what others tell

    def compiled(self, running: Compiled | None, fresh: Compiled) -> None:
        """Material was read: count what was not taken, and was not counted yet."""
        for failure in fresh.loaded.failures:
            known = running.loaded.failed(failure.name) if running is not None else None
            if known is None or known.digest != failure.digest:
                self.failures[failure.name] += 1

    def applied(self, old: Compiled | None, new: Compiled) -> None:
        """The workers run it."""
        for name, material in new.loaded.materials.items():
            before = old.loaded.materials.get(name) if old is not None else None
            if before is not None and before is not material:
                self.renewals[name] += 1
                log.info("%s renewed: %s", name, _about(material))
        self._look_at_calendar(new.loaded)

    # ---- the watch

    async def run(self, watch: bool) -> None:
        """For ever. Without `watch` only the calendar is looked at: whose certificates end soon?"""
        while True:
            pause = AGAIN
            try:
                pause = await self._once(watch)
            except Exception:
                log.exception("certificates could not be looked at; again in %.0f s", AGAIN)
            await asyncio.sleep(pause)

    async def _once(self, watch: bool) -> float:
        """One look, and what follows from it; how long until the next."""
        began = time.monotonic()
        now = await self._look() if watch else self._seen
        pause = max(PERIOD, SHARE * (time.monotonic() - began)) if watch else AGAIN
        if now != self._seen or self._has_old_staple() or (watch and self._shall_try_again()):
            self._seen = await self._settled(now) if watch else now
            await self._renew(self._seen)
        if time.monotonic() > self._calendar and self._reloader.current is not None:
            self._look_at_calendar(self._reloader.current.loaded)
        return pause

    async def _look(self) -> Seen:
        running = self._reloader.current
        if running is None:
            return NOTHING

        def look() -> Seen:
            paths = tuple(self._sources.watched(running))
            return paths, looks(paths)

        return await self._in_thread(look)

    async def _settled(self, now: Seen) -> Seen:
        while True:
            await asyncio.sleep(SETTLE)
            again = await self._look()
            if again == now:
                return now
            now = again

    async def _renew(self, seen: Seen) -> None:
        if await self._tried(patient=True):
            return
        await asyncio.sleep(BETWEEN)
        if await self._look() == seen:  # else the next look finds the change
            await self._tried(patient=False)

    async def _tried(self, patient: bool) -> bool:
        """Whether all material was taken. When `patient`, what is bad is not called so yet."""
        async with self._reloader.lock:
            running = self._reloader.current
            if running is None:
                return True
            fresh = await self._in_thread(lambda: self._sources.renew(running))
            taken = not fresh.loaded.failures
            if taken or not patient:
                self.compiled(running, fresh)
                self._reloader.tell(fresh)
            else:
                loaded = msgspec.structs.replace(fresh.loaded, failures=running.loaded.failures)
                fresh = msgspec.structs.replace(fresh, loaded=loaded)
            if fresh.encoded == running.encoded or await self._push(running, fresh):
                self._reloader.current = fresh
        return taken

    async def _push(self, running: Compiled, fresh: Compiled) -> bool:
        """Whether the workers run it."""
        try:
            await self._reloader.apply(fresh)
        except (BindError, PushError) as error:
            for name, material in fresh.loaded.materials.items():
                if running.loaded.materials.get(name) is not material:
                    self.failures[name] += 1
                    log.warning("%s: the workers do not take the new material, the old stays: %s", name, error)
            return False
        return True

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _shall_try_again(self) -> bool:
        """Bad material may get good with time: a certificate that is not valid yet, a disk that is there again."""
        running = self._reloader.current
        if running is None or not running.loaded.failures or time.monotonic() < self._again:
            return False
        self._again = time.monotonic() + AGAIN
        return True

    # ---- the calendar

    def _has_old_staple(self) -> bool:
        running, now = self._reloader.current, utc_now()
        found = running.loaded.materials.values() if running is not None else ()
        return any(each.good_until is not None and each.good_until < now for each in found)

    def _look_at_calendar(self, loaded: Loaded) -> None:
        self._calendar = time.monotonic() + AGAIN
        for line in self._expiry.notices(loaded.materials.values(), utc_now()):
            log.warning("%s", line)


def _about(material: Material) -> str:
    if not material.not_after:
        return "new roots"
    ends = datetime.fromtimestamp(material.not_after, UTC)
    return f"serial {material.serial}, valid until {moment(ends)} ({span(ends - utc_now())})"
