"""All workers together: how many there should be, what they run, and what happens when one dies.

A generation is the set of workers that one program image started. The workers of older generations keep serving until
those of the newest do, then they drain; every worker keeps its slot in the arena until it is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from fastmesh.errors import EXIT_FAILURE
from fastmesh.server import messages as say
from fastmesh.server.backoff import Backoff
from fastmesh.server.member import Handed, Image, Member, Stage
from fastmesh.server.push import Push, PushError
from fastmesh.server.settings import WorkerSettings
from fastmesh.telemetry.readable import ReadableArena

log = logging.getLogger("fastmesh.crew")

BUILD_PATIENCE = 60.0  # seconds until a plan that is not built by all is given up
STALLED = 10.0  # seconds without a word from a worker
EARLY_DEATHS = 3  # so many more than workers before one serves, and the program cannot run at all


class SharedArena(ReadableArena, Protocol):
    @property
    def fd(self) -> int: ...
    @property
    def slots(self) -> int: ...
    def release_slot(self, slot: int, /) -> object: ...


class Crew:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        arena: SharedArena,
        module: str,
        settings: WorkerSettings,
        on_change: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._arena = arena
        self._module = module
        self.settings = settings
        self.ticket_keys: list[bytes] = []
        self.on_leases_wanted: Callable[[], object] = lambda: None
        self._on_change = on_change
        self._backoff = Backoff()
        self._push: Push | None = None
        self._news = asyncio.Event()
        self._refusal = ""
        self._refusal_code = EXIT_FAILURE
        self.members: list[Member] = []
        self.image: Image | None = None
        self.generation = 1
        self.wanted = 0
        self.restarts = 0
        self.stopping = False
        self.accepting = True  # False: the sockets are closed for good, the workers only finish

    # ---- who is there

    def serving(self) -> list[Member]:
        return [member for member in self.members if member.stage is Stage.SERVING]

    def current(self) -> list[Member]:
        """The workers of the newest generation that are not leaving."""
        return [m for m in self.members if m.generation == self.generation and m.stage is not Stage.DRAINING]

    def stalled(self) -> list[Member]:
        now = time.monotonic()
        return [member for member in self.serving() if now - member.heard > STALLED]

    # ---- starting and stopping

    def start(self, image: Image, count: int) -> None:
        """Start `count` workers with their first plan."""
        self.image = image
        self.wanted = max(1, min(count, self._arena.slots))
        self._fill()

    def adopt(self, handed: Sequence[Handed]) -> None:
        """Watch the workers of the last program image; ours are of the next generation."""
        for item in handed:
            self._new_member(item.index, item.generation).take_over(item)
        self.generation = max((item.generation for item in handed), default=0) + 1

    def resize(self, count: int) -> None:
        """More workers or fewer; those with the highest slots leave first."""
        self.wanted = max(1, min(count, self._arena.slots))
        for member in sorted(self.current(), key=lambda member: member.index)[self.wanted :]:
            member.drain(self.settings.drain_timeout_ms)
        self._fill()

    def drain_older(self) -> None:
        """The newest generation serves: let the older ones go."""
        for member in self.members:
            if member.generation != self.generation and member.stage is Stage.SERVING:
                member.drain(self.settings.drain_timeout_ms)

    def stop(self, grace_ms: int) -> None:
        self.stopping = True
        for member in self.members:
            member.drain(grace_ms)
        self._changed()

    def kill(self) -> None:
        self.stopping = True
        for member in self.members:
            member.kill()

    def tell(self, message: say.Message) -> None:
        for member in self.members:
            member.channel.send(message)

    def set_log_level(self, level: str) -> None:
        """For the workers that are there and for those that come."""
        self.settings = msgspec.structs.replace(self.settings, log_level=level)
        self.tell(say.LogLevel(level=level))

    def set_ticket_keys(self, keys: list[bytes]) -> None:
        self.ticket_keys = keys
        self.tell(say.TicketKeys(keys=keys))

    async def all_gone(self) -> None:
        while self.members:
            await self._next_news()

    async def settled(self) -> None:
        """Wait until all wanted workers of this generation serve. PushError when they cannot serve at all."""
        while sum(member.stage is Stage.SERVING for member in self.current()) < self.wanted:
            if self.stopping:
                raise PushError("stopped")
            if not any(member.ready_at for member in self.current()):
                if self._refusal:
                    raise PushError(self._refusal, self._refusal_code)
                if self._backoff.early_deaths >= self.wanted + EARLY_DEATHS:
                    raise PushError("the workers die before they serve; the lines above say why")
            await self._next_news()

    def give_up_current(self) -> None:
        """The newest generation cannot serve: the older one stays in its place."""
        older = [m.generation for m in self.serving() if m.generation != self.generation]
        for member in self.current():
            member.kill()
        self.generation = max(older, default=self.generation)
        self.wanted = len(self.current()) or self.wanted
        self._refusal = ""

    def _fill(self) -> None:
        while not self.stopping and self.image is not None and len(self.current()) < self.wanted:
            index = self._free_slot()
            if index is None:
                log.warning(
                    "no slot is free in the arena (%d in all): waiting for a worker to leave", self._arena.slots
                )
                return
            member = self._new_member(index, self.generation)
            member.spawn(self._module, self._arena.fd)
            mine = msgspec.structs.replace(self.settings, index=index, slots=self._arena.slots, workers=self.wanted)
            member.channel.send(say.Hello(settings=mine))
            member.channel.send(say.TicketKeys(keys=self.ticket_keys))
            member.send_plan(self.image)

    def _free_slot(self) -> int | None:
        taken = {member.index for member in self.members}
        return next((index for index in range(self._arena.slots) if index not in taken), None)

    def _new_member(self, index: int, generation: int) -> Member:
        member = Member(self._loop, index, generation, self._heard, self._lost)
        self.members.append(member)
        return member

    # ---- a new plan

    async def push(self, image: Image, before_apply: Callable[[], Awaitable[None]]) -> None:
        """All workers run it when this returns without PushError; otherwise none does."""
        if not self.serving():
            with contextlib.suppress(PushError, TimeoutError):
                await asyncio.wait_for(self.settled(), 5)
        assert self.image is not None
        push = self._push = Push(image, self.serving())
        try:
            await push.all_built(BUILD_PATIENCE)
        except PushError:
            push.abandon(self.image)
            raise
        else:
            await before_apply()
            self.image = image
            push.apply()
        finally:
            self._push = None
        for member in self.serving():
            if member not in push.members:
                member.send_plan(image)

    # ---- what workers say

    def _heard(self, member: Member, message: say.ToMaster) -> None:
        match message:
            case say.Ready():
                log.debug("worker %d (pid %d) is ready for its plan", member.index, member.pid)
            case say.Built():
                self._built(member, message)
            case say.Applied():
                self._applied(member, message)
            case say.Refused():
                self._refused(member, message)
            case say.Leaving():
                log.info("worker %d (pid %d) was told to terminate", member.index, member.pid)
                member.stage = Stage.DRAINING
                self._fill()
            case say.LeasesWanted():
                self.on_leases_wanted()
            case say.Drained():
                log.debug("worker %d (pid %d) is drained: %s", member.index, member.pid, message)

    def _built(self, member: Member, message: say.Built) -> None:
        took, longest = message.milliseconds, message.longest
        log.debug("worker %d built plan %d in %.1f ms, longest slice %.1f", member.index, message.serial, took, longest)
        if self._push is not None and message.serial == self._push.image.serial:
            self._push.built(member)
        elif member.stage is Stage.STARTING:
            member.channel.send(say.Apply(serial=message.serial))  # the plan that it starts with: nobody else waits

    def _applied(self, member: Member, message: say.Applied) -> None:
        log.debug("worker %d applied plan %d in %.1f ms", member.index, message.serial, message.milliseconds)
        member.serial = message.serial
        if member.stage is Stage.STARTING:
            member.stage = Stage.SERVING
            member.ready_at = time.monotonic()
            log.debug("worker %d (pid %d) serves", member.index, member.pid)
            if self.image is not None and message.serial != self.image.serial:
                member.send_plan(self.image)  # there was a reload while it started
            if not self.accepting:
                member.channel.send(say.CloseListeners())
        self._changed()

    def _refused(self, member: Member, message: say.Refused) -> None:
        if self._push is not None and message.serial == self._push.image.serial:
            self._push.refused(message.reason)
            return
        if member.stage is not Stage.STARTING:
            return  # a plan that was given up when another worker refused it first: this one runs the last good one
        log.error("worker %d refused its plan: %s", member.index, message.reason)
        self._refusal, self._refusal_code = message.reason, message.code
        member.kill()

    def _lost(self, member: Member, status: int, was_draining: bool) -> None:
        self.members.remove(member)
        self._arena.release_slot(member.index)
        if self._push is not None:
            self._push.lost(member)
        if was_draining or self.stopping or member.generation != self.generation:
            self._fill()  # somebody may have waited for the slot
        else:
            self._replace(member, status)
        self._changed()

    def _replace(self, member: Member, status: int) -> None:
        pause = self._backoff.after(None if member.ready_at is None else time.monotonic() - member.ready_at)
        how = f"signal {-status}" if status < 0 else f"exit code {status}"
        log.error("worker %d (pid %d) died (%s); starting another in %.1f s", member.index, member.pid, how, pause)
        self.restarts += 1
        if pause:
            self._loop.call_later(pause, self._fill)
        else:
            self._fill()

    def _changed(self) -> None:
        self._news.set()
        self._on_change()

    async def _next_news(self) -> None:
        self._news.clear()
        await self._news.wait()
