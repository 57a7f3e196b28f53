"""Certificates as tests need them: right ones from fastmesh's own CA, and every kind of wrong one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fastmesh.security import pem, spiffe
from fastmesh.security.authority import Pair, issue, make_ca
from fastmesh.security.files import CHAIN, KEY, ROOTS, write_together

DAY = timedelta(days=1)
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
SHOP = "spiffe://cluster.local/ns/default/sa/shop"


def now() -> datetime:
    return datetime.now(UTC)


def leaf(ca: Pair, identity: str = SHOP, lifetime: timedelta = DAY, begins: datetime | None = None) -> Pair:
    return issue(ca, spiffe.parse(identity), lifetime, now=begins)


def odd(
    issuer: Pair | None = None,
    *,
    uris: Sequence[str] = (SHOP,),
    names: Sequence[x509.GeneralName] = (),
    ca: bool = False,
    extended: Sequence[x509.ObjectIdentifier] | None = BOTH,
    sign_certs: bool | None = False,
    common_name: str = "odd",
    key: pem.PrivateKey | None = None,
    begins: timedelta = -DAY,
    ends: timedelta = DAY,
    serial: int | None = None,
) -> Pair:
    """A certificate that no sane CA issues; without an issuer it signs itself. `sign_certs` None: no key usage."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(issuer.certificate.subject if issuer else own)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(now() + begins)
        .not_valid_after(now() + ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    sans = [*map(x509.UniformResourceIdentifier, uris), *names]
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    if extended is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    if sign_certs is not None:
        flags = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
        flags |= {"encipher_only": False, "decipher_only": False, "crl_sign": False}
        usage = x509.KeyUsage(digital_signature=True, key_cert_sign=sign_certs, **flags)
        builder = builder.add_extension(usage, critical=True)
    return Pair(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def write(folder: Path, pair: Pair, *behind: Pair, roots: Sequence[Pair], key: pem.PrivateKey | None = None) -> None:
    """As `fastmesh cert issue` writes them; `behind` are the certificates that follow the leaf."""
    chain = pem.of_certificates([pair.certificate, *(each.certificate for each in behind)])
    listed = pem.of_certificates([each.certificate for each in roots])
    write_together(folder, {CHAIN: chain, KEY: pem.of_key(key or pair.key), ROOTS: listed})


def root(domain: str = "cluster.local") -> Pair:
    return make_ca(domain, 1000 * DAY)
