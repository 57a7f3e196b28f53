"""Cross-origin policies: corsPolicy of a VirtualService, the CORS filter of an HTTPRoute."""

from __future__ import annotations

import re

from fastmesh.config.plan import CorsPlan, StringMatchPlan
from fastmesh.config.routes.matches import comparison
from fastmesh.model.gateway_api import HTTPCORSFilter
from fastmesh.model.virtual_service import CorsPolicy


def of_policy(written: CorsPolicy | None) -> CorsPlan | None:
    """Without origins nobody is allowed, but preflights may still be ignored."""
    if written is None:
        return None
    origins = [comparison(match) for match in written.allow_origins]
    if not origins:
        origins = [_deprecated(origin) for origin in written.allow_origin]
    return CorsPlan(
        origins=origins,
        methods=",".join(written.allow_methods),
        headers=",".join(written.allow_headers),
        exposed=",".join(written.expose_headers),
        max_age=str(written.max_age // 1000) if written.max_age else "",
        credentials=written.allow_credentials is True,
        forward=written.unmatched_preflights != "IGNORE",
    )


def _deprecated(origin: str) -> StringMatchPlan:
    """An item of allowOrigin: the whole text, but for a star, which is everybody."""
    return StringMatchPlan(kind="present") if origin == "*" else StringMatchPlan(kind="exact", value=origin)


def of_filter(written: HTTPCORSFilter | None) -> CorsPlan | None:
    """The filter answers every preflight itself: other origins are not allowed, whatever a backend thinks."""
    if written is None:
        return None
    return CorsPlan(
        origins=[_origin(origin) for origin in written.allow_origins],
        methods=",".join(written.allow_methods),
        headers=",".join(written.allow_headers),
        exposed=",".join(written.expose_headers),
        max_age=str(written.max_age),
        credentials=written.allow_credentials is True,
        forward=False,
        echo=written.allow_credentials is True,
    )


def _origin(written: str) -> StringMatchPlan:
    """A star inside takes as much as it can, dots too."""
    if written == "*":
        return StringMatchPlan(kind="present")
    if "*" not in written:
        return StringMatchPlan(kind="exact", value=written)
    return StringMatchPlan(kind="regex", value="[^/]*".join(map(re.escape, written.split("*"))))
