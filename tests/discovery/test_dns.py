"""Answers that outlive failures. The name server is an argument."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastmesh.discovery import dns
from fastmesh.discovery.dns import Resolver


class NameServer:
    def __init__(self) -> None:
        self.zone: dict[str, list[str] | Exception] = {}

    def __call__(self, name: str) -> list[str]:
        found = self.zone.get(name, OSError(-2, "Name or service not known"))
        if isinstance(found, Exception):
            raise found
        return found


def run(test: Callable[[Resolver, NameServer], object]) -> None:
    async def within() -> None:
        server = NameServer()
        with ThreadPoolExecutor(2) as threads:
            answer = test(Resolver(threads, lambda: None, server), server)
            assert asyncio.iscoroutine(answer)
            await answer

    asyncio.run(within())


def test_last_good_answer_is_kept() -> None:
    async def test(resolver: Resolver, server: NameServer) -> None:
        server.zone["a.example"] = ["10.0.0.1", "10.0.0.2"]
        resolver.want(["a.example", "b.example"])
        assert await resolver.refresh()
        assert resolver.answers == {"a.example": ["10.0.0.1", "10.0.0.2"]}
        for failure in (OSError(-3, "SERVFAIL"), TimeoutError(), []):
            server.zone["a.example"] = failure
            assert not await resolver.refresh()
            assert resolver.answers == {"a.example": ["10.0.0.1", "10.0.0.2"]}
        server.zone["a.example"] = ["10.0.0.3"]
        assert await resolver.refresh()
        assert resolver.answers == {"a.example": ["10.0.0.3"]}

    run(test)


def test_names_that_nobody_wants_are_forgotten() -> None:
    async def test(resolver: Resolver, server: NameServer) -> None:
        server.zone = {"a.example": ["10.0.0.1"], "b.example": ["10.0.0.2"]}
        resolver.want(["a.example", "b.example"])
        await resolver.refresh()
        resolver.want(["b.example"])
        assert resolver.answers == {"b.example": ["10.0.0.2"]}

    run(test)


def test_change_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "REFRESH", 0.02)
    monkeypatch.setattr(dns, "REFRESH_FAILED", 0.01)

    async def within() -> list[dict[str, list[str]]]:
        server = NameServer()
        told: list[dict[str, list[str]]] = []
        news = asyncio.Event()
        with ThreadPoolExecutor(2) as threads:

            def changed() -> None:
                told.append(dict(resolver.answers))
                news.set()

            resolver = Resolver(threads, changed, server)
            resolver.want(["a.example"])
            task = asyncio.create_task(resolver.run())
            await asyncio.sleep(0.05)
            assert told == []
            for addresses in (["10.0.0.1"], ["10.0.0.2"]):
                server.zone["a.example"] = addresses
                await asyncio.wait_for(news.wait(), 5)
                news.clear()
            task.cancel()
        return told

    assert asyncio.run(within()) == [{"a.example": ["10.0.0.1"]}, {"a.example": ["10.0.0.2"]}]


def test_dead_names_do_not_keep_others_from_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than threads; the answer of the living one counts, though nobody waits for it any more."""
    monkeypatch.setattr(dns, "PATIENCE", 0.02)
    over, told = threading.Event(), asyncio.Event()
    asked: list[str] = []

    def lookup(name: str) -> list[str]:
        asked.append(name)
        if name.startswith("dead"):
            over.wait(10)
            raise OSError(-3, "Temporary failure in name resolution")
        return ["10.0.0.1"]

    async def within() -> None:
        names = [*(f"dead-{number}.example" for number in range(9)), "living.example"]
        with ThreadPoolExecutor(2) as threads:
            resolver = Resolver(threads, told.set, lookup)
            resolver.want(names)
            for _ in range(3):
                assert not await resolver.refresh()
            assert set(asked) == set(names[:2])
            over.set()
            await asyncio.wait_for(told.wait(), 10)
        assert sorted(asked) == names, "each once: a question that is under way is not asked again"
        assert resolver.answers == {"living.example": ["10.0.0.1"]}
        assert resolver.names() == {"fresh": 1, "stale": 0, "unanswered": 9}

    asyncio.run(within())


def test_names_of_the_next_configuration_are_met_and_forgotten_again() -> None:
    async def test(resolver: Resolver, server: NameServer) -> None:
        server.zone = {"a.example": ["10.0.0.1"], "b.example": ["10.0.0.2"]}
        resolver.want(["a.example"])
        await resolver.refresh()
        assert await resolver.meet(["a.example", "b.example", "c.example"])
        assert not await resolver.meet(["a.example", "b.example", "c.example"])
        assert resolver.answers == {"a.example": ["10.0.0.1"], "b.example": ["10.0.0.2"]}
        assert resolver.questions == {"answered": 2, "failed": 1}
        resolver.want(["a.example"])  # it was refused
        assert resolver.answers == {"a.example": ["10.0.0.1"]}

    run(test)


def test_system_lookup() -> None:
    assert "127.0.0.1" in dns.system_lookup("localhost")
