"""Names of hosts: short names, wildcards, and which of several names is the most specific.

A wildcard is a `*` in front; what follows is a plain suffix, so `*.foo.com` covers `a.b.foo.com` and not `foo.com`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

DOMAIN = "cluster.local"
TRUST_DOMAIN = "cluster.local"
ROOT_NAMESPACE = "istio-system"

_IPV4 = re.compile(r"\d{1,3}(\.\d{1,3}){3}\Z")


def is_address(host: str) -> bool:
    """An IP literal, IPv6 with or without brackets."""
    return ":" in host or _IPV4.match(host) is not None


def as_domain(host: str) -> str:
    """A host as it stands in a Host header: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def is_wildcard(host: str) -> bool:
    return host.startswith("*")


def fqdn(host: str, namespace: str) -> str:
    """A host as a rule of `namespace` means it: a name without a dot is a service of that namespace."""
    host = host.lower()
    if "." in host or host == "*" or is_address(host):
        return host
    return f"{host}.{namespace}.svc.{DOMAIN}"


def covers(pattern: str, host: str) -> bool:
    """Every name of `host` is a name of `pattern` (one direction)."""
    if not is_wildcard(pattern):
        return pattern == host
    suffix = pattern[1:]
    if is_wildcard(host):
        return host[1:].endswith(suffix)
    return host.endswith(suffix)


def intersection(left: str, right: str) -> str | None:
    """The more specific of two hosts that overlap, or None when they do not."""
    if covers(left, right):
        return right
    if covers(right, left):
        return left
    return None


def exported(export_to: Iterable[str], owner: str, viewer: str) -> bool:
    """Whether an object of namespace `owner` is visible in namespace `viewer`; nothing written means everywhere."""
    entries = list(export_to)
    if not entries:
        return True
    return any(entry == "*" or entry == viewer or (entry == "." and owner == viewer) for entry in entries)


class HostIndex(Generic[T]):
    """Values by exact host and by wildcard; a look-up costs one probe for each distinct wildcard length."""

    def __init__(self) -> None:
        self.exact: dict[str, T] = {}
        self.wildcards: dict[str, T] = {}  # by what follows the `*`
        self._lengths: list[int] = []

    def __iter__(self) -> Iterator[str]:
        yield from self.exact
        yield from ("*" + suffix for suffix in self.wildcards)

    def get(self, host: str) -> T | None:
        """The value put under exactly this host."""
        return self.wildcards.get(host[1:]) if is_wildcard(host) else self.exact.get(host)

    def put(self, host: str, value: T) -> None:
        """The first value for a host stays."""
        if not is_wildcard(host):
            self.exact.setdefault(host, value)
            return
        suffix = host[1:]
        self.wildcards.setdefault(suffix, value)
        if len(suffix) not in self._lengths:
            self._lengths.append(len(suffix))
            self._lengths.sort(reverse=True)

    def most_specific(self, host: str) -> T | None:
        """Exact beats wildcard, a longer wildcard a shorter one. A wildcard `host` is covered only by wildcards."""
        if not is_wildcard(host):
            found = self.exact.get(host)
            if found is not None:
                return found
            name = host
        else:
            name = host[1:]
        for length in self._lengths:
            if length > len(name):
                continue
            found = self.wildcards.get(name[len(name) - length :])
            if found is not None:
                return found
        return None

    def covering(self, host: str) -> Iterator[str]:
        """All wildcards over an exact host."""
        for length in self._lengths:
            if length <= len(host) and host[len(host) - length :] in self.wildcards:
                yield "*" + host[len(host) - length :]
