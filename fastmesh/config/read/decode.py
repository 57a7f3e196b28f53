"""A document to a Resource: which kind it is, who it is, and its typed spec. Every mistake is reported."""

from __future__ import annotations

from typing import Any

import msgspec

from fastmesh.config import kinds
from fastmesh.config.kinds import Kind
from fastmesh.config.place import Path, Source, dotted
from fastmesh.config.read.deviations import honour
from fastmesh.config.read.shape import closest, convert
from fastmesh.config.resource import DEFAULT_NAMESPACE, AnyResource, Resource
from fastmesh.errors import Code, Problem, Severity
from fastmesh.model.kubernetes import Meta

_TOP = ("apiVersion", "kind", "metadata", "spec", "status")


def decode(document: Source, problems: list[Problem]) -> AnyResource | None:
    """The object, or None when it is refused or not ours; `problems` gets what is to be said about it."""
    reader = _Reader(document, problems)
    root = document.root
    if not isinstance(root, dict):
        reader.add((), "is not an object, write apiVersion, kind, metadata and spec")
        return None
    proper, honoured = honour(root, lambda path, message: reader.add(path, message, "warning", "deviation"))
    kind = reader.kind(proper)
    if kind is None:
        return None
    before = reader.errors
    meta = reader.meta(proper, kind)
    if kind.strict:
        for key in proper:
            if key not in _TOP:
                reader.add((key,), f"unknown field{closest(key, _TOP) or ', it may belong under spec'}")
    spec = reader.spec(proper, kind)
    if meta is None or spec is None or reader.errors > before:
        return None
    return Resource(
        kind=kind.stored or kind.name, api_version=str(proper["apiVersion"]), name=meta.name,
        namespace=(meta.namespace or DEFAULT_NAMESPACE) if kind.namespaced else "",
        labels=meta.labels, annotations=meta.annotations, spec=spec, source=document, honoured=honoured,
        generation=meta.generation,
    )  # fmt: skip


class _Reader:
    """Reads one document. `errors` counts what refuses it."""

    def __init__(self, document: Source, problems: list[Problem]) -> None:
        self.errors = 0
        self._document = document
        self._problems = problems
        root = document.root if isinstance(document.root, dict) else {}
        metadata = root.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        self._kind = str(root.get("kind") or "")
        self._name = str(metadata.get("name") or "")
        self._namespace = str(metadata.get("namespace") or DEFAULT_NAMESPACE)

    def add(self, path: Path, message: str, severity: Severity = "error", code: Code = "invalid") -> None:
        self.errors += severity == "error"
        self._problems.append(Problem(
            severity=severity, code=code, file=self._document.file, line=self._document.line(path), message=message,
            kind=self._kind, namespace=self._namespace, name=self._name, field=dotted(path),
        ))  # fmt: skip

    def kind(self, root: dict[str, Any]) -> Kind | None:
        """The kind to decode, or None after the reason was told."""
        api_version, name = root.get("apiVersion"), root.get("kind")
        for key, value in (("apiVersion", api_version), ("kind", name)):
            if not isinstance(value, str) or not value:
                self.add((key,), f"{key} is required" + (", write it as a text" if value else " and missing"))
        if not isinstance(api_version, str) or not isinstance(name, str) or not api_version or not name:
            return None
        group, _, version = api_version.rpartition("/")
        kind = kinds.READ.get((group, name))
        if kind is not None:
            if version in kind.versions:
                return kind
            proper = f"{group}/{kind.versions[0]}" if group else kind.versions[0]
            self.add(("apiVersion",), f"{api_version} has no {name}, write {proper}")
        elif (group, name) in kinds.UNSERVED:
            message = f"{name} of {group} is valid but not served yet, nothing of it is applied"
            if name in kinds.DATAGRAMS:
                message = f"{name} is not served: this proxy moves TCP alone, remove it or serve it by other means"
            self.add((), message, "warning", "unserved")
        else:
            self._unknown(group, name, api_version)
        return None

    def _unknown(self, group: str, name: str, api_version: str) -> None:
        """A kind that is not known: a mistake in a group of ours, somebody else's object in any other."""
        owners = kinds.groups_with(name)
        mistaken = "istio" in group or group in kinds.OURS or (owners and group == "")
        if owners and mistaken:
            owner = owners[-1] if kinds.ISTIO not in owners else kinds.ISTIO
            version = next((kind.versions[0] for key, kind in kinds.READ.items() if key == (owner, name)), "v1")
            proper = f"{owner}/{version}" if owner else version
            self.add(("apiVersion",), f"{api_version} has no {name}, write {proper}")
        elif group in kinds.OURS:
            known = kinds.known_names(group)
            guess = closest(name, known) or f", its kinds are {', '.join(known)}"
            self.add(("kind",), f"{name} is not a kind of {group}{guess}")
        else:
            self.add((), f"{name} of {api_version} is not ours, skipped", "note", "skipped")

    def meta(self, root: dict[str, Any], kind: Kind) -> Meta | None:
        raw = root.get("metadata")
        if raw is None:
            self.add((), "metadata is required and missing, add metadata: {name: ...}")
            return None
        before = self.errors
        meta = convert(raw, Meta, ("metadata",), self.add)
        if meta is None or self.errors > before:
            return None
        if not meta.name:
            self.add(("metadata",), "name is required and missing, add name: ...")
        return meta

    def spec(self, root: dict[str, Any], kind: Kind) -> msgspec.Struct | None:
        if kind.whole:
            return convert(root, kind.type, (), self.add)
        raw = root.get("spec")
        if raw is None and kind.strict and not kind.bare:
            self.add((), "spec is required and missing, add spec: ...")
            return None
        return convert({} if raw is None else raw, kind.type, ("spec",), self.add)
