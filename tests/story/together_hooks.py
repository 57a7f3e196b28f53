"""The filter of test_together: it marks each request, each time that it is called."""

from __future__ import annotations

from typing import Any

from fastmesh.filters import Request, Response


class Mark:
    def __init__(self, config: dict[str, Any]) -> None:
        pass

    def request_head(self, request: Request) -> None:
        request.headers.add("x-marked", "once")

    def response_head(self, request: Request, response: Response) -> None:
        response.headers.add("x-marked", "once")
