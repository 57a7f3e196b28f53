"""fastmesh's own kinds that shape one destination, by host, subset and port.

As for DestinationRules a client looks in its own namespace, then in the service's, then in the root namespace, and
stops at the first that has one. Of several there, the one that says the most of subset and port wins, then the older.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from fastmesh.config.hosts import ROOT_NAMESPACE, fqdn
from fastmesh.config.resource import Resource


class Targeting(Protocol):
    @property
    def host(self) -> str: ...
    @property
    def subset(self) -> str | None: ...
    @property
    def port(self) -> int | None: ...


T = TypeVar("T", bound=Targeting)


class Targets(Generic[T]):
    def __init__(self, written: Iterable[Resource[T]], namespace: str) -> None:
        self._namespace = namespace
        self._by_host: dict[tuple[str, str], list[Resource[T]]] = {}  # namespace and host
        for item in written:
            key = item.namespace, fqdn(item.spec.host, item.namespace)
            self._by_host.setdefault(key, []).append(item)

    def find(self, host: str, service_namespace: str, port: int, subset: str) -> Resource[T] | None:
        if not self._by_host:
            return None
        for namespace in (self._namespace, service_namespace, ROOT_NAMESPACE):
            fitting = [
                item
                for item in self._by_host.get((namespace, host), ())
                if item.spec.port in (None, port) and item.spec.subset in (None, subset)
            ]
            if fitting:
                return max(fitting, key=lambda item: (item.spec.subset is not None) * 2 + (item.spec.port is not None))
        return None
