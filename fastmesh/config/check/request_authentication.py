"""RequestAuthentication: issuers, keys, places of tokens, headers for claims.

https://istio.io/latest/docs/reference/config/security/request_authentication/
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from fastmesh.config.check.attachment import check_attachment
from fastmesh.config.check.report import At
from fastmesh.config.check.shared import check_duration
from fastmesh.config.resource import AnyResource
from fastmesh.model.request_authentication import JWTRule, RequestAuthentication

MAX_URI = 2048
_HEADER = re.compile(r"[-_A-Za-z0-9]+\Z")
_CONTROL = re.compile(r"[\x00-\x20\x7f\\]")
# RFC 7517 4.1, RFC 7518 6: what a key of each type cannot be without.
_KEYS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "oct": ("k",)}


def check_request_authentication(resource: AnyResource, spec: RequestAuthentication, at: At) -> None:
    check_attachment(spec, at)
    for index, rule in enumerate(spec.jwt_rules):
        _check_rule(rule, at["jwtRules"][index])


def _check_rule(rule: JWTRule, at: At) -> None:
    if rule.issuer == "":
        at["issuer"].error("is empty, write the issuer of the tokens or leave it out")
    if not rule.issuer and not rule.jwks_uri:
        at.error("issuer or jwksUri is required and both are missing, add issuer: ...")
    if rule.jwks_uri is not None and rule.jwks is not None:
        at["jwks"].error("only one of jwks or jwksUri can be set, remove one")
    if rule.jwks_uri is not None:
        _check_uri(rule.jwks_uri, at["jwksUri"])
    if rule.jwks:
        _check_keys(rule.jwks, at["jwks"])
    for name, values in (
        ("audiences", rule.audiences), ("fromParams", rule.from_params), ("fromCookies", rule.from_cookies),
        ("spaceDelimitedClaims", rule.space_delimited_claims),
    ):  # fmt: skip
        for index, value in enumerate(values):
            if not value:
                at[name][index].error("is empty, write a value or remove it")
    for index, place in enumerate(rule.from_headers):
        if not place.name:
            at["fromHeaders"][index]["name"].error("is empty, name the header that has the token")
    for index, pair in enumerate(rule.output_claim_to_headers):
        where = at["outputClaimToHeaders"][index]
        if not pair.claim:
            where["claim"].error("is empty, name the claim")
        if not _HEADER.match(pair.header):
            where["header"].error(f'"{pair.header}" is not the name of a header, use letters, digits, - and _')
    check_duration(rule.timeout, at["timeout"])


def _check_uri(text: str, at: At) -> None:
    if not text or len(text) > MAX_URI:
        at.error(f"is empty or longer than {MAX_URI} characters, write the address of the keys")
        return
    try:
        parts = urlsplit(text)
        wrong = bool(_CONTROL.search(text)) or (parts.port or 0) > 65535
    except ValueError:
        wrong = True
    if wrong or parts.scheme not in ("http", "https") or not text.startswith(parts.scheme):
        at.error(f'"{text}": url must have scheme http:// or https://, write one such as https://example.com/jwks.json')


def _check_keys(text: str, at: At) -> None:
    """RFC 7517: one key, or a set of keys."""
    try:
        document = json.loads(text)
    except ValueError as error:
        at.error(f'is not JSON ({error}), write a set of keys such as {{"keys": [...]}}')
        return
    keys = document.get("keys") if isinstance(document, dict) and "keys" in document else [document]
    if not isinstance(keys, list):
        at.error('keys is not a list, write {"keys": [...]}')
        return
    for index, key in enumerate(keys):
        complaint = _key(key)
        if complaint:
            at.error(f"key {index} {complaint}")
        elif "d" in key or key["kty"] == "oct":
            at.advice(f"key {index} contains private key material, only public keys are used; remove that")


def _key(key: Any) -> str:
    if not isinstance(key, dict):
        return "is not an object"
    needed = _KEYS.get(str(key.get("kty")))
    if needed is None:
        return f"has a kty that is none of {', '.join(_KEYS)}"
    missing = [name for name in needed if not isinstance(key.get(name), str) or not key[name]]
    return f"lacks {', '.join(missing)}" if missing else ""
