"""Rules of a VirtualService that no request can reach, since earlier ones take all of them.

Found are: a rule behind one that takes everything, a match that an earlier rule has word for word (its name does not
count), and a prefix that an earlier, shorter prefix covers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fastmesh.config.check.report import At
from fastmesh.model.base import StringMatch, encode_hook
from fastmesh.model.virtual_service import HTTPMatchRequest, HTTPRoute, TCPRoute, TLSRoute, VirtualService

RULE, MATCH = "IST0130", "IST0131"
_Place = tuple[int, int]


def advise_unreachable(spec: VirtualService, at: At) -> None:
    _of_kind(spec.http, at["http"], "http", "request")
    _of_kind(spec.tls, at["tls"], "tls", "connection")
    _of_kind(spec.tcp, at["tcp"], "tcp", "connection")
    _covered(spec.http, at["http"])


def _of_kind(rules: Sequence[HTTPRoute | TLSRoute | TCPRoute], at: At, kind: str, what: str) -> None:
    """Rules after one that takes everything, and matches that an earlier rule has word for word."""
    catch_all: int | None = None
    seen: dict[bytes, int] = {}
    for index, rule in enumerate(rules):
        if catch_all is not None:
            at[index].advice(f"is never used, {kind}[{catch_all}] before it takes every {what}; move it up", RULE)
            continue
        repeated = 0
        for number, match in enumerate(rule.match):
            earlier = seen.setdefault(_key(match), index)
            if earlier != index:
                repeated += 1
                message = f"is never used, {kind}[{earlier}] has the same match; remove it"
                at[index]["match"][number].advice(message, MATCH)
        if repeated and repeated == len(rule.match):
            at[index].advice("is never used, earlier rules have all of its matches; remove it", RULE)
        if not rule.match or any(isinstance(each, HTTPMatchRequest) and matches_all(each) for each in rule.match):
            catch_all = index


def _key(match: Any) -> bytes:
    """A match without the fields that match nothing."""
    plain = msgspec.to_builtins(match, enc_hook=encode_hook)
    plain.pop("name", None)
    plain.pop("statPrefix", None)
    return msgspec.msgpack.encode(plain, order="sorted")


def matches_all(match: HTTPMatchRequest) -> bool:
    uri = match.uri
    everything = uri is None or uri.prefix in ("", "/") or uri.regex == ".*"
    bare = msgspec.structs.replace(match, uri=None, name="", stat_prefix="", ignore_uri_case=False)
    return everything and bare == HTTPMatchRequest()


# ---- prefixes


def _covered(rules: Sequence[HTTPRoute], at: At) -> None:
    """`/debugs` behind `/debug`. Prefixes are sorted, so that those which can cover a prefix are its own beginnings."""
    shorter: dict[str, list[tuple[_Place, HTTPMatchRequest]]] = {}
    for index, rule in enumerate(rules):
        for number, match in enumerate(rule.match):
            prefix = match.uri.prefix if match.uri is not None else None
            if not prefix:
                continue
            found = _earlier(prefix, match, shorter)
            if found is not None:
                message = f"is never used, http[{found[0]}].match[{found[1]}] before it is for a shorter prefix"
                at[index]["match"][number].advice(message, MATCH)
            shorter.setdefault(prefix, []).append(((index, number), match))


def _earlier(
    prefix: str, match: HTTPMatchRequest, shorter: Mapping[str, list[tuple[_Place, HTTPMatchRequest]]]
) -> _Place | None:
    for end in range(1, len(prefix)):
        for place, other in shorter.get(prefix[:end], ()):
            if _at_least(other, match):
                return place
    return None


def _at_least(wider: HTTPMatchRequest, match: HTTPMatchRequest) -> bool:
    """Whether everything but the uri that one match asks for is asked for by the other as well."""
    if wider.port not in (0, match.port) or wider.ignore_uri_case or match.ignore_uri_case:
        return False
    if wider.source_namespace not in ("", match.source_namespace):
        return False
    if wider.gateways and not set(match.gateways or ["mesh"]) <= set(wider.gateways):
        return False
    if not wider.source_labels.items() <= match.source_labels.items():
        return False
    singles = ((wider.method, match.method), (wider.authority, match.authority), (wider.scheme, match.scheme))
    if not all(_within(one, other) for one, other in singles):
        return False
    for name in ("headers", "query_params"):
        theirs: Mapping[str, StringMatch] = getattr(match, name)
        if not all(_within(value, theirs.get(key)) for key, value in getattr(wider, name).items()):
            return False
    return all(match.without_headers.get(key) == value for key, value in wider.without_headers.items())


def _within(wider: StringMatch | None, match: StringMatch | None) -> bool:
    """Whether whatever fits `match` fits `wider`."""
    if wider is None or wider == match:
        return True
    if match is None:
        return False
    if wider.is_presence:
        return True
    text = match.exact if match.exact is not None else match.prefix
    return wider.prefix is not None and text is not None and text.startswith(wider.prefix)
