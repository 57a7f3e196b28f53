"""Every kind of wrong certificate, and what is said about it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from fastmesh.security import certs, pem, times
from fastmesh.security.authority import Pair, issue, make_ca
from fastmesh.security.findings import Finding, MaterialError
from fastmesh.security.spiffe import parse
from tests.security.making import DAY, SHOP, leaf, now, odd, root

CA = root()


def fatal(found: Iterable[Finding]) -> str:
    return "; ".join(each.text for each in found if each.fatal)


def of_mesh(pair: Pair, trust_domain: str = "") -> str:
    return fatal(certs.check_identity(pair.certificate, trust_domain))


# ---- identities


def test_what_our_own_ca_issues_is_right() -> None:
    for use_rsa in (False, True):
        ca = make_ca("td", DAY, use_rsa=use_rsa)
        made = issue(ca, parse("spiffe://td/ns/a/sa/b"), DAY, dns=["a.example"], ips=["::1"], use_rsa=use_rsa)
        chain = [made.certificate]
        assert not [*certs.check_leaf(chain, now()), *certs.check_identity(chain[0], "td")]
        assert not [*certs.check_key(chain, made.key), *certs.check_anchored(chain, [ca.certificate])]
        assert certs.names(chain[0]) == (("spiffe://td/ns/a/sa/b",), ("a.example",), ("::1",), 0)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (odd(CA, uris=()), "has no URI names"),
        (odd(CA, uris=(SHOP, SHOP + "2")), f"has 2 URI names ('{SHOP}', '{SHOP}2')"),
        (odd(CA, uris=("https://cluster.local/x",)), "begins with spiffe://"),
        (odd(CA, uris=("spiffe://cluster.local",)), "of the trust domain itself"),
        (odd(CA, uris=("spiffe://cluster.local/ns/a\0/sa/b",)), "is no step of a path"),
        (odd(CA, uris=(), names=(x509.DNSName("spiffe.cluster.local"),)), "has no URI names"),
        (odd(CA, ca=True), "is the certificate of a CA"),
        (odd(CA, sign_certs=True), "key usage that is not a workload's"),
        (odd(CA, extended=(ExtendedKeyUsageOID.SERVER_AUTH,)), "may not be both server and client"),
        (odd(CA, extended=(ExtendedKeyUsageOID.CLIENT_AUTH,)), "may not be both server and client"),
        (odd(CA, extended=(ObjectIdentifier("1.2.3"),)), "may not be both server and client"),
    ],
)
def test_what_is_no_identity_of_the_mesh(wrong: Pair, text: str) -> None:
    assert text in of_mesh(wrong)


def test_trust_domains() -> None:
    assert of_mesh(leaf(CA), "cluster.local") == ""
    assert "is of the trust domain cluster.local, and the proxy's is other" in of_mesh(leaf(CA), "other")
    with pytest.raises(MaterialError, match="cannot sign"):
        issue(CA, parse("spiffe://other/ns/a/sa/b"), DAY)


# ---- times


def test_times() -> None:
    def of(begins: timedelta, ends: timedelta) -> str:
        return fatal(certs.check_leaf([odd(CA, begins=begins, ends=ends).certificate], now()))

    assert of(-DAY, DAY) == ""
    assert of(-3 * DAY, -2 * DAY).startswith("was valid until 20")
    assert ", 2 days ago; issue a new one" in of(-3 * DAY, -2 * DAY)
    assert "is not valid before" in of(DAY, 2 * DAY)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(90 * 86400, "90 days"), (86400, "1 day"), (3 * 3600 + 720, "3 h 12 min"), (61, "1 min"), (5, "5 s"), (-5, "5 s")],
)
def test_spans(seconds: int, text: str) -> None:
    assert times.span(timedelta(seconds=seconds)) == text


# ---- chains, keys, roots


def test_order_of_a_chain() -> None:
    between = odd(CA, ca=True, sign_certs=True, uris=(), common_name="between")
    own = odd(between)
    right = [own.certificate, between.certificate]
    assert fatal(certs.check_leaf(right, now())) == ""
    assert fatal(certs.check_anchored(right, [CA.certificate])) == ""
    assert "is not signed by any of the roots, but by CN=between" in fatal(
        certs.check_anchored(right[:1], [CA.certificate])
    )
    assert "did not sign the one before it" in fatal(certs.check_leaf([own.certificate, CA.certificate], now()))
    assert "does not begin with the certificate of the key" in fatal(certs.check_key(right[::-1], own.key))
    old = odd(CA, ca=True, sign_certs=True, common_name="old", begins=-2 * DAY, ends=-DAY)
    assert "certificate 2 of the chain (CN=old) was valid until" in fatal(
        certs.check_leaf([odd(old).certificate, old.certificate], now())
    )


def test_name_of_the_issuer_is_not_enough() -> None:
    impostor = root()  # the same name, another key
    assert "is not signed by any of the roots" in fatal(
        certs.check_anchored([leaf(impostor).certificate], [CA.certificate])
    )


def test_keys() -> None:
    own, other = leaf(CA), leaf(CA)
    assert fatal(certs.check_key([own.certificate], own.key)) == ""
    assert "does not fit the certificate of spiffe://" in fatal(certs.check_key([own.certificate], other.key))
    short = odd(CA, key=rsa.generate_private_key(65537, 1024))
    assert "RSA key of 1024 bits; peers want at least 2048" in fatal(certs.check_leaf([short.certificate], now()))
    strange = odd(CA, key=ec.generate_private_key(ec.SECP256K1()))
    assert "curve secp256k1" in fatal(certs.check_leaf([strange.certificate], now()))


def test_ca_as_leaf() -> None:
    assert "of a CA" in fatal(certs.check_leaf([CA.certificate], now()))
    assert "of a CA" in fatal(certs.check_leaf([odd(CA, ca=True, sign_certs=None).certificate], now()))
    by_openssl_req = list(certs.check_leaf([odd(ca=True, sign_certs=None).certificate], now()))
    assert [each.fatal for each in by_openssl_req] == [False]  # people use these, and Envoy takes them


def test_roots() -> None:
    old = odd(ca=True, sign_certs=True, common_name="old", begins=-2 * DAY, ends=-DAY)
    found = list(certs.check_roots([CA.certificate, old.certificate], now()))
    assert [(each.fatal, "certificate 2 (CN=old) was valid until" in each.text) for each in found] == [(False, True)]
    assert "has no certificate that peers could be checked against" in fatal(
        certs.check_roots([old.certificate, leaf(CA).certificate], now())
    )


# ---- PEM


def text_only(value: object) -> str:
    """Names of tests that are the same in every run."""
    return value if isinstance(value, str) else "data"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"hello", "is not PEM: there is no -----BEGIN CERTIFICATE-----"),
        (CA.certificate.public_bytes(Encoding.DER), "is DER, not PEM: openssl x509 -inform der"),
        (pem.of_key(CA.key), "has no certificate but a PRIVATE KEY; are two files swapped?"),
        (pem.of_certificates([CA.certificate])[:200], "cannot be read"),
        (pem.of_certificates([CA.certificate]).replace(b"MII", b"AAA"), "cannot be read"),
        (pem.of_certificates([CA.certificate]) + b"-----BEGIN CERTIFICATE-----\nAA==\n", "only 1 can be read"),
    ],
    ids=text_only,
)
def test_what_is_no_certificate(data: bytes, text: str) -> None:
    with pytest.raises(MaterialError) as error:
        pem.certificates(data)
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "is empty"),
        (pem.of_certificates([CA.certificate]), "has no private key but a CERTIFICATE"),
        (pem.of_key(CA.key)[:100], "cannot be read"),
        (
            CA.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
            "is encrypted; a proxy has nobody to ask",
        ),
        (
            CA.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"secret")),
            "is encrypted",
        ),
        (CA.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), "is DER, not PEM: openssl pkey"),
        (
            dsa.generate_private_key(1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "of a kind that TLS does not use",
        ),
    ],
    ids=text_only,
)
def test_what_is_no_key(data: bytes, text: str) -> None:
    with pytest.raises(MaterialError) as error:
        pem.private_key(data)
    assert text in str(error.value)
    words = [word for word in data.decode("latin-1").split() if len(word) > 20]
    assert not any(word in str(error.value) for word in words)


def test_kinds_of_keys() -> None:
    edwards = ed25519.Ed25519PrivateKey.generate()
    assert [pem.kind_of_key(key) for key in (CA.key, CA.key.public_key(), edwards, edwards.public_key())] == [
        "EC P-256",
        "EC P-256",
        "Ed25519",
        "Ed25519",
    ]


def test_files_of_openssl_are_read(tmp_path: Path) -> None:
    """With the parameters that `ecparam` writes before a key, and the text that `x509 -text` writes before PEM."""
    script = """
        openssl ecparam -name prime256v1 -genkey -out ec.pem
        openssl genrsa -traditional -out rsa.pem 2048
        openssl genpkey -algorithm ed25519 -out ed.pem
        for kind in ec rsa ed; do
            openssl req -new -x509 -key $kind.pem -subj /CN=$kind -days 1 | openssl x509 -text > $kind.cert
            cat $kind.pem >> $kind.cert
        done
    """
    subprocess.run(["sh", "-ec", script], cwd=tmp_path, check=True, capture_output=True)
    for kind in ("ec", "rsa", "ed"):
        data = (tmp_path / f"{kind}.cert").read_bytes()
        chain, key = pem.certificates(data), pem.private_key(data)
        assert certs.subject(chain[0]) == f"CN={kind}"
        assert not list(certs.check_key(chain, key))
        clean = pem.of_certificates(chain)
        assert clean.startswith(b"-----BEGIN CERTIFICATE-----")
        assert b"PRIVATE" not in clean


def test_serials_are_whole_bytes() -> None:
    shown = certs.serial(CA.certificate)
    assert len(shown) % 2 == 0
    assert int(shown, 16) == CA.certificate.serial_number
