"""Filters: before which rules they stand, in which order, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastmesh.config.plan import Plan
from fastmesh.config.store import read
from fastmesh.errors import ConfigError
from tests.config.asking import plan_of, rule_for, vhost_for
from tests.config.test_compile_limits import SHOP

API = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: api, namespace: shop}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: sell, namespace: shop}
spec:
  parentRefs: [{name: api}]
  hostnames: [sell.example]
  rules: [{backendRefs: [{name: product, port: 80}]}]
"""


def written(spec: str, namespace: str = "shop", name: str = "f") -> str:
    head = f"metadata: {{name: {name}, namespace: {namespace}}}"
    return f"\n---\napiVersion: fastmesh.io/v1alpha1\nkind: Filter\n{head}\nspec: {{function: 'm:f', {spec}}}\n"


def names(plan: Plan, host: str, path: str = "/", port: int = 80) -> list[str]:
    vhost = vhost_for(plan, host, port)
    assert vhost is not None
    rule = rule_for(vhost, path)
    assert rule is not None
    return [plan.filters[number].name for number in rule.filters]


@pytest.mark.parametrize(
    ("spec", "namespace", "expected"),
    [
        ("", "shop", "product order/buy order/look else"),
        ("", "istio-system", "product order/buy order/look else"),
        ("", "other", ""),
        ("mode: SERVER", "shop", ""),
        ("selector: {matchLabels: {app: a}}", "shop", "product order/buy order/look else"),
        ("selector: {matchLabels: {app: b}}", "shop", ""),
        ("targetRefs: [{kind: Service, name: product}]", "shop", "product"),
        ("targetRefs: [{kind: Service, name: order}, {kind: Service, name: no}]", "shop", "order/buy order/look"),
        ("targetRefs: [{kind: Service, name: else}]", "else", "else"),
        ("targetRefs: [{kind: VirtualService, name: order}]", "shop", "order/buy order/look"),
        ("targetRefs: [{kind: VirtualService, name: order, sectionName: buy}]", "shop", "order/buy"),
        ("hosts: [product.shop.svc.cluster.local]", "shop", "product"),
        ("hosts: ['*.shop.svc.cluster.local']", "shop", "product order/buy order/look"),
        ("hosts: ['*']", "shop", "product order/buy order/look else"),
    ],
)  # fmt: skip
def test_on_the_mesh(spec: str, namespace: str, expected: str) -> None:
    plan = plan_of(SHOP + written(spec, namespace), namespace="shop", labels={"app": "a"})
    places = {
        "product": ("product.shop.svc.cluster.local", "/"),
        "order/buy": ("order.shop.svc.cluster.local", "/buy"),
        "order/look": ("order.shop.svc.cluster.local", "/"),
        "else": ("else.else.svc.cluster.local", "/"),
    }
    found = [place for place, (host, path) in places.items() if names(plan, host, path)]
    assert found == expected.split()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("targetRefs: [{kind: Gateway, name: gw}]", "order"),
        ("targetRefs: [{kind: Gateway, name: api}]", "sell"),
        ("targetRefs: [{kind: HTTPRoute, name: sell}]", "sell"),
        ("targetRefs: [{kind: Service, name: product}]", "order sell"),
        ("mode: CLIENT", "order sell"),
        ("mode: SERVER", ""),
        ("targetRefs: [{kind: Gateway, name: other}]", ""),
    ],
)
def test_on_gateways(spec: str, expected: str) -> None:
    labels = {"gateway.networking.k8s.io/gateway-name": "api"}
    plan = plan_of(SHOP + API + written(spec), kind="gateway", namespace="shop", labels=labels)
    hosts = {"order.shop.svc.cluster.local": "order", "sell.example": "sell"}
    numbers = {domain.domain: domain.vhost for domain in plan.listeners[0].domains}
    found = [hosts[name] for name, vhost in numbers.items() if any(rule.filters for rule in plan.vhosts[vhost].rules)]
    assert found == expected.split()


def test_before_the_workload_of_a_sidecar() -> None:
    for mode, inbound in (("SERVER", ["shop/f"]), ("CLIENT", []), ("CLIENT_AND_SERVER", ["shop/f"])):
        text = SHOP + written(f"mode: {mode}")
        plan = plan_of(text, kind="sidecar", namespace="shop", inbound=(("127.0.0.1:15006", "127.0.0.1:8080"),))
        listener = plan.listeners[-1]
        vhost = plan.vhosts[listener.domains[0].vhost]
        assert [plan.filters[number].name for number in vhost.rules[0].filters] == inbound
        outbound = names(plan, "product.shop.svc.cluster.local")
        assert outbound == ([] if mode == "SERVER" else ["shop/f"])


