"""Ports for programs that are told where to listen."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_chance = random.SystemRandom()  # two runs of the tests, or two of their processes, draw different ones


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
        port = _chance.randrange(10_000, end)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        return port
