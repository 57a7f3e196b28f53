"""From what is asked for to what can run: every kind of bad material, with the line that is said about it."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from fastmesh.security import pem
from fastmesh.security.authority import Pair
from fastmesh.security.expiry import Expiry
from fastmesh.security.files import CHAIN, KEY, ROOTS
from fastmesh.security.folder import MESH, mesh_request
from fastmesh.security.load import load
from fastmesh.security.material import Loaded, Material, Piece, Request
from fastmesh.security.reader import Reader
from tests.security.making import DAY, leaf, now, odd, root, write

CA = root()
OTHER = root("other")


def loaded(folder: Path, last: Loaded | None = None, trust_domain: str = "", reader: Reader | None = None) -> Loaded:
    return load([mesh_request(str(folder), trust_domain)], reader or Reader(), last or Loaded(), now())


def good(folder: Path) -> Pair:
    made = leaf(CA)
    write(folder, made, roots=[CA])
    return made


def test_an_identity(tmp_path: Path) -> None:
    made = good(tmp_path)
    found = loaded(tmp_path)
    assert (found.failures, found.warnings) == ([], [])
    material = found.materials[MESH]
    assert material.principal == "spiffe://cluster.local/ns/default/sa/shop"
    assert int(material.serial, 16) == made.certificate.serial_number
    assert material.not_after == int(made.certificate.not_valid_after_utc.timestamp())
    assert pem.certificates(material.chain) == [made.certificate]
    assert pem.certificates(material.roots) == [CA.certificate]
    assert list(material.bundles) == ["cluster.local"]
    assert pem.spki(pem.private_key(material.key).public_key()) == pem.spki(made.key.public_key())


# ---- bad material

WRONG: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no folder": (lambda at: [each.unlink() for each in at.iterdir()], CHAIN, "is not there"),
    "no key": (lambda at: (at / KEY).unlink(), KEY, "is not there; write the path of a file in PEM"),
    "no roots": (lambda at: (at / ROOTS).unlink(), ROOTS, "is not there"),
    "a folder": (lambda at: [(at / KEY).unlink(), (at / KEY).mkdir()], KEY, "is not a file"),
    "empty": (lambda at: (at / CHAIN).write_bytes(b""), CHAIN, "is empty"),
    "not PEM": (lambda at: (at / CHAIN).write_text("hello"), CHAIN, "is not PEM"),
    "cut off": (lambda at: os.truncate(at / CHAIN, 300), CHAIN, "is it cut off?"),
    "swapped": (lambda at: (at / CHAIN).write_bytes((at / KEY).read_bytes()), CHAIN, "are two files swapped?"),
    "other key": (lambda at: write(at, leaf(CA), roots=[CA], key=CA.key), KEY, "does not fit the certificate of"),
    "expired": (lambda at: write(at, leaf(CA, begins=now() - 3 * DAY), roots=[CA]), CHAIN, "was valid until 20"),
    "too early": (lambda at: write(at, leaf(CA, begins=now() + DAY), roots=[CA]), CHAIN, "is not valid before 20"),
    "CA as leaf": (lambda at: write(at, CA, roots=[CA]), CHAIN, "is the certificate of a CA"),
    "two URIs": (lambda at: write(at, odd(CA, uris=("spiffe://a/b", "spiffe://a/c")), roots=[CA]), CHAIN, "has 2 URI"),
    "no URI": (lambda at: write(at, odd(CA, uris=()), roots=[CA]), CHAIN, "has no URI names"),
    "other CA": (lambda at: write(at, leaf(CA), roots=[root()]), CHAIN, "is not signed by any of the roots"),
    "no CA at all": (lambda at: write(at, leaf(CA), roots=[leaf(CA)]), ROOTS, "has no certificate that peers could be"),
    "wrong order": (lambda at: write(at, CA, leaf(CA), roots=[CA]), CHAIN, "write the leaf first"),
    "bundle's name": (lambda at: (at / "bundle-Other.pem").touch(), "bundle-Other.pem", "is not a trust domain"),
    "bundle": (lambda at: (at / "bundle-other.pem").touch(), "bundle-other.pem", "is empty"),
    "CRL": (lambda at: (at / "ca-crl.pem").write_text("x"), "ca-crl.pem", "is not PEM"),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_material_stops_a_start_and_leaves_what_runs(tmp_path: Path, what: str) -> None:
    spoil, file, text = WRONG[what]
    good(tmp_path)
    before = loaded(tmp_path)
    spoil(tmp_path)
    start = loaded(tmp_path)
    assert not start.materials
    assert any(line.startswith(f"{tmp_path / file}: ") and text in line for line in start.fatal), start.fatal
    later = loaded(tmp_path, before)
    assert later.materials == before.materials
    assert later.fatal == []
    assert any(text in line and "the certificate from before stays, valid until 20" in line for line in later.warnings)
    again = loaded(tmp_path, later)
    assert again.warnings == later.warnings  # word for word, however much later
    assert again.failures[0].digest == later.failures[0].digest
    if (tmp_path / KEY).is_dir():
        (tmp_path / KEY).rmdir()
    good(tmp_path)
    for leftover in ("bundle-Other.pem", "bundle-other.pem", "ca-crl.pem"):
        (tmp_path / leftover).unlink(missing_ok=True)
    healed = loaded(tmp_path, again)
    assert (healed.failures, healed.warnings) == ([], [])
    assert healed.materials[MESH].serial != before.materials[MESH].serial


def test_of_another_trust_domain(tmp_path: Path) -> None:
    good(tmp_path)
    (line,) = loaded(tmp_path, trust_domain="other").fatal
    assert "and the proxy's is other; issue it there, or say --trust-domain cluster.local" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    good(tmp_path)
    (tmp_path / KEY).chmod(0)
    assert "cannot be read: Permission denied; let the user of the proxy read it" in loaded(tmp_path).fatal[0]


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    good(tmp_path)
    (tmp_path / CHAIN).write_text("x")
    (tmp_path / KEY).write_text("y")
    assert len(loaded(tmp_path).fatal) == 2


# ---- trust domains


def test_bundles_of_other_trust_domains(tmp_path: Path) -> None:
    good(tmp_path)
    (tmp_path / "bundle-other.pem").write_bytes(pem.of_certificates([OTHER.certificate]))
    (tmp_path / "trust-bundles").mkdir()
    third = root("third.example")
    (tmp_path / "trust-bundles/third.example.pem").write_bytes(pem.of_certificates([third.certificate]))
    (tmp_path / "trust-bundles/README").write_text("not PEM")
    bundles = loaded(tmp_path).materials[MESH].bundles
    assert bundles == {
        "cluster.local": pem.of_certificates([CA.certificate]),
        "other": pem.of_certificates([OTHER.certificate]),
        "third.example": pem.of_certificates([third.certificate]),
    }
    (tmp_path / "bundle-other.pem").rename(tmp_path / "bundle-renamed.pem")
    before = loaded(tmp_path)
    assert sorted(before.materials[MESH].bundles) == ["cluster.local", "renamed", "third.example"]


def test_old_roots_beside_new_ones_are_told_only(tmp_path: Path) -> None:
    old = odd(ca=True, sign_certs=True, common_name="old", begins=-2 * DAY, ends=-DAY)
    write(tmp_path, leaf(CA), roots=[CA, old])
    found = loaded(tmp_path)
    assert not found.failures
    assert "certificate 2 (CN=old) was valid until" in found.warnings[0]


# ---- what is read again


def test_only_what_changed_is_read_and_made_again(tmp_path: Path) -> None:
    reader, folders = Reader(), [tmp_path / name for name in "ab"]
    for folder in folders:
        good(folder)
    requests = [Request(**{**_fields(mesh_request(str(each))), "name": each.name}) for each in folders]
    first = load(requests, reader, Loaded(), now())
    assert reader.reads == 6
    same = load(requests, reader, first, now())
    assert reader.reads == 6
    assert all(same.materials[name] is first.materials[name] for name in "ab")
    good(folders[1])
    changed = load(requests, reader, same, now())
    assert reader.reads == 9  # three files were renamed into place
    assert changed.materials["a"] is first.materials["a"]
    assert changed.materials["b"].serial != first.materials["b"].serial


def _fields(request: Request) -> dict[str, object]:
    return {name: getattr(request, name) for name in request.__struct_fields__}


def test_a_mounted_secret_is_swapped_by_one_link(tmp_path: Path) -> None:
    """As the kubelet does it: `..data` points to a new folder; the names that we read are links through it."""
    mount, reader = tmp_path / "mount", Reader()
    mount.mkdir()
    for version in ("..1", "..2"):
        good(mount / version)
    (mount / "..data").symlink_to("..1")
    for name in (CHAIN, KEY, ROOTS):
        (mount / name).symlink_to(f"..data/{name}")
    first = loaded(mount, reader=reader)
    (mount / "..new").symlink_to("..2")
    (mount / "..new").rename(mount / "..data")
    second = loaded(mount, first, reader=reader)
    assert not second.failures
    assert second.materials[MESH].serial != first.materials[MESH].serial


# ---- what is not the mesh's


def piece(data: bytes, what: str = "mesh.yaml:7: Secret/web: data") -> Piece:
    return Piece(place=what, data=data)


def of_secret(pair: Pair, **more: bytes) -> Request:
    pieces = {name: piece(data, f"mesh.yaml:7: Secret/web: {name}") for name, data in more.items()}
    roots = (pieces.pop("roots"),) if "roots" in pieces else ()
    chain, key = pem.of_certificates([pair.certificate]), pem.of_key(pair.key)
    return Request(name="secret:default/web", chain=piece(chain), key=piece(key), roots=roots, **pieces)


def test_a_secret_of_a_server_need_not_be_of_the_mesh() -> None:
    server = odd(uris=(), names=(x509.DNSName("shop.example"),), extended=None)
    found = load([of_secret(server)], Reader(), Loaded(), now())
    assert not found.failures
    assert not found.warnings
    assert found.materials["secret:default/web"].bundles == {}
    assert found.materials["secret:default/web"].principal == ""


def test_a_bad_secret_is_named_with_its_line() -> None:
    request = Request(name="x", chain=piece(b"hello"), key=piece(b""))
    assert load([request], Reader(), Loaded(), now()).fatal == [
        "mesh.yaml:7: Secret/web: data: is not PEM: there is no -----BEGIN CERTIFICATE----- in it",
        "mesh.yaml:7: Secret/web: data: is empty; it should have a private key in PEM",
    ]


def test_who_asked_for_a_file_is_said() -> None:
    chain = Piece(place="/nowhere", path="/nowhere", asked="gw.yaml:12: Gateway/web: spec.servers[0]")
    (line,) = load([Request(name="x", chain=chain)], Reader(), Loaded(), now()).fatal
    assert line.startswith("/nowhere: is not there;")
    assert line.endswith("(gw.yaml:12: Gateway/web: spec.servers[0])")


def crl(issuer: Pair, ends: timedelta = DAY) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(now() - 2 * DAY).next_update(now() + ends)
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.PEM)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "warning"),
    [
        (crl(CA), ""),
        (crl(CA) + crl(CA), ""),
        (crl(CA, -DAY), "should have been renewed by 20"),
        (crl(OTHER), "which is none of the roots"),
        (crl(root()), "which is none of the roots"),  # the same name, another key
    ],
    ids=["good", "two", "old", "other", "impostor"],
)
def test_revocation_lists(data: bytes, warning: str) -> None:
    request = of_secret(leaf(CA), roots=pem.of_certificates([CA.certificate]), crl=data)
    found = load([request], Reader(), Loaded(), now())
    assert not found.failures
    assert found.materials[request.name].crl == data
    assert (warning in found.warnings[0]) if warning else found.warnings == []


# ---- OCSP staples


def response(
    of: Pair,
    issuer: Pair = CA,
    ends: timedelta | None = DAY,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    begins: timedelta = -2 * DAY,
) -> bytes:
    revoked = now() - DAY if status is ocsp.OCSPCertStatus.REVOKED else None
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=of.certificate,
        issuer=issuer.certificate,
        algorithm=hashes.SHA1(),
        cert_status=status,
        this_update=now() + begins,
        next_update=None if ends is None else now() + ends,
        revocation_time=revoked,
        revocation_reason=None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer.certificate)
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.DER)  # type: ignore[arg-type]


OWN = leaf(CA)
UNSUCCESSFUL = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)


@pytest.mark.parametrize(
    ("data", "warning"),
    [
        (response(OWN), ""),
        (response(OWN, ends=None), ""),
        (response(OWN, ends=-DAY), "was valid until 20"),
        (response(OWN, begins=DAY, ends=2 * DAY), "is not valid before 20"),
        (response(leaf(CA)), "is about another certificate than spiffe://"),
        (response(odd(OTHER, serial=OWN.certificate.serial_number), issuer=OTHER), "is about another certificate"),
        (response(OWN, status=ocsp.OCSPCertStatus.REVOKED), "says that the certificate is REVOKED"),
        (UNSUCCESSFUL.public_bytes(Encoding.DER), "is the answer TRY_LATER"),
        (b"hello", "is not an OCSP response in DER"),
    ],
    ids=["good", "endless", "old", "early", "other", "issuer", "revoked", "unsuccessful", "junk"],
)
def test_staples(data: bytes, warning: str) -> None:
    request = of_secret(OWN, staple=data)
    found = load([request], Reader(), Loaded(), now())
    assert not found.failures
    assert found.materials[request.name].staple == (b"" if warning else data)
    if warning:
        (line,) = found.warnings
        assert line.startswith("mesh.yaml:7: Secret/web: staple: ")
        assert warning in line
        assert line.endswith("it is not stapled")
    else:
        assert found.warnings == []


def test_a_staple_is_dropped_when_it_gets_too_old() -> None:
    request, reader = of_secret(OWN, staple=response(OWN, ends=DAY / 2)), Reader()
    first = load([request], reader, Loaded(), now())
    until = first.materials[request.name].good_until
    assert until is not None
    later = load([request], reader, first, until + timedelta(seconds=1))
    assert later.materials[request.name].staple == b""
    assert "it is not stapled" in later.warnings[0]
    expired = load([request], reader, first, now() + 3 * DAY)  # the certificate itself is too old as well: it stays
    assert expired.materials[request.name].serial == first.materials[request.name].serial
    assert expired.materials[request.name].staple == b""
    assert expired.materials[request.name].good_until is None


def test_a_staple_beside_a_file_need_not_be_there(tmp_path: Path) -> None:
    good(tmp_path)
    paths = {name: str(tmp_path / name) for name in (CHAIN, KEY)}
    chain, key = (Piece(place=path, path=path) for path in paths.values())
    beside = paths[CHAIN] + ".ocsp"
    request = Request(name="x", chain=chain, key=key, staple=Piece(place=beside, path=beside, optional=True))
    reader = Reader()
    first = load([request], reader, Loaded(), now())
    assert (first.failures, first.warnings) == ([], [])
    Path(beside).write_bytes(b"junk")
    second = load([request], reader, first, now())
    assert "is not an OCSP response" in second.warnings[0]


# ---- secrets, calendar


def test_nothing_prints_a_key(tmp_path: Path) -> None:
    good(tmp_path)
    found = loaded(tmp_path)
    request = of_secret(OWN)
    broken = load([Request(name="x", key=request.key, chain=piece(b"junk"))], Reader(), Loaded(), now())
    bodies = [pem.of_key(OWN.key), found.materials[MESH].key]
    for thing in (found, request, broken, request.key, Reader()):
        for body in bodies:
            assert body.splitlines()[1].decode() not in repr(thing)
    assert "PRIVATE KEY" not in repr((found, request, broken))


@pytest.mark.parametrize(
    ("life", "notice"), [(timedelta(hours=24), timedelta(hours=4)), (timedelta(days=365), timedelta(days=13))]
)
def test_the_end_is_told_once_in_time_and_once_when_it_is_over(life: timedelta, notice: timedelta) -> None:
    request = of_secret(leaf(CA, lifetime=life))
    found = load([request], Reader(), Loaded(), now()).materials.values()
    expiry = Expiry()
    ends = datetime.fromtimestamp(next(iter(found)).not_after, now().tzinfo)

    def said(before_end: timedelta) -> list[str]:
        return expiry.notices(found, ends - before_end)

    assert said(life) == []
    assert said(2 * notice) == []
    (line,) = said(notice)
    assert line.startswith("mesh.yaml:7: Secret/web: data: spiffe://cluster.local/ns/default/sa/shop is valid for ")
    assert said(notice / 2) == []
    (line,) = said(-DAY)
    assert "was valid until" in line
    assert said(-2 * DAY) == []


def test_material_is_what_the_plan_wants() -> None:
    from fastmesh.config.plan import CredentialPlan

    assert set(CredentialPlan.__struct_fields__) <= set(Material.__struct_fields__)
