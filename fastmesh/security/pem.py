"""Key material from PEM text: certificates, private keys, revocation lists. No error ever shows what was read."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fastmesh.security.findings import MaterialError

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
_KINDS = (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
SHORTEST_RSA = 2048


def certificates(data: bytes) -> list[x509.Certificate]:
    """At least one, in the order of the file; every extension of each can be read."""
    begun = data.count(b"-----BEGIN CERTIFICATE-----")
    if not begun:
        raise MaterialError(
            _not_pem(data, "CERTIFICATE", "certificate", "openssl x509 -inform der -in FILE -out FILE.pem")
        )
    try:
        found = x509.load_pem_x509_certificates(data)
        for each in found:
            _ = each.extensions, each.subject, each.issuer
            each.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise MaterialError(f"has a certificate that cannot be read ({error}); is it cut off?") from None
    if len(found) != begun:  # the library passes over what does not end
        raise MaterialError(f"begins {begun} certificates, but only {len(found)} can be read; is it cut off?")
    return found


def private_key(data: bytes) -> PrivateKey:
    if b"PRIVATE KEY-----" not in data:
        raise MaterialError(
            _not_pem(data, "PRIVATE KEY", "private key", "openssl pkey -inform der -in FILE -out FILE.pem")
        )
    try:
        found = serialization.load_pem_private_key(data, password=None)
    except TypeError:  # what the library says of a key that wants a passphrase
        raise MaterialError("is encrypted; a proxy has nobody to ask: openssl pkey -in FILE -out FILE.plain") from None
    except (ValueError, UnsupportedAlgorithm):
        raise MaterialError("has a private key that cannot be read; is it cut off?") from None
    if not isinstance(found, _KINDS):
        raise MaterialError("has a private key of a kind that TLS does not use; make one with EC P-256 or RSA")
    return found


def revocation_lists(data: bytes) -> list[x509.CertificateRevocationList]:
    mark = b"-----BEGIN X509 CRL-----"
    if mark not in data:
        raise MaterialError(
            _not_pem(data, "X509 CRL", "revocation list", "openssl crl -inform der -in FILE -out FILE.pem")
        )
    try:
        return [x509.load_pem_x509_crl(mark + each) for each in data.split(mark)[1:]]
    except ValueError as error:
        raise MaterialError(f"has a revocation list that cannot be read ({error}); is it cut off?") from None


def _not_pem(data: bytes, mark: str, what: str, convert: str) -> str:
    if not data.strip():
        return f"is empty; it should have a {what} in PEM"
    if data[:1] == b"\x30":
        return f"is DER, not PEM: {convert}"
    other = next((name for name in (b"PRIVATE KEY", b"CERTIFICATE", b"X509 CRL") if b" " + name + b"--" in data), b"")
    if other and mark.encode() not in other:
        return f"has no {what} but a {other.decode()}; are two files swapped?"
    return f"is not PEM: there is no -----BEGIN {mark}----- in it"


# ---- the other way


def of_certificates(found: list[x509.Certificate]) -> bytes:
    """Only the certificates: what was checked is what runs, whatever else stood in the file."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in found)


def of_key(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def of_revocation_lists(found: list[x509.CertificateRevocationList]) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in found)


# ---- keys


def spki(key: object) -> bytes:
    """The public key in DER, by which keys are compared."""
    found: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return found


def kind_of_key(key: object) -> str:
    """`EC P-256`, `RSA 2048`, `Ed25519`; of a public or a private key."""
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return f"EC {_CURVES.get(key.curve.name, key.curve.name)}"
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return type(key).__name__.strip("_").removesuffix("PublicKey").removesuffix("PrivateKey")


def weakness(key: object) -> str:
    """Why peers refuse the key; empty when they do not."""
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey) and key.key_size < SHORTEST_RSA:
        return f"has an RSA key of {key.key_size} bits; peers want at least {SHORTEST_RSA}, or EC P-256"
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) and key.curve.name not in _CURVES:
        return f"has a key on the curve {key.curve.name}, which TLS does not use; take P-256"
    return ""
