"""Which rule decides a request, and what would happen: asked of the compiled snapshot, sending nothing."""

from collections.abc import Iterable
from typing import Any

def explain(
    items: Iterable[tuple[str, dict[str, Any]]],
    listener: str,
    method: str,
    scheme: str,
    authority: str,
    target: str,
    headers: list[tuple[str, str]],
    port: int | None,
    strict_port: bool,
) -> dict[str, Any]:
    """The fate of one request on the listener named `listener` of a plan (the items of `config.plan.iterate`)."""
