"""Ports for programs that are told where to listen."""

from __future__ import annotations

import collections
import os
import random
import socket
from pathlib import Path

_chance = random.SystemRandom()  # two runs of the tests draw different ones
# Processes of one run draw from different ports: what one has drawn and not taken yet is free to the other.
_processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_drawn: collections.deque[int] = collections.deque(maxlen=256)


def _first_outgoing() -> int:
    """Where the system begins with the ports of outgoing connections."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32768


def free_port() -> int:
    """One that is free now, and that no outgoing connection takes before its owner listens there."""
    end = max(_first_outgoing(), 12_000)
    while True:
        port = _chance.randrange(10_000 // _processes, end // _processes) * _processes + _process
        if port in _drawn or port >= end:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        _drawn.append(port)
        return port
