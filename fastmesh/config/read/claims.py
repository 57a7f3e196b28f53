"""Header matches that mean claims of a token: `@request.auth.claims.group.id`, `@request.auth.claims[group][id]`.

https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPMatchRequest (headers)
"""

from __future__ import annotations

PREFIX = "@request.auth.claims"


def claim_names(key: str) -> list[str]:
    """The names from the outside in; empty: the key is the name of a header. A dot after the prefix parts by dots."""
    if not key.lower().startswith(PREFIX):
        return []
    rest = key[len(PREFIX) :]
    if rest.startswith(".") and len(rest) > 1:
        return rest[1:].split(".")
    if rest.startswith("[") and rest.endswith("]") and len(rest) > 2:
        return rest[1:-1].split("][")
    return []
