"""What the master and its workers say to each other. One message is one datagram; descriptors travel beside it.

A new configuration goes in two steps, so that either all workers run it or none does: every worker builds it and says
`Built` or `Refused`; when all have built it, the master says `Apply`.
"""

from __future__ import annotations

import msgspec

from fastmesh.errors import EXIT_FAILURE
from fastmesh.server.settings import WorkerSettings


class Message(msgspec.Struct, kw_only=True, frozen=True, tag=True):
    """Base of all messages."""


class Hello(Message, kw_only=True, frozen=True):
    """First message to a worker: who it is."""

    settings: WorkerSettings


class TicketKeys(Message, kw_only=True, frozen=True):
    """The keys of TLS session tickets, newest first, 80 bytes each: name 16, HMAC key 32, AES-256 key 32. The first one
    closes new tickets, all of them open old ones; none: no tickets. It comes before the first plan, and at each change.
    """

    keys: list[bytes]

    def __repr__(self) -> str:
        return f"TicketKeys({len(self.keys)} keys)"


class Listener(msgspec.Struct, kw_only=True, frozen=True):
    """One listening socket. `key` is never used twice, so a name that was closed and opened again is a new socket."""

    name: str
    key: int


class Sockets(Message, kw_only=True, frozen=True):
    """Listening sockets that the worker has not got yet: one descriptor for each key."""

    keys: list[int]


class Config(Message, kw_only=True, frozen=True):
    """Build this plan; its memfd is the one descriptor. All sockets of `listeners` were sent before."""

    serial: int
    listeners: list[Listener]


class Apply(Message, kw_only=True, frozen=True):
    serial: int


class Abandon(Message, kw_only=True, frozen=True):
    """Forget the plan that was built: another worker refused it."""

    serial: int


class Drain(Message, kw_only=True, frozen=True):
    """Stop accepting, finish what is in flight, exit when nothing is left or `grace_ms` is over."""

    grace_ms: int


class CloseListeners(Message, kw_only=True, frozen=True):
    """Stop accepting and finish what is in flight, but stay."""


class Quit(Message, kw_only=True, frozen=True):
    """Exit now."""


class ReopenLogs(Message, kw_only=True, frozen=True):
    pass


class LogLevel(Message, kw_only=True, frozen=True):
    level: str


class Ready(Message, kw_only=True, frozen=True):
    """The worker has read its Hello and waits for a plan."""


class Built(Message, kw_only=True, frozen=True):
    serial: int
    milliseconds: float = 0.0  # from first slice to last
    longest: float = 0.0  # the longest slice: what a request may have waited


class Applied(Message, kw_only=True, frozen=True):
    serial: int
    milliseconds: float = 0.0


class Refused(Message, kw_only=True, frozen=True):
    serial: int
    reason: str
    code: int = EXIT_FAILURE  # how a start ends that nobody can serve


class Leaving(Message, kw_only=True, frozen=True):
    """Somebody told the worker to terminate: it drains, and another is needed now."""


class Drained(Message, kw_only=True, frozen=True):
    """Nothing is left (or the grace is over); the worker exits."""

    connections: int = 0
    active: int = 0


class Status(Message, kw_only=True, frozen=True):
    """Sent every second: the worker's loop turns."""

    connections: int
    active: int


class LeasesWanted(Message, kw_only=True, frozen=True):
    """Global limits need tokens: which ones stands in the arena. Rung once, until the master has looked."""


ToWorker = (
    Hello | TicketKeys | Sockets | Config | Apply | Abandon | Drain | CloseListeners | Quit | ReopenLogs | LogLevel
)
ToMaster = Ready | Built | Applied | Refused | Leaving | Drained | Status | LeasesWanted
