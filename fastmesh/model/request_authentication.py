# ruff: noqa: RUF012 - msgspec copies an empty list or dict for each object
"""RequestAuthentication: which JSON Web Tokens a workload believes.

https://istio.io/latest/docs/reference/config/security/request_authentication/
"""

from __future__ import annotations

from typing import Literal

from fastmesh.model.base import Duration, MatchLabels, Spec, TargetReference


class TokenHeader(Spec, frozen=True):
    """The token follows `prefix` exactly, blanks included."""

    name: str
    prefix: str = ""


class ClaimToHeader(Spec, frozen=True):
    header: str
    claim: str


class JWTRule(Spec, frozen=True):
    """Without a place of its own a token is looked for in `Authorization: Bearer` and the parameter `access_token`."""

    issuer: str | None = None
    audiences: list[str] = []
    jwks_uri: str | None = None
    jwks: str | None = None
    from_headers: list[TokenHeader] = []
    from_params: list[str] = []
    from_cookies: list[str] = []
    forward_original_token: bool = False
    output_payload_to_header: str = ""
    output_claim_to_headers: list[ClaimToHeader] = []
    timeout: Duration | None = None
    space_delimited_claims: list[str] = []
    presence: Literal["OPTIONAL", "REQUIRED"] = "OPTIONAL"


class RequestAuthentication(Spec, frozen=True):
    """Policies of a workload are combined. Without a token a request passes, unless a rule has presence REQUIRED."""

    selector: MatchLabels | None = None
    target_ref: TargetReference | None = None
    target_refs: list[TargetReference] = []
    jwt_rules: list[JWTRule] = []
