"""Certificates of clients: who gets in, with which word on the counters, and what is refused inside the handshake."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ObjectIdentifier

from fastmesh.config.plan import ChainPlan, CredentialPlan
from fastmesh.security.authority import Pair
from tests.security.making import DAY, root
from tests.tls.material import CA, OTHER_CA, client, credential, named, odd, revoking, roots_pem, svid
from tests.tls.plane import Plane, make_plan, terminate

SERVER = named("a.example")
SHOP = "spiffe://cluster.local/ns/default/sa/shop"
ODD_CA = root("b.domain")
LEAF_CA = odd(CA, uris=(SHOP,), ca=True, sign_certs=True)
GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
OTHER_NAME = x509.OtherName(ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x04shop")


def served(plane: Plane, pair: Pair | None, behind: Sequence[Pair] = ()) -> bool:
    """Whether a request is answered to a client with this certificate; otherwise it must have seen an alert."""
    context = client(pair, behind=behind)
    try:
        with context.wrap_socket(plane.connect(), server_hostname="a.example") as tls:
            tls.sendall(GET)
            return tls.recv(65536).endswith(b"hello")
    except ssl.SSLError as error:
        if "alert" not in str(error).lower():
            raise
        return False


def mutual(roots: CredentialPlan | None = None, **fields: Any) -> tuple[list[ChainPlan], list[CredentialPlan]]:
    chain = terminate("own", **{"client": "required", **fields})
    return [chain], [roots or credential("own", SERVER, roots=[CA])]


def spki(pair: Pair) -> str:
    key = pair.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64encode(hashlib.sha256(key).digest()).decode()


def fingerprint(pair: Pair) -> str:
    return hashlib.sha256(pair.certificate.public_bytes(Encoding.DER)).hexdigest()


GOOD = named("client.example")
COUNTERS = {
    "none": "listener.ssl.fail_verify_no_cert",
    "bad": "listener.ssl.fail_verify_error",
    "name": "listener.ssl.fail_verify_san",
    "pin": "listener.ssl.fail_verify_cert_hash",
}


@pytest.mark.parametrize(
    ("pair", "fields", "counted"),
    [
        (GOOD, {}, ""),
        (None, {}, "none"),
        (None, {"client": "optional"}, ""),
        (GOOD, {"client": "optional"}, ""),
        (named("client.example", ca=OTHER_CA), {}, "bad"),
        (named("client.example", ca=OTHER_CA), {"client": "optional"}, "bad"),
        (named("client.example", ca=OTHER_CA), {"accept_unverified": True}, ""),
        (None, {"accept_unverified": True}, ""),
        (named("client.example", ends=-DAY / 2), {}, "bad"),
        (named("client.example", begins=DAY / 2), {}, "bad"),
        (named("client.example", extended=(x509.OID_SERVER_AUTH,)), {}, "bad"),
        (odd(uris=(), names=(x509.DNSName("client.example"),)), {}, "bad"),
        (GOOD, {"sans": ["client.example"]}, ""),
        (GOOD, {"sans": ["other.example", "client.example"]}, ""),
        (GOOD, {"sans": ["example"]}, "name"),
        (GOOD, {"sans": ["client.exampl"]}, "name"),
        (GOOD, {"sans": ["*.example"]}, "name"),
        (GOOD, {"sans": ["client.example.evil"]}, "name"),
        (named("client.example\0.evil"), {"sans": ["client.example"]}, "name"),
        (odd(CA, uris=(), names=(OTHER_NAME,)), {"sans": ["shop"]}, "name"),
        (GOOD, {"hashes": [fingerprint(GOOD)]}, ""),
        (GOOD, {"hashes": [fingerprint(GOOD).upper()]}, ""),
        (GOOD, {"hashes": [fingerprint(SERVER)], "spkis": [spki(GOOD)]}, ""),
        (GOOD, {"hashes": [fingerprint(SERVER)], "spkis": [spki(SERVER)]}, "pin"),
    ],
)
def test_clients(pair: Pair | None, fields: dict[str, Any], counted: str) -> None:
    with Plane(make_plan(*mutual(**fields))) as plane:
        assert served(plane, pair) == (not counted)
        plane.await_count(COUNTERS.get(counted, "listener.ssl.handshake"))
        failures = sum(count for name, count in plane.counts().items() if "fail_verify" in name or "error" in name)
        assert failures == (1 if counted else 0)


def test_revoked() -> None:
    for listed, good in (([GOOD], False), ([SERVER], True)):
        roots = credential("own", SERVER, roots=[CA], crl=revoking(CA, *listed))
        with Plane(make_plan(*mutual(roots))) as plane:
            assert served(plane, GOOD) == good


@pytest.mark.parametrize(
    ("pair", "good"),
    [
        (svid(SHOP), True),
        (svid(SHOP, extended=None), True),
        (svid(SHOP, sign_certs=None), True),
        (svid("spiffe://b.domain/ns/x/sa/y", ca=ODD_CA), True),
        (svid("spiffe://cluster.local/ns/a/sa/name.with.dots"), True),
        (svid(SHOP, names=(x509.DNSName("shop.example"),)), True),
        (odd(CA, uris=(SHOP, SHOP + "2")), False),
        (odd(CA, uris=()), False),
        (odd(CA, uris=(), names=(x509.DNSName("spiffe.cluster.local"),)), False),
        (odd(CA, uris=(), names=(x509.DNSName(SHOP),)), False),
        (odd(CA, uris=(), names=(OTHER_NAME,)), False),
        (svid("https://cluster.local/ns/default/sa/shop"), False),
        (svid("spiffe://cluster.local"), False),
        (svid("spiffe://cluster.local/"), False),
        (svid("spiffe://Cluster.Local/ns/a/sa/b"), False),
        (svid("spiffe://cluster.local/ns/../sa/b"), False),
        (svid("spiffe://cluster.local/ns/a/sa/b?x"), False),
        (svid("spiffe://cluster.local/ns/a\0b/sa/c"), False),
        (LEAF_CA, False),
        (svid(SHOP, sign_certs=True), False),
        (svid(SHOP, extended=(x509.OID_SERVER_AUTH,)), False),
        (svid(SHOP, extended=(ObjectIdentifier("1.2.3"),)), False),
        (svid("spiffe://unknown.domain/ns/a/sa/b"), False),
        (svid("spiffe://b.domain/ns/x/sa/y"), False),  # signed by the other domain's authority
        (svid(SHOP, ca=ODD_CA), False),
        (svid(SHOP, ends=-DAY / 2), False),
        (None, False),
    ],
)
def test_identities_of_the_mesh(pair: Pair | None, good: bool) -> None:
    """Exactly one SPIFFE ID, of a trust domain that may come, signed by that domain's own authority."""
    bundles = {"cluster.local": roots_pem(CA), "b.domain": roots_pem(ODD_CA)}
    own = credential("own", SERVER, bundles=bundles)
    domains = ["cluster.local", "b.domain"]
    with Plane(make_plan(*mutual(own, mesh=True, trust_domains=domains))) as plane:
        assert served(plane, pair) == good


