"""The next program image, in both directions: becoming it, and being it.

The old image checks the new code and execs it with a state (see upgrade.py). The new image starts workers of its own,
and drains the old ones once they serve; when it cannot, the old ones stay and it goes on as their master.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import TYPE_CHECKING

import fastmesh
from fastmesh.server import upgrade
from fastmesh.server.failure import SourcesError
from fastmesh.server.member import Image
from fastmesh.server.push import PushError
from fastmesh.server.signals import SIGNALS
from fastmesh.server.sockets import BindError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from fastmesh.server.master import Master

log = logging.getLogger("fastmesh.upgrade")


class Succession:
    def __init__(self, master: Master) -> None:
        self._master = master
        self.left = upgrade.inherited_state()

    async def become_next(self, threads: Executor) -> None:
        """Does not return when all goes well."""
        master = self._master
        async with master.reloader.lock:
            log.info("upgrade: checking the new code")
            said = await asyncio.get_running_loop().run_in_executor(threads, upgrade.preflight)
            if said:
                log.error("upgrade refused, the running code goes on: %s", said)
                return
            log.info("upgrade: becoming the new code")
            old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # from now on they wait for the new image
            await asyncio.sleep(0.01)  # what came before is handled here
            leases = master.leases
            try:
                if leases is not None:
                    await leases.hold()
                if master.crew.image is not None and not master.is_stopping:
                    upgrade.become_new_image(self._leave(master.crew.image))
            except OSError as error:
                log.error("upgrade failed, the running code goes on: %s", error)
            finally:
                if leases is not None:
                    leases.go_on()
                signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)

    def _leave(self, image: Image) -> upgrade.State:
        master = self._master
        return upgrade.State(
            version=fastmesh.__version__,
            epoch=master.epoch + 1,
            started=master.started,
            arena_fd=master.arena.fd,
            plan_fd=image.plan_fd,
            serial=image.serial,
            listeners=upgrade.hand_sockets(master.listeners.bound.values()),
            admin=upgrade.hand_sockets(master.admin.bound.values()),
            workers=[member.hand_over() for member in master.crew.members],
            asked=master.settings.workers,
            count=master.resized,
            restarts=master.crew.restarts,
            accepted=master.reloader.accepted,
            refused=master.reloader.refused,
            ticket_keys=master.tickets.keys,
            tickets_made=master.tickets.made,
            answers=master.resolver.answers,
        )

    async def take_over(self, left: upgrade.State) -> None:
        """Adopt everything, start new workers, and drain the old ones once the new ones serve."""
        master = self._master
        self._adopt(left)
        try:
            await master.admin.bind(master.settings)
        except BindError as error:
            log.error("%s; going on without", error)
        try:
            compiled = await master.compile_with_names()
            change = master.listeners.prepare(compiled.listeners())
        except (SourcesError, BindError) as error:
            self._stay_with_old(left, error)
            return
        image = master.make_image(compiled, change)
        master.settle(compiled)
        master.crew.start(image, master.count())
        try:
            await master.crew.settled()
        except PushError as error:
            os.close(image.plan_fd)
            master.listeners.cancel(change)
            self._stay_with_old(left, error)
            return
        os.close(left.plan_fd)
        master.listeners.commit(change)
        master.reloader.current = compiled
        master.reloader.on_applied(compiled)
        master.rotation.applied(None, compiled)
        master.serve_leases(compiled)
        master.crew.drain_older()

    def _adopt(self, left: upgrade.State) -> None:
        master = self._master
        master.serial = left.serial
        if left.asked == master.settings.workers:  # else the settings were changed, and that is later than the signal
            master.resized = left.count
        master.listeners.adopt(upgrade.take_sockets(left.listeners))
        master.admin.adopt(upgrade.take_sockets(left.admin))
        master.resolver.answers = dict(left.answers)
        master.reloader.answers = dict(left.answers)
        master.crew.restarts = left.restarts
        master.crew.adopt(left.workers)
        master.reloader.accepted, master.reloader.refused = left.accepted, left.refused

    def _stay_with_old(self, left: upgrade.State, error: Exception) -> None:
        for problem in getattr(error, "problems", [str(error)]):
            log.error("%s", problem)
        log.error("the upgrade is not complete: the workers of the last program image keep serving")
        crew = self._master.crew
        crew.image = Image(left.serial, left.plan_fd, list(self._master.listeners.bound.values()))
        crew.give_up_current()
