"""Global limits: tokens are taken ahead from Redis and lent to the workers, so that no request waits for Redis.

Workers spend leases from the arena (see guard/lease.pxd) and ring when one runs low. The master, which moves no
request and is one for all workers, asks Redis for more: one script, all questions of a moment in one batch. A lease is
as large as what a tenth of a second spends, at most a tenth of the limit; what was not spent in a second is given back,
and what nobody gives back ends with its window. When Redis is gone the limit says what then (`failureModeDeny`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Iterable
from typing import Protocol

import msgspec

from fastmesh.config.plan import LimitPlan
from fastmesh.server.redis import Address, Connection, RedisError, Script, Value, parse_address

log = logging.getLogger("fastmesh.limits")

HORIZON = 0.1  # seconds that a lease should last
ROUND_TRIPS = 4  # or so many answers of Redis, when that is longer
LEAD = 0.1  # seconds before the end of a window in which tokens of the next one are asked for,
LEAD_SHARE = 5  # and this part of the window at most
IDLE = 1.0  # seconds after which what was not spent is given back
SLACK_FADES = 0.99  # of the longest answer, with every one
SMOOTH = 0.5  # how much the newest look says about the rate
FIRST_RETRY, LONGEST_RETRY = 0.05, 2.0  # seconds until the next try to connect
MOST_KEYS = 100_000  # leases that are remembered; the others end with their windows
LOOK = 0.5  # seconds
AT_ONCE = 500  # questions in one batch

# KEYS[1]: a hash of windows (number -> tokens taken). ARGV: limit, period (ms), tokens wanted (negative: given back),
# window (0: the one that runs). Answers: tokens granted, tokens left, window, ms until its end.
TAKE = Script("""
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local limit, period, want, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local running = math.floor(ms / period)
if window < running then
  if want < 0 then return {0, 0, window, 0} end
  window = running
end
local field = string.format('%.0f', window)
local taken = tonumber(redis.call('HGET', KEYS[1], field) or '0')
local granted = math.max(math.min(want, limit - taken), -taken)
if want > 0 and granted < 0 then granted = 0 end
local ends = (window + 1) * period - ms
if granted ~= 0 then
  redis.call('HSET', KEYS[1], field, taken + granted)
  for before = 1, 3 do redis.call('HDEL', KEYS[1], string.format('%.0f', running - before)) end
  redis.call('PEXPIRE', KEYS[1], ends + period)
