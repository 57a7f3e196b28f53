"""Threads that may stand in a call for long and that nobody waits for at the end of the process.

Those of the standard library's pool are joined at the exit: a name server that is silent would hold up a stop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any


class DaemonThreads(Executor):
    """At most `most`, started as they are needed; calls are answered in their order."""

    def __init__(self, most: int, name: str, initializer: Callable[[], object]) -> None:
        self._most = most
        self._name = name
        self._initializer = initializer
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._calls.put((future, lambda: fn(*args, **kwargs)))
        if not self._idle.acquire(blocking=False) and self._started < self._most:
            self._started += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Threads end after the calls that were made; it never waits for them."""
        for _ in range(self._started):
            self._calls.put(None)

    def _work(self) -> None:
        self._initializer()
        while (call := self._calls.get()) is not None:
            future, work = call
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:
                    future.set_exception(error)
            self._idle.release()
