"""One worker as the master sees it: a process, its channel, its slot in the arena, and what it runs.

A member is either one that this program image started or one that an upgrade handed over; both are watched through a
pidfd, so there is no SIGCHLD handler and no race with anybody else's children.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from fastmesh.server import messages as say
from fastmesh.server.channel import Channel, channel_pair
from fastmesh.server.sockets import Bound

log = logging.getLogger("fastmesh.crew")

SOCKETS_A_MESSAGE = 200
PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


class Stage(enum.Enum):
    STARTING = "starting"  # no plan yet
    SERVING = "serving"
    DRAINING = "draining"
    GONE = "gone"


class Image(msgspec.Struct, frozen=True):
    """What workers run: the plan in sealed memory and the sockets to accept from."""

    serial: int
    plan_fd: int
    listeners: list[Bound]


class Handed(msgspec.Struct, frozen=True):
    """A worker on its way from one program image to the next."""

    pid: int
    index: int
    generation: int
    control_fd: int
    draining: bool


class Member:
    """`on_message(member, message)` and `on_gone(member, exit status, was draining)` are called from the loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        index: int,
        generation: int,
        on_message: Callable[[Member, say.ToMaster], None],
        on_gone: Callable[[Member, int, bool], None],
    ) -> None:
        self._loop = loop
        self.index = index
        self.generation = generation
        self._on_message = on_message
        self._on_gone = on_gone
        self.pid = 0
        self.stage = Stage.STARTING
        self.started = time.monotonic()
        self.ready_at: float | None = None
        self.heard = self.started
        self.connections = 0
        self.active = 0
        self.has: set[int] = set()  # keys of the listeners that it has descriptors of
        self.serial = 0  # the plan that it runs
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self.channel: Channel

    # ---- two ways to begin

    def spawn(self, module: str, arena_fd: int) -> None:
        """Start the process. `-P` and the path keep `import fastmesh` ours whatever directory we stand in."""
        ours, theirs = channel_pair()
        path = [PACKAGE_ROOT, *filter(None, [os.environ.get("PYTHONPATH", "")])]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(arena_fd)],
                pass_fds=(theirs.fileno(), arena_fd),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C and a hangup of the terminal are the master's business
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            )
        self._watch(self._process.pid, ours)

    def take_over(self, handed: Handed) -> None:
        """Continue with a worker that the last program image started."""
        self.stage = Stage.DRAINING if handed.draining else Stage.SERVING
        self.ready_at = self.started
        self._watch(handed.pid, socket.socket(fileno=handed.control_fd))

    def _watch(self, pid: int, control: socket.socket) -> None:
        self.pid = pid
        os.set_inheritable(control.fileno(), False)
        self.channel = Channel(self._loop, control, say.ToMaster)
        self.channel.start(self._heard, lambda: None)  # the pidfd tells when it is gone
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._loop.call_soon(self._ended)
        else:
            self._loop.add_reader(self._pidfd, self._ended)

    # ---- life

    def _heard(self, message: say.ToMaster, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        self.heard = time.monotonic()
        if isinstance(message, say.Status):
            self.connections, self.active = message.connections, message.active
        self._on_message(self, message)

    def send_plan(self, image: Image) -> None:
        """Send a plan, and before it the sockets that the worker has not got yet."""
        missing = [item for item in image.listeners if item.key not in self.has]
        for first in range(0, len(missing), SOCKETS_A_MESSAGE):
            some = missing[first : first + SOCKETS_A_MESSAGE]
            self.channel.send(say.Sockets(keys=[item.key for item in some]), [item.sock.fileno() for item in some])
        self.has = {item.key for item in image.listeners}
        listeners = [say.Listener(name=item.name, key=item.key) for item in image.listeners]
        self.channel.send(say.Config(serial=image.serial, listeners=listeners), [image.plan_fd])

    def drain(self, grace_ms: int) -> None:
        self.stage = Stage.DRAINING
        self.channel.send(say.Drain(grace_ms=grace_ms))

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.stage is not Stage.GONE and self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def hand_over(self) -> Handed:
        return Handed(self.pid, self.index, self.generation, self.channel.fileno(), self.stage is Stage.DRAINING)

    def _ended(self) -> None:
        if self.stage is Stage.GONE:
            return
        was_draining = self.stage is Stage.DRAINING
        self.stage = Stage.GONE
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
        self.channel.close()
        self._on_gone(self, self._reap(), was_draining)

    def _reap(self) -> int:
        """The exit status as subprocess writes it: negative for a signal; 0 when somebody else has reaped it."""
        if self._process is not None:
            return self._process.wait()
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:
            return 0
