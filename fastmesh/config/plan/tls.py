# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""Key material, where it comes from, and how it is used on both sides."""

from __future__ import annotations

from typing import Literal

from fastmesh.config.plan.parts import Origin, PlanPart


class CredentialSourcePlan(PlanPart, frozen=True):
    """Where the material of a credential lies. It stays with the master and holds no material itself.

    A place is `file:PATH`, `secret:NS/NAME` or `configmap:NS/NAME`; a Secret knows its chain, key, roots and list.
    """

    name: str  # of the CredentialPlan that is to be made of it
    origin: Origin  # the first object that asks for it
    field: str = ""  # where in it
    mesh: bool = False  # the proxy's own identity: what --certs names
    chain: str = ""
    key: str = ""
    roots: list[str] = []  # several count together
    crl: str = ""


class CredentialPlan(PlanPart, frozen=True):
    """Key material under the name that the other parts use. It goes to the workers only; `Plan.shown` hides it.

    `bundles` are the roots of each trust domain, of mesh identities: the trust domain in a peer's name chooses them.
    A name that the other parts use and that no CredentialPlan has means: there is no material, every handshake fails.
    """

    name: str  # "secret:NS/NAME", "file:CHAIN", "mesh"; with what peers are checked against "file:CHAIN+ca=file:ROOTS"
    chain: bytes = b""  # PEM, the leaf first; empty where only peers are checked
    key: bytes = b""  # PEM
    roots: bytes = b""  # PEM; empty: the system's
    crl: bytes = b""  # PEM
    staple: bytes = b""  # an OCSP response, DER
    bundles: dict[str, bytes] = {}  # trust domain -> PEM
    serial: str = ""  # of the leaf, for /certs
    not_after: int = 0  # seconds since 1970, of the leaf

    def __repr__(self) -> str:
        return f"CredentialPlan({self.name}, serial {self.serial})"  # nobody prints keys by accident


class ServerTLSPlan(PlanPart, frozen=True):
    """How TLS from clients ends. `mesh`: the client's certificate must be an SVID of one of `trust_domains`."""

    credentials: list[str]  # names of CredentialPlan, one a kind of key; the first one's roots check clients
    client: Literal["none", "optional", "required"] = "none"  # a certificate of the client
    mesh: bool = False
    trust_domains: list[str] = []
    accept_unverified: bool = False  # ask for a certificate, look at it, accept whatever it is
    min_version: Literal["TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"] = "TLSV1_2"
    max_version: Literal["TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"] = "TLSV1_3"
    ciphers: list[str] = []  # of TLS 1.2, OpenSSL's names; empty: the proxy's own choice
    curves: list[str] = []  # of the key exchange; empty: the proxy's own choice
    alpn: list[str] = []  # in the order of preference
    sans: list[str] = []  # what the client's certificate must name one of; empty: anything
    hashes: list[str] = []  # SHA-256 of the client's certificate, hex; it or one of `spkis` must fit
    spkis: list[str] = []  # SHA-256 of its public key, base64


class ClientTLSPlan(PlanPart, frozen=True):
    """How connections to a cluster's endpoints are encrypted. `mesh`: the server's certificate must be an SVID.

    To a cluster with `http` "client" only those names of `alpn` are offered that fit the version of the connection:
    the ones that end in "h2", or the ones that end in "http/1.1"; "istio" fits both.
    """

    credential: str = ""  # own certificate, and the roots that servers are checked against; "": none, and the system's
    verify: bool = True
    mesh: bool = False
    trust_domains: list[str] = []
    sans: list[str] = []  # what the server's certificate must name one of; empty: `sni`, or with `mesh` anything
    sni: str = ""  # empty: the host of the request that opens the connection
    alpn: list[str] = []
    min_version: Literal["TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"] = "TLSV1_2"
    max_version: Literal["TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"] = "TLSV1_3"
    ciphers: list[str] = []
    auto: bool = False  # auto mTLS: only to endpoints with `mesh_tls`; the others get plaintext
