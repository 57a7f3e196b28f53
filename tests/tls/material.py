"""Certificates for servers and clients, as credentials of a plan and as contexts of Python's ssl."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from fastmesh.config.plan import CredentialPlan
from fastmesh.security import pem
from fastmesh.security.authority import Pair
from tests.security.making import DAY, now, odd, root

CA = root()
OTHER_CA = root()


def named(*names: str, ca: Pair = CA, use_rsa: bool = False, **fields: Any) -> Pair:
    """A certificate for DNS names."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048) if use_rsa else None
    sans = [x509.DNSName(name) for name in names]
    return odd(ca, uris=(), names=sans, key=key, common_name=names[0] if names else "nobody", **fields)


def svid(identity: str, ca: Pair = CA, **fields: Any) -> Pair:
    return odd(ca, uris=(identity,), **fields)


def credential(
    name: str, pair: Pair | None = None, behind: Sequence[Pair] = (), roots: Sequence[Pair] = (), **fields: Any
) -> CredentialPlan:
    if pair is not None:
        chain = pem.of_certificates([pair.certificate, *(each.certificate for each in behind)])
        fields |= {"chain": chain, "key": pem.of_key(pair.key)}
    return CredentialPlan(name=name, roots=pem.of_certificates([each.certificate for each in roots]), **fields)


def roots_pem(*pairs: Pair) -> bytes:
    return pem.of_certificates([each.certificate for each in pairs])


def revoking(ca: Pair, *pairs: Pair) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.certificate.subject)
        .last_update(now() - timedelta(hours=1))
        .next_update(now() + DAY)
    )
    for pair in pairs:
        revoked = x509.RevokedCertificateBuilder().serial_number(pair.certificate.serial_number)
        builder = builder.add_revoked_certificate(revoked.revocation_date(now() - timedelta(minutes=5)).build())
    return pem_of_crl(builder.sign(ca.key, hashes.SHA256()))


def pem_of_crl(crl: x509.CertificateRevocationList) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return crl.public_bytes(Encoding.PEM)


def load(context: ssl.SSLContext, pair: Pair, behind: Sequence[Pair] = ()) -> None:
    """Give a context of Python's ssl a certificate; it wants files."""
    with tempfile.TemporaryDirectory() as folder:
        chain, key = Path(folder, "chain"), Path(folder, "key")
        chain.write_bytes(roots_pem(pair, *behind))
        key.write_bytes(pem.of_key(pair.key))
        context.load_cert_chain(chain, key)


def client(
    pair: Pair | None = None, ca: Pair = CA, alpn: Sequence[str] = (), behind: Sequence[Pair] = ()
) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=roots_pem(ca).decode())
    if pair is not None:
        load(context, pair, behind)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context
