"""Token buckets and outlier detection as Python sees them: for tests only."""

from collections.abc import Sequence

from fastmesh.core.base.arena import Arena

class Bucket:
    def __init__(
        self, requests: int, period: int, burst: int | None = None, arena: Arena | None = None, name: bytes = b""
    ) -> None: ...
    def take(self, now: int) -> bool: ...
    def peek(self, now: int) -> int: ...
    def take_many(self, now: int, count: int) -> int:
        """How many of `count` takes at one instant pass."""

class Table:
    def __init__(self, sets: int, requests: int, period: int, burst: int | None = None) -> None: ...
    def take(self, key: int, now: int) -> tuple[bool, bool]:
        """(a token was taken, a bucket in use gave way)."""

class Host:
    def __init__(
        self,
        *,
        consecutive_5xx: int = 5,
        consecutive_gateway: int = 0,
        consecutive_local: int = 5,
        split_local: bool = False,
        interval: int = 10_000,
        base: int = 30_000,
        max_percent: int = 10,
        codes: Sequence[int] = (),
    ) -> None: ...
    def status(self, status: int) -> bool:
        """A response; True: eject now."""

    def local(self) -> bool:
        """A connect failure, time-out or reset; True: eject now."""

    def eject(self, now: int, tried: bool = False) -> bool: ...
    def try_one(self, now: int, at_a_time: int = 1) -> int | None:
        """The place of a trial."""

    def end_trial(self, place: int, began: int) -> None: ...
    def tried(self, passed: bool, now: int, successes: int = 3) -> str:
        """ "" or "back" or "failed"."""

    def forget_trials(self) -> None: ...
    def is_out(self, now: int) -> bool: ...
    def is_ejected(self, now: int) -> bool: ...
    def begin(self, healthy: int = 2, unhealthy: int = 3) -> None: ...
    def forget(self) -> None: ...
    def check(self, passed: bool, now: int = 0, network: bool = False) -> str:
        """ "" or "up" or "down"."""

    @property
    def verdict(self) -> str: ...
    def note(self, passed: bool, now: int, half_life: int) -> None: ...
    def chance(self, now: int, half_life: int) -> tuple[float, float]:
        """(p, observations)"""
    def may_eject(self, out: int, total: int) -> bool: ...
    @property
    def until(self) -> int: ...
    @property
    def ejections(self) -> int:
        """The multiplier of the base ejection time."""

    @property
    def errors(self) -> int: ...

class Slowness:
    """The latency words of one endpoint; times of answers in us."""

    def __init__(
        self,
        *,
        above: int = 0,
        times: float = 0,
        least: int = 0,
        percentile: int = 50,
        samples: int = 10,
        windows: int = 3,
    ) -> None: ...
    def window(self, *answers: int) -> int: ...
    def bound(self, peers: int) -> int: ...
    def judge(self, took: int, peers: int = 0) -> bool: ...

class Duty:
    def take(self, slot: int, now: int) -> bool: ...
    def drop(self, slot: int) -> None: ...

class LeaseHolder:
    """A worker that spends the leases of one limit."""

    def __init__(self, arena: Arena, key: bytes, keyed: bool, credit: int) -> None: ...
    def take(self, key: int, now: int) -> int:
        """The verdict on a request; the master is asked when that is due."""

class Gradient:
    """The words of one service; times in us."""

    def __init__(
        self,
        *,
        least: int = 3,
        most: int = 1000,
        requests: int = 50,
        percentile: int = 50,
        buffer: int = 25,
        jitter: int = 0,
        interval: int = 100_000,
        measure: int = 30_000_000,
    ) -> None: ...
    def limit(self, now: int, chance: int = 0) -> int: ...
    def sample(self, began: int, now: int, chance: int = 0) -> None: ...
    @property
    def min_rtt(self) -> int: ...
    @property
    def measuring(self) -> bool: ...

class Breaker:
    """The words of one service; times in ms."""

    def __init__(
        self, *, threshold: int = 500_000, min_requests: int = 20, open_for: int = 30_000, probes: int = 3
    ) -> None: ...
    def admit(self, now: int) -> str: ...
    def judge(self, mean: int, observed: int, now: int) -> bool: ...
    def probed(self, passed: bool, now: int) -> int: ...
    def let_go(self) -> None: ...
    def state(self, now: int) -> str: ...
    @property
    def opened(self) -> int: ...
