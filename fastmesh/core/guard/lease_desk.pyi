"""The master's side of leases of tokens: see the .pxd of the same name."""

from fastmesh.core.base.arena import Arena

class LeaseDesk:
    def __init__(self, arena: Arena) -> None: ...
    def open(self, key: bytes, keyed: bool, /) -> int:
        """The number of a limit's leases; 0 when the arena is full. `key` is that of the limit in the workers."""

    def set_lead(self, number: int, lead: int, /) -> None: ...
    def set_slack(self, number: int, slack: int, /) -> None: ...
    def set_gone(self, number: int, gone: bool, /) -> None: ...
    def asks(self) -> list[tuple[int, int]]:
        """(number, index) of the leases that ask for tokens; each is told once until it was answered."""

    def look(self, number: int, index: int, /) -> tuple[int, int, int, int, bool, int, int]:
        """(tag, used at, window, tokens left, dry, window after, debt)."""

    def seen(self, number: int, index: int, /) -> int:
        """Requests since the last time that this was asked."""

    def grant(
        self, number: int, index: int, tag: int, window: int, tokens: int, left: int, low: int, now: int, /
    ) -> int:
        """Pay what is owed, lend the rest; Redis has `left` more.

        Answers the requests beyond the limit that Redis can not pay; -1: the lease is another key's by now.
        """

    def grant_ahead(self, number: int, index: int, tag: int, window: int, tokens: int, left: int, low: int, /) -> bool:
        """The tokens of the window behind the one that runs."""

    def take_back(self, number: int, index: int, tag: int, window: int, /) -> int:
        """The unspent tokens of a window, which nobody can spend from here on."""

    def forgive(self, number: int, index: int, /) -> None:
        """Redis is gone: what was passed on credit is counted nowhere."""
