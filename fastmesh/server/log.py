"""The log of the master and of the workers' Python side: one line an event on standard error, UTC, level, who, what."""

from __future__ import annotations

import logging
import os
import sys
import time

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        who = record.name.removeprefix("fastmesh.")
        line = f"{stamp}.{int(record.msecs):03d}Z {record.levelname.lower()} {who}[{os.getpid()}] {record.getMessage()}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def start_log(level: str) -> None:
    """Send everything to standard error from `level` up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)


def set_level(level: str) -> None:
    logging.getLogger().setLevel(LEVELS[level])


def current_level() -> str:
    level = logging.getLogger().level
    return next((name for name, number in LEVELS.items() if number == level), "info")
