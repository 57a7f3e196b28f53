"""Who may talk to the admin interface: it can stop the proxy, so a web page in the operator's browser must not reach
it.

A page can make a browser send requests to 127.0.0.1. By DNS rebinding it can even read the answers; then the Host
header is the page's own name. Without rebinding it can only send, and the browser adds an Origin header. Both are
refused.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from fastmesh.server.http import Request


class HostGuard:
    """Lets through requests whose Host is an address, localhost, this machine's name, or one of `names`."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in names if name)}

    def refusal(self, request: Request) -> str:
        """Empty when the request may pass."""
        host = request.headers.get("host", "")
        if host and not self._is_ours(host):
            return f"host {host!r} is not this proxy: use its address or localhost"
        origin = request.headers.get("origin", "")
        if origin and urlsplit(origin).netloc != host:
            return f"requests from pages of {origin} are refused"
        return ""

    def _is_ours(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower().rstrip(".")
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True
