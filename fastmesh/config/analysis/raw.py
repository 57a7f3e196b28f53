"""Objects as they were written, for what no kind of ours has: states, and kinds that are not read."""

from __future__ import annotations

from typing import Any

from fastmesh.config.place import Path, Source, dotted
from fastmesh.errors import Problem


class Raw:
    """A document that is an object; any field of it may be anything."""

    def __init__(self, document: Source) -> None:
        self._document = document
        root = document.root if isinstance(document.root, dict) else {}
        self.group = str(root.get("apiVersion") or "").rpartition("/")[0]
        self.kind = str(root.get("kind") or "")
        self.name = str(self.get("metadata", "name") or "")
        self.namespace = str(self.get("metadata", "namespace") or "default")

    def get(self, *path: str | int) -> Any:
        """The value at a path, or None."""
        value: Any = self._document.root
        for step in path:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def items(self, *path: str | int) -> list[Any]:
        found = self.get(*path)
        return found if isinstance(found, list) else []

    def found(self, path: Path, cause: str, message: str) -> Problem:
        return Problem(
            severity="warning",
            code="analysis",
            file=self._document.file,
            line=self._document.line(path),
            message=message,
            kind=self.kind,
            namespace=self.namespace,
            name=self.name,
            field=dotted(path),
            cause=cause,
        )
