"""Names, addresses, expressions: is one text well formed? The answer is what is wrong and would be right, or None.

The rules are those of Istio's pkg/config/labels and pkg/config/validation/agent (1.32), said in fastmesh's words.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

import re2

from fastmesh.config.read import substitutions

UNIX = "unix://"
MAX_REGEX = 1024  # characters; Istio's stand-in for Envoy's limit on the size of an RE2 program

_LABEL = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?\Z")
_WILDCARD_LABEL = re.compile(r"(\*|(\*-?)?[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)\Z")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\Z")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")  # RFC 9110 5.1, token
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*\Z")
_PSEUDO = frozenset((":method", ":scheme", ":authority", ":path", ":status"))

PROTOCOLS = frozenset((
    "HTTP", "HTTP2", "HTTP_PROXY", "GRPC", "GRPC-WEB", "HTTPS", "TLS", "TCP", "UDP", "MONGO", "REDIS", "MYSQL",
))  # fmt: skip
HTTP_PROTOCOLS = frozenset(("HTTP", "HTTP2", "HTTP_PROXY", "GRPC", "GRPC-WEB"))
TLS_PROTOCOLS = frozenset(("HTTPS", "TLS"))


def label(text: str, what: str = "name") -> str | None:
    """A DNS label: letters, digits and `-`, at most 63."""
    if len(text) <= 63 and _LABEL.match(text):
        return None
    return f'"{text}" is not a {what}, use letters, digits and - inside (at most 63)'


def fqdn(text: str) -> str | None:
    """A DNS name of one or more labels; a trailing dot is allowed."""
    length = _length(text)
    if length:
        return length
    labels = text.split(".")
    if labels[-1].isdecimal():
        return f'"{text}" is not a host name, its last part cannot be a number'
    if labels[-1] == "":
        labels.pop()
    for part in labels:
        if label(part):
            return f'"{text}" is not a host name, the part "{part}" should be letters, digits and - inside'
    return None


def wildcard_domain(text: str) -> str | None:
    """A DNS name whose first label may be `*` or start with it."""
    length = _length(text)
    if length:
        return length
    first, dot, rest = text.partition(".")
    if len(first) > 63 or not _WILDCARD_LABEL.match(first):
        if "*" in text[1:]:
            return f'"{text}" is not a host, * may only be in front, as in *.example.com'
        return f'"{text}" is not a host, the part "{first}" should be letters, digits and - inside, or *'
    if not dot:
        return None
    if "*" in rest:
        return f'"{text}" is not a host, * may only be in front, as in *.example.com'
    return fqdn(rest) and f'"{text}" is not a host{(fqdn(rest) or "").partition(" is not a host name")[2]}'


def _length(text: str) -> str | None:
    if not text:
        return "is empty, write a host name"
    return "is longer than the 255 characters of a host name" if len(text) > 255 else None


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def address(text: str) -> str | None:
    return None if is_address(text) else f'"{text}" is not an IP address, write one such as 10.0.0.1 or 2001:db8::1'


def subnet(text: str) -> str | None:
    """An address, or a block such as 10.0.0.0/8 (host bits may be set)."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return f'"{text}" is not an address or a block, write one such as 10.0.0.1 or 10.0.0.0/8'
    return None


def unix_address(path: str) -> str | None:
    """What follows `unix://`: an absolute path of a file, or `@` and an abstract name."""
    if path.startswith("@") or (path.startswith("/") and not path.endswith("/")):
        return None
    return f'"{path}" is not a socket, write unix:///an/absolute/path or unix://@name'


def port(number: int) -> str | None:
    return None if 1 <= number <= 65535 else f"{number} is not a port, a port is 1 to 65535"


def protocol(text: str) -> str | None:
    """Empty means sniffed."""
    if not text or text.upper() in PROTOCOLS:
        return None
    return f'"{text}" is not a protocol, write HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, MONGO, REDIS, MYSQL, TCP or TLS'


def label_key(text: str) -> str | None:
    prefix, slash, name = text.rpartition("/")
    bad_prefix = slash and (len(prefix) > 253 or any(label(part) for part in prefix.split(".")))
    if bad_prefix or len(name) > 63 or not _QUALIFIED.match(name):
        return f'"{text}" is not a label, write name or dns.prefix/name of letters, digits, -, _ and .'
    return None


def label_value(text: str) -> str | None:
    if len(text) <= 63 and (not text or _QUALIFIED.match(text)):
        return None
    return f'"{text}" is not the value of a label, use letters, digits, -, _ and . (at most 63)'


@lru_cache(maxsize=4096)
def regex(text: str) -> str | None:
    """RE2's syntax, at most 1024 characters."""
    if not text:
        return "is an empty regex, write one such as .*"
    if len(text) > MAX_REGEX:
        return f"is a regex of {len(text)} characters, at most {MAX_REGEX} are allowed"
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0]
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        return f"{text} is not a regex of RE2 ({reason}), see https://github.com/google/re2/wiki/Syntax"
    return None


def header_name(text: str) -> str | None:
    """A name to compare: a token, or a pseudo header."""
    if text in _PSEUDO or _HEADER.match(text):
        return None
    return f'"{text}" is not the name of a header, use letters, digits and -'


def header_to_set(text: str) -> str | None:
    """A request header that is set or added; `host` and `:authority` mean the authority."""
    if is_authority(text):
        return None
    return _operated(text)


def header_to_change(text: str) -> str | None:
    """A header that is removed from a request, or changed in a response."""
    if text.lower() == "host":
        return "host cannot be changed here, use rewrite.authority"
    return _operated(text)


def _operated(text: str) -> str | None:
    if text.startswith(":"):
        return f"{text} is a pseudo header, which cannot be changed; use rewrite"
    return None if _HEADER.match(text) else f'"{text}" is not the name of a header, use letters, digits and -'


def is_authority(text: str) -> bool:
    return text.lower() in (":authority", "host")


def header_value(text: str) -> str | None:
    """Any visible text and tab; a percent sign is written `%%`, or starts a substitution such as `%HOSTNAME%`."""
    if not _VALUE.match(text):
        return "holds a control character, which a header cannot carry"
    return substitutions.complaint(text) if "%" in text else None
