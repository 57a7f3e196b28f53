"""One object as it was read: who it is, what it says, where it was written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from fastmesh.config.place import Path, Source, dotted
from fastmesh.errors import Code, Problem, Severity

T = TypeVar("T")

DEFAULT_NAMESPACE = "default"
WRITTEN = {"APIGateway": "Gateway"}  # kinds that have another name inside fastmesh


def written_kind(kind: str) -> str:
    return WRITTEN.get(kind, kind)


# What a deviation made of an object that its kind would otherwise refuse.
Honoured = Literal["mesh-wildcard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource(Generic[T]):
    """`spec` is the typed spec; for Pod, Endpoints and EndpointSlice it is the whole object.

    Paths of a whole object start at its top (`endpoints[0]`), all others with `spec`.
    """

    kind: str
    api_version: str
    name: str
    namespace: str = DEFAULT_NAMESPACE
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    spec: T
    source: Source
    honoured: frozenset[Honoured] = frozenset()
    generation: int = 0  # as Kubernetes counts the changes of its spec; 0: not written

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.namespace, self.name

    def line(self, path: Path | str = ()) -> int:
        """Line of `("spec", "http", 0)` or `"spec.http[0]"`; nothing: the first line of the object."""
        return self.source.line(path)

    def problem(
        self, path: Path, message: str, severity: Severity = "error", code: Code = "invalid", cause: str = ""
    ) -> Problem:
        """A finding about the value at `path`."""
        return Problem(
            severity=severity, code=code, file=self.source.file, line=self.source.line(path), message=message,
            kind=written_kind(self.kind), namespace=self.namespace, name=self.name, field=dotted(path),
            cause=cause,
        )  # fmt: skip


AnyResource = Resource[Any]
