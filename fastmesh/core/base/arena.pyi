"""One piece of memory that all workers share: counters, histograms, token buckets, outlier state."""

class Arena:
    @property
    def size(self) -> int: ...
    @property
    def fd(self) -> int: ...
    @property
    def slots(self) -> int: ...
    @property
    def usage(self) -> tuple[int, int, int, int]:
        """(bytes used, bytes in all, entries, entries that found no room)."""

    @staticmethod
    def create(size: int = ..., slots: int = 16) -> Arena:
        """A new arena of at most `size` bytes for worker slots 0..slots-1."""

    @staticmethod
    def attach(fd: int) -> Arena:
        """The arena behind a descriptor that another process made; ValueError when its layout is of another version."""

    def entries(self) -> list[tuple[int, bytes, tuple[int, ...]]]:
        """(kind, key, words) of every entry, in no special order."""

    def find(self, kind: int, key: bytes) -> tuple[int, ...]:
        """The words of one entry, as `entries` has them; () when nobody has made it."""

    def release_slot(self, slot: int) -> None:
        """Zero the gauges of a dead worker."""
