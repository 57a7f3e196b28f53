"""How long to wait before a dead worker is started again: not at all after a working life, longer after each early
death.
"""

from __future__ import annotations

FIRST = 0.1
LONGEST_UNREADY = 5.0  # it never served: starting it more often helps nobody
LONGEST_READY = 0.8  # it served: a slot must not stay empty for a second
LONG_LIFE = 0.5  # seconds of service after which a death is no longer an early one


class Backoff:
    """One for all workers: when one dies at once, the next will do so too."""

    def __init__(self) -> None:
        self.early_deaths = 0

    def after(self, served_for: float | None) -> float:
        """Seconds until the next start, for a worker that served so long (None: it never became ready)."""
        if served_for is not None and served_for >= LONG_LIFE:
            self.early_deaths = 0
            return 0.0
        self.early_deaths += 1
        if self.early_deaths == 1:
            return 0.0
        longest = LONGEST_UNREADY if served_for is None else LONGEST_READY
        return float(min(FIRST * 2 ** min(self.early_deaths - 2, 10), longest))
