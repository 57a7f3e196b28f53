"""How much of a worker is used up - its memory, the proxy's connections, the time of its loop - and what it does about
that, in steps (Envoy's overload manager does the same).

Pressure is a share of what may be: at 1.0 nothing is left. Memory is that of the worker against `--max-memory`, and
that of the control group against its own limit; lag is how late the turns of the loop are. The steps are those of
`PressureLevel` in the core: answers end their connections, requests are refused, the lowest class first, and then
nothing new is taken. Nothing is looked at where nothing is limited.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from fastmesh.server.settings import Overload

log = logging.getLogger("fastmesh.worker")

NONE, CLOSE, SHED, STOP = range(4)
WORDS = (
    "takes everything again",
    "answers end their connections",
    "requests of low priority are refused",
    "nothing new is taken",
)
LOOK = 0.25  # seconds
LAG_LOOK = 0.05
LAG_SHARE = 4  # a turn counts for a fourth of the lag: one that was late is no pressure yet
PAUSE = 1.0  # seconds between two sweeps of quiet connections, and until it is told that less is done again
QUIET_MS = 1000
NO_LIMIT = 1 << 60  # what an old control group says when it has none
WORTH_A_LOOK = 0.5  # of its limit: below that nobody asks how much of it is cache


class Pressed(Protocol):
    """The core's worker, as far as it is pressed here."""

    @property
    def all_connections(self) -> int: ...
    def press(self, level: int, shedding: int, pressures: tuple[int, int, int], /) -> None: ...
    def close_quiet(self, milliseconds: int, /) -> None: ...
    def trim(self) -> None: ...


class Group:
    """A control group with a limit on memory."""

    def __init__(self, folder: str, usage: str, most: int, cache: str) -> None:
        self._usage = os.path.join(folder, usage)
        self._stat = os.path.join(folder, "memory.stat")
        self._cache = f"{cache} "
        self._most = most

    def pressure(self) -> float:
        """Files that the system may forget do not count."""
        used = _number(self._usage) or 0
        if used < WORTH_A_LOOK * self._most:
            return used / self._most
        lines = _text(self._stat).splitlines()
        cached = sum(int(line.split()[1]) for line in lines if line.startswith(self._cache))
        return max(0, used - cached) / self._most


def groups(process: str, root: str) -> Iterator[Group]:
    """The groups that this process is in and that have a limit: its own and those above, of version 2 and of 1."""
    for line in _text(os.path.join(process, "cgroup")).splitlines():
        _, controllers, own = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            top, limit, usage, cache = root, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top, cache = os.path.join(root, "memory"), "total_inactive_file"
            limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        place = os.path.join(top, own.strip("/"))
        while place.startswith(top):
            most = _number(os.path.join(place, limit))
            if most is not None and 0 < most < NO_LIMIT:
                yield Group(place, usage, most, cache)
            place = os.path.dirname(place)


def _number(path: str) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


class Memory:
    """`most`: bytes of this process alone, 0 = no limit. What it shares with the other workers is not its own."""

    def __init__(self, most: int, process: str = "/proc/self", root: str = "/sys/fs/cgroup") -> None:
        self._most = most
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._statm = os.path.join(process, "statm")
        self._groups = list(groups(process, root))
        self.is_limited = most > 0 or bool(self._groups)

    def pressure(self) -> float:
        found = [group.pressure() for group in self._groups]
        if self._most:
            _, resident, shared, *_ = map(int, _text(self._statm).split())
            found.append((resident - shared) * self._page / self._most)
        return max(found, default=0.0)


def judge(settings: Overload, memory: float, connections: float, lag: float) -> tuple[int, int]:
    """The step, and the share (percent) of the classes whose requests are refused: on the way from `shed` to `stop` a
    class of 40 % goes first, at two fifths of the way. To refuse requests makes no connection go away."""
    worst = max(memory, lag) * 100
    if worst >= settings.stop:
        return STOP, 100
    if worst >= settings.shed:
        way = round(100 * (worst - settings.shed) / (settings.stop - settings.shed))
        return SHED, min(max(way, 1), 99)
    if max(worst, connections * 100) >= settings.close:
        return CLOSE, 0
    return NONE, 0


class Pressure:
    """Looks again and again, and tells the plane when that changes anything."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: Overload,
        plane: Pressed,
        memory: Memory | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._plane = plane
        self._clock = clock
        self._memory = memory or Memory(settings.memory)
        self._period = LAG_LOOK if settings.lag else LOOK
        self._due = self._swept = self._memory_due = 0.0
        self._used = 0.0  # memory
        self._lag = 0.0  # seconds
        self._level = self._told = NONE
        self._calm_since = 0.0

    @property
    def is_limited(self) -> bool:
        return bool(self._settings.connections or self._settings.lag or self._memory.is_limited)

    def start(self) -> None:
        if self.is_limited:
            self._due = self._clock()
            self._again()

    def _again(self) -> None:
        now = self._clock()
        self.look(now, max(0.0, now - self._due))
        self._due = self._clock() + self._period
        self._loop.call_later(self._period, self._again)

    def look(self, now: float, late: float) -> None:
        """`late`: seconds by which this turn of the loop came too late."""
        settings = self._settings
        self._lag += (late - self._lag) / LAG_SHARE
        if now >= self._memory_due and self._memory.is_limited:
            self._memory_due = now + LOOK
            self._used = self._memory.pressure()
        connections = self._plane.all_connections / settings.connections if settings.connections else 0.0
        lag = self._lag * 1000 / settings.lag if settings.lag else 0.0
        self._level, shedding = judge(settings, self._used, connections, lag)
        self._plane.press(self._level, shedding, _thousandths(self._used, connections, lag))
        if self._level >= CLOSE and now >= self._swept:
            self._swept = now + PAUSE
            self._plane.close_quiet(QUIET_MS)
            if self._used * 100 >= settings.close:
                self._plane.trim()
        self._tell(now, f"memory {self._used:.0%}, connections {connections:.0%}, lag {lag:.0%}")

    def _tell(self, now: float, why: str) -> None:
        """At once when it gets worse, after a while when it gets better."""
        if self._level == self._told:
            self._calm_since = now
        elif self._level > self._told or now - self._calm_since >= PAUSE:
            self._told, self._calm_since = self._level, now
            log.warning("under pressure: %s (%s)" if self._level else "%s (%s)", WORDS[self._level], why)


def _thousandths(*values: float) -> tuple[int, int, int]:
    memory, connections, lag = (round(value * 1000) for value in values)
    return memory, connections, lag
