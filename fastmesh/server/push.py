"""A new plan on its way to the workers that serve: all of them build it before any of them runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from fastmesh.errors import EXIT_FAILURE
from fastmesh.server import messages as say
from fastmesh.server.member import Image, Member, Stage


class PushError(Exception):
    """A worker would not run the plan; none of them does. `code` is how a start ends."""

    def __init__(self, reason: str, code: int = EXIT_FAILURE) -> None:
        super().__init__(reason)
        self.code = code


class Push:
    def __init__(self, image: Image, members: Iterable[Member]) -> None:
        self.image = image
        self.members = list(members)
        self._waiting = set(self.members)
        self._outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def all_built(self, patience: float) -> None:
        """Send it and wait; PushError when one of them refuses or takes too long."""
        for member in self.members:
            member.send_plan(self.image)
        self._look()
        try:
            await asyncio.wait_for(asyncio.shield(self._outcome), patience)
        except TimeoutError:
            raise PushError(f"a worker has not built the plan after {patience:.0f} s") from None

    def apply(self) -> None:
        for member in self.members:
            if member.stage is Stage.SERVING:
                member.channel.send(say.Apply(serial=self.image.serial))

    def abandon(self, running: Image) -> None:
        """Everybody stays with what runs."""
        for member in self.members:
            member.channel.send(say.Abandon(serial=self.image.serial))
            member.has = {item.key for item in running.listeners}

    # ---- what the crew hears

    def built(self, member: Member) -> None:
        self._waiting.discard(member)
        self._look()

    lost = built  # a worker that died, or leaves, is not waited for

    def refused(self, reason: str) -> None:
        if not self._outcome.done():
            self._outcome.set_exception(PushError(reason))

    def _look(self) -> None:
        if not self._waiting and not self._outcome.done():
            self._outcome.set_result(None)
