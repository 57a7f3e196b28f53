"""Hash tables, tiers and whole clusters as Python sees them: for tests only."""

from typing import Any

from fastmesh.core.base.arena import Arena

def hash_of(data: bytes, seed: int = 0) -> int:
    """XXH64."""

def loads(tiers: list[tuple[int, int]], panic: int = 0) -> list[tuple[int, bool]]:
    """(load in percent, panics) of tiers that are given as (endpoints, healthy ones)."""

class Picker:
    """A cluster of a plan in a worker's slot of an arena; its tables are built in slices of `slice_ns` (0: at once)."""

    slices: int
    def __init__(
        self, plan: dict[str, Any], arena: Arena | None = None, slot: int = 0, seed: int = 1, slice_ns: int = 0
    ) -> None: ...
    def pick(self, hash: int | None = None, now: int = 1000, tried: tuple[str, ...] = ()) -> str | None:
        """The address of the endpoint that a request meets."""

    def report(self, address: str, status: int, now: int = 1000) -> bool:
        """An answer of an endpoint; True: it was ejected by it."""

    def try_one(self, now: int, hash: int | None = None) -> str | None:
        """The endpoint that gets this request as a trial; the trial gives its place back at once."""

    def tried(self, address: str, passed: bool, now: int) -> str:
        """ "" or "back" or "failed"."""

    def healths(self, chances: list[tuple[int, int]], now: int = 1000) -> None:
        """What was observed of each endpoint: good ones, bad ones."""

    def greet(self, now: int, before: Picker | None = None) -> None:
        """The snapshot of this cluster begins to run, after that of another one."""

    def elsewhere(self, tried: tuple[str, ...], now: int = 1000) -> str | None:
        """The endpoint for a retry in another priority than those that were tried."""

    def load(self, active: int, retries: int, ended: int = 0) -> None:
        """Requests and retries under way of this slot, and requests that have ended."""

    def retry_allowed(self, now: int = 1000) -> bool:
        """Whether the last of the retries under way may go on."""

    def learn(self, address: str, value: bytes, now: int = 1000) -> None:
        """An answer of the endpoint had this load report."""

    def busy(self, address: str, requests: int) -> None:
        """This many requests are under way there, of this slot."""

    def table(self, tier: int = 0) -> list[str]:
        """The owner of each place of a hash table."""

class Paths:
    """Rules by number, each the clauses of a plan as dicts: those whose path fits, and those that the index names."""

    def __init__(self, rules: list[list[dict[str, Any]]]) -> None: ...
    def fitting(self, path: bytes) -> list[int]: ...
    def candidates(self, path: bytes) -> list[int] | None: ...
