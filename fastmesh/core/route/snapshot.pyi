"""A plan, compiled for the data plane."""

from collections.abc import Iterable
from typing import Any

from fastmesh.core.route.cluster import Cluster

class Listener:
    @property
    def name(self) -> str: ...
    @property
    def port(self) -> int:
        """The port of the configuration."""

    @property
    def origins(self) -> list[str]: ...
    @property
    def address(self) -> str: ...

class Snapshot:
    """Built in slices: `Snapshot(items)`, then `step(budget)` until it answers True."""

    def __init__(self, items: Iterable[tuple[str, dict[str, Any]]]) -> None: ...
    @property
    def version(self) -> str: ...
    @property
    def mesh(self) -> dict[str, Any]: ...
    @property
    def clusters(self) -> dict[str, Cluster]: ...
    @property
    def listeners(self) -> dict[str, Listener]: ...
    def step(self, budget_us: int = 0) -> bool:
        """Take over items for about `budget_us` microseconds (0 = all); True when the snapshot is complete."""
