"""A child process that is bound to a core, dies with us and is ended by its own id, never by name."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

LOAD_CORE = 0
PROXY_CORE = 1
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def raise_descriptor_limit() -> int:
    """As many descriptors as this machine allows; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def start(
    command: Sequence[str],
    core: int,
    *,
    output: IO[bytes] | int = subprocess.DEVNULL,
    errors: IO[bytes] | int = subprocess.DEVNULL,
    stdin: int = subprocess.DEVNULL,
    env: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` on `core` only; it gets a SIGTERM if the bench dies."""
    usable = os.sched_getaffinity(0) | {LOAD_CORE, PROXY_CORE}
    cores = {core} if core in range(os.cpu_count() or 1) and core in usable else usable

    def bind() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        os.sched_setaffinity(0, cores)

    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=output,
        stderr=errors,
        env={**os.environ, **env} if env else None,
        preexec_fn=bind,
    )


def stop(child: subprocess.Popen[bytes], patience: float = 5.0) -> None:
    """SIGTERM, then SIGKILL for it and for the descendants that it had."""
    family = [child.pid, *descendants(child.pid)]
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream:
            stream.close()
    deadline = time.monotonic() + 1.0
    while any(_alive(pid) for pid in family[1:]) and time.monotonic() < deadline:
        time.sleep(0.01)
    for pid in family[1:]:
        if _alive(pid):
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, parents first."""
    found: list[int] = []
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        below = [int(word) for thread in threads for word in (thread / "children").read_text().split()]
    except OSError:
        return found
    for child in below:
        found += [child, *descendants(child)]
    return found


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"