def test_a_domain_that_may_not_come_or_has_no_roots() -> None:
    pair = svid("spiffe://b.domain/ns/x/sa/y", ca=ODD_CA)
    bundles = {"cluster.local": roots_pem(CA), "b.domain": roots_pem(ODD_CA)}
    for domains, present in (
        (["cluster.local"], bundles),
        (["cluster.local", "b.domain"], {"cluster.local": roots_pem(CA)}),
    ):
        own = credential("own", SERVER, bundles=present)
        with Plane(make_plan(*mutual(own, mesh=True, trust_domains=domains))) as plane:
            assert not served(plane, pair)


def test_an_intermediate_authority_is_sent_or_trusted_by_itself() -> None:
    top = odd(uris=(), ca=True, sign_certs=True, extended=None, common_name="top")
    middle = odd(top, uris=(), ca=True, sign_certs=True, extended=None, common_name="middle")
    pair = svid(SHOP, ca=middle)
    for roots, behind, good in (([top], [middle], True), ([top], [], False), ([middle], [], True)):
        own = credential("own", SERVER, roots=roots)
        with Plane(make_plan(*mutual(own, mesh=True, trust_domains=["cluster.local"]))) as plane:
            assert served(plane, pair, behind) == good


# --- tickets ----------------------------------------------------------------------------------------------------------


