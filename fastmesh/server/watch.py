"""Notices that files changed, by looking once a second: right for editors that rename, for ConfigMap links and for
NFS.

A look is a fingerprint: path, real path, inode, mtime and size of every file. A change counts when two looks in a row
agree, so that a set of files that is being written is not read half-way.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor

Fingerprint = tuple[tuple[str, str, int, int, int], ...]

PERIOD = 1.0
SETTLE = 0.2


def fingerprint(paths: Iterable[str]) -> Fingerprint:
    """What the files look like now; a missing one is told apart from every existing one."""
    return tuple(_look(path) for given in paths for path in _files(given))


def _files(path: str) -> Iterator[str]:
    if not os.path.isdir(path):
        yield path
        return
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(folder, name) for name in sorted(files) if not name.startswith("."))


def _look(path: str) -> tuple[str, str, int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return path, "", 0, 0, 0
    return path, os.path.realpath(path), found.st_ino, found.st_mtime_ns, found.st_size


async def watch(paths: list[str], changed: Callable[[], None], executor: Executor, seen: Fingerprint) -> None:
    """Call `changed` after every change since `seen`, for ever. Looks in a thread: a file system may hang."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(PERIOD)
        now = await loop.run_in_executor(executor, fingerprint, paths)
        if now == seen:
            continue
        while True:
            await asyncio.sleep(SETTLE)
            again = await loop.run_in_executor(executor, fingerprint, paths)
            if again == now:
                break
            now = again
        seen = now
        changed()
