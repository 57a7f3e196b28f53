"""What a figure depends on besides the programs: kernel, processor, clock source, versions."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

from .measure import core_busy


def describe() -> dict[str, str]:
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "kernel": platform.release(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "gcc": _first_line(["gcc", "--version"]),
        "load average at start": " ".join(f"{value:.2f}" for value in os.getloadavg()),
    }


def wait_for_quiet(limit: float) -> None:
    """Until nobody works on any core for a quarter of a second, or the limit is over."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        before = [core_busy(core)[0] for core in range(os.cpu_count() or 1)]
        time.sleep(0.25)
        if all(core_busy(core)[0] - then <= 0.02 for core, then in enumerate(before)):
            return


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _first_line(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.splitlines()[0]
    except (OSError, IndexError, subprocess.SubprocessError):
        return "unknown"
