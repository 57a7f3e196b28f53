"""sessionPersistence of HTTPRoute and GRPCRoute rules: how a client names the endpoint that it belongs to.

https://gateway-api.sigs.k8s.io/geps/gep-1619/
"""

from __future__ import annotations

import hashlib

from fastmesh.config.plan import SessionPlan
from fastmesh.config.resource import AnyResource
from fastmesh.model.gateway_api import SessionCookie, SessionPersistence

PREFIX = "fastmesh-session-"


def session_plan(written: SessionPersistence | None, owner: AnyResource, number: int) -> SessionPlan | None:
    """`number` is that of the rule: without a name each has one of its own, the same after every restart."""
    if written is None:
        return None
    absolute, idle = (-(-int(each or 0) // 1000) for each in (written.absolute_timeout, written.idle_timeout))
    unnamed = f"{owner.kind}/{owner.namespace}/{owner.name}/{number}".encode()
    name = PREFIX + hashlib.blake2b(unnamed, digest_size=4).hexdigest()
    if written.type == "Header":
        header = written.header.name if written.header is not None else ""
        return SessionPlan(kind="header", name=header or written.session_name or name, absolute=absolute, idle=idle)
    cookie = written.cookie or written.cookie_config or SessionCookie()
    lasting = f"; Max-Age={absolute}" if cookie.lifetime_type == "Permanent" and absolute else ""
    return SessionPlan(
        kind="cookie",
        name=cookie.name or written.session_name or name,
        cookie=f"{lasting}; Path={cookie.path or '/'}; HttpOnly",
        absolute=absolute,
        idle=idle,
    )
