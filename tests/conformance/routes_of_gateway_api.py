"""Plans of configurations with Gateway API objects, and questions to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastmesh.config.plan import Plan, encode, iterate
from tests.config.asking import plan_of

__all__ = ["ask", "plan_of"]


def ask(
    plan: Plan,
    gateway: str,
    host: str,
    target: str,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    port: int = 80,
) -> Mapping[str, Any]:
    """What the compiled snapshot says; an empty gateway means the mesh."""
    from fastmesh.core.proxy.explain import explain

    listener = next(item for item in plan.listeners if not gateway or (gateway in item.origins and item.port == port))
    answer: Mapping[str, Any] = explain(
        iterate(encode(plan)), listener.name, method, "http", host, target, list(headers), port, not gateway
    )
    return answer
