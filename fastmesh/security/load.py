"""Credentials made of what was asked for: read, checked, and cleaned to what was checked.

`load` is the same call for a start, a reload and a rotation. A credential whose new material is bad keeps what it had;
one that had nothing is a failure that stops a start, or refuses a reload.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec
from cryptography import x509

from fastmesh.security import certs, facts, pem, staple
from fastmesh.security.findings import Finding, MaterialError, Part
from fastmesh.security.material import CertificateFacts, Failure, Loaded, Material, Piece, Request
from fastmesh.security.reader import Reader
from fastmesh.security.spiffe import SpiffeID

Parsed = TypeVar("Parsed")


def load(requests: Iterable[Request], reader: Reader, last: Loaded, now: datetime) -> Loaded:
    """The material of every request; `last` is what runs. All that is wrong is found, not the first thing only."""
    materials: dict[str, Material] = {}
    failures: list[Failure] = []
    for request in requests:
        before = last.materials.get(request.name)
        maker = _Maker(request, reader, now)
        made = maker.make(before)
        if made is None:
            if before is not None and _too_old(before, now):
                before = msgspec.structs.replace(before, staple=b"", good_until=None)
            made = before
            again = last.failed(request.name)
            lines = (
                again.lines if again is not None and again.digest == maker.digest else list(dict.fromkeys(maker.wrong))
            )
            failures.append(Failure(request.name, lines, before, maker.digest))
        if made is not None:
            materials[request.name] = made
    return Loaded(materials=materials, failures=failures)


class _Maker:
    """One credential in the making. `wrong` says why there is none."""

    def __init__(self, request: Request, reader: Reader, now: datetime) -> None:
        self.request = request
        self.wrong = list(request.wrong)
        self.digest = b""
        self._reader = reader
        self._now = now
        self._warnings: list[str] = []
        self._chain: list[x509.Certificate] = []
        self._key: pem.PrivateKey | None = None
        self._roots: list[x509.Certificate] = []
        self._crl: list[x509.CertificateRevocationList] = []
        self._bundles: dict[str, list[x509.Certificate]] = {}

    def make(self, before: Material | None) -> Material | None:
        request = self.request
        data = [(part, piece, self._bytes(piece)) for part, piece in request.pieces()]
        self.digest = _digest(data, self.wrong)
        if self.wrong:
            return None
        if before is not None and before.digest == self.digest and not _too_old(before, self._now):
            return before
        for part, piece, content in data:
            if content or not piece.optional:
                self._parse(part, piece, content)
        if not self.wrong:
            self._check()
        if self.wrong:
            return None
        stapled = next((content for part, _, content in data if part == "staple"), b"")
        stapled, until = self._staple(stapled)
        return Material(
            name=request.name,
            chain=pem.of_certificates(self._chain),
            key=pem.of_key(self._key) if self._key is not None else b"",
            roots=pem.of_certificates(self._roots),
            crl=pem.of_revocation_lists(self._crl),
            staple=stapled,
            bundles={domain: pem.of_certificates(some) for domain, some in self._all_bundles().items()},
            serial=certs.serial(self._chain[0]) if self._chain else "",
            not_after=int(self._chain[0].not_valid_after_utc.timestamp()) if self._chain else 0,
            principal=str(self._own_identity() or ""),
            shown_chain=_shown(self._chain, request.chain),
            shown_roots=_shown(self._roots, *request.roots[:1]),
            warnings=self._warnings,
            digest=self.digest,
            good_until=until,
        )

    # ---- reading

    def _bytes(self, piece: Piece) -> bytes:
        if not piece.path:
            return piece.data
        try:
            return self._reader.read(piece.path, missing=b"" if piece.optional else None)
        except MaterialError as error:
            self.wrong.append(piece.line(str(error)))
            return b""

    def _parse(self, part: Part, piece: Piece, content: bytes) -> None:
        match part:
            case "chain":
                self._chain = self._tried(pem.certificates, piece, content) or []
            case "key":
                self._key = self._tried(pem.private_key, piece, content)
            case "roots":
                self._roots += self._tried(pem.certificates, piece, content) or []
            case "crl":
                self._crl = self._tried(pem.revocation_lists, piece, content) or []
            case "bundle":
                domain = next(domain for domain, each in self.request.bundles if each is piece)
                self._bundles.setdefault(domain, []).extend(self._tried(pem.certificates, piece, content) or [])

    def _tried(self, parse: Callable[[bytes], Parsed], piece: Piece, content: bytes) -> Parsed | None:
        try:
            return parse(content)
        except MaterialError as error:
            self.wrong.append(piece.line(str(error)))
            return None

    # ---- checking

    def _check(self) -> None:
        request, now = self.request, self._now
        if self._chain:
            self._say(request.chain, certs.check_leaf(self._chain, now))
            if request.mesh:
                self._say(request.chain, certs.check_identity(self._chain[0], request.trust_domain))
                self._say(request.chain, certs.check_anchored(self._chain, self._roots))
        if self._key is not None and self._chain:
            for finding in certs.check_key(self._chain, self._key):
                self._say(request.key if finding.part == "key" else request.chain, [finding])
        if request.roots:
            self._say(request.roots[0], certs.check_roots(self._roots, now))
        for domain, piece in request.bundles:
            self._say(piece, certs.check_roots(self._bundles[domain], now))
        if self._crl:
            self._say(request.crl, certs.check_revocation(self._crl, self._roots, now))

    def _say(self, piece: Piece | None, found: Iterable[Finding]) -> None:
        if piece is None:
            return
        for finding in found:
            (self.wrong if finding.fatal else self._warnings).append(piece.line(finding.text))

    def _staple(self, data: bytes) -> tuple[bytes, datetime | None]:
        """What is stapled, and how long it may be."""
        if not data or self.request.staple is None or not self._chain:
            return b"", None
        try:
            return data, staple.fit_until(data, self._chain, self._now)
        except MaterialError as error:
            self._warnings.append(self.request.staple.line(f"{error}; it is not stapled"))
            return b"", None

    # ---- trust domains

    def _own_identity(self) -> SpiffeID | None:
        try:
            return certs.identity(self._chain[0]) if self._chain else None
        except ValueError:
            return None

    def _all_bundles(self) -> dict[str, list[x509.Certificate]]:
        """Of an identity of the mesh: its own roots are those of its own trust domain."""
        own = self._own_identity() if self.request.mesh else None
        if own is None:
            return {}
        return {**self._bundles, own.trust_domain: [*self._roots, *self._bundles.get(own.trust_domain, [])]}


def _digest(data: Iterable[tuple[Part, Piece, bytes]], wrong: Iterable[str]) -> bytes:
    """Of what was read and where: the name of a file says which trust domain it is of."""
    made = hashlib.sha256()
    for part, piece, content in data:
        made.update(f"{part} {piece.place} {len(content)}\n".encode())
        made.update(content)
    made.update("\n".join(wrong).encode())
    return made.digest()


def _too_old(before: Material, now: datetime) -> bool:
    return before.good_until is not None and now > before.good_until


def _shown(some: Sequence[x509.Certificate], piece: Piece | None = None) -> list[CertificateFacts]:
    return [facts.of_certificate(each, piece.place) for each in some] if piece is not None else []
