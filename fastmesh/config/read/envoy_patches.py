"""What is understood of EnvoyFilters: rate limits, in the shapes that Istio's tasks show.

The local filter (envoy.filters.http.local_ratelimit), the global one (envoy.filters.http.ratelimit) and the actions of
routes. All else is told with its path, and a patch of which a condition is not understood is not applied at all.
https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/local_rate_limit_filter
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Literal

from fastmesh.config.place import Path
from fastmesh.config.plan import NamedMatchPlan, StringMatchPlan
from fastmesh.config.read import substitutions
from fastmesh.config.read.rest import Rest, Tell
from fastmesh.model.envoy_filter import EnvoyConfigPatch, EnvoyFilter

LOCAL = "envoy.filters.http.local_ratelimit"
GLOBAL = ("envoy.filters.http.ratelimit", "envoy.ratelimit", "envoy.rate_limit")
LOCAL_TYPE = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
GLOBAL_TYPE = "envoy.extensions.filters.http.ratelimit.v3.RateLimit"
EXPRESSION_TYPE = "envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor"
TYPED_STRUCTS = ("udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct")
CONTEXTS = ("ANY", "GATEWAY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND")
INSERTS = ("INSERT_BEFORE", "INSERT_FIRST", "INSERT_AFTER", "ADD")
MANAGER = ("envoy.filters.network.http_connection_manager", "envoy.http_connection_manager")
SHARES = {"HUNDRED": 10_000, "TEN_THOUSAND": 100, "MILLION": 1, 0: 10_000, 1: 100, 2: 1}
PRINCIPAL = "connection.uri_san_peer_certificate"
NOT_APPLIED = "is not served, so this patch is not applied"


@dataclass(frozen=True, slots=True)
class TokenBucket:
    most: int
    fill: int
    period: int  # ms


@dataclass(frozen=True, slots=True)
class LocalLimit:
    """A LocalRateLimit."""

    bucket: TokenBucket | None
    descriptors: list[tuple[list[tuple[str, str]], TokenBucket]]
    enabled: int
    enforced: int
    headers: list[tuple[str, str]]
    status: int
    told: bool
    exhausted: bool


@dataclass(frozen=True, slots=True)
class GlobalLimit:
    """A RateLimit filter: a service that is asked about a domain."""

    domain: str
    deny: bool
    told: bool
    exhausted: bool


@dataclass(frozen=True, slots=True)
class Action:
    """One part of a descriptor: a trait of the request, or a value that is known (`kind` "")."""

    key: str
    kind: str = ""
    name: str = ""
    value: str = ""
    optional: bool = False  # absent: the rest of the descriptor stands without it
    matches: tuple[NamedMatchPlan, ...] = ()  # all of them
    expected: bool = True  # or not all of them


@dataclass(frozen=True, slots=True)
class Understood:
    """One patch. `vhost` and `route` empty: all."""

    index: int
    context: str
    port: int = 0
    vhost: str = ""
    route: str = ""
    on_routes: bool = False
    local_filter: LocalLimit | None = None
    global_filter: GlobalLimit | None = None
    local: LocalLimit | None = None
    actions: list[list[Action]] = field(default_factory=list)


def read_patches(spec: EnvoyFilter, tell: Tell) -> list[Understood]:
    """The patches of one object that mean something here; `tell` hears of everything else."""
    services = {_service_of(patch) for patch in spec.config_patches}
    found = []
    for index, patch in enumerate(spec.config_patches):
        one = _patch(index, patch, ("spec", "configPatches", index), services, tell)
        if one is not None:
            found.append(one)
    return found


def _service_of(patch: EnvoyConfigPatch) -> str:
    """The cluster that a global filter would ask."""
    value = patch.patch.value
    config = _typed(Rest(value.get("typed_config", value.get("typedConfig", {})), (), _nobody), _nobody)[1]
    return config.inside("rate_limit_service").inside("grpc_service").inside("envoy_grpc").text("cluster_name")


def _nobody(path: Path, message: str) -> None:
    pass


def _patch(index: int, patch: EnvoyConfigPatch, path: Path, services: set[str], tell: Tell) -> Understood | None:
    value, operation = patch.patch.value, patch.patch.operation
    where = (*path, "patch")
    if patch.apply_to == "CLUSTER" and operation == "ADD" and value.get("name") in services - {""}:
        return None  # of the rate limit service, which nobody asks: Redis counts
    if patch.apply_to == "HTTP_FILTER" and operation in INSERTS:
        limit = _filter(Rest(value, (*where, "value"), tell), tell)
        place = _place(index, patch, path, tell) if limit is not None else None
        if place is None or limit is None:
            return None
        local = limit if isinstance(limit, LocalLimit) else None
        return _with(place, local_filter=local, global_filter=limit if isinstance(limit, GlobalLimit) else None)
    if patch.apply_to in ("VIRTUAL_HOST", "HTTP_ROUTE") and operation == "MERGE":
        rest = Rest(value, (*where, "value"), tell)
        outer = rest if patch.apply_to == "VIRTUAL_HOST" else rest.inside("route")
        actions = [found for item in outer.items("rate_limits") if (found := _actions(item)) is not None]
        local = _per_route(rest.inside("typed_per_filter_config"), tell)
        if outer is not rest:
            outer.end()
        rest.end()
        place = _place(index, patch, path, tell) if actions or local is not None else None
        return place and _with(place, actions=actions, local=local)
    tell((*path, "applyTo"), f"{patch.apply_to} with {operation or 'no operation'} is not served")
    return None


def _with(place: Understood, **more: object) -> Understood:
    names = ("index", "context", "port", "vhost", "route", "on_routes")
    return Understood(**{name: getattr(place, name) for name in names}, **more)  # type: ignore[arg-type]


def _place(index: int, patch: EnvoyConfigPatch, path: Path, tell: Tell) -> Understood | None:
    """Where it applies; None when a condition is not understood."""
    match = Rest(patch.match, (*path, "match"), tell)
    context = match.text("context", "ANY")
    listener, routes = match.inside("listener"), match.inside("route_configuration")
    port = listener.number("port_number") or routes.number("port_number")
    chain = listener.inside("filter_chain")
    network = chain.inside("filter")
    manager, sub = network.text("name", MANAGER[0]), network.inside("sub_filter")
    sub.take("name")  # where among the filters: limits come before the router in any case
    vhost = routes.inside("vhost")
    name = vhost.text("name")
    route = vhost.inside("route")
    route_name, action = route.text("name"), route.text("action", "ANY")
    parts = (match, listener, chain, network, sub, routes, vhost, route)
    left = [part for part in parts if not part.end(NOT_APPLIED)]  # all of them tell
    if context not in CONTEXTS or manager not in MANAGER or action not in ("ANY", "ROUTE"):
        tell((*path, "match"), f"{context}, {manager}, action {action}: {NOT_APPLIED}")
        return None
    place = Understood(index, context, port, name, route_name, patch.apply_to == "HTTP_ROUTE")
    return None if left else place


def _typed(rest: Rest, tell: Tell) -> tuple[str, Rest]:
    """The type and the fields of a typed_config."""
    kind = rest.text("@type").rpartition("/")[2]
    if kind in TYPED_STRUCTS:
        kind = rest.text("type_url").rpartition("/")[2]
        inside = rest.inside("value")
        rest.end()
        return kind, inside
    return kind, rest


def _filter(rest: Rest, tell: Tell) -> LocalLimit | GlobalLimit | None:
    name = rest.text("name")
    kind, config = _typed(rest.inside("typed_config"), tell)
    if name == LOCAL and kind == LOCAL_TYPE:
        rest.end()
        return _local(config, tell)
    if name in GLOBAL and kind == GLOBAL_TYPE:
        rest.end()
        return _global(config)
    tell((*rest.path, "name"), f"{name} ({kind or 'no @type'}) is not served; rate limits are: {LOCAL}, {GLOBAL[0]}")
    return None


def _per_route(rest: Rest, tell: Tell) -> LocalLimit | None:
    found = None
    if rest.has(LOCAL):
        kind, config = _typed(rest.inside(LOCAL), tell)
        if kind == LOCAL_TYPE:
            found = _local(config, tell)
        else:
            tell((*rest.path, LOCAL), f"{kind or 'no @type'} is not {LOCAL_TYPE}")
    rest.end()
    return found


def _local(rest: Rest, tell: Tell) -> LocalLimit | None:
    rest.text("stat_prefix")
    bucket = _bucket(rest.inside("token_bucket"), tell) if rest.has("token_bucket") else None
    descriptors = []
    for item in rest.items("descriptors"):
        entries = [(entry.text("key"), entry.text("value")) for entry in item.items("entries")]
        own = _bucket(item.inside("token_bucket"), tell)
        if item.end() and own is not None:
            descriptors.append((entries, own))
    found = LocalLimit(
        bucket=bucket,
        descriptors=descriptors,
        enabled=_share(rest, "filter_enabled"),
        enforced=_share(rest, "filter_enforced"),
        headers=_headers(rest),
        status=_status(rest.inside("status")),
        told=_told(rest),
        exhausted=rest.flag("rate_limited_as_resource_exhausted"),
    )
    if not rest.flag("always_consume_default_token_bucket", True) and descriptors:
        tell((*rest.path, "always_consume_default_token_bucket"), "false is not served, the default bucket counts, too")
    rest.end()
    if bucket is not None and not found.enabled:
        tell((*rest.path, "filter_enabled"), "is 0 % when it is absent: nothing is limited, write default_value")
    return found


def _global(rest: Rest) -> GlobalLimit | None:
    """How long the service may take and where it is has no meaning: Redis is asked ahead of requests."""
    service = rest.inside("rate_limit_service")
    service.take("transport_api_version")
    grpc = service.inside("grpc_service")
    grpc.take("timeout")
    grpc.inside("envoy_grpc").take("cluster_name")
    grpc.end()
    service.end()
    rest.take("timeout")
    kind = rest.text("request_type", "both")
    found = GlobalLimit(
        rest.text("domain"),
        rest.flag("failure_mode_deny"),
        _told(rest),
        rest.flag("rate_limited_as_resource_exhausted"),
    )
    if rest.number("stage"):
        rest.tell((*rest.path, "stage"), "only stage 0 is served")
    if kind not in ("both", "external", ""):
        rest.tell((*rest.path, "request_type"), f"{kind} is not served, all requests are limited")
    rest.end()
    return found


def _bucket(rest: Rest, tell: Tell) -> TokenBucket | None:
    most, fill, period = rest.number("max_tokens"), rest.number("tokens_per_fill", 1), rest.duration("fill_interval")
    good = rest.end()
    if good and (most < 1 or fill < 1 or period < 1):
        tell(rest.path, "needs max_tokens and fill_interval above 0")
        return None
    return TokenBucket(most, min(fill, most), period) if good else None


def _share(rest: Rest, name: str) -> int:
    """Of a million. There is no runtime, so the default value decides."""
    share = rest.inside(name)
    share.take("runtime_key")
    value = share.inside("default_value")
    number, unit = value.number("numerator"), value.take("denominator", "HUNDRED")
    value.end()
    share.end()
    return min(number * SHARES.get(unit, 0), 1_000_000)


def _headers(rest: Rest) -> list[tuple[str, str]]:
    found = []
    for item in rest.items("response_headers_to_add"):
        header = item.inside("header")
        item.take("append")  # an answer of the proxy has no other of that name
        item.take("append_action")
        name, value = header.text("key").lower(), header.text("value")
        if "%" not in value or (substitutions.complaint(value) is None and substitutions.literal(value) is not None):
            found.append((name, substitutions.literal(value) or ""))
        else:
            header.tell((*header.path, "value"), f"{value} is not served in the answer of a limit: {name} is left out")
        header.end()
        item.end()
    return found


def _told(rest: Rest) -> bool:
    return rest.take("enable_x_ratelimit_headers", "OFF") in ("DRAFT_VERSION_03", 1)


def _status(rest: Rest) -> int:
    code = rest.take("code", 429)
    rest.end()
    names = {each.name.replace("_", "").lower(): int(each) for each in HTTPStatus}
    found = names.get(code.lower(), 429) if isinstance(code, str) else code
    return found if isinstance(found, int) and 400 <= found <= 599 else 429  # Envoy answers 429 for less, too


def _actions(rest: Rest) -> list[Action] | None:
    """The actions of one entry; None when one of them is not understood: then the entry makes no descriptor."""
    found = [_action(item) for item in rest.items("actions")]
    good = rest.end()
    if not good or not found:
        return None
    actions = [each for each in found if each is not None]
    return actions if len(actions) == len(found) else None


def _action(rest: Rest) -> Action | None:
    for name, read in _ACTIONS.items():
        if rest.has(name):
            inside = rest.inside(name)
            action = read(inside)
            return action if inside.end() and rest.end() else None
    rest.end("is not served, so this entry limits nothing")
    return None


def _header(rest: Rest) -> Action:
    name = rest.text("header_name").lower()
    kind = _PSEUDO.get(name, "header")
    return Action(rest.text("descriptor_key"), kind, name if kind == "header" else "", "", rest.flag("skip_if_absent"))


def _parameter(rest: Rest) -> Action:
    name = rest.text("query_parameter_name")
    return Action(rest.text("descriptor_key"), "queryParam", name, "", rest.flag("skip_if_absent"))


def _address(rest: Rest) -> Action:
    return Action("remote_address", "clientAddress")


def _generic(rest: Rest) -> Action:
    return Action(rest.text("descriptor_key") or "generic_key", value=rest.text("descriptor_value"))


def _header_match(rest: Rest) -> Action:
    matches = tuple(match for item in rest.items("headers") if (match := _match(item)) is not None)
    key = rest.text("descriptor_key") or "header_match"
    return Action(key, "", "", rest.text("descriptor_value"), False, matches, rest.flag("expect_match", True))


def _match(rest: Rest) -> NamedMatchPlan | None:
    """Envoy's HeaderMatcher."""
    name, invert = rest.text("name").lower(), rest.flag("invert_match")
    found: StringMatchPlan | None = None
    if rest.has("string_match"):
        inside = rest.inside("string_match")
        fold = inside.flag("ignore_case")
        found = _comparison(inside, fold, "exact", "prefix", "suffix")
        if inside.has("safe_regex"):
            found = StringMatchPlan(kind="regex", value=inside.inside("safe_regex").text("regex"))
        inside.end()
    elif rest.has("present_match"):
        invert ^= not rest.flag("present_match", True)
        found = StringMatchPlan(kind="present")
    else:
        found = _comparison(rest, False, "exact_match", "prefix_match", "suffix_match")
    good = rest.end()
    return NamedMatchPlan(name=name, match=found or StringMatchPlan(kind="present"), invert=invert) if good else None


def _comparison(rest: Rest, fold: bool, *names: str) -> StringMatchPlan | None:
    for name in names:
        if rest.has(name):
            value = rest.text(name)
            kind: Literal["exact", "prefix", "suffix"] = name.removesuffix("_match")  # type: ignore[assignment]
            return StringMatchPlan(kind=kind, value=value.lower() if fold else value, ignore_case=fold)
    return None


def _extension(rest: Rest) -> Action | None:
    rest.text("name")
    kind, config = _typed(rest.inside("typed_config"), rest.tell)
    key, text = config.text("descriptor_key"), config.text("text")
    config.end()
    if kind == EXPRESSION_TYPE and text == PRINCIPAL:
        return Action(key, "sourcePrincipal")
    rest.tell((*rest.path, "typed_config"), f"of the expressions {PRINCIPAL} is served, not {text or kind}")
    return None


_PSEUDO = {":path": "target", ":method": "method", ":authority": "authority", "host": "authority", ":scheme": "scheme"}
_ACTIONS = {
    "request_headers": _header,
    "query_parameters": _parameter,
    "remote_address": _address,
    "generic_key": _generic,
    "header_value_match": _header_match,
    "extension": _extension,
}
