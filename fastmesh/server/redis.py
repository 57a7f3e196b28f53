"""A connection to Redis: the few words of RESP2 that counting needs, on asyncio. It is the master's alone.

Not a client library: one script is called, in batches, on one connection, by one caller. What a library adds (pools,
clusters, commands, retries of its own) is not wanted here, and its import costs the master more than this file.
https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

PORT = 6379
LONGEST_LINE = 65536
DEEPEST = 8


class RedisError(Exception):
    """What Redis refused; the connection goes on."""


Value = int | bytes | None | RedisError | list[Any]


class Address(msgspec.Struct, frozen=True):
    """Where a Redis is; no password is in it."""

    host: str = ""
    port: int = PORT
    path: str = ""  # of a socket
    tls: bool = False
    user: str = ""
    database: int = 0

    def __str__(self) -> str:
        where = f"unix://{self.path}" if self.path else f"redis{'s' * self.tls}://{self.host}:{self.port}"
        return f"{where}/{self.database}" if self.database and not self.path else where


def parse_address(text: str) -> Address:
    """`redis://HOST:PORT/DB`, `rediss://`, `unix:///PATH`, `HOST:PORT`; ValueError says what would be right."""
    parts = urlsplit(text if "://" in text else f"redis://{text}")
    if parts.password is not None:
        raise ValueError("has a password in it, write it into a file and name that with --redis-password-file")
    if parts.scheme == "unix" and parts.path:
        return Address(path=parts.path)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise ValueError(f"{text} is not an address of a Redis, write redis://HOST:PORT, rediss:// or unix:///PATH")
    database = parts.path.strip("/")
    if database and not database.isdigit():
        raise ValueError(f"{database} is not a database, write its number as in redis://HOST:PORT/0")
    user = unquote(parts.username or "")
    return Address(parts.hostname, parts.port or PORT, "", parts.scheme == "rediss", user, int(database or 0))


def read_password(path: str) -> str:
    """The first line of a file; OSError."""
    return Path(path).read_text().partition("\n")[0].strip()


class Script:
    """A script that Redis keeps: it is sent once, then named by its digest."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Connection:
    """OSError, EOFError, TimeoutError or ValueError (no RESP) from any call: it is over, open another one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @staticmethod
    async def open(address: Address, password: str = "") -> Connection:
        if address.path:
            streams = await asyncio.open_unix_connection(address.path, limit=LONGEST_LINE)
        else:
            context = ssl.create_default_context() if address.tls else None
            streams = await asyncio.open_connection(address.host, address.port, ssl=context, limit=LONGEST_LINE)
        connection = Connection(*streams)
        greeting: list[Sequence[object]] = []
        if password:
            greeting.append(("AUTH", address.user, password) if address.user else ("AUTH", password))
        if address.database:
            greeting.append(("SELECT", address.database))
        try:
            for answer in await connection.ask([*greeting, ("PING",)]):
                if isinstance(answer, RedisError):
                    raise OSError(str(answer))
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._writer.close()

    @property
    def is_closed(self) -> bool:
        return self._reader.at_eof() or self._writer.is_closing()

    async def gone(self) -> None:
        """Returns when Redis closes the connection. Only while no question is under way."""
        await self._reader.read(1)

    async def ask(self, commands: Sequence[Sequence[object]]) -> list[Value]:
        """All at once; the answers in the same order."""
        self._writer.write(b"".join(map(encode, commands)))
        await self._writer.drain()
        return [await self._read() for _ in commands]

    async def run(self, script: Script, calls: Sequence[tuple[str, Sequence[object]]]) -> list[Value]:
        """The script with each (key, arguments). It is sent along when Redis has not got it (any more)."""
        named = [("EVALSHA", script.digest, 1, key, *arguments) for key, arguments in calls]
        answers = await self.ask(named)
        missing = [i for i, found in enumerate(answers) if isinstance(found, RedisError) and _unknown(found)]
        if missing:
            whole = [("EVAL", script.text, 1, calls[i][0], *calls[i][1]) for i in missing]
            for i, answer in zip(missing, await self.ask(whole), strict=True):
                answers[i] = answer
        return answers

    async def _read(self, depth: int = 0) -> Value:
        line = await self._reader.readuntil(b"\r\n")
        kind, rest = line[:1], line[1:-2]
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest
        if kind == b"-":
            return RedisError(rest.decode(errors="replace"))
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else (await self._reader.readexactly(size + 2))[:-2]
        if kind == b"*" and depth < DEEPEST:
            size = int(rest)
            return None if size < 0 else [await self._read(depth + 1) for _ in range(size)]
        raise ValueError(f"this is not Redis: {line[:60]!r}")


def _unknown(error: RedisError) -> bool:
    return str(error).startswith("NOSCRIPT")


def encode(command: Sequence[object]) -> bytes:
    """A command as Redis wants it: an array of bulk strings."""
    parts = [b"*%d\r\n" % len(command)]
    for item in command:
        data = item if isinstance(item, bytes) else str(item).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)
