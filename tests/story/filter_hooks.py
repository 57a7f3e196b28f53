"""Filters for test_filters: the proxy of the tests loads this file from its --filter-path."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from fastmesh.filters import Answer, Request, Response

Config = dict[str, Any]


class Head:
    """Writes everything that can be written, and tells what it saw."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def request_head(self, request: Request) -> None:
        names = ("id", "peer", "principal", "route", "rule", "scheme", "version", "grpc", "content_length")
        facts = {name: getattr(request, name) for name in names}
        request.headers["x-facts"] = json.dumps(facts)
        request.headers["x-saw"] = f"{request.method} {request.authority} {request.path} {request.query}"
        request.headers["X-One"] = "1"
        request.headers.add("x-many", "a")
        request.headers.add("x-many", "b")
        request.headers.remove("x-gone")
        request.method, request.path, request.query, request.authority = "PUT", "/other%20path", "q=1", "inner:81"
        request.state["began"] = True

    def response_head(self, request: Request, response: Response) -> None:
        response.headers["x-state"] = str(request.state)
        response.headers["x-was"] = str(response.status)
        del response.headers["x-replica"]
        response.status = 203
        for wrong in (lambda: request.headers.remove("x-one"), lambda: setattr(request, "path", "/")):
            try:
                wrong()
            except RuntimeError:
                response.headers.add("x-frozen", "yes")


class Shout:
    """Whole bodies."""

    def __init__(self, config: Config) -> None:
        pass

    def request_body(self, request: Request, body: bytes) -> bytes | Answer:
        if body == b"no":
            return Answer(422, "no", {"content-type": "text/x-no"})
        request.headers["x-size"] = str(len(body))
        return body.upper()

    def response_body(self, request: Request, response: Response, body: bytes) -> bytes | Answer:
        if request.query == "replace":
            return Answer(218, "replaced")
        response.headers["x-size"] = str(len(body))
        return body * 2


class Pieces:
    def __init__(self, config: Config) -> None:
        self.pause = config.get("pause", 0.0)

    async def request_chunk(self, request: Request, chunk: bytes, last: bool) -> bytes:
        await asyncio.sleep(self.pause)
        return chunk.swapcase() + (b"<end>" if last else b"")

    def response_chunk(self, request: Request, response: Response, chunk: bytes, last: bool) -> bytes:
        return chunk.swapcase() + (b"<end>" if last else b"")


class Named:
    """Says when it is called, and answers when it is told to."""

    def __init__(self, config: Config) -> None:
        self.name = config["name"]

    def request_head(self, request: Request) -> Answer | None:
        request.headers["x-way"] = f"{request.headers.get('x-way', '')}{self.name}"
        return Answer(429, self.name) if request.query == f"answer={self.name}" else None

    async def response_head(self, request: Request, response: Response) -> Answer | None:
        way = response.headers.get("x-back", "")
        response.headers["x-back"] = f"{way}{self.name}{'!' if response.local else ''}"
        return (
            Answer(203, self.name, {"x-back": f"{way}{self.name}"}) if request.query == f"instead={self.name}" else None
        )


class Wrong:
    """Fails in the way that the query says, in the hook that `where` says."""

    def __init__(self, config: Config) -> None:
        self.where = config["where"]
        for hook in ("request_head", "request_body", "response_head", "response_body"):
            if hook.startswith(self.where):
                setattr(self, hook, self.fail)

    def fail(self, request: Request, *_: object) -> Any:
        match request.query:
            case "raise":
                raise KeyError("gone")
            case "exit":
                sys.exit(3)
            case "nonsense":
                return 7
            case "header":
                request.headers["x-a"] = "one\r\nx-b: two"
            case "block":
                time.sleep(0.15)
            case "async-raise":
                return self.later(KeyError("gone"))
            case "async-exit":
                return self.later(SystemExit(3))
            case "stall":
                return asyncio.sleep(60)
        return None

    async def later(self, error: BaseException) -> None:
        await asyncio.sleep(0)
        raise error


class Wait:
    """Waits for a file; writes another when it is cancelled, or goes on."""

    def __init__(self, config: Config) -> None:
        self.folder = Path(config["folder"])
        self.version = config.get("version", "")

    async def request_head(self, request: Request) -> None:
        request.headers["x-version"] = self.version
        if request.query != "wait":
            return
        (self.folder / "begun").touch()
        try:
            while not (self.folder / "go").exists():
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            (self.folder / "cancelled").touch()
            raise

    def response_head(self, request: Request, response: Response) -> None:
        response.headers["x-version"] = self.version


class Count:
    """How often the hooks of this worker's object were called."""

    def __init__(self, config: Config) -> None:
        self.calls = 0

    def request_head(self, request: Request) -> None:
        self.calls += 1
        request.headers["x-calls"] = str(self.calls)

    def request_body(self, request: Request, body: bytes) -> bytes:
        return body + b"-filtered"

    def response_head(self, request: Request, response: Response) -> None:
        response.headers["x-calls"] = f"{self.calls} of {os.getpid()}"
        response.headers["x-rule"] = repr(request.rule + request.route)


def functions(config: Config) -> dict[str, Any]:
    def response_head(request: Request, response: Response) -> None:
        response.headers["x-function"] = config.get("name", "")

    return {"response_head": response_head}


class Teapot:
    """Answers every request, or takes the place of every answer."""

    def __init__(self, config: Config) -> None:
        name = "response_head" if config.get("late") else "request_head"
        setattr(self, name, lambda *given: Answer(401, "who are you?"))


class Same:
    """Sees bodies and leaves them as they are."""

    def __init__(self, config: Config) -> None:
        kind = "body" if config.get("whole") else "chunk"
        setattr(self, f"request_{kind}", self.request)
        setattr(self, f"response_{kind}", self.response)

    async def request(self, request: Request, *piece: Any) -> bytes:
        return bytes(piece[0])

    def response(self, request: Request, response: Response, *piece: Any) -> bytes:
        return bytes(piece[0])
