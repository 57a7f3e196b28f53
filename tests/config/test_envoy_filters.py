"""Rate limits written as EnvoyFilters: which limits they become, before which hosts, and what is told of the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.plan import LimitPlan, Plan
from fastmesh.errors import Problem
from tests.config.asking import config_of
from tests.traffic import thing

MESH = """
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 80, targetPort: 8000}]}
---
apiVersion: v1
kind: Service
metadata: {name: stock}
spec: {selector: {app: stock}, ports: [{name: http, port: 80, targetPort: 8000}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http:
  - {name: buy, match: [{uri: {prefix: /buy}}], route: [{destination: {host: shop}}]}
  - {name: rest, route: [{destination: {host: shop}}]}
"""
TYPES = "type.googleapis.com/envoy.extensions.filters.http."
LOCAL = TYPES + "local_ratelimit.v3.LocalRateLimit"
ALL = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
BUCKET = {"max_tokens": 10, "tokens_per_fill": 5, "fill_interval": "60s"}
SERVED: dict[str, Any] = {"stat_prefix": "s", "filter_enabled": ALL, "filter_enforced": ALL}
SHOP = "shop.default.svc.cluster.local:80"
STOCK = "stock.default.svc.cluster.local:80"


def typed(**fields: Any) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "type_url": LOCAL, "value": fields}


def inserts(config: dict[str, Any], name: str = "envoy.filters.http.local_ratelimit", **match: Any) -> dict[str, Any]:
    patch = {"operation": "INSERT_BEFORE", "value": {"name": name, "typed_config": config}}
    return {"applyTo": "HTTP_FILTER", "match": match, "patch": patch}


def merges(value: dict[str, Any], to: str = "VIRTUAL_HOST", vhost: str = "", **route: Any) -> dict[str, Any]:
    match = {"context": "SIDECAR_OUTBOUND", "routeConfiguration": {"vhost": {"name": vhost, "route": route}}}
    return {"applyTo": to, "match": match, "patch": {"operation": "MERGE", "value": value}}


def envoy_filter(*patches: dict[str, Any], namespace: str = "istio-system", name: str = "f", **spec: Any) -> str:
    return thing("EnvoyFilter", name, {**spec, "configPatches": list(patches)}, namespace=namespace)


def made(*texts: str, **role: Any) -> tuple[Plan, list[Problem]]:
    return compile_plan(config_of(MESH + "".join(texts)), Role(**role))


def limits_of(plan: Plan, host: str, route: int | None = None) -> list[LimitPlan]:
    (vhost,) = [each for each in plan.vhosts if each.name == host]
    indexes = vhost.limits if route is None else vhost.rules[route].limits
    return [plan.limits[index] for index in indexes]


def told(text: str) -> list[tuple[str, str]]:
    from fastmesh.config.read import load
    from fastmesh.config.store import read_documents

    problems: list[Problem] = []
    documents = load.load_text(text, "test.yaml", problems)
    result = read_documents(load.Loaded(documents, problems, ["test.yaml"]))
    assert result.ok, result.errors
    return [(each.field, each.message) for each in result.problems]


GENERIC = [{"actions": [{"generic_key": {"descriptor_value": "a"}}]}]


def test_a_filter_limits_every_host_with_one_bucket() -> None:
    headers = [{"append": False, "header": {"key": "X-Local", "value": "true"}}]
    config = typed(
        **SERVED, token_bucket=BUCKET, response_headers_to_add=headers, status={"code": "ServiceUnavailable"}
    )
    plan, problems = made(envoy_filter(inserts(config)))
    assert problems == []
    (limit,) = limits_of(plan, SHOP)
    assert limits_of(plan, STOCK) == [limit]
    assert (limit.burst, limit.requests, limit.period, limit.status) == (10, 5, 60_000, 503)
    assert limit.headers == [("x-envoy-ratelimited", "true"), ("x-local", "true")]
    assert (limit.enabled, limit.enforced, limit.details) == (1_000_000, 1_000_000, "local_rate_limited")


@pytest.mark.parametrize(
    ("spec", "namespace", "role", "count"),
    [
        ({"workloadSelector": {"labels": {"app": "a"}}}, "istio-system", {"labels": {"app": "a"}}, 1),
        ({"workloadSelector": {"labels": {"app": "a"}}}, "istio-system", {"labels": {"app": "b"}}, 0),
        ({}, "default", {}, 1),
        ({}, "other", {}, 0),
        ({"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g"}]}, "default", {}, 0),
    ],
)
def test_whom_it_is_for(spec: dict[str, Any], namespace: str, role: dict[str, Any], count: int) -> None:
    text = envoy_filter(inserts(typed(**SERVED, token_bucket=BUCKET)), namespace=namespace, **spec)
    assert len(made(text, **role)[0].limits) == count


@pytest.mark.parametrize(("context", "count"), [("GATEWAY", 0), ("SIDECAR_OUTBOUND", 1), ("ANY", 1)])
def test_contexts(context: str, count: int) -> None:
    text = envoy_filter(inserts(typed(**SERVED, token_bucket=BUCKET), context=context))
    assert len(made(text)[0].limits) == count


def test_inbound_is_the_side_of_the_application() -> None:
    text = envoy_filter(inserts(typed(**SERVED, token_bucket=BUCKET), context="SIDECAR_INBOUND"))
    plan, _ = made(text, kind="sidecar", labels={"app": "shop"}, inbound=(("127.0.0.1:15006", "127.0.0.1:8000"),))
    assert len(limits_of(plan, "inbound|http|80")) == 1
    assert limits_of(plan, SHOP) == []


def test_a_route_has_a_bucket_of_its_own() -> None:
    own = {"typed_per_filter_config": {"envoy.filters.http.local_ratelimit": typed(**SERVED, token_bucket=BUCKET)}}
    plain = inserts(typed(stat_prefix="s"))
    plan, _ = made(envoy_filter(plain, merges(own, "HTTP_ROUTE", SHOP, name="buy")))
    assert [len(limits_of(plan, SHOP, route)) for route in (0, 1)] == [1, 0]
    assert limits_of(plan, STOCK) == []
    assert made(envoy_filter(merges(own, "HTTP_ROUTE", SHOP)))[0].limits == [], "no filter reads it"


def test_the_filter_is_off_without_a_share() -> None:
    text = envoy_filter(inserts(typed(stat_prefix="s", token_bucket=BUCKET)))
    assert made(text)[0].limits == []
    assert told(text)[0][0].endswith("value.filter_enabled")
    shadow = {"filter_enabled": {"default_value": {"numerator": 5, "denominator": "TEN_THOUSAND"}}}
    (limit,) = made(envoy_filter(inserts(typed(token_bucket=BUCKET, **shadow))))[0].limits
    assert (limit.enabled, limit.enforced) == (500, 0)


def test_local_descriptors() -> None:
    descriptors = [
        {"entries": [{"key": "user", "value": "ann"}, {"key": "generic_key", "value": "a"}], "token_bucket": BUCKET},
        {"entries": [{"key": "user", "value": ""}, {"key": "generic_key", "value": "a"}], "token_bucket": BUCKET},
        {"entries": [{"key": "user", "value": "ann"}, {"key": "generic_key", "value": "b"}], "token_bucket": BUCKET},
        {"entries": [{"key": "user", "value": "ann"}], "token_bucket": BUCKET},
    ]
    user = {"request_headers": {"header_name": "X-User", "descriptor_key": "user"}}
    actions = [{"actions": [user, {"generic_key": {"descriptor_value": "a"}}]}]
    config = typed(**SERVED, token_bucket=BUCKET, descriptors=descriptors)
    plan, _ = made(envoy_filter(inserts(config), merges({"rate_limits": actions}, vhost=SHOP)))
    found = limits_of(plan, SHOP)
    assert [(each.traits, each.keys) for each in found] == [
        ([("header", "x-user", "is", "ann")], []),
        ([("header", "x-user", "present", "")], [("header", "x-user")]),
        ([], []),
    ]
    assert limits_of(plan, STOCK) == found[2:]


def test_what_must_not_match() -> None:
    headers = [
        {"name": ":path", "string_match": {"prefix": "/A", "ignore_case": True}},
        {"name": "x", "present_match": True},
    ]
    action = {"header_value_match": {"descriptor_value": "v", "expect_match": False, "headers": headers}}
    descriptor = {"entries": [{"key": "header_match", "value": "v"}], "token_bucket": BUCKET}
    config = typed(**SERVED, descriptors=[descriptor])
    (limit,) = made(envoy_filter(inserts(config), merges({"rate_limits": [{"actions": [action]}]})))[0].limits
    assert [(each.headers[0].name, each.headers[0].invert) for each in limit.matches] == [(":path", True), ("x", True)]
    assert limit.matches[0].headers[0].match.value == "/a"


def service(deny: bool = False) -> dict[str, Any]:
    grpc = {"grpc_service": {"envoy_grpc": {"cluster_name": "limits"}}, "transport_api_version": "V3"}
    config = {"domain": "d", "failure_mode_deny": deny, "rate_limit_service": grpc, "timeout": "10s"}
    return inserts({"@type": TYPES + "ratelimit.v3.RateLimit", **config}, "envoy.filters.http.ratelimit")


def counts(*descriptors: dict[str, Any]) -> str:
    whole = json.dumps({"domain": "d", "descriptors": list(descriptors)})
    return "---\n" + json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"config.yaml": whole}}
    )


def per(unit: str, requests: int) -> dict[str, Any]:
    return {"rate_limit": {"unit": unit, "requests_per_unit": requests}}


PATH = [{"actions": [{"request_headers": {"header_name": ":path", "descriptor_key": "PATH"}}]}]


def test_the_most_specific_line_of_a_domain_counts() -> None:
    lines = counts({"key": "PATH", "value": "/", **per("MINUTE", 1)}, {"key": "PATH", **per("hour", 100)})
    plan, problems = made(envoy_filter(service(deny=True), merges({"rate_limits": PATH}, vhost=SHOP)), lines)
    assert problems == []
    one, other = limits_of(plan, SHOP)
    assert (one.requests, one.period, one.traits, one.keys) == (1, 60_000, [("target", "", "is", "/")], [])
    assert (other.requests, other.period, other.keys) == (100, 3_600_000, [("target", "")])
    assert other.traits == [("target", "", "not", "/"), ("target", "", "present", "")]
    assert one.shared is not None
    assert (one.shared.fails_closed, one.shared.domain) == (True, "d/PATH=/")


def test_lines_below_lines_and_headers_that_may_be_absent() -> None:
    tree = {"key": "generic_key", "value": "a", **per("day", 7), "descriptors": [{"key": "u", **per("second", 3)}]}
    user = {"request_headers": {"header_name": "u", "descriptor_key": "u", "skip_if_absent": True}}
    actions = [{"actions": [{"generic_key": {"descriptor_value": "a"}}, user]}]
    plan, _ = made(envoy_filter(service(), merges({"rate_limits": actions})), counts(tree))
    assert [(each.requests, each.traits) for each in limits_of(plan, SHOP)] == [
        (3, [("header", "u", "present", "")]),
        (7, [("header", "u", "absent", "")]),
    ]


def test_a_domain_that_nobody_wrote() -> None:
    plan, problems = made(envoy_filter(service(), merges({"rate_limits": PATH})))
    assert plan.limits == []
    assert [each.message for each in problems] == ["no ConfigMap has domain: d with descriptors, so nothing is limited"]


def test_by_priority_the_last_one_counts() -> None:
    def own(most: int) -> dict[str, Any]:
        config = typed(**SERVED, token_bucket={**BUCKET, "max_tokens": most})
        return merges({"typed_per_filter_config": {"envoy.filters.http.local_ratelimit": config}}, "HTTP_ROUTE", SHOP)

    plain = inserts(typed(stat_prefix="s"))
    text = envoy_filter(plain, own(7), name="late", priority=5) + envoy_filter(own(9), name="early")
    plan, _ = made(text)
    assert [each.burst for each in limits_of(plan, SHOP, 0)] == [7]


NOT_SERVED = [
    ({"applyTo": "LISTENER", "patch": {"operation": "MERGE", "value": {}}}, "applyTo", "LISTENER with MERGE"),
    (
        inserts({"@type": "type.googleapis.com/x.Lua"}, "envoy.filters.http.lua"),
        "patch.value.name",
        "envoy.filters.http.lua",
    ),
    (inserts(typed(**SERVED, token_bucket=BUCKET), proxy={"proxyVersion": "1"}), "match.proxy", "not applied"),
    (inserts(typed(**SERVED, token_bucket=BUCKET, stage=1)), "patch.value.typed_config.value.stage", "not served"),
    (
        merges({"rate_limits": [{"actions": [{"source_cluster": {}}]}]}),
        "patch.value.rate_limits[0].actions[0].source_cluster",
        "this entry limits nothing",
    ),
    (merges({"domains": ["a"]}), "patch.value.domains", "not served"),
]


@pytest.mark.parametrize(("patch", "field", "message"), NOT_SERVED)
def test_the_rest_is_told_with_its_path(patch: dict[str, Any], field: str, message: str) -> None:
    found = told(envoy_filter(patch))
    assert [place for place, _ in found] == [f"spec.configPatches[0].{field}"], found
    assert message in found[0][1]


def test_a_patch_with_an_unknown_condition_is_not_applied() -> None:
    text = envoy_filter(inserts(typed(**SERVED, token_bucket=BUCKET), proxy={"proxyVersion": "1"}))
    assert made(text)[0].limits == []
