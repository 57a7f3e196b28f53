"""MeshConfig: found in the ConfigMap `istio`, where it is a text under `mesh`, or in a file of its own. MeshNetworks is
another text there, under `meshNetworks`.

Its lines are those of the file, so what is wrong with it is told like everything else.
"""

from __future__ import annotations

from typing import Any, TypeVar

from fastmesh.config.place import Path, Source, dotted
from fastmesh.config.read.load import load_text
from fastmesh.config.read.shape import convert
from fastmesh.config.resource import Resource
from fastmesh.errors import Problem
from fastmesh.model.mesh_config import MeshConfig
from fastmesh.model.mesh_networks import MeshNetworks

KIND = "MeshConfig"
MAP = "istio"
_KEY = "mesh"
_NETWORKS = "meshNetworks"
_Model = TypeVar("_Model", MeshConfig, MeshNetworks)


def is_mesh_map(root: Any) -> bool:
    """Whether a document is the ConfigMap that has the mesh's settings."""
    return _has(root, _KEY)


def has_networks(root: Any) -> bool:
    """Whether it is the ConfigMap that has the mesh's networks."""
    return _has(root, _NETWORKS)


def _has(root: Any, key: str) -> bool:
    if not isinstance(root, dict) or root.get("kind") != "ConfigMap":
        return False
    metadata, data = root.get("metadata"), root.get("data")
    named = isinstance(metadata, dict) and metadata.get("name") == MAP
    return named and isinstance(data, dict) and isinstance(data.get(key), str)


def of_map(document: Source, problems: list[Problem]) -> Resource[MeshConfig] | None:
    """What `data.mesh` of a ConfigMap says."""
    return _of_key(document, _KEY, MeshConfig, problems)


def networks_of_map(document: Source, problems: list[Problem]) -> Resource[MeshNetworks] | None:
    """What `data.meshNetworks` of a ConfigMap says."""
    return _of_key(document, _NETWORKS, MeshNetworks, problems)


def _of_key(document: Source, key: str, model: type[_Model], problems: list[Problem]) -> Resource[_Model] | None:
    before = document.line(("data", key))
    namespace = str(document.root.get("metadata", {}).get("namespace") or "")
    found = load_text("\n" * before + document.root["data"][key], document.file, problems)
    return _of_document(found[0], namespace, model, problems) if found else None


def of_own(document: Source, problems: list[Problem]) -> Resource[MeshConfig] | None:
    """What a file of its own says, without a kind."""
    return _of_document(document, "", MeshConfig, problems)


def _of_document(
    document: Source, namespace: str, model: type[_Model], problems: list[Problem]
) -> Resource[_Model] | None:
    mistakes, kind = 0, model.__name__

    def note(path: Path, message: str) -> None:
        nonlocal mistakes
        mistakes += 1
        problems.append(Problem(
            severity="error", code="invalid", file=document.file, line=document.line(path), message=message,
            kind=kind, namespace=namespace, name=MAP, field=dotted(path),
        ))  # fmt: skip

    if not isinstance(document.root, dict):
        note((), f"is not an object, write fields of {kind}")
        return None
    spec = convert(document.root, model, (), note)
    if spec is None or mistakes:
        return None
    return Resource(kind=kind, api_version="", name=MAP, namespace=namespace, spec=spec, source=document)
