"""Rate limits that are written as EnvoyFilters, put before the virtual hosts and rules that their patches name.

Patches are applied in Istio's order: by priority, those of the root namespace first, then as they were written. Of
local limits the last one for a route counts, actions of routes add up.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from fastmesh.config.api_listeners import own_gateways
from fastmesh.config.origins import origin
from fastmesh.config.plan import LimitPlan, ListenerPlan, MatchPlan, RulePlan, SharedPlan, VirtualHostPlan
from fastmesh.config.read.envoy_patches import Action, GlobalLimit, LocalLimit, TokenBucket, Understood, read_patches
from fastmesh.config.resource import Resource
from fastmesh.config.routes.limits import LIMITED, Limits, credit_of, lease_of
from fastmesh.config.routes.rate_limit_service import Domains, Trait, Way
from fastmesh.config.selectors import selects
from fastmesh.config.store import ConfigSet
from fastmesh.errors import Problem
from fastmesh.model.envoy_filter import EnvoyFilter

EXHAUSTED = 8  # grpc-status RESOURCE_EXHAUSTED
Written = tuple[Resource[EnvoyFilter], Understood]


@dataclass(slots=True)
class Place:
    """What the patches say of one virtual host or one of its rules."""

    local: tuple[Resource[EnvoyFilter], str, LocalLimit] | None = None
    actions: list[tuple[Resource[EnvoyFilter], str, list[Action]]] = field(default_factory=list)


class EnvoyFilters:
    def __init__(
        self,
        config: ConfigSet,
        namespace: str,
        labels: Mapping[str, str],
        root: str,
        limits: Limits,
        problems: list[Problem],
        *,
        gateway: bool,
    ) -> None:
        self._limits = limits
        self._problems = problems
        self._gateway = gateway
        own = {(each.namespace, each.name) for each in own_gateways(config.api_gateways, labels)} if gateway else set()
        chosen = [each for each in config.envoy_filters if _is_for(each, namespace, labels, root, own)]
        chosen.sort(key=lambda each: (each.spec.priority, each.namespace != root))
        self._patches = [(each, patch) for each in chosen for patch in read_patches(each.spec, lambda *_: None)]
        self._domains = Domains(config.config_maps, problems) if self._patches else None

    def apply(self, listeners: Sequence[ListenerPlan], vhosts: list[VirtualHostPlan]) -> None:
        """Put the limits before the virtual hosts that the patches name, and before their rules."""
        if not self._patches:
            return
        done: set[int] = set()
        for listener in listeners:
            context = (
                "GATEWAY" if self._gateway else "SIDECAR_" + ("IN" if listener.role == "inbound" else "OUT") + "BOUND"
            )
            for index in dict.fromkeys(domain.vhost for domain in listener.domains):
                if index not in done:
                    done.add(index)
                    vhosts[index] = self._limited(vhosts[index], context)

    def _limited(self, vhost: VirtualHostPlan, context: str) -> VirtualHostPlan:
        tail = vhost.name.rpartition("|" if "|" in vhost.name else ":")[2]
        port = int(tail) if tail.isdigit() else 0
        here = [
            (item, patch)
            for item, patch in self._patches
            if patch.context in ("ANY", context) and patch.port in (0, port) and patch.vhost in ("", vhost.name)
        ]
        filters = [(item, patch) for item, patch in here if patch.local_filter or patch.global_filter]
        if not filters:
            return vhost
        host = Place()
        for item, patch in here:
            if not patch.on_routes:
                _add(host, item, patch, f"/{vhost.name}")
        places = []
        for number, rule in enumerate(vhost.rules):
            place = Place()
            for item, patch in here:
                if patch.on_routes and patch.route in ("", rule.origin.route):
                    _add(place, item, patch, f"/{vhost.name}/{number}")
            places.append(place)
        if not any(place.local or place.actions for place in places):
            return msgspec.structs.replace(vhost, limits=vhost.limits + list(self._found(filters, host)))
        # A route with a limit or actions of its own does not look at its host's, so all of them stand at the rules
        rules = [self._rule(rule, filters, host, place) for rule, place in zip(vhost.rules, places, strict=True)]
        return msgspec.structs.replace(vhost, rules=rules)

    def _rule(self, rule: RulePlan, filters: list[Written], host: Place, place: Place) -> RulePlan:
        both = Place(place.local or host.local, place.actions or host.actions)
        return self._limits.extend(rule, list(self._found(filters, both)))

    def _found(self, filters: list[Written], place: Place) -> Iterator[int]:
        for item, patch in filters:
            if patch.local_filter is not None:
                source, name, limit = place.local or (item, f"/{patch.index}", patch.local_filter)
                yield from map(
                    self._limits.put, _local(source, f"{source.namespace}/{source.name}{name}", limit, place)
                )
            elif patch.global_filter is not None and self._domains is not None:
                if patch.global_filter.domain not in self._domains.trees:
                    self._no_domain(item, patch)
                yield from map(self._limits.put, _global(patch.global_filter, place, self._domains))

    def _no_domain(self, item: Resource[EnvoyFilter], patch: Understood) -> None:
        domain = patch.global_filter.domain if patch.global_filter is not None else ""
        message = f"no ConfigMap has domain: {domain} with descriptors, so nothing is limited"
        path = ("spec", "configPatches", patch.index, "patch", "value")
        problem = item.problem(path, message, "warning", "reference")
        if problem not in self._problems:
            self._problems.append(problem)


def _is_for(
    item: Resource[EnvoyFilter], namespace: str, labels: Mapping[str, str], root: str, own: set[tuple[str, str]]
) -> bool:
    spec = item.spec
    if spec.target_refs:
        return any((item.namespace, ref.name) in own for ref in spec.target_refs if ref.kind == "Gateway")
    if item.namespace not in (root, namespace):
        return False
    return spec.workload_selector is None or selects(spec.workload_selector.labels, labels)


def _add(place: Place, item: Resource[EnvoyFilter], patch: Understood, name: str) -> None:
    if patch.local is not None:
        place.local = (item, f"/{patch.index}{name}", patch.local)
    place.actions += [(item, f"/{patch.index}", actions) for actions in patch.actions]


def _local(item: Resource[EnvoyFilter], name: str, limit: LocalLimit, place: Place) -> Iterator[LimitPlan]:
    """Those of the descriptors, then the one for all."""
    if not limit.enabled:
        return
    for number, (entries, bucket) in enumerate(limit.descriptors):
        for _, _, actions in place.actions:
            for some in _shorter(actions):
                for way in _exact(entries, some):
                    yield _plan(item, f"{name}/{number}", bucket, limit, way, actions, some)
    if limit.bucket is not None:
        yield _plan(item, name, limit.bucket, limit, Way("", 0, 0, False, [], []), [], [])


def _exact(entries: list[tuple[str, str]], actions: list[Action]) -> Iterator[Way]:
    """A local descriptor is a list of keys and values; without a value each one has a bucket of its own."""
    if len(entries) != len(actions):
        return
    way = Way("", 0, 0, False, [], [])
    for (key, value), action in zip(entries, actions, strict=True):
        if key != action.key or (not action.kind and value not in ("", action.value)):
            return
        if action.kind and value:
            way.values.append((action, value, True))
        elif action.kind:
            way.apart.append(action)
    yield way


def _plan(
    item: Resource[EnvoyFilter],
    name: str,
    bucket: TokenBucket,
    limit: LocalLimit,
    way: Way,
    actions: list[Action],
    some: list[Action],
) -> LimitPlan:
    return LimitPlan(
        name=name,
        origin=origin(item),
        requests=bucket.fill,
        period=bucket.period,
        burst=bucket.most,
        enabled=limit.enabled,
        enforced=limit.enforced,
        told=limit.told,
        status=limit.status,
        grpc_status=EXHAUSTED if limit.exhausted else None,
        details="local_rate_limited",
        body=b"local_rate_limited",
        headers=[LIMITED, *limit.headers],
        retry_after=False,
        matches=_matches(some),
        traits=_traits(way) + _absent(actions, some),
        keys=[(each.kind, each.name) for each in way.apart],
    )


def _global(limit: GlobalLimit, place: Place, domains: Domains) -> Iterator[LimitPlan]:
    for item, _, actions in place.actions:
        for some in _shorter(actions):
            for way in domains.ways(limit.domain, some):
                yield LimitPlan(
                    name=f"{item.namespace}/{item.name}/{way.name}",
                    origin=origin(item),
                    requests=way.requests,
                    period=way.period,
                    burst=way.requests,
                    matches=_matches(some),
                    traits=_traits(way) + _absent(actions, some),
                    keys=[(each.kind, each.name) for each in way.apart],
                    shared=SharedPlan(
                        domain=way.name,
                        fails_closed=limit.deny,
                        lease=lease_of(way.requests),
                        credit=credit_of(way.requests),
                    ),
                    enforced=0 if way.shadow else 1_000_000,
                    told=limit.told,
                    grpc_status=EXHAUSTED if limit.exhausted else None,
                    headers=[LIMITED],
                    retry_after=False,
                )


def _shorter(actions: list[Action]) -> Iterator[list[Action]]:
    """The actions, and what is left of them where a header that may be absent is."""
    yield actions
    optional = [each for each in actions if each.optional]
    for count in range(1, len(optional) + 1):
        for gone in itertools.combinations(optional, count):
            rest = [each for each in actions if each not in gone]
            if rest:
                yield rest


def _absent(actions: list[Action], some: list[Action]) -> list[Trait]:
    return [(each.kind, each.name, "absent", "") for each in actions if each not in some]


def _matches(actions: list[Action]) -> list[MatchPlan]:
    """All that has to match, with one of what must not; alternatives of these where there are several."""
    headers = [match for each in actions if each.expected for match in each.matches]
    against = [
        [msgspec.structs.replace(match, invert=not match.invert) for match in each.matches]
        for each in actions
        if not each.expected and each.matches
    ]
    found = [MatchPlan(headers=[*headers, *some]) for some in itertools.product(*against)]
    return [] if found == [MatchPlan()] else found


def _traits(way: Way) -> list[Trait]:
    found: list[Trait] = []
    for action, value, same in way.values:
        found.append((action.kind, action.name, "is" if same else "not", value))
    found += [(action.kind, action.name, "present", "") for action in way.apart]
    return found
