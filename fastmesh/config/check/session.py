"""sessionPersistence of a rule of the Gateway API: what the cookie or the header may be.

https://gateway-api.sigs.k8s.io/geps/gep-1619/
"""

from __future__ import annotations

import re

from fastmesh.config.check.report import At
from fastmesh.model.gateway_api import SessionPersistence

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2


def check_session(session: SessionPersistence, at: At) -> None:
    cookies = {"cookie": session.cookie, "cookieConfig": session.cookie_config}
    for name, cookie in cookies.items():
        if cookie is None:
            continue
        if session.type == "Header":
            at[name].error("has no place with type Header, remove it or write type: Cookie")
        elif cookie.lifetime_type == "Permanent" and not session.absolute_timeout:
            at["absoluteTimeout"].error("is required with lifetimeType Permanent and missing, add it")
        if cookie.name and not _TOKEN.fullmatch(cookie.name):
            at[name]["name"].error(f"{cookie.name} is not a cookie's name, write letters, digits and - or _")
        if ";" in cookie.path or any(ord(each) < 32 for each in cookie.path):
            at[name]["path"].error("holds a semicolon or a control character, which end an attribute; remove it")
    if session.header is not None and session.type == "Cookie":
        at["header"].error("has no place with type Cookie, remove it or write type: Header")
    header = session.header.name if session.header is not None else ""
    if session.type == "Header" and not (header or session.session_name):
        at["header"].error("name is required with type Header and missing, add header: {name: ...}")
    for place, name in ((at["header"]["name"], header), (at["sessionName"], session.session_name)):
        if name and not _TOKEN.fullmatch(name):
            place.error(f"{name} is not a name for a header or a cookie, write letters, digits and - or _")
