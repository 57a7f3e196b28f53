"""How late this machine wakes up who waits: what a test of milliseconds has to allow beside others who use it."""

from __future__ import annotations

import threading
import time

EVERY = 0.001


class Lateness:
    """A thread that waits a millisecond, on and on. `late` are the seconds that it woke up late."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def __enter__(self) -> Lateness:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join(10)

    def _run(self) -> None:
        before = time.monotonic()
        while not self.over.wait(EVERY):
            now = time.monotonic()
            self.late.append(now - before - EVERY)
            before = now

    @property
    def worst(self) -> float:
        return max(self.late, default=0.0)

    def share(self, seconds: float) -> float:
        """Of the times that it woke up, those later than this."""
        return sum(late > seconds for late in self.late) / max(1, len(self.late))
