"""The master: it reads the configuration, holds the sockets and the shared memory, and keeps the workers at work.

It does no proxying. Its loop is free for signals, the death of a worker, and the admin interface; compiling happens
in a thread, waiting for names in others.

Workers are started by exec, not by fork: a worker then holds only what it runs (msgspec, uvloop and the compiled
core, not YAML, click, and a parsed configuration), a new one is clean however old the master is, and nobody forks a
process with threads. What a forked child would inherit, a worker is given: the arena and the listening sockets as
descriptors, the plan as sealed memory.

The life of a proxy, in the order of this file: `start` (compile, bind, start workers, say ready), the things that can
happen while it serves (reload, upgrade, resize, logs), and `stop`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import uvloop

from fastmesh.config.plan import Plan
from fastmesh.discovery.dns import Resolver
from fastmesh.discovery.threads import DaemonThreads
from fastmesh.errors import EXIT_OK, EXIT_UNAVAILABLE
from fastmesh.security.tickets import TicketKeys
from fastmesh.server import linger, watch
from fastmesh.server import log as log_lines
from fastmesh.server import messages as say
from fastmesh.server.admin_sockets import AdminSockets
from fastmesh.server.configure import Compiled
from fastmesh.server.crew import Crew, SharedArena
from fastmesh.server.failure import INTERRUPTED, SourcesError, StartError
from fastmesh.server.leases import Leases
from fastmesh.server.member import Image
from fastmesh.server.memory import sealed
from fastmesh.server.notify import Notifier
from fastmesh.server.parts import Parts
from fastmesh.server.push import PushError
from fastmesh.server.redis import read_password
from fastmesh.server.reload import DNS, Reloader
from fastmesh.server.rotation import Rotation
from fastmesh.server.settings import ProxySettings
from fastmesh.server.signals import SIGNALS, leave_to_main_thread, work_behind_the_workers
from fastmesh.server.sockets import BindError, Change, ListenerSet, passed_by_systemd, raise_descriptor_limit
from fastmesh.server.status_file import StatusFile
from fastmesh.server.succession import Succession
from fastmesh.server.upgrade import State

log = logging.getLogger("fastmesh.master")

SLOTS_LEAST = 16
SLOTS_A_WORKER = 4  # old and new workers side by side in an upgrade, and two upgrades in a row
KILL_AFTER_GRACE = 1.0
WHERE = {"mesh": "--listen says", "gateway": "--bind and --map say", "sidecar": "--inbound and --outbound say"}
CLOCK_LOOK = 60.0  # a machine that slept is noticed so late: sleeping stops the loop's clock, but no certificate's


class Master:
    def __init__(self, settings: ProxySettings, parts: Parts, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parts = parts
        self.settings = settings
        self._stop_asked = asyncio.Event()
        self._started_once = False
        self._draining = False
        self._interrupted_twice = False
        self.resized: int | None = None  # the number of workers that TTIN and TTOU made
        self.serial = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._threads = ThreadPoolExecutor(2, "work", initializer=work_behind_the_workers)
        self._questions = DaemonThreads(8, "dns", leave_to_main_thread)
        self._notifier = Notifier()
        self._succession = Succession(self)
        left = self._succession.left
        self.started = left.started if left is not None else time.time()
        self.image_started = time.time()
        self.epoch = left.epoch if left is not None else 0
        self.listeners = ListenerSet()
        self.admin = AdminSockets(self)
        self.reloader = Reloader(parts.sources, self._threads, self._apply, self._reloading)
        self.rotation = Rotation(parts.sources, self.reloader, self._threads)
        self.reloader.on_compiled = self.rotation.compiled
        if settings.status_file:
            status_file = StatusFile(settings.status_file)
            self.reloader.on_applied = lambda compiled: status_file.write(compiled.statuses)
        self.resolver = Resolver(self._questions, self._names_changed)
        self.reloader.meet_names = self._meet_names
        self.arena = self._make_arena()
        self.crew = Crew(loop, self.arena, parts.worker_module, settings.worker, self._crew_changed)
        self.tickets = self._make_tickets(left)
        self.crew.ticket_keys = self.tickets.keys
        self.leases = self._make_leases()

    # ---- what the admin pages see

    @property
    def state(self) -> str:
        if self._draining or not self.crew.accepting:
            return "DRAINING"
        if not self._started_once:
            return "INITIALIZING"
        return "LIVE" if self.crew.serving() else "INITIALIZING"

    @property
    def is_stopping(self) -> bool:
        return self._stop_asked.is_set()

    def plan(self) -> Plan | None:
        return self.reloader.current.plan if self.reloader.current is not None else None

    # ---- the life

    async def run(self) -> int:
        """Until somebody says stop; StartError when it cannot begin."""
        self._take_signals()
        stop = asyncio.create_task(self._stop_asked.wait())
        start = asyncio.create_task(self._start())
        await asyncio.wait({stop, start}, return_when=asyncio.FIRST_COMPLETED)
        try:
            if not start.done():
                start.cancel()
            else:
                start.result()
            await stop
            return await self._stop()
        except StartError:
            self.crew.kill()
            raise
        finally:
            await self.admin.close()
            for task in [*self._tasks, start, stop]:
                task.cancel()
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._questions.shutdown()

    async def _start(self) -> None:
        raise_descriptor_limit()
        look = await self._loop.run_in_executor(self._threads, watch.fingerprint, self.settings.paths())
        try:
            if self._succession.left is None:
                await self._first_start()
            else:
                await self._succession.take_over(self._succession.left)
        except SourcesError as error:
            raise StartError(error.code, *error.problems) from None
        self._started_once = True
        self._say_ready()
        self._tasks.append(asyncio.create_task(self.reloader.run()))
        self._tasks.append(asyncio.create_task(self.resolver.run()))
        self._tasks.append(asyncio.create_task(self._rotate_tickets()))
        self._tasks.append(asyncio.create_task(self.rotation.run(self.settings.watch)))
        if self.settings.watch and self.settings.files:
            changed = watch.watch(self.settings.paths(), lambda: self.reloader.trigger("files"), self._threads, look)
            self._tasks.append(asyncio.create_task(changed))
        if self._notifier.watchdog_period is not None:
            self._tasks.append(asyncio.create_task(self._feed_watchdog(self._notifier.watchdog_period)))

    async def _first_start(self) -> None:
        self.listeners.offer(passed_by_systemd(os.environ))
        compiled = await self.compile_with_names()
        change = self._bind_first(compiled)
        try:
            await self.admin.bind(self.settings)
        except BindError as error:
            raise StartError(EXIT_UNAVAILABLE, str(error)) from None
        self.settle(compiled)
        self.crew.start(self.make_image(compiled, change), self.count())
        try:
            await self.crew.settled()
        except PushError as error:
            raise StartError(error.code, f"the workers do not start: {error}") from None
        self.listeners.commit(change)
        self.listeners.warn_of_unused()
        self.reloader.current = compiled
        self.reloader.on_applied(compiled)
        self.rotation.applied(None, compiled)
        self.serve_leases(compiled)

    def _bind_first(self, compiled: Compiled) -> Change:
        try:
            return self.listeners.prepare(compiled.listeners())
        except BindError as error:
            raise StartError(EXIT_UNAVAILABLE, f"{error} ({WHERE[self.settings.role]} where to listen)") from None

    async def compile_with_names(self) -> Compiled:
        """Names are known only once the files are read, so a configuration with DNS names is compiled twice."""
        compiled = await self.reloader.compile()
        self.resolver.want(compiled.hosts, compiled.dns_refresh)
        if compiled.hosts and await self.resolver.refresh():
            self.reloader.answers = dict(self.resolver.answers)
            compiled = await self.reloader.compile()
        return compiled

    async def _apply(self, compiled: Compiled) -> None:
        """All workers run it, or BindError or PushError and nothing has changed."""
        if not self.crew.accepting:
            raise PushError("the listeners were drained through the admin interface")
        change = self.listeners.prepare(compiled.listeners())
        old, image = self.crew.image, self.make_image(compiled, change)
        try:
            await self.crew.push(image, lambda: linger.let_go(self.listeners.leaving(change)))
        except PushError:
            os.close(image.plan_fd)
            self.listeners.cancel(change)
            raise
        if old is not None:
            os.close(old.plan_fd)
        self.listeners.commit(change)
        self.rotation.applied(self.reloader.current, compiled)
        self.serve_leases(compiled)

    def _reloading(self, busy: bool) -> None:
        """systemd waits for the second word after a reload that it asked for, also when nothing has changed."""
        if busy:
            self._notifier.reloading()
            return
        running = self.reloader.current
        if running is not None:  # which may be the last one still
            self.resolver.want(running.hosts, running.dns_refresh)
        if not self._draining:
            self._notifier.ready(self._status_text())

    def _names_changed(self) -> None:
        self.reloader.answers = dict(self.resolver.answers)
        self.reloader.trigger(DNS)

    async def _meet_names(self, compiled: Compiled) -> bool:
        """Ask for names that the running configuration does not have, before any worker needs them."""
        if not await self.resolver.meet(compiled.hosts):
            return False
        self.reloader.answers = dict(self.resolver.answers)
        return True

    def make_image(self, compiled: Compiled, change: Change) -> Image:
        self.serial += 1
        return Image(self.serial, sealed("fastmesh-plan", compiled.encoded), list(change.result.values()))

    def count(self) -> int:
        return self.resized or self.settings.workers or len(os.sched_getaffinity(0))

    def settle(self, compiled: Compiled) -> None:
        """What the configuration says of the start counts where no flag did."""
        said, worker = compiled.startup, self.settings.worker
        if not self.settings.access_log and said.access_log:
            worker = msgspec.structs.replace(
                worker, access_log=said.access_log, access_log_format=said.access_log_format
            )
        workers = self.settings.workers or min(said.concurrency or 0, self.arena.slots // SLOTS_A_WORKER)
        self.settings = msgspec.structs.replace(self.settings, worker=worker, workers=workers)
        self.crew.settings = worker

    def _make_arena(self) -> SharedArena:
        slots = max(SLOTS_LEAST, SLOTS_A_WORKER * self.count())
        if self._succession.left is not None:
            try:
                return self._parts.attach_arena(self._succession.left.arena_fd)
            except ValueError as error:
                log.warning("counters and limits start anew: %s", error)
        return self._parts.create_arena(self.settings.arena_size, slots)

    def _make_tickets(self, left: State | None) -> TicketKeys:
        period = self.settings.worker.timeouts.tickets / 1000
        return TicketKeys(period) if left is None else TicketKeys(period, left.ticket_keys, left.tickets_made)

    def _make_leases(self) -> Leases | None:
        if self._parts.make_desk is None:
            return None
        settings = self.settings
        password = read_password(settings.redis_password_file) if settings.redis_password_file else ""
        desk = self._parts.make_desk(self.arena)
        return Leases(desk, settings.redis, password, settings.redis_timeout / 1000)

    def serve_leases(self, compiled: Compiled) -> None:
        if self.leases is not None:
            self.crew.on_leases_wanted = self.leases.wanted
            self.leases.serve(compiled.plan.limits)

    async def _rotate_tickets(self) -> None:
        while (pause := self.tickets.due()) is not None:
            await asyncio.sleep(min(pause, CLOCK_LOOK))
            if self.tickets.due() == 0:
                self.crew.set_ticket_keys(self.tickets.rotate())
                log.info("new session ticket keys")

    # ---- signals

    def _take_signals(self) -> None:
        handlers: dict[signal.Signals, Callable[[], object]] = {
            signal.SIGTERM: self.stop,
            signal.SIGINT: self._interrupted,
            signal.SIGHUP: lambda: self.reloader.trigger("SIGHUP"),
            signal.SIGUSR1: self._reopen_logs,
            signal.SIGUSR2: self._upgrade_soon,
            signal.SIGTTIN: lambda: self._resize(+1),
            signal.SIGTTOU: lambda: self._resize(-1),
        }
        for number, handler in handlers.items():
            self._loop.add_signal_handler(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # an upgrade blocked them until now

    def _interrupted(self) -> None:
        if self._stop_asked.is_set():
            log.warning("stopping now")
            self._interrupted_twice = True
            self.crew.kill()
        self.stop()

    def stop(self) -> None:
        self._stop_asked.set()

    def set_log_level(self, level: str) -> None:
        log_lines.set_level(level)
        self.crew.set_log_level(level)

    def drain_listeners(self) -> None:
        """For good: the sockets are closed, what is connected is answered."""
        if self.crew.accepting:
            self.crew.accepting = False
            self._tasks.append(asyncio.create_task(self._drain_listeners()))

    async def _drain_listeners(self) -> None:
        await linger.let_go(self.listeners.bound.values())
        self.crew.tell(say.CloseListeners())
        self.listeners.close()

    def _reopen_logs(self) -> None:
        self.crew.tell(say.ReopenLogs())

    def _upgrade_soon(self) -> None:
        if self._started_once and not self._draining and self.crew.accepting:
            self._tasks.append(asyncio.create_task(self._succession.become_next(self._threads)))

    def _resize(self, step: int) -> None:
        if not self._draining:
            self.crew.resize(self.crew.wanted + step)
            self.resized = self.crew.wanted
            log.info("%d workers wanted", self.crew.wanted)

    # ---- the end

    async def _stop(self) -> int:
        grace = self.settings.worker.drain_timeout_ms
        self._draining = True
        self._notifier.stopping("draining")
        log.info("draining for at most %.1f s", grace / 1000)
        await linger.let_go(self.listeners.bound.values())
        self.crew.stop(max(0, grace - int(linger.HANDSHAKE * 1000)))
        self.listeners.close()
        try:
            await asyncio.wait_for(self.crew.all_gone(), grace / 1000 + KILL_AFTER_GRACE)
        except TimeoutError:
            log.warning("workers that do not leave are killed")
            self.crew.kill()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.crew.all_gone(), KILL_AFTER_GRACE)
        if self.leases is not None:
            await self.leases.close()
        log.info("stopped")
        return INTERRUPTED if self._interrupted_twice else EXIT_OK

    # ---- what is said

    def _crew_changed(self) -> None:
        if self._started_once and not self._draining:
            self._notifier.status(self._status_text())

    def _status_text(self) -> str:
        return f"{len(self.crew.serving())} of {self.crew.wanted} workers serve"

    def _say_ready(self) -> None:
        places = [item.address for item in self.listeners.bound.values()]
        where = ", ".join(places[:4]) + (f" and {len(places) - 4} more" if len(places) > 4 else "")
        text = f"listening on {where or 'nothing'} ({self.crew.wanted} workers)"
        text += "".join(f", {name} {item.address}" for name, item in self.admin.bound.items())
        if not places:
            log.warning("these files have no Gateway with an HTTP server: there is no port to listen on until they do")
        print(f"fastmesh ready: {text}", file=sys.stderr, flush=True)
        self._notifier.ready(self._status_text())

    async def _feed_watchdog(self, period: float) -> None:
        """The proxy lives as long as this loop turns and not all workers stand still."""
        while True:
            serving = self.crew.serving()
            if not serving or len(self.crew.stalled()) < len(serving):
                self._notifier.watchdog()
            await asyncio.sleep(period)


def run(settings: ProxySettings, parts: Parts) -> int:
    """The exit code of a whole life; every problem of a start that fails is printed."""
    log_lines.start_log(settings.worker.log_level)

    async def live() -> int:
        return await Master(settings, parts, asyncio.get_running_loop()).run()

    try:
        return uvloop.run(live())
    except StartError as failure:
        for line in failure.lines:
            print(line, file=sys.stderr)
        return failure.code
