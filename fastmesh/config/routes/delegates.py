"""Rules that a VirtualService takes over from a delegate, a VirtualService without hosts.

https://istio.io/latest/docs/reference/config/networking/virtual-service/#Delegate
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from fastmesh.config.gateway_names import gateway_name
from fastmesh.config.hosts import fqdn
from fastmesh.config.mesh import Visibility
from fastmesh.config.place import Path
from fastmesh.config.resource import Resource
from fastmesh.errors import Problem
from fastmesh.model.base import StringMatch
from fastmesh.model.virtual_service import Destination, HTTPMatchRequest, HTTPRoute, VirtualService

# What a rule has from its root when the delegate does not say it; a block is taken whole.
INHERITED = (
    "rewrite", "timeout", "retries", "fault", "mirror", "mirrors", "mirror_percent", "mirror_percentage", "cors_policy",
    "headers",
)  # fmt: skip
_COMPARED = ("uri", "scheme", "method", "authority")
_MAPS = ("headers", "without_headers", "query_params")


class Owned(NamedTuple):
    """A rule and the object that it was written in: short names in it are of that object's namespace."""

    owner: Resource[VirtualService]
    path: Path
    rule: HTTPRoute


class Delegates:
    def __init__(self, virtual_services: Iterable[Resource[VirtualService]], visible: Visibility) -> None:
        self._visible = visible
        written = list(virtual_services)
        self._delegates = {(each.namespace, each.name): each for each in written if not each.spec.hosts}
        self.problems: list[Problem] = []
        self._rules = {
            (each.namespace, each.name): list(self._expand(each))
            for each in written
            if any(rule.delegate is not None for rule in each.spec.http)
        }

    def rules_of(self, written: Resource[VirtualService]) -> list[Owned]:
        """The http rules of a VirtualService in order, those of its delegates where it delegates."""
        found = self._rules.get((written.namespace, written.name))
        return list(_own(written)) if found is None else found

    def hosts_of(self, written: Resource[VirtualService]) -> list[str]:
        """The hosts that its rules send to, or copy requests for."""
        found: dict[str, None] = {}
        for owned in self.rules_of(written):
            rule = owned.rule
            named = [each.destination for each in rule.route] + [each.destination for each in rule.mirrors]
            for destination in [*named, *([rule.mirror] if rule.mirror is not None else [])]:
                found[fqdn(destination.host, owned.owner.namespace)] = None
        passed_on = [route for tls in written.spec.tls for route in tls.route]
        passed_on += [route for tcp in written.spec.tcp for route in tcp.route]
        found.update((fqdn(route.destination.host, written.namespace), None) for route in passed_on)
        return list(found)

    def _expand(self, root: Resource[VirtualService]) -> Iterator[Owned]:
        for own in _own(root):
            if own.rule.delegate is None:
                yield own
                continue
            delegate = self._find(own)
            if delegate is None:
                continue
            for other in _own(delegate):
                merged = _merge(own, other)
                if merged is not None:
                    yield Owned(delegate, other.path, merged)
                else:
                    message = f"matches nothing that {_shown(root)} delegates, so it is left out there"
                    self.problems.append(delegate.problem((*other.path, "match"), message, "warning", "reference"))

    def _find(self, own: Owned) -> Resource[VirtualService] | None:
        assert own.rule.delegate is not None
        namespace, name = own.rule.delegate.namespace or own.owner.namespace, own.rule.delegate.name
        found = self._delegates.get((namespace, name))
        if found is not None and self._visible.seen(found.spec.export_to, namespace, own.owner.namespace):
            return found
        if found is None:
            message = f"no VirtualService without hosts is {namespace}/{name}, so this rule is left out"
        else:
            message = f"{_shown(found)} is not exported to {own.owner.namespace}, so this rule is left out"
        self.problems.append(own.owner.problem((*own.path, "delegate"), message, "warning", "reference"))
        return None


def _shown(resource: Resource[VirtualService]) -> str:
    return f"VirtualService {resource.namespace}/{resource.name}"


