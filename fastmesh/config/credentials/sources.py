"""Certificates and keys that a plan names: where their material lies, and the bytes of those that objects hold.

While a plan is compiled, `names` gives names to them; a plan keeps names and sources, never material. Who
loads the material asks `collect` for the sources in a form that needs no knowledge of Secrets: a path to read, or
bytes. A name whose material is not there stays in the plan without a CredentialPlan: its handshakes fail.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fastmesh.config.origins import origin
from fastmesh.config.place import Path, dotted
from fastmesh.config.plan import CredentialSourcePlan, Origin, Plan
from fastmesh.config.resource import AnyResource
from fastmesh.config.store import ConfigSet
from fastmesh.errors import Problem, Severity
from fastmesh.model.kubernetes import Secret

# The forms of a Secret, the older one first, as Istio looks for them.
CHAINS = ("cert", "tls.crt")
KEYS = ("key", "tls.key")
ROOTS = ("cacert", "ca.crt")
CRLS = ("crl", "ca.crl")
STAPLE = "tls.ocsp-staple"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One piece of material: the path of a file, or bytes of an object."""

    what: str  # for messages: "/etc/tls/cert.pem", "tls.crt of Secret shop/web"
    origin: Origin  # where the path, or the bytes, were written
    field: str
    path: str = ""
    data: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A credential to be loaded; what comes of it is the CredentialPlan of the same name."""

    name: str
    kind: Literal["secret", "files", "mesh"]  # "mesh" has no pieces: it is what --certs names
    origin: Origin  # the object that asks for it
    field: str
    chain: Piece | None = None
    key: Piece | None = None
    roots: tuple[Piece, ...] = ()
    crl: Piece | None = None
    staple: Piece | None = None

    def problem(self, message: str, severity: Severity = "error", piece: Piece | None = None) -> Problem:
        """A finding about one piece, at the place where it was written; without one, about the field that asks."""
        place = piece or self
        written = place.origin
        return Problem(
            severity=severity, code="invalid", file=written.file, line=written.line, message=message,
            kind=written.kind, namespace=written.namespace, name=written.name, field=place.field,
        )  # fmt: skip


def collect(config: ConfigSet, plan: Plan) -> list[Wanted]:
    """The credentials that a plan names and whose sources exist, each once, in the order of their first use."""
    return [_wanted(config, source) for source in plan.sources]


def _wanted(config: ConfigSet, source: CredentialSourcePlan) -> Wanted:
    def piece(place: str, names: tuple[str, ...]) -> Piece | None:
        return _piece(config, source, place, names) if place else None

    roots = [piece(place, ROOTS) for place in source.roots]
    by_path = source.chain.startswith("file:") or any(place.startswith("file:") for place in source.roots)
    return Wanted(
        name=source.name,
        kind="mesh" if source.mesh else "files" if by_path else "secret",
        origin=source.origin,
        field=source.field,
        chain=piece(source.chain, CHAINS),
        key=piece(source.key, KEYS),
        roots=tuple(found for found in roots if found is not None),
        crl=piece(source.crl, CRLS),
        staple=piece(source.chain, (STAPLE,)) if source.chain.startswith("secret:") else None,
    )


def _piece(config: ConfigSet, source: CredentialSourcePlan, place: str, names: tuple[str, ...]) -> Piece | None:
    """The piece at a place; None when an object has no such entry."""
    kind, _, where = place.partition(":")
    if kind == "file":
        return Piece(what=where, origin=source.origin, field=source.field, path=where)
    shown = "Secret" if kind == "secret" else "ConfigMap"
    namespace, _, name = where.partition("/")
    written = config.get(shown, namespace, name)
    entry = entry_of(written, names) if written is not None else None
    if written is None or entry is None:
        return None
    if isinstance(written.spec, Secret):
        data = written.spec.entry(entry)
        path: Path = ("stringData" if entry in (written.spec.string_data or ()) else "data", entry)
    else:
        data, path = written.spec.data[entry].encode(), ("data", entry)
    return Piece(what=f"{entry} of {shown} {where}", origin=origin(written, path=path), field=dotted(path), data=data)


def entry_of(written: AnyResource, names: Iterable[str]) -> str | None:
    """The first of these entries that an object has."""
    held = written.spec.names() if isinstance(written.spec, Secret) else written.spec.data
    return next((name for name in names if name in held), None)
