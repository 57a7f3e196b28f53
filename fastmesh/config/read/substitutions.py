"""Header values with substitutions (`%REQ(x-user)%`) as segments: those of Envoy's command operators that headers use.

https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#command-operators
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from fastmesh.config.read.shape import closest

_OPERATOR = re.compile(r"%(?:%|([A-Z][A-Z0-9_]*)(?:\(([^)]*)\))?(?::(\d+))?%)")
_FIELD = re.compile(r":?[!#$&'*+.^_`|~0-9A-Za-z-]+\Z")
_PSEUDO = frozenset((":method", ":path", ":authority", ":scheme"))
_TIME = re.compile(r"%(?:E?([1-9])([fS])|E\*([fS])|([f])|(s)|([a-zA-Z%]))")
_STRFTIME = frozenset("YmdHMSyjBbaAeTFDRpIZzuwUWCGgVhcxXrn%")
_DEFAULT_TIME = "%Y-%m-%dT%H:%M:%E3SZ"

# Words of another name that mean the same here: without a hop that is trusted, the client is who is connected.
_SAME = {
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_PORT": "DOWNSTREAM_REMOTE_PORT",
    "UPSTREAM_CLUSTER_RAW": "UPSTREAM_CLUSTER",
    "UPSTREAM_REMOTE_ADDRESS": "UPSTREAM_HOST",
}
_FIELDS = frozenset(("REQ", "RESP"))
_PLAIN = frozenset((
    "PROTOCOL", "HOSTNAME", "DOWNSTREAM_REMOTE_ADDRESS", "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_REMOTE_PORT", "DOWNSTREAM_LOCAL_ADDRESS", "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_PORT", "UPSTREAM_CLUSTER", "UPSTREAM_HOST", "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_REMOTE_PORT", "ROUTE_NAME", "REQUESTED_SERVER_NAME", "RESPONSE_CODE", "RESPONSE_FLAGS",
    "RESPONSE_CODE_DETAILS", "DURATION", "BYTES_RECEIVED", "DOWNSTREAM_TLS_VERSION", "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_PEER_URI_SAN", "DOWNSTREAM_PEER_DNS_SAN", "DOWNSTREAM_PEER_SUBJECT", "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_SERIAL", "DOWNSTREAM_PEER_FINGERPRINT_256",
))  # fmt: skip
KNOWN = sorted({*_FIELDS, *_PLAIN, *_SAME, "START_TIME", "ENVIRONMENT"})
# Envoy's words that stand for nothing here.
_ELSEWHERE = frozenset((
    "BYTES_SENT", "CONNECTION_ID", "CONNECTION_TERMINATION_DETAILS", "CLUSTER_METADATA", "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_LOCAL_SUBJECT", "DOWNSTREAM_LOCAL_DNS_SAN", "DOWNSTREAM_PEER_CERT", "DOWNSTREAM_PEER_CERT_V_START",
    "DOWNSTREAM_PEER_CERT_V_END", "DOWNSTREAM_PEER_FINGERPRINT_1", "DOWNSTREAM_TLS_SESSION_ID", "DYNAMIC_METADATA",
    "FILTER_STATE", "GRPC_STATUS", "GRPC_STATUS_NUMBER", "METADATA", "PER_REQUEST_STATE", "REQUEST_DURATION",
    "RESPONSE_DURATION", "STREAM_ID", "TRACE_ID", "TRAILER", "UNIQUE_ID", "UPSTREAM_HOST_NAME",
    "UPSTREAM_LOCAL_ADDRESS", "UPSTREAM_METADATA", "UPSTREAM_PEER_CERT", "UPSTREAM_PEER_SUBJECT", "UPSTREAM_PROTOCOL",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT", "UPSTREAM_TLS_VERSION", "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_WIRE_BYTES_RECEIVED", "VIRTUAL_CLUSTER_NAME",
))  # fmt: skip


class Segment(NamedTuple):
    """`word` is "text", an operator, or a part of START_TIME; `limit` is the greatest length, 0 = none."""

    word: str
    text: str = ""
    other: str = ""
    limit: int = 0


def segments(value: str) -> list[Segment]:
    """A value that `complaint` has nothing to say about; literal text is one segment, `%%` in it is `%`."""
    found: list[Segment] = []
    at = 0
    for operator in _OPERATOR.finditer(value):
        found.append(Segment("text", value[at : operator.start()]))
        at = operator.end()
        found.extend(_read(operator) if operator[1] else [Segment("text", "%")])
    found.append(Segment("text", value[at:]))
    return _joined(found)


def literal(value: str) -> str | None:
    """The text of a value without substitutions."""
    if "%" not in value:
        return value
    found = segments(value)
    return "".join(segment.text for segment in found) if all(item.word == "text" for item in found) else None


def complaint(value: str) -> str | None:
    """What is wrong with the percent signs of a header value, and what would be right."""
    if "%" in _OPERATOR.sub("", value):
        return f"{value} has a single %, write %% for a percent sign or %NAME% for a substitution"
    for operator in _OPERATOR.finditer(value):
        wrong = _wrong(operator[1], operator[2]) if operator[1] else None
        if wrong:
            return f"{operator[0]} {wrong}"
    return None


def elsewhere(value: str) -> list[str]:
    """The operators that only Envoy knows: they put nothing."""
    if "%" not in value:
        return []
    return [found[0] for found in _OPERATOR.finditer(value) if found[1] in _ELSEWHERE]


def _wrong(word: str, argument: str | None) -> str | None:
    if word in _ELSEWHERE:
        return None
    if word in _FIELDS:
        names = (argument or "").split("?")
        if len(names) > 2 or not all(_FIELD.match(name) for name in names):
            return f"needs the name of a header, write %{word}(x-name)% or %{word}(x-name?x-other)%"
        if any(name.startswith(":") and name.lower() not in _PSEUDO for name in names):
            return f"has an unknown pseudo header, write one of {', '.join(sorted(_PSEUDO))}"
        return None
    if word == "ENVIRONMENT":
        return None if argument else "needs the name of a variable, write %ENVIRONMENT(NAME)%"
    if word == "START_TIME":
        return None if argument is None or _format(argument) is not None else "has a format that cannot be written"
    if word in _PLAIN or word in _SAME:
        return None if argument is None else f"takes no argument, write %{word}%"
    guess = closest(word, KNOWN)
    return f"is not a substitution{guess}" if guess else f"is not a substitution, write one of {', '.join(KNOWN)}"


def _read(operator: re.Match[str]) -> Iterator[Segment]:
    word, argument, limit = operator[1], operator[2], int(operator[3] or 0)
    if word == "START_TIME":
        yield from _format(_DEFAULT_TIME if argument is None else argument) or []
    elif word in _FIELDS:
        name, _, other = (argument or "").lower().partition("?")
        yield Segment(word, name, other, limit)
    else:
        yield Segment(_SAME.get(word, word), argument or "", "", limit)


def _format(written: str) -> list[Segment] | None:
    """strftime, and Envoy's `%3f` (digits of a second), `%E3S` (seconds with them) and `%s`; None: it has others."""
    found: list[Segment] = []
    at = 0
    for match in _TIME.finditer(written):
        found.append(Segment("text", written[at : match.start()]))
        at = match.end()
        digits, kind, star, plain, seconds, letter = match.groups()
        if letter is not None:
            if letter not in _STRFTIME:
                return None
            found.append(Segment("START_TIME", match[0]))
            continue
        if seconds:
            found.append(Segment("seconds"))
            continue
        if kind == "S" or star == "S":
            found.append(Segment("START_TIME", "%S."))
        found.append(Segment("fraction", digits or ("6" if star else "9" if plain else "6")))
    found.append(Segment("text", written[at:]))
    return None if any("%" in item.text for item in found if item.word == "text") else _joined(found)


def _joined(found: list[Segment]) -> list[Segment]:
    """Neighbours of one sort in one piece, empty ones left out."""
    joined: list[Segment] = []
    for item in found:
        if item.word == "text" and not item.text:
            continue
        if joined and item.word == joined[-1].word and item.word in ("text", "START_TIME"):
            joined[-1] = item._replace(text=joined[-1].text + item.text)
        else:
            joined.append(item)
    return joined
