"""The traffic of the live demo: customers of every kind, and a replica that has a bad day now and then."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Awaitable
from contextlib import suppress

import h11

from fastmesh.demo.client import Answer, Client
from fastmesh.demo.shop import Shop

KEPT = 1000  # latencies for each row of the table
GATEWAY = ("gateway", "")
BAD_DAY_EVERY = 15.0  # seconds
BAD_DAY_LASTS = 4.0
CUSTOMERS: tuple[tuple[str, dict[str, str], float], ...] = (  # path, headers, requests a second
    ("/product", {}, 20),
    ("/product", {"x-canary": "true"}, 3),
    ("/catalog", {}, 20),
    ("/payment", {}, 10),
    ("/order", {}, 5),
    ("/product", {"x-user": "greedy"}, 14),
    ("/product", {"x-user": "modest"}, 4),
)


class Traffic:
    """`run` sends until it is cancelled; `latencies` holds the last ones by service and version, in seconds."""

    def __init__(self, shop: Shop, chance: random.Random) -> None:
        self.latencies: dict[tuple[str, str], deque[float]] = {}
        self.news = "all replicas are well"
        self._shop = shop
        self._chance = chance
        self._client = Client(shop.gateway.address)

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for customer in CUSTOMERS:
                    group.create_task(self._customer(*customer))
                group.create_task(self._bad_days())
        finally:
            self._client.close()

    def percentile(self, row: tuple[str, str], part: float) -> float | None:
        kept = sorted(self.latencies.get(row, ()))
        return kept[min(len(kept) - 1, int(part * len(kept)))] if kept else None

    async def _customer(self, path: str, headers: dict[str, str], rate: float) -> None:
        """Sends at random moments, whether or not the answer before has come."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._ask(path, headers))
                await asyncio.sleep(self._chance.expovariate(rate))

    async def _ask(self, path: str, headers: dict[str, str]) -> None:
        trace = f"00-{self._chance.getrandbits(128):032x}-{self._chance.getrandbits(64):016x}-01"
        with suppress(OSError, TimeoutError, h11.RemoteProtocolError):  # the table shows what the proxy says of it
            self._note(await self._client.get(path, {**headers, "traceparent": trace}))

    def _note(self, answer: Answer) -> None:
        rows = [GATEWAY]
        replica = self._shop.replicas.get(answer.headers.get("x-served-by", ""))
        if replica is not None:
            rows.append((replica.service, replica.version))
        for row in rows:
            self.latencies.setdefault(row, deque(maxlen=KEPT)).append(answer.seconds)

    async def _bad_days(self) -> None:
        for replica in itertools.cycle(self._shop.of("product")):
            await asyncio.sleep(BAD_DAY_EVERY)
            await self._tell(replica.behave("status=500"), f"{replica.name} answers 500 to everything")
            await asyncio.sleep(BAD_DAY_LASTS)
            await self._tell(replica.behave("status=0"), f"{replica.name} is well again")

    async def _tell(self, order: Awaitable[object], news: str) -> None:
        with suppress(OSError, TimeoutError):
            await order
            self.news = news
