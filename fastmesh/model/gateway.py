# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""Gateway (networking.istio.io): listeners at the edge of the mesh.

https://istio.io/latest/docs/reference/config/networking/gateway/
"""

from __future__ import annotations

from typing import Literal

from fastmesh.model.base import Port, Spec

TLSMode = Literal["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"]
TERMINATES = frozenset({"SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", "ISTIO_MUTUAL"})  # modes in which TLS ends here
TLSVersion = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]


class TLSCertificate(Spec, frozen=True):
    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""


class ServerTLS(Spec, frozen=True):
    """`mode` absent is PASSTHROUGH; `https_redirect` answers 301 for every host of an HTTP server."""

    https_redirect: bool = False
    mode: TLSMode = "PASSTHROUGH"
    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    ca_crl: str = ""
    credential_name: str = ""
    credential_names: list[str] = []
    tls_certificates: list[TLSCertificate] = []
    ca_cert_credential_name: str = ""
    subject_alt_names: list[str] = []
    verify_certificate_spki: list[str] = []
    verify_certificate_hash: list[str] = []
    min_protocol_version: TLSVersion = "TLS_AUTO"
    max_protocol_version: TLSVersion = "TLS_AUTO"
    cipher_suites: list[str] = []
    ecdh_curves: list[str] = []
    insecure_skip_verify: bool | None = None


class Server(Spec, frozen=True):
    """`hosts` are `[namespace/]name`; `bind` is an IP or a unix socket (then the port number is 0)."""

    port: Port
    hosts: list[str]
    bind: str = ""
    tls: ServerTLS | None = None
    default_endpoint: str = ""
    name: str = ""


class Gateway(Spec, frozen=True):
    """An empty selector means every gateway workload."""

    servers: list[Server] = []
    selector: dict[str, str] = {}
