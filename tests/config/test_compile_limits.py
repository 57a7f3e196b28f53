"""RateLimits: before which virtual hosts and rules their buckets stand."""

from __future__ import annotations

import pytest

from fastmesh.config.plan import LimitPlan, MatchPlan, Plan, SharedPlan, StringMatchPlan, VirtualHostPlan
from tests.config.asking import plan_of, vhost_for

SHOP = """
apiVersion: v1
kind: Service
metadata: {name: product, namespace: shop}
spec: {ports: [{name: http, port: 80}, {name: http-b, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: order, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: else, namespace: else}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: order, namespace: shop}
spec:
  hosts: [order]
  gateways: [mesh, gw]
  http:
  - name: buy
    match: [{uri: {prefix: /buy}}]
    route: [{destination: {host: order}}]
  - name: look
    route: [{destination: {host: product}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: shop}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
"""


def limit(spec: str, namespace: str = "shop", name: str = "l") -> str:
    head = f"metadata: {{name: {name}, namespace: {namespace}}}"
    return f"\n---\napiVersion: fastmesh.io/v1alpha1\nkind: RateLimit\n{head}\nspec: {{{spec}}}\n"


TEN = "limits: [{requests: 10}]"


def host(plan: Plan, name: str, port: int = 80) -> VirtualHostPlan:
    found = vhost_for(plan, name, port)
    assert found is not None
    return found


def limited(plan: Plan) -> set[str]:
    return {vhost.name.split(".")[0] + ":" + vhost.name.split(":")[1] for vhost in plan.vhosts if vhost.limits}


@pytest.mark.parametrize(
    ("target", "namespace", "hosts"),
    [
        ("targetRef: {kind: Service, name: product}, ", "shop", {"product:80", "product:8080"}),
        ("targetRef: {kind: VirtualService, name: order}, ", "shop", {"order:80"}),
        ("", "shop", {"product:80", "product:8080", "order:80"}),
        ("", "else", {"else:80"}),
    ],
)
def test_targets_on_the_mesh(target: str, namespace: str, hosts: set[str]) -> None:
    plan = plan_of(SHOP + limit(target + TEN, namespace))
    assert limited(plan) == hosts
    assert not any(rule.limits for vhost in plan.vhosts for rule in vhost.rules)
    assert plan.mesh.namespace_limits == []


def test_a_limit_of_the_root_namespace_is_for_every_request() -> None:
    plan = plan_of(SHOP + limit(TEN, "istio-system"))
    assert plan.mesh.namespace_limits == [0]
    assert limited(plan) == set()


def test_a_section_is_a_named_route() -> None:
    plan = plan_of(SHOP + limit("targetRef: {kind: VirtualService, name: order, sectionName: buy}, " + TEN))
    assert limited(plan) == set()
    assert [rule.limits for rule in host(plan, "order.shop").rules] == [[0], []]


def test_a_gateways_limit_stands_before_its_hosts() -> None:
    plan = plan_of(SHOP + limit("targetRef: {kind: Gateway, name: gw}, " + TEN), kind="gateway")
    assert [vhost.limits for vhost in plan.vhosts] == [[0]]
    assert limited(plan_of(SHOP + limit("targetRef: {kind: Gateway, name: gw}, " + TEN))) == set()


def test_on_a_gateway_a_services_limit_stands_before_the_rules_that_lead_to_it() -> None:
    plan = plan_of(SHOP + limit("targetRef: {kind: Service, name: product}, " + TEN), kind="gateway")
    assert [rule.limits for rule in plan.vhosts[0].rules] == [[], [0]]


def test_defaults() -> None:
    (plan,) = plan_of(SHOP + limit(TEN)).limits
    assert plan.origin.kind == "RateLimit"
    assert plan == LimitPlan(
        name="shop/l/0",
        origin=plan.origin,
        requests=10,
        period=1000,
        burst=10,
        headers=[("x-envoy-ratelimited", "true")],
    )


def test_everything_written() -> None:
    spec = """limits: [{requests: 5, per: hour, burst: 0, match: [{uri: {prefix: /a}}],
  keys: [{header: X-User}, {queryParam: K}, {path: true}, {method: true}, {clientAddress: true},
  {sourcePrincipal: true}]}],
  response: {status: 503, body: slow down, headers: {X-Why: limit}}"""
    (plan,) = plan_of(SHOP + limit(spec.replace("burst: 0", "burst: 7"))).limits
    assert (plan.period, plan.burst, plan.status, plan.body) == (3_600_000, 7, 503, b"slow down")
    assert plan.headers == [("x-envoy-ratelimited", "true"), ("x-why", "limit")]
    assert not plan.retry_after
    assert plan.matches == [MatchPlan(path=StringMatchPlan(kind="prefix", value="/a"))]
    assert plan.keys == [
        ("header", "x-user"),
        ("queryParam", "K"),
        ("path", ""),
        ("method", ""),
        ("clientAddress", ""),
        ("sourcePrincipal", ""),
    ]


def test_global_counts() -> None:
    spec = "global: {redis: redis.shop:6379, domain: shop, failureModeDeny: true}, limits: [{requests: 500, name: all}]"
    (plan,) = plan_of(SHOP + limit(spec)).limits
    assert plan.shared == SharedPlan(domain="shop/all", redis="redis.shop:6379", fails_closed=True, lease=50, credit=50)
    (plan,) = plan_of(SHOP + limit("global: {}, limits: [{requests: 3, per: day}]")).limits
    assert plan.shared == SharedPlan(domain="shop/l/0", lease=1, credit=3)


def test_clauses_for_one_port_leave_the_others_alone() -> None:
    plan = plan_of(
        SHOP + limit("targetRef: {kind: Service, name: product}, limits: [{requests: 1, match: [{port: 8080}]}]")
    )
    assert limited(plan) == {"product:8080"}


def test_several_limits_are_asked_from_the_widest_to_the_narrowest() -> None:
    text = limit("targetRef: {kind: Service, name: product}, limits: [{requests: 1}, {requests: 2}]", name="service")
    plan = plan_of(SHOP + text + limit(TEN, name="all"))
    assert [plan.limits[index].name for index in host(plan, "product.shop").limits] == [
        "shop/all/0",
        "shop/service/0",
        "shop/service/1",
    ]
