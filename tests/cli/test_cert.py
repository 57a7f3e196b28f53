"""`fastmesh cert` from outside: its files are asked with the openssl command, as anybody would."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fastmesh.security import pem
from fastmesh.security.files import ROOTS, write_together
from tests.security.making import odd, root, write

ROOT = Path(__file__).resolve().parents[2]


def fastmesh(folder: Path, *arguments: str, code: int = 0) -> str:
    """What it says; `code` is how it has to end."""
    command = [sys.executable, "-m", "fastmesh", "cert", *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "PRIVATE" not in done.stdout + done.stderr
    return done.stdout if code == 0 else done.stdout + done.stderr


def openssl(folder: Path, *arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three commands of docs/mtls.md."""
    folder = tmp_path_factory.mktemp("mesh")
    assert "valid until" in fastmesh(folder, "ca")
    fastmesh(folder, "issue", "cart.shop")
    fastmesh(folder, "issue", "orders.shop", "--sa", "clerk", "--rsa", "--dns", "orders.example", "--ip", "127.0.0.1")
    return folder


def test_openssl_finds_strict_identities(made: Path) -> None:
    for name in ("cart.shop", "orders.shop"):
        chain = f"certs/{name}/cert-chain.pem"
        for purpose in ("sslserver", "sslclient"):
            flags = ["-x509_strict", "-purpose", purpose, "-CAfile", f"certs/{name}/{ROOTS}"]
            assert openssl(made, "verify", *flags, chain) == f"{chain}: OK\n"
    said = openssl(made, "x509", "-in", "certs/cart.shop/cert-chain.pem", "-noout", "-text")
    assert "Subject Alternative Name: critical\n                URI:spiffe://cluster.local/ns/shop/sa/cart\n" in said
    for text in ("CA:FALSE", "ASN1 OID: prime256v1", "TLS Web Server Authentication, TLS Web Client Authentication"):
        assert text in said
    said = openssl(made, "x509", "-in", "certs/orders.shop/cert-chain.pem", "-noout", "-text")
    assert "URI:spiffe://cluster.local/ns/shop/sa/clerk, DNS:orders.example, IP Address:127.0.0.1" in said
    assert "Public-Key: (2048 bit)" in said
    said = openssl(made, "x509", "-in", f"certs/ca/{ROOTS}", "-noout", "-text")
    assert "CA:TRUE, pathlen:0" in said
    assert "Certificate Sign, CRL Sign" in said


def test_keys_are_for_their_owner_only(made: Path) -> None:
    for name in ("ca/ca-key.pem", "cart.shop/key.pem"):
        assert stat.S_IMODE((made / "certs" / name).stat().st_mode) == 0o600
    assert not [path for path in made.rglob(".*") if path.is_file()]  # no temporary file is left


def test_issuing_again_replaces_all_three_at_their_places(made: Path) -> None:
    before = {path.name: path.stat().st_ino for path in (made / "certs/cart.shop").iterdir()}
    fastmesh(made, "issue", "cart.shop", "--hours", "2")
    after = {path.name: path.stat().st_ino for path in (made / "certs/cart.shop").iterdir()}
    assert before.keys() == after.keys() == {"cert-chain.pem", "key.pem", "root-cert.pem"}
    assert all(before[name] != after[name] for name in before)  # renamed into place, not written over
    assert json.loads(fastmesh(made, "show", "certs/cart.shop", "-o", "json"))[0]["problems"] == []


def test_issuing_follows_the_links_of_a_mounted_secret(made: Path) -> None:
    folder = made / "mounted"
    (folder / "..1").mkdir(parents=True)
    (folder / "..data").symlink_to("..1")
    for name in ("cert-chain.pem", "key.pem", "root-cert.pem"):
        (folder / name).symlink_to(f"..data/{name}")
    fastmesh(made, "issue", "cart.shop", "--out", "mounted")
    assert (folder / "key.pem").is_symlink()
    assert (folder / "..1/key.pem").is_file()
    fastmesh(made, "show", "mounted")


def test_ends_with_its_ca_and_keeps_its_trust_domain(made: Path) -> None:
    fastmesh(made, "ca", "--out", "short", "--trust-domain", "east", "--days", "2")
    fastmesh(made, "issue", "a.b", "--ca", "short", "--out", "a", "--days", "90")
    leaf, issuer = show(made, "a")["certificates"]
    assert leaf["spiffe_id"] == "spiffe://east/ns/b/sa/a"
    assert leaf["valid_until"] == issuer["valid_until"]
    said = fastmesh(made, "issue", "spiffe://west/ns/b/sa/a", "--ca", "short", "--out", "b", code=65)
    assert "short/ca-cert.pem: is the CA of the trust domain east, it cannot sign spiffe://west/ns/b/sa/a" in said
    assert not (made / "b").exists()


