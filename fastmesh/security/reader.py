"""Reading the files of credentials: each is read again only when it looks different from the last time."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from fastmesh.security.findings import MaterialError

LARGEST = 16 << 20  # a revocation list of a public CA has some MiB
Look = tuple[int, int, int, int, int]


class Reader:
    """Keeps what it read. Used by one thread at a time."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[Look, bytes]] = {}
        self.reads = 0

    def __repr__(self) -> str:
        return f"Reader({len(self._read)} files)"

    def read(self, path: str, missing: bytes | None = None) -> bytes:
        """MaterialError says what is wrong with the file, without its name. `missing`: for a file that is not there."""
        try:
            look = _regular(path)
            known = self._read.get(path)
            if known is not None and known[0] == look:
                return known[1]
            with open(path, "rb") as file:
                data = file.read(LARGEST + 1)
            self.reads += 1
        except OSError as error:
            self._read.pop(path, None)
            if missing is not None and isinstance(error, FileNotFoundError):
                return missing
            raise MaterialError(_why(error)) from None
        if len(data) > LARGEST:
            raise MaterialError(f"is larger than {LARGEST >> 20} MiB; is it the right file?")
        self._read[path] = look, data  # the look is from before: what changed meanwhile is read again
        return data

    def keep_only(self, paths: Iterable[str]) -> None:
        """Forget the others."""
        wanted = set(paths)
        self._read = {path: known for path, known in self._read.items() if path in wanted}


def looks(paths: Iterable[str]) -> tuple[Look | None, ...]:
    """How the files look now, links followed: a link to another file is another file. None: not there.

    One system call a file: a gateway may have thousands, and they are looked at several times a second.
    """
    return tuple(_look(path) for path in paths)


def _look(path: str) -> Look | None:
    try:
        return _of(os.stat(path))
    except OSError:
        return None


def _regular(path: str) -> Look:
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise MaterialError("is not a file")
    return _of(found)


def _of(found: os.stat_result) -> Look:
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "is not there; write the path of a file in PEM"
    if isinstance(error, PermissionError):
        return "cannot be read: Permission denied; let the user of the proxy read it"
    return f"cannot be read: {error.strerror}"
