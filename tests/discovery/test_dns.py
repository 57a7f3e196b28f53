"""Answers that outlive failures. The name server is an argument."""

from __future__ import annotations

import asyncio
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


def test_system_lookup() -> None:
    assert "127.0.0.1" in dns.system_lookup("localhost")
