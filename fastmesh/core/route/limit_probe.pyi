"""A limit as Python sees it: for benchmarks only."""

from typing import Any

class Limited:
    """A limit and a request; a global one is given a lease that does not end."""

    def __init__(self, plan: dict[str, Any], text: bytes) -> None: ...
    def admit(self, count: int) -> int:
        """How many of `count` requests pass, each with a clock reading of its own."""
