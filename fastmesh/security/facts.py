"""What may be shown of a certificate: for `fastmesh cert show` and the admin page /certs."""

from __future__ import annotations

import base64
import hashlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from fastmesh.security import certs, pem
from fastmesh.security.material import CertificateFacts


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
        names={"uri": list(named.uris), "dns": list(named.dns), "ip_address": list(named.ips)},
        serial=certs.serial(certificate),
        valid_from=int(certificate.not_valid_before_utc.timestamp()),
        valid_until=int(certificate.not_valid_after_utc.timestamp()),
        ca=certs.is_ca(certificate),
        key=pem.kind_of_key(certificate.public_key()),
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        spki=base64.b64encode(hashlib.sha256(pem.spki(certificate.public_key())).digest()).decode(),
    )
