"""The last moment of a listening socket: no new client may get half-way in before it is closed.

Closing a listening socket resets the clients whose handshake is done but who are not accepted yet. So first a packet
filter on the socket drops new SYNs: handshakes under way end and are accepted, a client that comes now sends its SYN
again a second later and is then refused cleanly (or reaches whoever listens next). The filter is four instructions of
classic BPF.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
from collections.abc import Iterable

from fastmesh.server.sockets import Bound

HANDSHAKE = 0.1  # seconds for handshakes under way; a slower client is refused like one that comes later

_SO_ATTACH_FILTER = 26
_FLAGS_BYTE = 13  # of the TCP header, where the filter's packet begins
_SYN = 0x02
_PROGRAM = (
    (0x30, 0, 0, _FLAGS_BYTE),  # load the byte
    (0x45, 0, 1, _SYN),  # is SYN set?
    (0x06, 0, 0, 0),  # yes: drop
    (0x06, 0, 0, 0xFFFF),  # no: keep
)


async def let_go(bound: Iterable[Bound]) -> None:
    """To be awaited before the workers stop accepting from these sockets."""
    if _refuse_new_clients(item.sock for item in bound):
        await asyncio.sleep(HANDSHAKE)


def _refuse_new_clients(socks: Iterable[socket.socket]) -> bool:
    """Whether any socket needs time for handshakes under way. A kernel without such filters loses only this nicety."""
    code = b"".join(struct.pack("HBBI", *line) for line in _PROGRAM)
    memory = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HP", len(_PROGRAM), ctypes.addressof(memory))
    any_tcp = False
    for sock in socks:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            try:
                sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
                any_tcp = True
            except OSError:
                continue
    return any_tcp