end
return {granted, limit - taken - granted, window, ends}
""")


class Desk(Protocol):
    """`fastmesh.core.guard.lease_desk.LeaseDesk`."""

    def open(self, key: bytes, keyed: bool, /) -> int: ...
    def set_lead(self, number: int, lead: int, /) -> None: ...
    def set_slack(self, number: int, slack: int, /) -> None: ...
    def set_gone(self, number: int, gone: bool, /) -> None: ...
    def asks(self) -> list[tuple[int, int]]: ...
    def look(self, number: int, index: int, /) -> tuple[int, int, int, int, bool, int, int]: ...
    def seen(self, number: int, index: int, /) -> int: ...
    def grant(
        self, number: int, index: int, tag: int, window: int, tokens: int, left: int, low: int, now: int, /
    ) -> int: ...
    def grant_ahead(
        self, number: int, index: int, tag: int, window: int, tokens: int, left: int, low: int, /
    ) -> bool: ...
    def take_back(self, number: int, index: int, tag: int, window: int, /) -> int: ...
    def forgive(self, number: int, index: int, /) -> None: ...


class Table(msgspec.Struct):
    """The leases of one limit."""

    number: int
    prefix: str  # of its keys in Redis
    keyed: bool
    limit: int
    period: int  # ms
    most: int
    slack: float = 0.0  # ms: the longest answer of late


class Lent(msgspec.Struct):
    """What is known of one lease."""

    tag: int
    looked: float = 0.0  # when its requests were counted last
    rate: float = 0.0  # requests a second
    window: int = -1  # Redis's number of the window that runs,
    ends: int = 0  # and its end on our clock
    ahead: int = 0  # the end of the next one, when tokens of it were taken

    def roll(self, window: int) -> None:
        """Workers have begun the window that tokens were taken ahead for."""
        if self.ahead and window == self.ahead:
            self.window, self.ends, self.ahead = self.window + 1, self.ahead, 0

    def begin(self, window: int, ends: int, now: int, period: int) -> None:
        """Redis has spoken of this window. All words of one carry the same end; an end that is over was early."""
        if self.window < 0 and self.ends > now and abs(ends - self.ends) < period / 2:
            self.window = window  # a lease that the program before an upgrade has left
        elif window == self.window + 1 and self.ahead:
            self.roll(self.ahead)
        elif window != self.window or self.ends <= now:
            self.window, self.ends = window, ends


class Ask(msgspec.Struct):
    """One question to Redis and what it is for. `want` < 0: tokens that are given back."""

    table: Table
    index: int
    lent: Lent
    want: int
    debt: int = 0
    window: int = 0
    ahead: bool = False


class Store:
    """One Redis, with the limits that count there."""

    def __init__(self, address: Address, password: str, desk: Desk, timeout: float) -> None:
        self.address = address
        self.up = False
        self.failures = 0  # connections that failed or ended
        self.granted = self.returned = self.overdrawn = self.questions = 0
        self.tables: dict[int, Table] = {}
        self._password = password
        self._desk = desk
        self._timeout = timeout
        self._trip = 0.001  # seconds that an answer takes
        self._news = asyncio.Event()
        self._wanted: dict[tuple[int, int], None] = {}
        self._lent: dict[tuple[int, int], Lent] = {}
        self._returns: list[Ask] = []
        self._idle_look = 0.0
        self._closing = False
        self.talk = asyncio.Lock()  # held while something is asked: tokens are on their way
        self.task = asyncio.get_running_loop().create_task(self._run())

    def want(self, number: int, index: int) -> None:
        self._wanted[number, index] = None
        self._news.set()

    def serve(self, table: Table) -> None:
        self.tables[table.number] = table
        self._desk.set_lead(table.number, int(min(LEAD * 1000, table.period / LEAD_SHARE)))
        if self.failures and not self.up:
            self._desk.set_gone(table.number, True)

    async def _run(self) -> None:
        pause = FIRST_RETRY
        while not self._closing:
            began = time.monotonic()
            try:
                async with asyncio.timeout(self._timeout):
                    connection = await Connection.open(self.address, self._password)
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                self._lost(error)
            else:
                try:
                    self._found()
                    await self._serve(connection)
                except (OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError) as error:
                    self._lost(error)
                finally:
                    connection.close()
            if self._closing:
                return
            if time.monotonic() - began > LONGEST_RETRY:
                pause = FIRST_RETRY
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_RETRY)

    def _found(self) -> None:
        log.info("Redis at %s counts the global limits", self.address)
        self.up = True
        for number in self.tables:
            self._desk.set_gone(number, False)

    def _lost(self, error: BaseException) -> None:
        self.failures += 1
        if not self.up and self.failures > 1:
            return  # said before
        self.up = False
        log.warning(
            "Redis at %s is gone (%s): its limits pass or refuse by their failureModeDeny",
            self.address,
            str(error) or type(error).__name__,
        )
        for number in self.tables:
            self._desk.set_gone(number, True)
        for number, index in {*self._lent, *self._wanted}:
            self._desk.forgive(number, index)
        self._lent.clear()
        self._wanted.clear()

    # ---- questions and answers

    async def _serve(self, connection: Connection) -> None:
        while not self._closing:
            if not self._wanted:
                await self._wait(connection)
            async with self.talk:
                batch = self._batch()
                if batch:
                    await self._send(connection, batch)
        await self._send(connection, self._unspent(math.inf))

    async def _wait(self, connection: Connection) -> None:
        """Until somebody wants tokens, a look for idle leases is due, or Redis closes."""
        self._news.clear()
        news, gone = asyncio.ensure_future(self._news.wait()), asyncio.ensure_future(connection.gone())
        try:
            await asyncio.wait({news, gone}, timeout=IDLE if self._lent else None, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise EOFError("the connection was closed")
        finally:
            news.cancel()
            gone.cancel()
            await asyncio.gather(news, gone, return_exceptions=True)

    def _batch(self) -> list[Ask]:
        wanted = list(self._wanted)[:AT_ONCE]
        for key in wanted:
            del self._wanted[key]
        found = [ask for key in wanted if (ask := self._ask(*key)) is not None]
        now = time.monotonic()
        if now - self._idle_look >= IDLE:
            self._idle_look = now
            found += self._unspent(now - IDLE)
        found += self._returns
        self._returns = []
        return found

    def _ask(self, number: int, index: int) -> Ask | None:
        table = self.tables.get(number)
        if table is None:
            return None
        tag, _, window, _, dry, after, debt = self._desk.look(number, index)
        lent = self._lent.get((number, index))
        if lent is None or lent.tag != tag:
            if len(self._lent) >= MOST_KEYS:
                self._lent.pop(next(iter(self._lent)))
            lent = self._lent[number, index] = Lent(tag, ends=window)
        lent.roll(window)
        now = time.monotonic()
        size = self._size(table, lent, self._desk.seen(number, index), now)
        left = window - int(now * 1000)
        ending = 0 < left <= min(LEAD * 1000, table.period / LEAD_SHARE)
        if ending and not after and lent.window >= 0 and lent.ends == window and (dry or debt == 0):
            return Ask(table, index, lent, size, window=lent.window + 1, ahead=True)
        # The next window may have begun here and not yet in Redis.
        return Ask(table, index, lent, size + debt, debt, lent.window if left > 0 and lent.ends == window else 0)

    def _size(self, table: Table, lent: Lent, seen: int, now: float) -> int:
        """Tokens for the next while, by the rate of requests. The first lease of a key is for the one that came."""
        if lent.looked:
            rate = seen / max(now - lent.looked, 0.001)
            lent.rate += SMOOTH * (rate - lent.rate) if lent.rate else rate
        lent.looked = now
        horizon = max(HORIZON, ROUND_TRIPS * self._trip)
        return max(1, min(math.ceil(lent.rate * horizon), table.most))

    def _unspent(self, before: float) -> list[Ask]:
        """Leases that nobody has touched since: what is left of them goes back, for other proxies."""
        found = []
        now = int(time.monotonic() * 1000)
        for (number, index), lent in list(self._lent.items()):
            table = self.tables.get(number)
            tag, used, window, left, _, _, _ = self._desk.look(number, index)
            if table is not None and tag == lent.tag and used > before * 1000:
                continue
            del self._lent[number, index]
            lent.roll(window)
            if table is not None and left and window == lent.ends and window > now:
                taken = self._desk.take_back(number, index, lent.tag, window)
                if taken:
                    found.append(Ask(table, index, lent, -taken, window=lent.window))
        return found

    async def _send(self, connection: Connection, batch: list[Ask]) -> None:
        began = time.monotonic()
        calls = [
            (self._key(ask), (ask.table.limit, ask.table.period, ask.want, ask.window if ask.window > 0 else 0))
            for ask in batch
        ]
        async with asyncio.timeout(self._timeout):
            answers = await connection.run(TAKE, calls)
        self._trip += SMOOTH * (time.monotonic() - began - self._trip)
        self.questions += len(batch)
        for ask, answer in zip(batch, answers, strict=True):
            self._answer(ask, answer, int(began * 1000))

    def _key(self, ask: Ask) -> str:
        """Hash tags keep a key on one node of a Redis Cluster; there is only one key in a call anyway."""
        return f"{ask.table.prefix}:{ask.lent.tag:016x}" if ask.table.keyed else ask.table.prefix

    def _answer(self, ask: Ask, answer: Value, began: int) -> None:
        if isinstance(answer, RedisError):
            raise OSError(str(answer))
        if not isinstance(answer, list) or len(answer) != 4:
            raise ValueError("the script answered something else")
        granted, left, window, ends = (int(item) for item in answer)
        if ask.want < 0:
            self.returned -= granted
            return
        self.granted += granted
        lent, table, desk = ask.lent, ask.table, self._desk
        left, low = max(0, left), granted // 2
        now = int(time.monotonic() * 1000)
        table.slack = max(now - began + 2, table.slack * SLACK_FADES)
        desk.set_slack(table.number, math.ceil(table.slack))
        if ask.ahead:
            lent.ahead = began + ends
            taken = desk.grant_ahead(table.number, ask.index, lent.tag, lent.ahead, granted, left, low)
        else:
            lent.begin(window, began + ends, now, table.period)
            low = max(0, granted - ask.debt) // 2
            unpaid = desk.grant(table.number, ask.index, lent.tag, lent.ends, granted, left, low, now)
            self.overdrawn += max(0, unpaid)
            taken = unpaid >= 0
        if not taken and granted > ask.debt:
            self._returns.append(Ask(table, ask.index, lent, ask.debt - granted, window=window))

    async def close(self) -> None:
        """Give back what was not spent."""
        self._closing = True
        self._news.set()
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(self.task, self._timeout)


class Leases:
    """All global limits of a proxy, by Redis."""

    def __init__(self, desk: Desk, default: str, password: str, timeout: float) -> None:
        self._desk = desk
        self._default = default
        self._password = password
        self._timeout = timeout
        self._owners: dict[int, Store] = {}
        self.stores: dict[str, Store] = {}
        self._held: list[Store] = []
        self._look: asyncio.Task[None] | None = None

    def serve(self, limits: Iterable[LimitPlan]) -> None:
        """The limits of the plan that runs from now on."""
        owners: dict[int, Store] = {}
        for store in self.stores.values():
            store.tables = {}
        for plan in limits:
            if plan.shared is None:
                continue
            key = f"{plan.name}\0{plan.requests}/{plan.period * 1_000_000}/{plan.burst}".encode()
            number = self._desk.open(key, bool(plan.keys))
            owner = self._store(plan.shared.redis or self._default, plan.name)
            if owner is None:
                if number:
                    self._desk.set_gone(number, True)
                continue
            if number:
                prefix = f"fastmesh:{{{plan.shared.domain}}}:{plan.requests}/{plan.period}"
                table = Table(number, prefix, bool(plan.keys), plan.requests, plan.period, plan.shared.lease)
                owners[number] = owner
                owner.serve(table)
        self._owners = owners
        if owners and self._look is None:
            self._look = asyncio.get_running_loop().create_task(self._look_often())

    async def _look_often(self) -> None:
        """A worker that died after it took the bell's rope rings no more."""
        while True:
            self.wanted()
            await asyncio.sleep(LOOK)

    def _store(self, address: str, limit: str) -> Store | None:
        if not address:
            log.warning("global limit %s has no Redis: write --redis or spec.global.redis", limit)
            return None
        store = self.stores.get(address)
        if store is None:
            password = self._password if address == self._default else ""
            store = self.stores[address] = Store(parse_address(address), password, self._desk, self._timeout)
        return store

    def wanted(self) -> None:
        """A worker has rung."""
        for number, index in self._desk.asks():
            store = self._owners.get(number)
            if store is not None:
                store.want(number, index)

    async def hold(self) -> None:
        """Ask nothing any more, and wait for what was asked: the answer would reach nobody."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                for store in self.stores.values():
                    await store.talk.acquire()
                    self._held.append(store)

    def go_on(self) -> None:
        while self._held:
            self._held.pop().talk.release()

    async def close(self) -> None:
        if self._look is not None:
            self._look.cancel()
        for store in self.stores.values():
            await store.close()
