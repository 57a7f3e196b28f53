"""The keys of TLS session tickets: made by the master, the same for all workers, never written anywhere.

A client that comes back may meet another worker, or a worker of the next program image; its ticket must open there
too. Whoever has a key can read what was said under its tickets (RFC 5077 section 5.5), so keys live in memory only and
do not live long: a new one closes new tickets, the two before it still open old ones.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

KEY_BYTES = 80  # name 16, HMAC-SHA-256 key 32, AES-256 key 32: what OpenSSL's ticket callback asks for
KEPT = 3  # the one in use and the two before it


class TicketKeys:
    """`keys` are in the order newest first. A `period` of 0 seconds: no tickets, no keys."""

    def __init__(self, period: float, keys: Sequence[bytes] = (), made: float = 0.0) -> None:
        self._period = period
        self._keys = [key for key in keys if len(key) == KEY_BYTES] if period else []
        self.made = made  # wall clock of the newest key: it goes over to the next program image
        if period and not self._keys:
            self.rotate()

    def __repr__(self) -> str:
        return f"TicketKeys({len(self._keys)} keys)"

    @property
    def keys(self) -> list[bytes]:
        return list(self._keys)

    def due(self) -> float | None:
        """Seconds until the next rotation; None: never. A clock that was set back does not put it off for longer."""
        if not self._period:
            return None
        return min(max(0.0, self.made + self._period - time.time()), self._period)

    def rotate(self) -> list[bytes]:
        self._keys = [secrets.token_bytes(KEY_BYTES), *self._keys][:KEPT]
        self.made = time.time()
        return self.keys
