"""Where a rule was written, for those who ask which rule decided."""

from __future__ import annotations

from fastmesh.config.place import Path
from fastmesh.config.plan import Origin
from fastmesh.config.resource import AnyResource


def origin(resource: AnyResource, route: str = "", path: Path = ()) -> Origin:
    return Origin(
        kind=resource.kind,
        namespace=resource.namespace,
        name=resource.name,
        route=route,
        file=resource.source.file,
        line=resource.line(path),
    )
