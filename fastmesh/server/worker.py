"""A worker process: it owns one event loop and one data plane, and does what the master says over the control
channel.

The master starts it by exec, not by fork, so that it holds only what it runs: this module, msgspec, uvloop and the
compiled core. It must import neither YAML nor click nor anything of the config package but `plan`. A worker whose
master is gone drains and leaves: the sockets must be free for the master that the supervisor starts next.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import mmap
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec
import uvloop

from fastmesh.config import plan
from fastmesh.errors import EXIT_FAILURE
from fastmesh.server import log as log_lines
from fastmesh.server import messages as say
from fastmesh.server.channel import Channel
from fastmesh.server.pressure import Pressed, Pressure
from fastmesh.server.settings import WorkerSettings

log = logging.getLogger("fastmesh.worker")

STATUS_PERIOD = 1.0
DRAIN_LOOK = 0.05
ORPHAN_GRACE_MS = 5000
FIRST_SLICE_US = 50_000  # nobody waits for a worker that serves nothing yet
SLICE_US = 1_000  # the longest that requests wait for a slice of a new plan
GC_THRESHOLDS = (10_000, 20, 50)  # a request makes no objects that only the collector could free
MASTERS_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)


class Building(Protocol):
    def step(self, budget_us: int, /) -> bool: ...


class Plane(Pressed, Protocol):
    """What the compiled core offers (fastmesh.core.proxy.worker.Worker). `apply` is given the sockets that are new to
    it, and owns them from then on; `drain` closes all of them, and idle connections after a grace in seconds; `cut`
    breaks off what is left. `set_ticket_keys` is called before the first `load` and at each change, see
    messages.TicketKeys.
    """

    @property
    def connections(self) -> int: ...
    @property
    def active(self) -> int: ...
    def load(self, items: Iterator[tuple[str, dict[str, Any]]], /) -> Any: ...
    def apply(self, built: Any, listeners: dict[str, int], /) -> None: ...
    def drain(self, idle_grace: float, /) -> None: ...
    def cut(self) -> None: ...
    def reopen_logs(self) -> None: ...
    def flush_logs(self) -> None: ...
    def set_log_level(self, level: str, /) -> None: ...
    def set_ticket_keys(self, keys: list[bytes], /) -> None: ...
    def set_lease_bell(self, bell: Callable[[], None], /) -> None: ...


class Code(Protocol):
    """The users' code (fastmesh.filter_modules.Loader)."""

    def begin(self) -> None: ...
    def commit(self) -> None: ...
    def prepare(self, plans: list[dict[str, Any]], /) -> None: ...
    def load(self, plan: dict[str, Any], /) -> object: ...


LoadFilter = Callable[[dict[str, Any]], object]
MakePlane = Callable[[asyncio.AbstractEventLoop, int, int, dict[str, Any], LoadFilter | None], Plane]