def _own(written: Resource[VirtualService]) -> Iterator[Owned]:
    for number, rule in enumerate(written.spec.http):
        yield Owned(written, ("spec", "http", number), rule)


def _merge(root: Owned, leaf: Owned) -> HTTPRoute | None:
    """None: some match of the delegate fits into none of the root's."""
    matches = merged_matches(_absolute(root), _absolute(leaf))
    if matches is None:
        return None
    above, below = root.rule, leaf.rule
    inherited = {name: getattr(above, name) for name in INHERITED if getattr(below, name) in (None, [])}
    if inherited.get("mirror") is not None:
        inherited["mirror"] = _named_from(above.mirror, root.owner.namespace)
    if inherited.get("mirrors"):
        inherited["mirrors"] = [
            msgspec.structs.replace(each, destination=_named_from(each.destination, root.owner.namespace))
            for each in above.mirrors
        ]
    return msgspec.structs.replace(below, name=_joined(above.name, below.name), match=matches, **inherited)


def _named_from(destination: Destination | None, namespace: str) -> Destination | None:
    """In full: it moves into a rule of another namespace."""
    if destination is None:
        return None
    return msgspec.structs.replace(destination, host=fqdn(destination.host, namespace))


def _joined(above: str, below: str) -> str:
    return f"{above}-{below}" if above and below else above or below


def _absolute(owned: Owned) -> list[HTTPMatchRequest]:
    """The matches with gateways in full."""
    return [
        msgspec.structs.replace(match, gateways=[gateway_name(name, owned.owner.namespace) for name in match.gateways])
        for match in owned.rule.match
    ]


def merged_matches(above: list[HTTPMatchRequest], below: list[HTTPMatchRequest]) -> list[HTTPMatchRequest] | None:
    """Each match of the delegate within each of the root's into which it fits."""
    if not above or not below:
        return above or below
    found = []
    for leaf in below:
        fitting = [_both(root, leaf) for root in above if not conflict(root, leaf)]
        if not fitting:
            return None
        found += fitting
    return found


def _both(root: HTTPMatchRequest, leaf: HTTPMatchRequest) -> HTTPMatchRequest:
    first = {name: getattr(leaf, name) or getattr(root, name) for name in (*_COMPARED, "port", "source_namespace")}
    maps = {name: {**getattr(root, name), **getattr(leaf, name)} for name in (*_MAPS, "source_labels")}
    return msgspec.structs.replace(
        leaf,
        name=_joined(root.name, leaf.name),
        gateways=leaf.gateways or root.gateways,
        stat_prefix=leaf.stat_prefix or root.stat_prefix,
        **first,
        **maps,
    )


def conflict(root: HTTPMatchRequest, leaf: HTTPMatchRequest) -> bool:
    """Whether the delegate's match asks for something that the root's has excluded."""
    if any(_differ(getattr(root, name), getattr(leaf, name)) for name in _COMPARED):
        return True
    if any(_any_differs(getattr(root, name), getattr(leaf, name)) for name in _MAPS):
        return True
    if root.ignore_uri_case != leaf.ignore_uri_case:
        return True
    if root.port and leaf.port and root.port != leaf.port:
        return True
    if root.source_namespace and leaf.source_namespace != root.source_namespace:
        return True
    if any(leaf.source_labels.get(name, value) != value for name, value in root.source_labels.items()):
        return True
    return bool(root.gateways and leaf.gateways) and not set(leaf.gateways) <= set(root.gateways)


def _any_differs(root: Mapping[str, StringMatch], leaf: Mapping[str, StringMatch]) -> bool:
    return any(_differ(root.get(name), value) for name, value in leaf.items())


def _differ(root: StringMatch | None, leaf: StringMatch | None) -> bool:
    """Nothing is known of what two expressions have in common: with one of them it counts as nothing."""
    if root is None or leaf is None:
        return False
    if root.regex or leaf.regex:
        return True
    if root.exact:
        return leaf.exact != root.exact
    if root.prefix:
        return not (leaf.prefix or leaf.exact or "").startswith(root.prefix)
    return True