def visit(plane: Plane, name: str, pair: Pair | None, session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession]:
    """Whether the session was resumed, and the one for the next visit."""
    context = CONTEXTS[id(pair)]
    with context.wrap_socket(plane.connect(), server_hostname=name, session=session) as tls:
        tls.sendall(GET)
        tls.recv(65536)
        assert tls.session is not None
        return bool(tls.session_reused), tls.session


CONTEXTS: dict[int, ssl.SSLContext] = {}


@pytest.fixture
def visitor(request: pytest.FixtureRequest) -> Pair:
    context = client(GOOD)
    context.check_hostname = False
    context.maximum_version = request.param
    CONTEXTS[id(GOOD)] = context
    return GOOD


VERSIONS = pytest.mark.parametrize("visitor", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2], indirect=True)


@VERSIONS
def test_a_ticket_opens_in_its_own_chain_alone(visitor: Pair) -> None:
    """The same certificate and the same ticket keys: what counts is what the client had to prove, and for whom."""
    own = credential("own", SERVER, roots=[CA])
    chains = [
        terminate("own", names=["a.example"], client="optional"),
        terminate("own", names=["b.example"], client="optional"),
        terminate("own", names=["c.example"], client="required"),
    ]
    with Plane(make_plan(chains, [own])) as plane:
        resumed, session = visit(plane, "a.example", visitor, None)
        assert not resumed
        for name in ("b.example", "c.example"):
            assert not visit(plane, name, visitor, session)[0]
        assert visit(plane, "a.example", visitor, session)[0]
        assert plane.counts()["listener.ssl.session_reused"] == 1


@VERSIONS
def test_a_ticket_from_before_a_change_of_policy_is_verified_anew(visitor: Pair) -> None:
    own = credential("own", SERVER, roots=[CA])
    with Plane(make_plan(*mutual(own, client="optional"))) as plane:
        session = visit(plane, "a.example", visitor, None)[1]
        plane.run(make_plan(*mutual(own, client="optional")))
        assert visit(plane, "a.example", visitor, session)[0]
        for fields in ({"client": "required"}, {"client": "optional", "sans": ["client.example"]}):
            plane.run(make_plan(*mutual(own, **fields)))
            assert not visit(plane, "a.example", visitor, session)[0]
        for changed in (
            credential("own", SERVER, roots=[CA, OTHER_CA]),
            credential("own", SERVER, roots=[CA], crl=revoking(CA, SERVER)),
        ):
            plane.run(make_plan(*mutual(changed, client="optional")))
            assert not visit(plane, "a.example", visitor, session)[0]
        plane.run(make_plan(*mutual(credential("own", SERVER, roots=[OTHER_CA]), client="optional")))
        with contextlib.suppress(ssl.SSLError):
            visit(plane, "a.example", visitor, session)
        plane.await_count("listener.ssl.fail_verify_error")


@VERSIONS
def test_keys_of_tickets(visitor: Pair) -> None:
    own = credential("own", SERVER, roots=[CA])
    keys = [bytes([number]) * 80 for number in range(3)]
    with Plane(make_plan(*mutual(own)), keys=[keys[0]]) as plane:
        session = visit(plane, "a.example", visitor, None)[1]
        plane.set_keys([keys[1], keys[0]])
        plane.run(make_plan(*mutual(own)))
        assert visit(plane, "a.example", visitor, session)[0]
        plane.set_keys([keys[2], keys[1]])
        plane.run(make_plan(*mutual(own)))
        assert not visit(plane, "a.example", visitor, session)[0]
        plane.set_keys([])
        plane.run(make_plan(*mutual(own)))
        context = CONTEXTS[id(visitor)]
        with context.wrap_socket(plane.connect(), server_hostname="a.example", session=session) as tls:
            tls.sendall(GET)
            tls.recv(65536)
            assert not tls.session_reused
            assert not (tls.session and tls.session.has_ticket and context.maximum_version == ssl.TLSVersion.TLSv1_2)


def test_who_was_not_verified_gets_no_ticket() -> None:
    CONTEXTS[id(GOOD)] = context = client(GOOD)
    with Plane(make_plan(*mutual(accept_unverified=True))) as plane:
        for _ in range(2):
            with context.wrap_socket(plane.connect(), server_hostname="a.example") as tls:
                tls.sendall(GET)
                tls.recv(65536)
                assert tls.session is None or not tls.session.has_ticket
