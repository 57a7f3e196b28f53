# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""The Gateway API's words for TLS: of listeners and backends, routes by server name, and who may refer to what.

https://gateway-api.sigs.k8s.io/reference/spec/
"""

from __future__ import annotations

from typing import Literal

import msgspec

from fastmesh.model.base import Int32, Spec, UInt32


class SecretRef(Spec, frozen=True):
    """No namespace: that of the Gateway. Another one needs a ReferenceGrant."""

    name: str
    group: str = ""
    kind: str = "Secret"
    namespace: str = ""


class CARef(Spec, frozen=True):
    """A ConfigMap or a Secret with `ca.crt`."""

    name: str
    group: str = ""
    kind: str = ""
    namespace: str = ""


class ClientValidation(Spec, frozen=True):
    """What certificates of clients are checked against; AllowInsecureFallback takes clients without a good one too."""

    ca_certificate_refs: list[CARef] = []
    mode: Literal["AllowValidOnly", "AllowInsecureFallback"] = "AllowValidOnly"


class ListenerTLS(Spec, frozen=True):
    """`frontend_validation` is the older place of a Gateway's `tls.frontend`."""

    mode: Literal["Terminate", "Passthrough"] = "Terminate"
    certificate_refs: list[SecretRef] = []
    frontend_validation: ClientValidation | None = None
    options: dict[str, str] = {}


class FrontendPolicy(Spec, frozen=True):
    validation: ClientValidation | None = None


class FrontendPort(Spec, frozen=True):
    port: UInt32
    tls: FrontendPolicy


class Frontend(Spec, frozen=True):
    """`per_port` replaces `default` for its port."""

    default: FrontendPolicy = FrontendPolicy()
    per_port: list[FrontendPort] = []


class Backend(Spec, frozen=True):
    """The certificate that a Gateway shows to backends with TLS."""

    client_certificate_ref: SecretRef | None = None


class GatewayTLS(Spec, frozen=True):
    frontend: Frontend | None = None
    backend: Backend | None = None


class ReferenceFrom(Spec, frozen=True):
    group: str
    kind: str
    namespace: str


class ReferenceTo(Spec, frozen=True):
    """No name: every object of the kind."""

    group: str
    kind: str
    name: str = ""


class ReferenceGrant(Spec, frozen=True):
    """Its namespace is the one that is referred to. Any of `from_` may refer to any of `to`."""

    from_: list[ReferenceFrom] = msgspec.field(name="from", default_factory=list)
    to: list[ReferenceTo] = []


class TLSBackendRef(Spec, frozen=True):
    name: str
    group: str = ""
    kind: str = "Service"
    namespace: str = ""
    port: UInt32 = 0
    weight: Int32 = 1


class PolicyTarget(Spec, frozen=True):
    """`section_name` is the NAME of a port of the Service; with it a policy goes before those without."""

    name: str
    group: str = ""
    kind: str = "Service"
    section_name: str = ""


class SubjectAltName(Spec, frozen=True):
    type: Literal["Hostname", "URI"]
    hostname: str = ""
    uri: str = ""


class BackendValidation(Spec, frozen=True):
    """`hostname` is the server name; it is checked too, unless `subject_alt_names` say what to check."""

    hostname: str
    ca_certificate_refs: list[CARef] = []
    well_known_ca_certificates: str = msgspec.field(name="wellKnownCACertificates", default="")
    subject_alt_names: list[SubjectAltName] = []


class BackendTLSPolicy(Spec, frozen=True):
    validation: BackendValidation
    target_refs: list[PolicyTarget] = []
    options: dict[str, str] = {}
