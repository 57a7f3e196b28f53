"""Credentials: what is wanted, and what can run. No secret is in any text or repr of these.

This file and what it imports know no cryptography: a proxy without certificates does not load that library.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from fastmesh.security.findings import Part
from fastmesh.security.times import moment


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of material: a file to read, or bytes. `place` begins every line that is said about it."""

    place: str
    path: str = ""
    data: bytes = b""
    asked: str = ""  # who named the path: the end of the line
    optional: bool = False  # a file that need not be there

    def __repr__(self) -> str:
        return f"Piece({self.place})"

    def line(self, text: str) -> str:
        return f"{self.place}: {text}{f' ({self.asked})' if self.asked else ''}"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A credential that is wanted under `name`. `mesh`: it has to be an identity of `trust_domain` ("": of any)."""

    name: str
    chain: Piece | None = None
    key: Piece | None = None
    roots: tuple[Piece, ...] = ()
    crl: Piece | None = None
    staple: Piece | None = None
    bundles: tuple[tuple[str, Piece], ...] = ()  # roots of other trust domains
    mesh: bool = False
    trust_domain: str = ""
    wrong: tuple[str, ...] = ()  # what is wrong before anything is read

    def pieces(self) -> Iterator[tuple[Part, Piece]]:
        single: tuple[tuple[Part, Piece | None], ...] = (
            ("chain", self.chain),
            ("key", self.key),
            ("crl", self.crl),
            ("staple", self.staple),
        )
        yield from ((part, piece) for part, piece in single if piece is not None)
        yield from (("roots", piece) for piece in self.roots)
        yield from (("bundle", piece) for _, piece in self.bundles)

    def paths(self) -> list[str]:
        return [piece.path for _, piece in self.pieces() if piece.path]


class CertificateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate. Times are seconds since 1970."""

    file: str
    subject: str
    issuer: str
    spiffe_id: str | None
    names: dict[str, list[str]]  # Envoy's words: uri, dns, ip_address
    serial: str
    valid_from: int
    valid_until: int
    ca: bool
    key: str
    sha256: str
    spki: str  # base64 of the SHA-256 of the public key, as verifyCertificateSpki wants it


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """A credential that can run: what the plan wants of it, and what may be shown of it."""

    name: str
    chain: bytes = b""
    key: bytes = b""
    roots: bytes = b""
    crl: bytes = b""
    staple: bytes = b""
    bundles: dict[str, bytes] = {}
    serial: str = ""  # of the leaf
    not_after: int = 0  # of the leaf, seconds since 1970
    principal: str = ""  # the SPIFFE id of the leaf, when it has one
    shown_chain: list[CertificateFacts] = []
    shown_roots: list[CertificateFacts] = []
    warnings: list[str] = []
    digest: bytes = b""  # of everything that was read
    good_until: datetime | None = None  # then it is to be made anew: its staple is too old

    def __repr__(self) -> str:
        return f"Material({self.name}, serial {self.serial})"


class Failure(NamedTuple):
    """A credential whose material is bad. `kept`: the material from before stays."""

    name: str
    lines: list[str]
    kept: Material | None
    digest: bytes  # of what was read: the same bad material is told and counted once


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """All credentials of a proxy."""

    materials: dict[str, Material] = {}
    failures: list[Failure] = []

    def failed(self, name: str) -> Failure | None:
        return next((failure for failure in self.failures if failure.name == name), None)

    @property
    def fatal(self) -> list[str]:
        """What is wrong with those that cannot run at all."""
        return [line for failure in self.failures if failure.kept is None for line in failure.lines]

    @property
    def warnings(self) -> list[str]:
        found = [line for each in self.materials.values() for line in each.warnings]
        for failure in self.failures:
            if failure.kept is not None:
                found += [f"{line} ({_stays(failure.kept)})" for line in failure.lines]
        return list(dict.fromkeys(found))


def _stays(kept: Material) -> str:
    if not kept.not_after:
        return "what was there before stays"
    return f"the certificate from before stays, valid until {moment(datetime.fromtimestamp(kept.not_after, UTC))}"
