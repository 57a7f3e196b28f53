from collections.abc import Iterable
from typing import Any

def explain_connection(
    items: Iterable[tuple[str, dict[str, Any]]], name: str, address: str, port: int, sni: str | None
) -> dict[str, Any]:
    """chain, kind, shares, endpoints, missing of a connection; see the .pyx."""