@pytest.mark.parametrize(
    ("spec", "namespace", "mesh", "gateway"),
    [
        ("", "shop", True, True),
        ("", "istio-system", True, True),
        ("", "other", False, False),
        ("mode: SERVER", "shop", False, False),
        ("hosts: [product.shop.svc.cluster.local]", "shop", True, True),  # looked at when a request comes
        ("targetRefs: [{kind: Service, name: product}]", "shop", False, False),
        ("targetRefs: [{kind: HTTPRoute, name: sell}]", "shop", False, False),
        ("targetRefs: [{kind: Gateway, name: api}]", "shop", False, True),
        ("targetRefs: [{kind: Gateway, name: other}]", "shop", False, False),
    ],
)
def test_requests_that_no_rule_takes(spec: str, namespace: str, mesh: bool, gateway: bool) -> None:
    labels = {"gateway.networking.k8s.io/gateway-name": "api"}
    for kind, expected in (("mesh", mesh), ("gateway", gateway)):
        plan = plan_of(SHOP + API + written(spec, namespace), kind=kind, namespace="shop", labels=labels)
        found = [plan.filters[number].name for number in plan.listeners[0].filters]
        assert found == ([f"{namespace}/f"] if expected else [])


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ("{kind: Service, name: product}", ""),
        ("{kind: Gateway, name: gw}", ""),
        ("{kind: Gateway, name: api}", ""),
        ("{kind: HTTPRoute, name: sell}", ""),
        ("{kind: Service, name: produce}", "name"),
        ("{kind: Gateway, name: ap}", "name"),
        ("{kind: VirtualService, name: order, sectionName: by}", "sectionName"),
    ],
)
def test_a_target_that_is_not_there_is_told(tmp_path: Path, target: str, field: str) -> None:
    (tmp_path / "mesh.yaml").write_text(SHOP + API + written(f"targetRefs: [{target}]"))
    found = [each for each in read([str(tmp_path)]).warnings if each.kind == "Filter"]
    assert [(each.field, "no request of it meets" in each.message) for each in found] == (
        [(f"spec.targetRefs[0].{field}", True)] if field else []
    )


def test_order() -> None:
    text = SHOP + written("order: 5", name="a") + written("", name="c") + written("", name="b")
    text += written("", "istio-system", "z") + written("order: -1", name="last")
    plan = plan_of(text, namespace="shop")
    found = names(plan, "product.shop.svc.cluster.local")
    assert found == ["shop/last", "istio-system/z", "shop/b", "shop/c", "shop/a"]


def test_what_is_written_is_planned() -> None:
    spec = "config: {a: [1, {b: null}]}, failureMode: open, timeout: 50ms, bodyLimit: 9, hosts: ['*.X.com', '*'], "
    plan = plan_of(SHOP + written(spec + "match: [{method: {exact: GET}}]"), namespace="shop")
    (made,) = plan.filters
    assert (made.config, made.passes, made.timeout, made.body_limit) == ({"a": [1, {"b": None}]}, True, 50, 9)
    assert made.hosts == [".x.com", ""]
    assert len(made.matches) == 1
    assert made.origin.kind == "Filter"
    (default,) = plan_of(SHOP + written(""), namespace="shop").filters
    assert (default.passes, default.timeout, default.body_limit) == (False, 200, 1 << 20)


@pytest.mark.parametrize(
    ("spec", "field", "why"),
    [
        ("function: 'os'", "spec.function", "is not module:function"),
        ("function: 'a.b-c:d'", "spec.function", "is not module:function"),
        ("function: 'a:b()'", "spec.function", "is not module:function"),
        ("function: '../a:b'", "spec.function", "is not module:function"),
        ("timeout: 0s", "spec.timeout", "too short"),
        ("bodyLimit: 0", "spec.bodyLimit", "lets no body through"),
        ("failureMode: maybe", "spec.failureMode", "maybe"),
        ("targetRefs: [{kind: Service, name: ''}]", "spec.targetRefs[0].name", "is empty"),
        ("targetRefs: [{kind: Pod, name: a}]", "spec.targetRefs[0].kind", "Pod"),
        ("targetRefs: [{kind: Service, name: a, namespace: b}]", "spec.targetRefs[0].namespace", "another namespace"),
        ("targetRefs: [{kind: Service, name: a, sectionName: b}]", "spec.targetRefs[0].sectionName", "names a rule"),
        ("match: [{port: 80}]", "spec.match[0].port", "has no meaning"),
        ("match: [{uri: {regex: '('}}]", "spec.match[0].uri.regex", ""),
        ("hosts: ['a b']", "spec.hosts[0]", ""),
        ("hooks: 1", "spec.hooks", ""),
    ],
)
def test_what_is_refused(spec: str, field: str, why: str) -> None:
    text = written(spec) if "function" not in spec else written("").replace("function: 'm:f'", spec)
    with pytest.raises(ConfigError) as caught:
        plan_of(text)
    (problem,) = [each for each in caught.value.problems if each.severity == "error"]
    assert (problem.field, problem.severity) == (field, "error")
    assert why in problem.message
