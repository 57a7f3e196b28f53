"""SPIFFE ids: `spiffe://TRUST-DOMAIN/PATH`, and Istio's form of the path, `/ns/NAMESPACE/sa/SERVICE-ACCOUNT`.

A name that two readers read differently lets one workload pass for another, so nothing is repaired here: no upper case,
no escapes, no ports, no queries, no empty or dotted steps. The rules are those of the SPIFFE-ID standard, section 2.
https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md
"""

from __future__ import annotations

import re
from typing import NamedTuple

SCHEME = "spiffe://"
DEFAULT_TRUST_DOMAIN = "cluster.local"
LONGEST_ID = 2048
LONGEST_TRUST_DOMAIN = 255

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+")
_STEP = re.compile(r"[A-Za-z0-9._-]+")
_WORKLOAD = re.compile(r"/ns/([^/]+)/sa/([^/]+)")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class SpiffeID(NamedTuple):
    """A valid name. `path` is empty or begins with a slash; an id without a path names the trust domain itself."""

    trust_domain: str
    path: str = ""

    def __str__(self) -> str:
        return f"{SCHEME}{self.trust_domain}{self.path}"

    @property
    def workload(self) -> tuple[str, str] | None:
        """Namespace and service account, when the path is Istio's."""
        found = _WORKLOAD.fullmatch(self.path)
        return (found[1], found[2]) if found is not None else None


def trust_domain(text: str) -> str:
    """The same text; ValueError says what is wrong with it."""
    if not text or len(text) > LONGEST_TRUST_DOMAIN or not _TRUST_DOMAIN.fullmatch(text):
        raise ValueError(
            f"{shown(text)} is not a trust domain; write lower case letters, digits, dots, dashes and underscores, "
            f"at most {LONGEST_TRUST_DOMAIN}, as in {DEFAULT_TRUST_DOMAIN}"
        )
    return text


def parse(text: str) -> SpiffeID:
    """ValueError says what is wrong."""
    if not text.startswith(SCHEME):
        raise ValueError(f"{shown(text)} is not a SPIFFE id; it begins with {SCHEME}")
    if len(text) > LONGEST_ID:
        raise ValueError(f"a SPIFFE id has at most {LONGEST_ID} characters, not {len(text)}")
    domain, slash, path = text.removeprefix(SCHEME).partition("/")
    trust_domain(domain)
    if slash:
        for step in path.split("/"):
            if step in ("", ".", "..") or not _STEP.fullmatch(step):
                raise ValueError(
                    f"{shown(text)} is not a SPIFFE id: {shown(step)} is no step of a path; write letters, digits, "
                    "dots, dashes and underscores"
                )
    return SpiffeID(domain, slash + path)


def of_workload(domain: str, namespace: str, service_account: str) -> SpiffeID:
    """Istio's name of a workload."""
    for what, name in (("namespace", namespace), ("service account", service_account)):
        labels = name.split(".") if what == "service account" else [name]
        if not all(_LABEL.fullmatch(label) for label in labels):
            raise ValueError(f"{shown(name)} is not a {what}; write lower case letters, digits and dashes, as in shop")
    return parse(f"{SCHEME}{domain}/ns/{namespace}/sa/{service_account}")


def shown(text: str) -> str:
    """Somebody else's text for a line of a log: quoted, without control characters, not endless."""
    return repr(text if len(text) <= 100 else text[:100] + "...")
