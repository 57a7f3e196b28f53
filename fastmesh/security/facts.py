"""What may be shown of certificates and keys: for `fastmesh cert show` and the admin page /certs."""

from __future__ import annotations

import base64
import hashlib

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from fastmesh.security import certs, pem


class CertificateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate. Times are seconds since 1970."""

    file: str
    subject: str
    issuer: str
    spiffe_id: str | None
    uris: list[str]
    dns: list[str]
    ips: list[str]
    serial: str
    valid_from: int
    valid_until: int
    ca: bool
    key: str
    sha256: str
    spki: str  # base64 of the SHA-256 of the public key, as verifyCertificateSpki wants it

    @property
    def names(self) -> list[str]:
        return [
            *(f"URI {each}" for each in self.uris),
            *(f"DNS {each}" for each in self.dns),
            *(f"IP {each}" for each in self.ips),
        ]


def of_certificate(certificate: x509.Certificate, file: str) -> CertificateFacts:
    named = certs.names(certificate)
    try:
        identity: str | None = str(certs.identity(certificate))
    except ValueError:
        identity = None
    return CertificateFacts(
        file=file,
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        spiffe_id=identity,
        uris=list(named.uris),
        dns=list(named.dns),
        ips=list(named.ips),
        serial=certs.serial(certificate),
        valid_from=int(certificate.not_valid_before_utc.timestamp()),
        valid_until=int(certificate.not_valid_after_utc.timestamp()),
        ca=certs.is_ca(certificate),
        key=pem.kind_of_key(certificate.public_key()),
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        spki=base64.b64encode(hashlib.sha256(pem.spki(certificate.public_key())).digest()).decode(),
    )
