"""The in-place upgrade: the master checks the new code, then becomes it by exec, with everything it holds.

The process keeps its pid, so systemd, a container runtime and a pid file see no change. What passes over is a small
JSON state in a memfd: descriptors of the listening sockets, the arena and the running plan, and the workers with
their control channels. The new image starts workers of its own and, once they serve, drains the old ones. If it
cannot, the old ones simply stay. Signals are blocked over the gap and wait.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterable

import msgspec

from fastmesh.server.member import Handed
from fastmesh.server.sockets import Bound

log = logging.getLogger("fastmesh.upgrade")

STATE_VARIABLE = "FASTMESH_UPGRADE_STATE"
PREFLIGHT_FLAG = "--preflight"
PREFLIGHT_PATIENCE = 60.0
FORMAT = 1


class HandedSocket(msgspec.Struct, frozen=True):
    key: int
    name: str
    asked: str
    fd: int


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What one program image leaves to the next."""

    format: int = FORMAT
    version: str
    epoch: int
    started: float  # wall clock of the first image
    arena_fd: int
    plan_fd: int
    serial: int
    listeners: list[HandedSocket]
    admin: list[HandedSocket]
    workers: list[Handed]
    asked: int  # number of workers in the settings
    count: int | None  # and in force, when TTIN or TTOU changed it
    restarts: int
    accepted: int
    refused: int
    ticket_keys: list[bytes] = []
    tickets_made: float = 0.0
    answers: dict[str, list[str]] = {}  # addresses of DNS names: the next image may find no name server

    def __repr__(self) -> str:
        return f"State(epoch {self.epoch}, {len(self.workers)} workers)"  # nobody prints keys by accident


def hand_sockets(bound: Iterable[Bound]) -> list[HandedSocket]:
    return [HandedSocket(item.key, item.name, item.asked, item.sock.fileno()) for item in bound]


def take_sockets(handed: Iterable[HandedSocket]) -> list[Bound]:
    taken = []
    for item in handed:
        os.set_inheritable(item.fd, False)
        taken.append(Bound(item.key, item.name, item.asked, socket.socket(fileno=item.fd)))
    return taken


def preflight() -> str:
    """Run the new code up to the point where it would bind: empty when all is well, else what it said. Blocks."""
    try:
        done = subprocess.run(
            [sys.executable, *sys.orig_argv[1:], PREFLIGHT_FLAG],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PREFLIGHT_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = done.stdout.decode(errors="replace").strip()
    return "" if done.returncode == 0 else said or f"exit code {done.returncode}"


def become_new_image(state: State) -> None:
    """Does not return, unless by OSError; then everything is as before. The caller has blocked the signals."""
    state_fd = os.memfd_create("fastmesh-upgrade", os.MFD_CLOEXEC)
    os.write(state_fd, msgspec.json.encode(state))
    os.lseek(state_fd, 0, os.SEEK_SET)
    passed = [state_fd, *_descriptors(state)]
    try:
        for fd in passed:
            os.set_inheritable(fd, True)
        sys.stdout.flush()
        sys.stderr.flush()
        environment = {**os.environ, STATE_VARIABLE: str(state_fd)}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    finally:
        for fd in passed:
            os.set_inheritable(fd, False)
        os.close(state_fd)


def inherited_state() -> State | None:
    """What the last image left to us, when there was one."""
    text = os.environ.pop(STATE_VARIABLE, "")
    if not text:
        return None
    with open(int(text), "rb") as file:
        state = msgspec.json.decode(file.read(), type=State)
    for fd in _descriptors(state):
        os.set_inheritable(fd, False)
    return state


def _descriptors(state: State) -> list[int]:
    return [
        state.arena_fd,
        state.plan_fd,
        *(item.fd for item in state.listeners),
        *(item.fd for item in state.admin),
        *(worker.control_fd for worker in state.workers),
    ]
