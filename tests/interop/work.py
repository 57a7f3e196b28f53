"""What every road has to carry: bodies of all sizes both ways, many at once, trailers, cuts that are seen as cuts."""

from __future__ import annotations

import hashlib
import socket
from typing import Any, NamedTuple

from tests.interop.origin import PIECE, pattern, read_chunks
from tests.running import DEADLINE
from tests.traffic import Broken, read_fields, together, whole, whole_line

SIZES = (0, 1, 16 << 10, 1 << 20)
AT_ONCE = 100


class Answer(NamedTuple):
    status: int
    fields: dict[str, str]
    body: bytes
    trailers: dict[str, str]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def ask(port: int, path: str, method: str = "GET", body: bytes | None = None, **how: Any) -> Answer:
    """One HTTP/1.1 request in plaintext; with `trailers` its body is chunked. Broken when the answer is cut."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as connection, connection.makefile("rb") as stream:
        connection.sendall(_request(path, method, body, **how))
        return read(stream, method)


def _request(
    path: str,
    method: str,
    body: bytes | None,
    *,
    host: str = "app.example",
    trailers: dict[str, str] | None = None,
    fields: dict[str, str] | None = None,
) -> bytes:
    told = {"host": host, **(fields or {})}
    data = body or b""
    if trailers is not None:
        told |= {"transfer-encoding": "chunked", "te": "trailers", "connection": "te"}
        chunks = [data[at : at + PIECE] for at in range(0, len(data), PIECE)]
        data = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n"
        data += "".join(f"{name}: {value}\r\n" for name, value in trailers.items()).encode() + b"\r\n"
    elif body is not None:
        told["content-length"] = str(len(body))
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return head.encode() + b"\r\n" + data


def read(stream: Any, method: str = "GET") -> Answer:
    status = 100
    while status < 200:
        status = int(whole_line(stream).split(b" ")[1])
        fields = read_fields(stream)
    if method == "HEAD" or status in (204, 304):
        return Answer(status, fields, b"", {})
    if "transfer-encoding" in fields:
        try:
            body, trailers = read_chunks(stream)
        except ValueError as error:
            raise Broken(str(error)) from None
        return Answer(status, fields, body, trailers)
    if "content-length" in fields:
        return Answer(status, fields, whole(stream, int(fields["content-length"])), {})
    return Answer(status, fields, stream.read(), {})


def carry_bodies(port: int, **how: Any) -> None:
    for size in SIZES:
        wanted = pattern(size)
        for path in (f"/bytes/{size}", f"/stream/{size}"):
            answer = ask(port, path, **how)
            assert (answer.status, len(answer.body), digest(answer.body)) == (200, size, digest(wanted)), path
        answer = ask(port, "/echo", "POST", wanted, **how)
        assert (answer.status, len(answer.body), digest(answer.body)) == (200, size, digest(wanted)), f"echo {size}"


def carry_many(port: int, times: int = AT_ONCE, **how: Any) -> None:
    def one(number: int) -> Answer:
        return ask(port, "/echo", "POST", b"%d " % number * 500, **how)

    answers = together([lambda number=number: one(number) for number in range(times)])  # type: ignore[misc]
    assert [answer.status for answer in answers] == [200] * times
    assert [answer.body for answer in answers] == [b"%d " % number * 500 for number in range(times)]


def carry_cuts(port: int, times: int = 10, **how: Any) -> None:
    """The origin ends in the middle of its answer: nobody may take that for the whole."""
    for size in (100, 200_000):
        for _ in range(times):
            try:
                answer = ask(port, f"/cut/{size}", **how)
            except (Broken, ConnectionError):
                continue
            assert answer.status in (502, 503), f"{len(answer.body)} of {size} bytes as a whole answer"


def carry_trailers(port: int, **how: Any) -> None:
    answer = ask(port, "/trailers", "POST", b"abc", trailers={"x-check": "42"}, **how)
    assert (answer.status, answer.body, answer.trailers.get("x-sum")) == (200, b"abc", "42")
