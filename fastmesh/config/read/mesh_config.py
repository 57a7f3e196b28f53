"""MeshConfig: found in the ConfigMap `istio`, where it is a text under `mesh`, or in a file of its own.

Its lines are those of the file, so what is wrong with it is told like everything else.
"""

from __future__ import annotations

from typing import Any

from fastmesh.config.place import Path, Source, dotted
from fastmesh.config.read.load import load_text
from fastmesh.config.read.shape import convert
from fastmesh.config.resource import Resource
from fastmesh.errors import Problem
from fastmesh.model.mesh_config import MeshConfig

KIND = "MeshConfig"
MAP = "istio"
_KEY = "mesh"


def is_mesh_map(root: Any) -> bool:
    """Whether a document is the ConfigMap that has the mesh's settings."""
    if not isinstance(root, dict) or root.get("kind") != "ConfigMap":
        return False
    metadata, data = root.get("metadata"), root.get("data")
    named = isinstance(metadata, dict) and metadata.get("name") == MAP
    return named and isinstance(data, dict) and isinstance(data.get(_KEY), str)


def of_map(document: Source, problems: list[Problem]) -> Resource[MeshConfig] | None:
    """What `data.mesh` of a ConfigMap says."""
    before = document.line(("data", _KEY))
    namespace = str(document.root.get("metadata", {}).get("namespace") or "")
    found = load_text("\n" * before + document.root["data"][_KEY], document.file, problems)
    return _of_document(found[0], namespace, problems) if found else None


def of_own(document: Source, problems: list[Problem]) -> Resource[MeshConfig] | None:
    """What a file of its own says, without a kind."""
    return _of_document(document, "", problems)


def _of_document(document: Source, namespace: str, problems: list[Problem]) -> Resource[MeshConfig] | None:
    mistakes = 0

    def note(path: Path, message: str) -> None:
        nonlocal mistakes
        mistakes += 1
        problems.append(Problem(
            severity="error", code="invalid", file=document.file, line=document.line(path), message=message,
            kind=KIND, namespace=namespace, name=MAP, field=dotted(path),
        ))  # fmt: skip

    if not isinstance(document.root, dict):
        note((), "is not an object, write fields of MeshConfig such as outboundTrafficPolicy")
        return None
    spec = convert(document.root, MeshConfig, (), note)
    if spec is None or mistakes:
        return None
    return Resource(kind=KIND, api_version="", name=MAP, namespace=namespace, spec=spec, source=document)
