"""What the hooks of filters see. Use it through `fastmesh.filters`."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

_Pairs = Mapping[str, str] | Iterable[tuple[str, str]]

class Answer:
    """Answers instead of the endpoint, or takes the place of its answer. A body is text/plain unless headers say else.

    For a gRPC call it becomes the status that fits, with the body as its message.
    """

    def __init__(self, status: int = 200, body: str | bytes = b"", headers: _Pairs | None = None) -> None: ...
    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...
    @property
    def headers(self) -> list[tuple[str, str]]: ...

class Headers:
    """The fields of a head, in order; names in lower case, found in any case. Values are text, a byte each (latin-1).

    Fields that say where a message ends or whom it is for are not here and cannot be written: ValueError.
    """

    def __init__(self, headers: _Pairs = ()) -> None: ...
    @overload
    def get(self, name: str, default: None = None) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str:
        """The value; several of one name are joined."""
    def get_all(self, name: str) -> list[str]:
        """The values of all fields of that name."""
    def __getitem__(self, name: str) -> str: ...
    def __setitem__(self, name: str, value: str) -> None:
        """Takes the place of all fields of that name."""
    def __delitem__(self, name: str) -> None: ...
    def __contains__(self, name: object) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def add(self, name: str, value: str) -> None:
        """One more field, beside those of that name."""
    def remove(self, name: str) -> None:
        """All fields of that name; none is no error."""
    def keys(self) -> list[str]: ...
    def items(self) -> list[tuple[str, str]]:
        """Every field."""

class Request:
    """A request. Method, path, query, authority and headers can be written until its head goes out: in `request_head`
    and `request_body`; later that is a RuntimeError. A test makes one itself: `Request("GET", "/", {"x-a": "b"})`.
    """

    def __init__(
        self,
        method: str = "GET",
        path: str = "/",
        headers: _Pairs = (),
        query: str = "",
        authority: str = "localhost",
        **facts: Any,
    ) -> None: ...
    method: str
    """HEAD and CONNECT cannot become another method, nor another method these."""
    path: str
    """As it was matched (normalised), without the query. A written one goes out as it is, the rule rewrites nothing."""
    query: str
    """Without the question mark."""
    authority: str
    """The host that was asked for, with a port that was said. A rule's own authority is stronger."""
    @property
    def headers(self) -> Headers: ...
    @property
    def state(self) -> dict[str, Any]:
        """For hooks to keep things in: one dict a request, shared by all its filters."""
    @property
    def scheme(self) -> str: ...
    @property
    def version(self) -> str:
        """Of the client's HTTP: 1.0, 1.1 or 2."""
    @property
    def id(self) -> str:
        """x-request-id, as it goes to the endpoint and stands in the access log."""
    @property
    def peer(self) -> str:
        """The client's address, without port."""
    @property
    def principal(self) -> str:
        """The SPIFFE id that the client's certificate proved; empty: none."""
    @property
    def route(self) -> str:
        """The name of the route, as in the access log."""
    @property
    def rule(self) -> str:
        """The object of the rule: `VirtualService default/reviews`; "" when no rule takes the request."""
    @property
    def grpc(self) -> bool: ...
    @property
    def websocket(self) -> bool: ...
    @property
    def content_length(self) -> int | None:
        """None: it is not known before the end."""

class Response:
    """The answer that the client is to get. Status and headers can be written until its head goes out: in
    `response_head` and `response_body`. A test makes one itself.
    """

    def __init__(
        self, status: int = 200, headers: _Pairs = (), *, content_length: int | None = None, local: bool = False
    ) -> None: ...
    status: int
    @property
    def headers(self) -> Headers: ...
    @property
    def local(self) -> bool:
        """An answer of the proxy itself, not of an endpoint."""
    @property
    def content_length(self) -> int | None: ...
