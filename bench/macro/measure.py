"""What the kernel says about a process: CPU time by the nanosecond, and memory."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
ESTABLISHED = "01"  # in /proc/net/tcp


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU. The total is exact (the scheduler's clock); its parts are sampled by the timer tick."""

    total: float
    user: float
    system: float

    def since(self, before: Cpu) -> Cpu:
        total = self.total - before.total
        user, system = self.user - before.user, self.system - before.system
        share = user / (user + system) if user + system > 0 else 0.0
        return Cpu(total, total * share, total * (1 - share))


def cpu_of(pids: list[int]) -> Cpu:
    """All threads of these processes together."""
    total = user = system = 0.0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            for thread in Path(f"/proc/{pid}/task").iterdir():
                total += int((thread / "schedstat").read_text().split()[0]) / 1e9
        except (FileNotFoundError, ProcessLookupError):
            continue
        user += int(fields[11]) / TICKS
        system += int(fields[12]) / TICKS
    return Cpu(total, user, system)


@dataclass(frozen=True)
class Memory:
    """Bytes: resident; and resident with shared pages divided among their users."""

    rss: int
    pss: int


def memory_of(pids: list[int]) -> Memory:
    rss = pss = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        values = {name: int(kib) * 1024 for name, kib in re.findall(r"^(Rss|Pss):\s+(\d+) kB", text, re.M)}
        rss += values["Rss"]
        pss += values["Pss"]
    return Memory(rss, pss)


def core_busy(core: int) -> tuple[float, float]:
    """Seconds that this core has worked for anybody, and seconds in all; the noise of the machine shows here."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            ticks = [int(field) for field in fields[:8]]
            return (sum(ticks) - ticks[3] - ticks[4]) / TICKS, sum(ticks) / TICKS
    return 0.0, 0.0


def serving_process(family: list[int], port: int, client: int | None = None) -> int | None:
    """Which of these holds an established connection that came to `port` (from the port `client`): the worker, by what
    it does, not by its name."""
    wanted = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        local, remote = (int(fields[at].split(":")[1], 16) for at in (1, 2))
        if fields[3] == ESTABLISHED and local == port and client in (None, remote):
            wanted.add(f"socket:[{fields[9]}]")
    for pid in family:
        try:
            if any(os.readlink(entry) in wanted for entry in Path(f"/proc/{pid}/fd").iterdir()):
                return pid
        except OSError:
            continue
    return None
