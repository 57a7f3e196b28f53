"""One end of a control channel: msgpack messages and descriptors over a SOCK_SEQPACKET socket pair.

Datagram borders make every message whole or absent, so a channel carries no half-read state: the master's end can be
handed to the next program image (see upgrade.py) at any moment. The end of the stream means that the other process is
gone.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from fastmesh.server.messages import Message

log = logging.getLogger("fastmesh.channel")

MESSAGE_BYTES = 65536
MESSAGE_FDS = 250  # the kernel's SCM_MAX_FD is 253
MESSAGES_A_TURN = 32
QUEUE_LENGTH = 1000  # a peer that has not read so many messages is as good as gone

OnMessage = Callable[[Any, list[int]], None]


def channel_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends; neither is inherited by accident."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Channel:
    """Sends and receives without blocking. `receives` is the union of messages that this end understands."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, receives: Any) -> None:
        self._loop = loop
        self._sock = sock
        self._decode = msgspec.msgpack.Decoder(receives).decode
        self._encode = msgspec.msgpack.Encoder().encode
        self._unsent: collections.deque[tuple[bytes, list[int]]] = collections.deque()
        self._on_message: OnMessage | None = None
        self._on_end: Callable[[], None] | None = None
        self.closed = False
        sock.setblocking(False)

    def fileno(self) -> int:
        return self._sock.fileno()

    def start(self, on_message: OnMessage, on_end: Callable[[], None]) -> None:
        """Call `on_message(message, fds)` for each message (it owns the descriptors), `on_end()` once when the peer
        is gone.
        """
        self._on_message = on_message
        self._on_end = on_end
        self._loop.add_reader(self._sock.fileno(), self._readable)

    def send(self, message: Message, fds: Sequence[int] = (), *, may_drop: bool = False) -> None:
        """Send now or as soon as the peer reads. `may_drop`: not worth a place in the queue."""
        if self.closed:
            return
        data = self._encode(message)
        if not self._unsent and self._try_send(data, fds):
            return
        if self.closed or may_drop:
            return
        if len(self._unsent) >= QUEUE_LENGTH:
            log.error("the peer of a control channel does not read: closed")
            self._end()
            return
        self._unsent.append((data, [os.dup(fd) for fd in fds]))
        self._loop.add_writer(self._sock.fileno(), self._writable)

    def close(self) -> None:
        """Stop and forget; `on_end` is not called."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        while self._unsent:
            _close_all(self._unsent.popleft()[1])

    def _try_send(self, data: bytes, fds: Sequence[int]) -> bool:
        """Whether the message is gone (or the peer is)."""
        try:
            if fds:
                socket.send_fds(self._sock, [data], fds)
            else:
                self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self._loop.call_soon(self._end)
        return True

    def _writable(self) -> None:
        while self._unsent:
            data, fds = self._unsent[0]
            if not self._try_send(data, fds):
                return
            _close_all(fds)
            self._unsent.popleft()
        self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        for _ in range(MESSAGES_A_TURN):
            if self.closed:
                return
            try:
                data, fds, flags, _ = socket.recv_fds(
                    self._sock, MESSAGE_BYTES, MESSAGE_FDS, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
                )
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data, fds, flags = b"", [], 0
            if not data:
                self._end()
                return
            self._take(data, fds, flags)

    def _take(self, data: bytes, fds: list[int], flags: int) -> None:
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise msgspec.DecodeError("it was cut off (are there too few file descriptors?)")
            message = self._decode(data)
        except msgspec.DecodeError as error:
            log.error("a control message of %d bytes is not understood: %s", len(data), error)
            _close_all(fds)
            return
        if self._on_message is not None:
            self._on_message(message, fds)

    def _end(self) -> None:
        if self.closed:
            return
        self.close()
        if self._on_end is not None:
            self._on_end()


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
