"""The master's signals, and how they wait while the program image changes."""

from __future__ import annotations

import signal

SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
)


def leave_to_main_thread() -> None:
    """Signals are for the main thread: one that another thread takes just before an upgrade would be lost."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
