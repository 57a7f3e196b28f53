"""Is this certificate good for what it is wanted for? The checks of a chain, its key, and the roots that peers have.

A certificate of the mesh is an X.509-SVID: exactly one URI among its names, a SPIFFE id; not a CA; a key for
signatures; both server and client. https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md sections 2 to 5.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

from fastmesh.security import pem, spiffe
from fastmesh.security.findings import Finding
from fastmesh.security.times import moment, span

Extension = TypeVar("Extension", bound=x509.ExtensionType)
_MISTAKES = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm)


class Names(NamedTuple):
    """The subject alternative names of a certificate, by kind."""

    uris: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    others: int = 0


def extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def names(certificate: x509.Certificate) -> Names:
    found = extension(certificate, x509.SubjectAlternativeName)
    if found is None:
        return Names()
    uris = tuple(found.get_values_for_type(x509.UniformResourceIdentifier))
    dns = tuple(found.get_values_for_type(x509.DNSName))
    ips = tuple(str(each) for each in found.get_values_for_type(x509.IPAddress))
    return Names(uris, dns, ips, len(found) - len(uris) - len(dns) - len(ips))


def is_ca(certificate: x509.Certificate) -> bool:
    found = extension(certificate, x509.BasicConstraints)
    return found is not None and found.ca


def identity(certificate: x509.Certificate) -> spiffe.SpiffeID:
    """The SPIFFE id of a leaf; ValueError says why it has none."""
    uris = names(certificate).uris
    if len(uris) != 1:
        listed = f" ({', '.join(map(spiffe.shown, uris))})" if uris else ""
        raise ValueError(
            f"has {len(uris) or 'no'} URI names{listed}; an identity of the mesh has exactly one, {EXAMPLE}"
        )
    return spiffe.parse(uris[0])


EXAMPLE = "as in spiffe://cluster.local/ns/shop/sa/cart"


def subject(certificate: x509.Certificate) -> str:
    """Its subject, or what else it is called by."""
    named = names(certificate)
    return certificate.subject.rfc4514_string() or next(iter((*named.uris, *named.dns, *named.ips)), "without a name")


def serial(certificate: x509.Certificate) -> str:
    """In hexadecimal, whole bytes, as Envoy and OpenSSL show it."""
    text = f"{certificate.serial_number:x}"
    return text.rjust(len(text) + len(text) % 2, "0")


def issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Whether `issuer`'s key signed it, and the names say so as well."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except _MISTAKES:
        return False
    return True


# ---- the checks


def out_of_time(certificate: x509.Certificate, now: datetime) -> str:
    """Why it is not valid at this moment; empty when it is."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > ends:
        return f"was valid until {moment(ends)}, {span(now - ends)} ago; issue a new one"
    if now < begins:
        return f"is not valid before {moment(begins)}, in {span(begins - now)}; wait, or set the clock right"
    return ""


def check_leaf(chain: Sequence[x509.Certificate], now: datetime) -> Iterator[Finding]:
    """A certificate that is shown to peers, with those that lead to a root behind it."""
    leaf = chain[0]
    for place, each in enumerate(chain):
        whose = f"certificate {place + 1} of the chain ({subject(each)}) " if place else ""
        for wrong in (out_of_time(each, now), pem.weakness(each.public_key())):
            if wrong:
                yield Finding("chain", whose + wrong)
        if place and not issued(each, chain[place - 1]):
            yield Finding("chain", f"{whose}did not sign the one before it; write the leaf first, then who signed it")
            return
    if is_ca(leaf):
        yield _ca_as_leaf(leaf)


def _ca_as_leaf(leaf: x509.Certificate) -> Finding:
    """What `openssl req -x509` makes says that it is a CA, but claims no right to sign: people use it for servers."""
    usage = extension(leaf, x509.KeyUsage)
    fatal = not issued(leaf, leaf) or (usage is not None and usage.key_cert_sign)
    return Finding("chain", f"is the certificate of a CA ({subject(leaf)}); issue one for the server itself", fatal)


