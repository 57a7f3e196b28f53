"""A local certificate authority, and the certificates that it issues to workloads: strict X.509-SVIDs.

One self-signed CA for one trust domain, its key in a file. It is for machines and tests without a control plane. What
it makes is what Istio's CA makes: one URI name, both server and client, no CA, the trust domain's root beside it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fastmesh.security import certs, pem, spiffe, times
from fastmesh.security.findings import MaterialError

BACKDATED = timedelta(minutes=1)  # for peers whose clock is a little behind
RSA_BITS = 2048


class Pair(NamedTuple):
    """A certificate and its key."""

    certificate: x509.Certificate
    key: pem.PrivateKey

    def __repr__(self) -> str:
        return f"Pair({certs.subject(self.certificate)})"


def new_key(use_rsa: bool = False) -> pem.PrivateKey:
    if use_rsa:
        return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())


def make_ca(domain: str, lifetime: timedelta, *, use_rsa: bool = False, now: datetime | None = None) -> Pair:
    """A root of the trust domain. Path length 0: it signs workloads, not other CAs."""
    key = new_key(use_rsa)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, domain[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, "fastmesh CA"),
        ]
    )
    uri = x509.UniformResourceIdentifier(str(spiffe.SpiffeID(spiffe.trust_domain(domain))))
    builder = (
        _begun(name, name, key, lifetime, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
    )
    return Pair(_signed(builder, key), key)


def domain_of(ca: x509.Certificate) -> str | None:
    """The trust domain that a CA signs for, when it says so (X509-SVID section 3.2: an id without a path)."""
    uris = certs.names(ca).uris
    return spiffe.parse(uris[0]).trust_domain if len(uris) == 1 else None


def issue(
    ca: Pair,
    identity: spiffe.SpiffeID,
    lifetime: timedelta,
    *,
    dns: Sequence[str] = (),
    ips: Sequence[str] = (),
    use_rsa: bool = False,
    now: datetime | None = None,
) -> Pair:
    """A certificate of a workload. It ends with its CA at the latest; MaterialError when the CA cannot sign it."""
    domain = domain_of(ca.certificate)
    if domain not in (None, identity.trust_domain):
        raise MaterialError(f"is the CA of the trust domain {domain}, it cannot sign {identity}")
    key = new_key(use_rsa)
    sans = [x509.UniformResourceIdentifier(str(identity)), *map(x509.DNSName, dns)]
    sans += [x509.IPAddress(ipaddress.ip_address(each)) for each in ips]
    builder = (
        _begun(x509.Name([]), ca.certificate.subject, key, lifetime, now, ca.certificate.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        # RFC 5280 section 4.2.1.6: critical, because the subject is empty.
        .add_extension(x509.SubjectAlternativeName(sans), critical=True)
        .add_extension(_authority(ca.certificate), critical=False)
    )
    return Pair(_signed(builder, ca.key), key)


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: pem.PrivateKey,
    lifetime: timedelta,
    now: datetime | None,
    at_most: datetime | None = None,
) -> x509.CertificateBuilder:
    begins = now or times.utc_now()
    ends = begins + lifetime
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins - BACKDATED)
        .not_valid_after(min(ends, at_most or ends))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = certs.extension(ca, x509.SubjectKeyIdentifier)
    if own is not None:
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key())  # type: ignore[arg-type]


def _signed(builder: x509.CertificateBuilder, key: pem.PrivateKey) -> x509.Certificate:
    modern = isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    return builder.sign(key, hashes.SHA256() if modern else None)  # Ed25519 and Ed448 bring their own hash
