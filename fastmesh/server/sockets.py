"""The listening sockets. The master binds them and keeps them for as long as it lives; workers accept from the same
ones.

Because the master holds every socket, a worker that dies takes no queue of waiting clients with it, and a reload or
an upgrade never closes a port that is still wanted. A socket is found by listener name and address; when both are the
same in the next configuration, the socket stays.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterable, MutableMapping

import msgspec

log = logging.getLogger("fastmesh.sockets")

BACKLOG = 4096  # the kernel cuts it to net.core.somaxconn
BIND_PATIENCE = 1.0  # seconds; the workers of a master that was killed let go of their sockets a moment later
BIND_PAUSE = 0.05


class BindError(Exception):
    """An address cannot be bound; the text says which and why."""


class Address(msgspec.Struct, frozen=True):
    """HOST:PORT, [IPV6]:PORT, :PORT (every address), or unix:///PATH."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix://{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """ValueError says what is wrong."""
    if text.startswith("unix://"):
        return Address("", 0, text.removeprefix("unix://"))
    host, colon, port = text.strip().rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535 or ("[" not in host and ":" in host):
        raise ValueError(f"{text!r} is not HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080")
    return Address(host.strip("[]") or "0.0.0.0", int(port))


class Bound(msgspec.Struct, frozen=True):
    """A listening socket. `key` is never used twice in the life of a proxy."""

    key: int
    name: str
    asked: str  # the address as the configuration wrote it
    sock: socket.socket

    @property
    def address(self) -> str:
        """Where it really listens: port 0 has become a number."""
        return bound_address(self.sock)


def remove(bound: Bound) -> None:
    """Close it for good; the path of a unix socket goes as well."""
    address = parse_address(bound.asked)
    bound.sock.close()
    if address.path:
        with contextlib.suppress(OSError):
            os.unlink(address.path)


def bound_address(sock: socket.socket) -> str:
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix://{name if isinstance(name, str) else name.decode(errors='replace')}"
    return str(Address(name[0], name[1]))


def bind(text: str) -> socket.socket:
    """A listening, non-blocking socket; BindError when there is none to be had."""
    try:
        address = parse_address(text)
        if address.path:
            return _bind_unix(address.path)
        family, _, _, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _bind_patiently(family, where)
    except ValueError as error:
        raise BindError(str(error)) from None
    except OSError as error:
        raise BindError(f"{text}: {error.strerror or error}") from error


def _bind_patiently(family: int, where: tuple[object, ...]) -> socket.socket:
    ends = time.monotonic() + BIND_PATIENCE
    while True:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if where[0] == "::" else 1)
            sock.bind(where)
            sock.listen(BACKLOG)
            sock.setblocking(False)
            return sock
        except OSError as error:
            sock.close()
            if error.errno != 98 or time.monotonic() >= ends:  # EADDRINUSE
                raise
        time.sleep(BIND_PAUSE)


def _bind_unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.suppress(FileNotFoundError):
        probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)  # left by a process that is gone
        finally:
            probe.close()
    sock.bind(path)
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


class Wanted(msgspec.Struct, frozen=True):
    name: str
    address: str


class Change(msgspec.Struct, frozen=True):
    """The sockets of a new configuration before anybody runs it: `keep` undoes nothing, `fresh` were bound for it."""

    result: dict[str, Bound]
    fresh: list[Bound]


class ListenerSet:
    """The sockets in use by name, and those that systemd or the last program image passed to us."""

    def __init__(self) -> None:
        self.bound: dict[str, Bound] = {}
        self._passed: list[tuple[str, socket.socket]] = []  # from systemd: (FDNAME, socket)
        self._next_key = 1

    def adopt(self, bound: Iterable[Bound]) -> None:
        """Take over the sockets of the last program image."""
        self.bound = {item.name: item for item in bound}
        self._next_key = max((item.key for item in self.bound.values()), default=0) + 1

    def offer(self, passed: list[tuple[str, socket.socket]]) -> None:
        """Sockets that systemd opened for us; `prepare` uses them before it binds."""
        self._passed = passed

    def warn_of_unused(self) -> None:
        for name, sock in self._passed:
            log.warning("no listener uses the socket %s %s that systemd passed", bound_address(sock), name)

    def prepare(self, wanted: Iterable[Wanted]) -> Change:
        """Bind what is new; nothing changes for running workers. BindError leaves everything as it was."""
        result: dict[str, Bound] = {}
        fresh: list[Bound] = []
        try:
            for want in wanted:
                old = self.bound.get(want.name)
                if old is not None and old.asked == want.address:
                    result[want.name] = old
                    continue
                sock = self._take_passed(want) or bind(want.address)
                result[want.name] = Bound(self._next_key, want.name, want.address, sock)
                self._next_key += 1
                fresh.append(result[want.name])
        except BindError:
            for item in fresh:
                item.sock.close()
            raise
        return Change(result, fresh)

    def commit(self, change: Change) -> None:
        """The workers run it: close what nobody wants any more."""
        for item in self.leaving(change):
            log.info("closed %s (%s)", item.address, item.name)
            remove(item)
        for item in change.fresh:
            log.info("listening on %s (%s)", item.address, item.name)
        self.bound = change.result

    def leaving(self, change: Change) -> list[Bound]:
        """The sockets that `commit` will close."""
        kept = {item.key for item in change.result.values()}
        return [item for item in self.bound.values() if item.key not in kept]

    def cancel(self, change: Change) -> None:
        for item in change.fresh:
            item.sock.close()

    def close(self) -> None:
        for item in self.bound.values():
            remove(item)
        self.bound = {}

    def _take_passed(self, want: Wanted) -> socket.socket | None:
        """By FDNAMES when one is the listener's name, else by address, else in order."""
        for choose in (_same_name, _same_port):
            for i, (name, sock) in enumerate(self._passed):
                if choose(want, name, sock):
                    return self._passed.pop(i)[1]
        for i, (name, _) in enumerate(self._passed):
            if name in ("", "unknown") or name.endswith(".socket"):
                return self._passed.pop(i)[1]
        return None


def _same_name(want: Wanted, name: str, sock: socket.socket) -> bool:
    return want.name == name


def _same_port(want: Wanted, name: str, sock: socket.socket) -> bool:
    return bound_address(sock) == want.address


def passed_by_systemd(environ: MutableMapping[str, str]) -> list[tuple[str, socket.socket]]:
    """The sockets of LISTEN_FDS, when LISTEN_PID says that they are ours. The variables are removed: children get no
    socket.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    passed = []
    for i in range(int(count)):
        sock = socket.socket(fileno=3 + i)
        os.set_inheritable(sock.fileno(), False)
        sock.setblocking(False)
        passed.append((names[i] if i < len(names) else "", sock))
    return passed


def raise_descriptor_limit() -> int:
    """Use all descriptors that we may have: the soft limit is for programs that still call select()."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