def test_a_ca_is_not_replaced_by_accident(made: Path) -> None:
    key = (made / "certs/ca/ca-key.pem").read_bytes()
    assert "--force replaces it" in fastmesh(made, "ca", code=1)
    assert (made / "certs/ca/ca-key.pem").read_bytes() == key


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["issue", "cart"], "is not NAME.NAMESPACE"),
        (["issue", "cart.shop.svc.cluster.local"], "is not NAME.NAMESPACE"),
        (["issue", "Cart.shop"], "is not a service account"),
        (["issue", "spiffe://cluster.local"], "write a path"),
        (["issue", "spiffe://cluster.local/ns/../sa/x"], "is no step of a path"),
        (["issue", "spiffe://cluster.local/ns/a/sa/x", "--sa", "y"], "--sa has no place"),
        (["issue", "cart.shop", "--days", "1", "--hours", "1"], "exclude each other"),
        (["issue", "cart.shop", "--days", "0"], "--days"),
        (["issue", "cart.shop", "--ip", "localhost"], "is not an address"),
        (["ca", "--out", "x", "--trust-domain", "Shop"], "is not a trust domain"),
        (["show"], "PATH"),
        ([], "Usage"),
    ],
)
def test_wrong_usage_exits_64(made: Path, arguments: list[str], text: str) -> None:
    assert text in fastmesh(made, *arguments, code=64)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["issue", "cart.shop", "--ca", "nowhere"], "nowhere/ca-cert.pem: is not there; make a CA with"),
        (["show", "nowhere.pem"], "nowhere.pem: No such file or directory"),
        (["show", "hello.txt"], "hello.txt: is not PEM"),
    ],
)
def test_wrong_files_exit_65(made: Path, arguments: list[str], text: str) -> None:
    (made / "hello.txt").write_text("hello")
    assert text in fastmesh(made, *arguments, code=65)


def test_a_ca_below_another_puts_itself_into_the_chain(made: Path) -> None:
    """As Istio's plugged-in CA: the certificates that sign, and apart from them the root."""
    top = odd(ca=True, sign_certs=True, uris=(), common_name="top")
    middle = odd(top, ca=True, sign_certs=True, uris=(), common_name="middle")
    low = odd(middle, ca=True, sign_certs=True, uris=(), common_name="low")
    contents = {
        "ca-cert.pem": pem.of_certificates([low.certificate, middle.certificate]),
        "ca-key.pem": pem.of_key(low.key),
        ROOTS: pem.of_certificates([top.certificate]),
    }
    write_together(made / "plugged", contents)
    fastmesh(made, "issue", "a.b", "--ca", "plugged", "--out", "below", "--trust-domain", "east", "--hours", "1")
    said = show(made, "below")
    assert [each["subject"] for each in said["certificates"]] == ["", "CN=low", "CN=middle", "CN=top"]
    assert said["certificates"][0]["spiffe_id"] == "spiffe://east/ns/b/sa/a"
    assert said["chain_leads_to_root"]
    flags = ["-CAfile", f"below/{ROOTS}", "-untrusted", "below/cert-chain.pem"]
    assert openssl(made, "verify", *flags, "below/cert-chain.pem") == "below/cert-chain.pem: OK\n"


def test_a_ca_whose_key_is_another_does_not_sign(made: Path) -> None:
    fastmesh(made, "ca", "--out", "mixed")
    (made / "mixed/ca-key.pem").write_bytes((made / "certs/ca/ca-key.pem").read_bytes())
    assert "mixed/ca-key.pem: does not fit" in fastmesh(made, "issue", "a.b", "--ca", "mixed", "--out", "x", code=65)


def show(folder: Path, path: str, code: int = 0) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(fastmesh(folder, "show", path, "-o", "json", code=code))
    return found[0]


def test_show_says_what_openssl_says(made: Path) -> None:
    said = show(made, "certs/orders.shop")
    leaf = said["certificates"][0]
    file = "certs/orders.shop/cert-chain.pem"
    asked = openssl(made, "x509", "-in", file, "-noout", "-serial", "-fingerprint", "-sha256", "-issuer")
    assert f"serial={leaf['serial'].upper()}\n" in asked
    assert leaf["sha256"].upper() in asked.replace(":", "")
    assert leaf["spiffe_id"] == "spiffe://cluster.local/ns/shop/sa/clerk"
    assert leaf["sans"] == {"uri": [leaf["spiffe_id"]], "dns": ["orders.example"], "ip": ["127.0.0.1"]}
    assert 89 * 86400 < leaf["seconds_left"] <= 90 * 86400
    assert leaf["valid"]
    assert leaf["key"] == said["key"]["type"] == "RSA 2048"
    assert said["key_fits"]
    assert said["chain_leads_to_root"]
    text = fastmesh(made, "show", "certs/orders.shop")
    for part in ("89 days left", "RSA 2048, fits the certificate", "leads to a root", "DNS orders.example"):
        assert part in text


def test_show_says_what_does_not_fit(made: Path) -> None:
    ca, other = root(), root()
    write(made / "wrong", odd(ca), roots=[other], key=odd().key)
    said = show(made, "wrong", code=1)
    assert said["key_fits"] is False
    assert said["chain_leads_to_root"] is False
    text = fastmesh(made, "show", "wrong", code=1)
    assert "does not fit the certificate" in text
    assert "is not signed by any of the roots" in text
    assert fastmesh(made, "show", "certs/ca")  # a CA by itself is nothing wrong
