"""Addresses of listeners and applications as texts, and whether one leads to the other."""

from __future__ import annotations

import ipaddress

_EVERY = frozenset({"", "0.0.0.0", "::"})


def split(address: str) -> tuple[str, int]:
    """HOST:PORT, IPv6 in brackets; `localhost` is 127.0.0.1. A socket of the file system has no port."""
    if address.startswith("unix:"):
        return address, 0
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    return "127.0.0.1" if host == "localhost" else host, int(port)


def with_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address and not address.startswith("[") else f"{address}:{port}"


def is_loopback(address: str) -> bool:
    """Whether only this machine can mean it."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def reaches(target: str, listener: str) -> bool:
    """Whether a connection to `target` would arrive at `listener`."""
    (address, port), (bound, number) = split(target), split(listener)
    if port != number:
        return False
    return address == bound or (bool(port) and (bound in _EVERY or address in _EVERY))