class PlanImage:
    """A plan in the memory that the master sealed; it is mapped for as long as it is being built."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
        self._view = memoryview(self._map)

    def items(self) -> Iterator[tuple[str, dict[str, Any]]]:
        return plan.iterate(self._view)

    def filters(self) -> list[dict[str, Any]]:
        """They come right behind what holds for the whole mesh."""
        behind_mesh = itertools.islice(self.items(), 1, None)
        return [body for _, body in itertools.takewhile(lambda item: item[0] == "filter", behind_mesh)]

    def close(self) -> None:
        with contextlib.suppress(BufferError):  # a failed build may still hold an iterator; its end unmaps
            self._view.release()
            self._map.close()


class Pending:
    """A plan between `Config` and `Apply`."""

    def __init__(self, config: say.Config, image: PlanImage, building: Building, began: float) -> None:
        self.config = config
        self.image = image
        self.building = building
        self.began = began
        self.built = False
        self.longest = 0.0


class WorkerProcess:
    def __init__(self, loop: asyncio.AbstractEventLoop, control: socket.socket, arena_fd: int, make: MakePlane) -> None:
        self._loop = loop
        self._arena_fd = arena_fd
        self._make = make
        self._plane: Plane | None = None
        self._settings: WorkerSettings | None = None
        self._sockets: dict[int, int] = {}  # Listener.key -> descriptor, of those the plane does not own yet
        self._pending: Pending | None = None
        self._serving = False
        self._drain_ends: float | None = None
        self._code: Code | None = None
        self.finished: asyncio.Future[int] = loop.create_future()
        self._channel = Channel(loop, control, say.ToWorker)
        self._channel.start(self._on_message, self._on_orphaned)

    # ---- messages

    def _on_message(self, message: say.ToWorker, fds: list[int]) -> None:
        match message:
            case say.Hello():
                self._greet(message)
            case say.TicketKeys():
                self._set_ticket_keys(message.keys)
            case say.Sockets():
                self._sockets.update(zip(message.keys, fds, strict=True))
            case say.Config():
                self._build(message, fds[0])
            case say.Apply():
                self._apply(message.serial)
            case say.Abandon():
                self._abandon(message.serial)
            case say.Drain():
                self.drain(message.grace_ms)
            case say.CloseListeners():
                self._close_listeners()
            case say.Quit():
                self._finish()
            case say.ReopenLogs():
                if self._plane is not None:
                    self._plane.reopen_logs()
            case say.LogLevel():
                self._set_level(message.level)

    def _greet(self, hello: say.Hello) -> None:
        self._settings = hello.settings
        log_lines.start_log(hello.settings.log_level)
        settings = msgspec.to_builtins(hello.settings)
        if hello.settings.filter_path:
            from fastmesh.filter_modules import Loader  # what a proxy without filters does not need

            self._code = Loader(hello.settings.filter_path)
        load = self._code.load if self._code is not None else None
        self._plane = self._make(self._loop, self._arena_fd, hello.settings.index, settings, load)
        self._plane.set_lease_bell(lambda: self._channel.send(say.LeasesWanted()))
        Pressure(self._loop, hello.settings.overload, self._plane).start()
        self._channel.send(say.Ready())
        self._tell_status()

    def _set_level(self, level: str) -> None:
        log_lines.set_level(level)
        if self._plane is not None:
            self._plane.set_log_level(level)

    def _set_ticket_keys(self, keys: list[bytes]) -> None:
        if self._plane is not None:
            self._plane.set_ticket_keys(keys)

    def _tell_status(self) -> None:
        assert self._plane is not None
        self._channel.send(say.Status(connections=self._plane.connections, active=self._plane.active), may_drop=True)
        self._loop.call_later(STATUS_PERIOD, self._tell_status)

    # ---- a new plan, slice by slice

    def _build(self, config: say.Config, plan_fd: int) -> None:
        assert self._plane is not None
        self._drop_pending()
        began = time.monotonic()
        gc.disable()  # nothing that is built is garbage, but looking for it would stop requests for tens of ms
        try:
            image = PlanImage(plan_fd)
            self._pending = Pending(config, image, self._plane.load(image.items()), began)
        except Exception as error:
            self._refuse(config.serial, error)
        else:
            self._load_code(config.serial, image)
        finally:
            os.close(plan_fd)

    def _load_code(self, serial: int, image: PlanImage) -> None:
        """What filters import may take long, and requests do not wait for it: it runs in a thread."""
        filters = image.filters()
        if self._code is not None:
            self._code.begin()
        if not filters:
            self._step(serial)
            return
        assert self._code is not None
        running = self._loop.run_in_executor(None, self._code.prepare, filters)
        running.add_done_callback(lambda done: self._code_loaded(serial, done.exception()))

    def _code_loaded(self, serial: int, error: BaseException | None) -> None:
        if error is None:
            self._step(serial)
        elif self._pending is not None and self._pending.config.serial == serial:
            self._refuse(serial, error)

    def _step(self, serial: int) -> None:
        pending = self._pending
        if pending is None or pending.config.serial != serial:
            return  # a newer plan took its place
        began = time.monotonic()
        try:
            built = pending.building.step(SLICE_US if self._serving else FIRST_SLICE_US)
        except Exception as error:
            self._refuse(serial, error)
            return
        pending.longest = max(pending.longest, time.monotonic() - began)
        if not built:
            self._loop.call_soon(self._step, serial)  # the loop looks at its sockets in between
            return
        pending.built = True
        took = time.monotonic() - pending.began
        self._channel.send(say.Built(serial=serial, milliseconds=took * 1000, longest=pending.longest * 1000))

    def _apply(self, serial: int) -> None:
        pending = self._pending
        if pending is None or pending.config.serial != serial or not pending.built:
            return
        assert self._plane is not None
        began = time.monotonic()
        names = {listener.key: listener.name for listener in pending.config.listeners}
        fresh = {names[key]: fd for key, fd in self._sockets.items() if key in names}
        self._sockets = {key: fd for key, fd in self._sockets.items() if key not in names}
        self._plane.apply(pending.building, fresh)
        if self._code is not None:
            self._code.commit()
        self._serving = True
        self._drop_pending()
        self._close_sockets()
        self._channel.send(say.Applied(serial=serial, milliseconds=(time.monotonic() - began) * 1000))

    def _refuse(self, serial: int, error: BaseException) -> None:
        if not isinstance(error, ValueError):
            log.error("a plan could not be built", exc_info=error)
        self._abandon(serial)
        reason, code = f"{error}"[:2000] or type(error).__name__, getattr(error, "exit_code", EXIT_FAILURE)
        self._channel.send(say.Refused(serial=serial, reason=reason, code=code))

    def _abandon(self, serial: int) -> None:
        if self._pending is None or self._pending.config.serial == serial:
            self._drop_pending()
            self._close_sockets()

    def _drop_pending(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.image.close()
        gc.freeze()  # the collector never looks at a whole plan again; reference counts free it
        gc.enable()

    def _close_sockets(self) -> None:
        while self._sockets:
            os.close(self._sockets.popitem()[1])

    # ---- the end

    def terminate(self) -> None:
        """SIGTERM from somebody else than the master, or from a supervisor that signals every process."""
        self._channel.send(say.Leaving())
        self.drain()

    def drain(self, grace_ms: int | None = None) -> None:
        """Stop accepting, let requests in flight finish, then leave. A second call can only shorten the grace."""
        if self._plane is None or self._settings is None:
            self._finish()
            return
        grace = (self._settings.drain_timeout_ms if grace_ms is None else grace_ms) / 1000
        now = self._loop.time()
        if self._drain_ends is not None:
            self._drain_ends = min(self._drain_ends, now + grace)
            return
        self._drain_ends = now + grace
        self._close_listeners(grace / 2)
        self._look_drained()

    def _close_listeners(self, longest_idle: float = float("inf")) -> None:
        if self._plane is not None and self._settings is not None:
            self._plane.drain(min(self._settings.drain_idle_ms / 1000, longest_idle))
        self._close_sockets()

    def _look_drained(self) -> None:
        assert self._plane is not None
        assert self._drain_ends is not None
        now = self._loop.time()
        if self._plane.connections == 0 or now >= self._drain_ends:
            self._channel.send(say.Drained(connections=self._plane.connections, active=self._plane.active))
            self._plane.cut()
            self._finish()
            return
        self._loop.call_later(DRAIN_LOOK, self._look_drained)

    def _on_orphaned(self) -> None:
        if self._drain_ends is None:
            log.warning("the master is gone: draining")
        self.drain(ORPHAN_GRACE_MS)

    def _finish(self) -> None:
        if self._plane is not None:
            self._plane.flush_logs()
        if not self.finished.done():
            self.finished.set_result(0)


def run(make: MakePlane, control_fd: int, arena_fd: int) -> int:
    """The life of a worker; `make(loop, arena_fd, index, settings, load_filter)` makes its data plane."""
    for number in MASTERS_SIGNALS:  # the master's business, also when somebody signals the whole group
        signal.signal(number, signal.SIG_IGN)
    gc.set_threshold(*GC_THRESHOLDS)
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    control = socket.socket(fileno=control_fd)
    os.set_inheritable(control_fd, False)
    process = WorkerProcess(loop, control, arena_fd, make)
    loop.add_signal_handler(signal.SIGTERM, process.terminate)
    return loop.run_until_complete(process.finished)


def make_plane(
    loop: asyncio.AbstractEventLoop, arena_fd: int, index: int, settings: dict[str, Any], load: LoadFilter | None
) -> Plane:
    from fastmesh.core.base.arena import Arena
    from fastmesh.core.proxy.worker import Worker

    worker: Plane = Worker(loop, Arena.attach(arena_fd), index, settings, load)
    return worker


def main(make: MakePlane = make_plane) -> None:
    """`python -m fastmesh.server.worker CONTROL_FD ARENA_FD`."""
    code = run(make, int(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.flush()
    os._exit(code)  # nothing is left to save, and tearing down a loop with open connections takes time


if __name__ == "__main__":
    main()
