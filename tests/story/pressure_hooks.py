"""Filters for test_under_pressure: one takes memory until a file appears, one takes time."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from fastmesh.filters import Request

HELD: list[bytes] = []


class Hog:
    def __init__(self, config: dict[str, Any]) -> None:
        self.release = config["release"]

    def request_head(self, request: Request) -> None:
        if request.path.startswith("/hold/"):
            HELD.append(b"x" * (int(request.path[6:]) << 20))
            self.look()

    def look(self) -> None:
        if os.path.exists(self.release):
            HELD.clear()
        else:
            asyncio.get_running_loop().call_later(0.02, self.look)


class Slow:
    def __init__(self, config: dict[str, Any]) -> None:
        pass

    def request_head(self, request: Request) -> None:
        if request.path == "/slow":
            time.sleep(0.05)
