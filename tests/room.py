"""The machine as a room: several processes are in it together, or one is in it alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


class Room:
    """Made of two files that are locked. Whoever waits to be alone keeps the door, so that nobody else comes in."""

    def __init__(self, path: Path) -> None:
        self._paths = [path.with_suffix(end) for end in (".door", ".room")]
        self._door, self._room = (os.open(each, os.O_CREAT | os.O_RDWR, 0o600) for each in self._paths)
        self._alone: bool | None = None  # None: outside

    def enter(self, alone: bool) -> None:
        if self._alone == alone:
            return
        self.leave()
        how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        fcntl.flock(self._door, how)
        fcntl.flock(self._room, how)
        fcntl.flock(self._door, fcntl.LOCK_UN)
        self._alone = alone

    def leave(self) -> None:
        fcntl.flock(self._room, fcntl.LOCK_UN)
        self._alone = None

    def close(self) -> None:
        os.close(self._door)
        os.close(self._room)
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
