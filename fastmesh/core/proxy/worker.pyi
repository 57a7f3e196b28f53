"""The face of the data plane towards Python."""

from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable
from typing import Any

from fastmesh.core.base.arena import Arena
from fastmesh.core.proxy.engine import Engine
from fastmesh.core.route.snapshot import Snapshot

class Worker(Engine):
    """A worker on `loop`, in slot `index` of the arena. See server/settings for the keys of `settings`."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        arena: Arena,
        index: int,
        settings: dict[str, Any],
        load_filter: Callable[[dict[str, Any]], object] | None = None,
    ) -> None: ...
    @property
    def settings(self) -> dict[str, Any]: ...
    @property
    def version(self) -> str | None:
        """The version of the configuration that runs; None before the first."""

    def load(self, items: Iterable[tuple[str, dict[str, Any]]]) -> Snapshot:
        """A snapshot to be built from plan items: call its `step(budget_us)` until True, then `apply`."""

    def apply(self, snapshot: Snapshot, listeners: dict[str, int]) -> None:
        """Run `snapshot` from the next request on. `listeners`: name -> listening descriptor, owned from here on."""

    def set_ticket_keys(self, keys: list[bytes]) -> None:
        """The keys of session tickets from now on, the newest first."""

    def set_lease_bell(self, bell: Callable[[], None]) -> None:
        """`bell()` tells the master that leases ask for tokens."""

    def drain(self, idle_grace: float = 5.0) -> None:
        """Stop accepting; answers say `connection: close`; idle connections close after `idle_grace` seconds."""

    @property
    def all_connections(self) -> int:
        """Of clients, all workers together."""

    def press(self, level: int, shedding: int, pressures: tuple[int, int, int]) -> None:
        """What the worker does because it has too much to do (PressureLevel); requests whose class has a share of at
        most `shedding` percent are refused. `pressures`: of memory, connections and lag, in thousandths.
        """

    def close_quiet(self, milliseconds: int) -> None:
        """Close HTTP/1 connections that are kept for another request, and that none has come on for this long."""

    def trim(self) -> None:
        """Give memory that is free back to the system."""

    def close_idle(self) -> None:
        """Close keep-alive connections without a request."""

    def cut(self) -> None:
        """Break off what is under way; each request gets its line in the log."""

    def reopen_logs(self) -> None: ...
    def flush_logs(self) -> None: ...
    def set_log_level(self, level: str) -> None: ...
