"""Cipher suites of TLS 1.2 as Istio's users write them: OpenSSL's names. Those of TLS 1.3 are not chosen by anybody.
Curves of the key exchange, of both versions, under the names that Envoy has for them.
"""

from __future__ import annotations

from collections.abc import Iterable

# What Istio lets through; https://istio.io/latest/docs/reference/config/networking/gateway/#ServerTLSSettings
KNOWN = frozenset((
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA", "DES-CBC3-SHA",
))  # fmt: skip

CURVES = frozenset(("P-256", "P-384", "P-521", "X25519"))


def usable(written: Iterable[str]) -> list[str]:
    """The known ones, each once, in the order written."""
    return list(dict.fromkeys(name for name in written if name in KNOWN))


def usable_curves(written: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for name in written if name in CURVES))