def check_key(chain: Sequence[x509.Certificate], key: pem.PrivateKey) -> Iterator[Finding]:
    ours = pem.spki(key.public_key())
    if pem.spki(chain[0].public_key()) == ours:
        return
    if any(pem.spki(each.public_key()) == ours for each in chain[1:]):
        yield Finding(
            "chain", "does not begin with the certificate of the key; write the leaf first, then who signed it"
        )
    else:
        yield Finding(
            "key", f"does not fit the certificate of {subject(chain[0])}; give the key that it was issued for"
        )


def check_identity(leaf: x509.Certificate, trust_domain: str) -> Iterator[Finding]:
    """A leaf as the mesh wants it; `trust_domain` empty: of any."""
    try:
        own = identity(leaf)
    except ValueError as error:
        yield Finding("chain", str(error))
    else:
        if not own.path:
            yield Finding("chain", f"is of the trust domain itself ({own}), not of a workload; write a path, {EXAMPLE}")
        if trust_domain and own.trust_domain != trust_domain:
            where = f"of the trust domain {own.trust_domain}, and the proxy's is {trust_domain}"
            yield Finding("chain", f"is {where}; issue it there, or say --trust-domain {own.trust_domain}")
    if is_ca(leaf):
        yield Finding("chain", f"is the certificate of a CA ({subject(leaf)}); a workload has one of its own")
    usage = extension(leaf, x509.KeyUsage)
    if usage is not None and (usage.key_cert_sign or usage.crl_sign or not usage.digital_signature):
        yield Finding("chain", "has a key usage that is not a workload's; it is digitalSignature, without keyCertSign")
    both = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    extended = extension(leaf, x509.ExtendedKeyUsage)
    if extended is not None and not both <= set(extended):
        yield Finding("chain", "may not be both server and client; its extended key usage is serverAuth and clientAuth")


def check_roots(roots: Sequence[x509.Certificate], now: datetime) -> Iterator[Finding]:
    """Those that peers are checked against. One good one is enough: old ones are kept while they are replaced."""
    good = 0
    for place, each in enumerate(roots):
        wrong = out_of_time(each, now) or ("" if is_ca(each) else "is not the certificate of a CA; no peer can fit it")
        good += not wrong
        if wrong:
            yield Finding("roots", f"certificate {place + 1} ({subject(each)}) {wrong}", fatal=False)
    if not good:
        yield Finding("roots", "has no certificate that peers could be checked against; give that of the CA")


def check_anchored(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]) -> Iterator[Finding]:
    """Whether peers with the same roots will believe the chain."""
    if not any(issued(root, chain[-1]) or root == chain[-1] for root in roots):
        who = chain[-1].issuer.rfc4514_string() or "nobody"
        yield Finding("chain", f"is not signed by any of the roots, but by {who}; are they of two CAs?")


def check_revocation(
    found: Sequence[x509.CertificateRevocationList], roots: Sequence[x509.Certificate], now: datetime
) -> Iterator[Finding]:
    """Peers are refused while their CA's list is too old (RFC 5280 section 6.3.3): that is said, not corrected."""
    for each in found:
        who = each.issuer.rfc4514_string()
        if each.next_update_utc is not None and each.next_update_utc < now:
            when = moment(each.next_update_utc)
            yield Finding(
                "crl", f"should have been renewed by {when} ({who}); peers are refused until it is", fatal=False
            )
        signers = [root for root in roots if root.subject == each.issuer]
        if roots and not any(_signed(each, root) for root in signers):
            yield Finding("crl", f"has a list of {who}, which is none of the roots; it revokes nothing", fatal=False)


def _signed(listed: x509.CertificateRevocationList, root: x509.Certificate) -> bool:
    try:
        return listed.is_signature_valid(root.public_key())  # type: ignore[arg-type]
    except _MISTAKES:
        return False


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
