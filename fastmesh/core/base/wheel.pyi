"""Timers of one worker."""

from asyncio import AbstractEventLoop

class Timed: ...

class Wheel:
    def __init__(self, loop: AbstractEventLoop) -> None: ...
    @property
    def pending(self) -> int: ...
