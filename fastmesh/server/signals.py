"""The master's signals, and how they wait while the program image changes."""

from __future__ import annotations

import os
import signal
import threading

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


def work_behind_the_workers() -> None:
    """For threads that read and compile: on a busy machine the workers' requests come first."""
    leave_to_main_thread()
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
