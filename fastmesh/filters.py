"""The API for filters in Python: code that sees requests and their answers on the way through the proxy.

A `Filter` object names a factory, `module:function`. A worker calls it once with the `config` of the object; it
answers an object with hooks, all optional, each plain or `async`:

    def request_head(request)                          -> None | Answer
    def request_body(request, body)                    -> None | bytes | Answer     the whole body
    def request_chunk(request, chunk, last)            -> None | bytes | Answer     instead: piece by piece
    def response_head(request, response)               -> None | Answer
    def response_body(request, response, body)         -> None | bytes | Answer
    def response_chunk(request, response, chunk, last) -> None | bytes | Answer

`None` goes on unchanged, bytes take the place of what was given, an `Answer` answers the request (or takes the place of
the answer). Heads are written in place. `request` is the same object in all hooks of a request.

A plain hook is called on the worker's loop: nothing else moves until it returns, and nothing can interrupt it. What
waits for anything has to be `async`. docs/filters.md says the rest.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol, TypeAlias

from fastmesh.core.proxy.filter_message import Answer, Headers, Request, Response

__all__ = [
    "Answer",
    "Headers",
    "OnHead",
    "OnPiece",
    "Request",
    "RequestBodyFilter",
    "RequestChunkFilter",
    "RequestFilter",
    "Response",
    "ResponseBodyFilter",
    "ResponseChunkFilter",
    "ResponseFilter",
]

OnHead: TypeAlias = "Answer | Awaitable[Answer | None] | None"
OnPiece: TypeAlias = "bytes | Answer | Awaitable[bytes | Answer | None] | None"


class RequestFilter(Protocol):
    def request_head(self, request: Request, /) -> OnHead: ...


class RequestBodyFilter(Protocol):
    """The body was read whole; the head has not gone out yet and may still be written."""

    def request_body(self, request: Request, body: bytes, /) -> OnPiece: ...


class RequestChunkFilter(Protocol):
    """Pieces as they come. `last` is True once, with the last piece, which may be empty."""

    def request_chunk(self, request: Request, chunk: bytes, last: bool, /) -> OnPiece: ...


class ResponseFilter(Protocol):
    def response_head(self, request: Request, response: Response, /) -> OnHead: ...


class ResponseBodyFilter(Protocol):
    """As RequestBodyFilter: status and headers may still be written."""

    def response_body(self, request: Request, response: Response, body: bytes, /) -> OnPiece: ...


class ResponseChunkFilter(Protocol):
    def response_chunk(self, request: Request, response: Response, chunk: bytes, last: bool, /) -> OnPiece: ...
