"""How TLS from clients ends at a server of a Gateway."""

from __future__ import annotations

from typing import Literal

from fastmesh.config.ciphers import usable, usable_curves
from fastmesh.config.credentials.names import Credentials
from fastmesh.config.place import Path
from fastmesh.config.plan import ServerTLSPlan
from fastmesh.config.resource import AnyResource
from fastmesh.model.gateway import ServerTLS

HTTP_ALPN = ["h2", "http/1.1"]
_CLIENT: dict[str, Literal["none", "optional", "required"]] = {
    "SIMPLE": "none", "MUTUAL": "required", "OPTIONAL_MUTUAL": "optional", "ISTIO_MUTUAL": "required",
}  # fmt: skip
Version = Literal["TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]


def server_tls(
    tls: ServerTLS, written: AnyResource, path: Path, credentials: Credentials, client_domains: list[str], *, http: bool
) -> ServerTLSPlan:
    """`path` is that of the tls block in `written`; `http`: the server reads requests."""
    mesh = tls.mode == "ISTIO_MUTUAL"
    checks = _CLIENT[tls.mode] != "none"
    return ServerTLSPlan(
        credentials=credentials.of_server(tls, written, path),
        client=_CLIENT[tls.mode],
        mesh=mesh,
        trust_domains=client_domains if mesh else [],
        accept_unverified=checks and bool(tls.insecure_skip_verify),
        min_version=_version(tls.min_protocol_version, "TLSV1_2"),
        max_version=_version(tls.max_protocol_version, "TLSV1_3"),
        ciphers=usable(tls.cipher_suites),
        curves=usable_curves(tls.ecdh_curves),
        alpn=HTTP_ALPN if http else [],
        sans=tls.subject_alt_names if checks else [],
        hashes=[each.replace(":", "").lower() for each in tls.verify_certificate_hash] if checks else [],
        spkis=tls.verify_certificate_spki if checks else [],
    )


def _version(written: str, otherwise: Version) -> Version:
    versions: dict[str, Version] = {name: name for name in ("TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3")}
    return versions.get(written, otherwise)
