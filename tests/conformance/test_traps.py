"""What is most often wrong in programs that read Istio's rules: one test for each trap. The list is in README.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from fastmesh.config.plan import Plan
from tests.config.asking import config_of, plan_of, rule_for, vhost_for
from tests.config.test_compile_destinations import connections, pool
from tests.config.test_compile_destinations import rule as destination_rule
from tests.conformance.routes_of_gateway_api import ask

pytest.importorskip("fastmesh.core.proxy.explain")

NETWORKING, API = "networking.istio.io/v1", "gateway.networking.k8s.io/v1"


def thing(kind: str, name: str, spec: dict[str, Any], version: str = NETWORKING, namespace: str = "shop") -> str:
    head = {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}}
    return "---\n" + yaml.safe_dump({**head, "spec": spec})


SERVICES = "".join(
    thing("Service", name, {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}, "v1", namespace)
    for name, namespace in (("a", "shop"), ("b", "shop"), ("c", "shop"), ("b", "other"))
)


def virtual_service(name: str, *http: dict[str, Any], namespace: str = "shop", **spec: Any) -> str:
    return thing("VirtualService", name, {"hosts": ["a"], "http": [*http], **spec}, namespace=namespace)


def to(host: str, **more: Any) -> dict[str, Any]:
    """A rule; `uri` is its one match."""
    made: dict[str, Any] = {"route": [{"destination": {"host": host}}]}
    if "uri" in more:
        made["match"] = [{"uri": more.pop("uri")}]
    return made | more


def api(kind: str, value: str, backend: str) -> dict[str, Any]:
    return {"matches": [{"path": {"type": kind, "value": value}}], "backendRefs": [{"name": backend, "port": 80}]}


def http_route(*rules: dict[str, Any]) -> str:
    parents = [{"group": "", "kind": "Service", "name": "a"}]
    return thing("HTTPRoute", "a", {"parentRefs": parents, "rules": [*rules]}, API)


def answer(text: str, target: str = "/", **role: Any) -> Mapping[str, Any]:
    return ask(plan_of(SERVICES + text, **{"namespace": "shop", **role}), "", "a.shop", target)


def meets(text: str, target: str = "/", **role: Any) -> str | int:
    """The service that gets the request, or the status."""
    found = answer(text, target, **role)
    return (
        str(found["cluster"]).split("|")[3].removesuffix(".svc.cluster.local") if found["cluster"] else found["status"]
    )


def test_a_prefix_is_text_for_istio_and_segments_for_the_gateway_api() -> None:
    istio = virtual_service("a", to("b", uri={"prefix": "/abc"}), to("c"))
    assert [meets(istio, target) for target in ("/abc", "/abc/d", "/abcd")] == ["b.shop", "b.shop", "b.shop"]
    ours = http_route(api("PathPrefix", "/abc", "b"))
    assert [meets(ours, target) for target in ("/abc", "/abc/", "/abc/d", "/abcd")] == ["b.shop"] * 3 + [404]


def test_istios_first_match_wins_and_the_gateway_apis_most_specific() -> None:
    assert meets(virtual_service("a", to("b", uri={"prefix": "/"}), to("c", uri={"exact": "/x"})), "/x") == "b.shop"
    assert meets(http_route(api("PathPrefix", "/", "b"), api("Exact", "/x", "c")), "/x") == "c.shop"


def test_no_rule_that_fits_is_404_and_not_the_service() -> None:
    assert meets(virtual_service("a", to("b", uri={"exact": "/x"})), "/y") == 404
    assert meets("", "/y") == "a.shop"


def test_retries_are_on_and_not_for_the_answers_of_an_application() -> None:
    default = answer(virtual_service("a", to("b")))["retries"]
    assert default["attempts"] == 2
    assert not {"503", "5xx", "gateway-error", "reset"} & set(default["retry_on"])
    assert answer("")["retries"] == default
    assert answer(virtual_service("a", to("b", retries={})))["retries"] is None


def test_no_percentage_is_none_of_a_fault_and_all_of_a_mirror() -> None:
    rule = _rule(virtual_service("a", to("b", fault={"abort": {"httpStatus": 500}}, mirror={"host": "c"})))
    assert rule.fault is None or rule.fault.abort_share == 0
    assert [mirror.share for mirror in rule.mirrors] == [1_000_000]


def _rule(text: str) -> Any:
    vhost = vhost_for(plan_of(SERVICES + text, namespace="shop"), "a", 80)
    assert vhost is not None
    return rule_for(vhost)


def test_settings_of_a_port_replace_all_and_those_of_a_subset_their_block() -> None:
    port = "portLevelSettings: [{port: {number: 8080}, outlierDetection: {}}]"
    subsets = "subsets: [{name: v1, trafficPolicy: {outlierDetection: {}}}]"
    text = destination_rule("r", f"{{host: api, {pool(5).removesuffix('}')}, {port}}}, {subsets}}}")
    assert connections(text) == 5
    assert connections(text, 8080) != 5
    assert connections(text, 80, "v1") == 5


def test_the_first_namespace_with_a_destination_rule_counts_alone() -> None:
    """Client's, service's, root: an exported rule of any other namespace is none."""
    host = "api.shop.svc.cluster.local"
    root = destination_rule("r", f"{{host: {host}, {pool(3)}}}", "istio-system")
    elsewhere = destination_rule("e", f"{{host: {host}, {pool(9)}}}", "elsewhere")
    client = destination_rule("c", f"{{host: {host}, trafficPolicy: {{outlierDetection: {{}}}}}}", "client")
    assert connections(elsewhere + root, namespace="client") == 3
    assert connections(elsewhere, namespace="client") not in (3, 9)
    assert connections(client + root, namespace="client") != 3, "nothing is inherited from the root's"


def test_ports_of_rules_are_those_of_the_service() -> None:
    """80 is the Service's, 8080 its target: only policies of security speak of the workload's."""
    assert meets(virtual_service("a", {**to("b"), "match": [{"port": 8080}]})) == "a.shop"
    assert meets(virtual_service("a", {**to("b"), "match": [{"port": 80}]})) == "b.shop"
    text = destination_rule(
        "r", f"{{host: a, trafficPolicy: {{portLevelSettings: [{_limited(8080)}, {_limited(80)}]}}}}"
    )
    cluster = next(each for each in _plan(text).clusters if each.name == "outbound|80||a.shop.svc.cluster.local")
    assert cluster.max_connections == 80


def _limited(port: int) -> str:
    return f"{{port: {{number: {port}}}, connectionPool: {{tcp: {{maxConnections: {port}}}}}}}"


def _plan(text: str) -> Plan:
    return plan_of(SERVICES + text.lstrip(), namespace="shop")


def test_weights_need_not_make_a_hundred() -> None:
    route = [{"destination": {"host": host}, "weight": weight} for host, weight in (("b", 1), ("c", 3))]
    found = answer(virtual_service("a", {"route": route}))["weights"]
    assert {name.split("|")[3].partition(".")[0]: share for name, share in found.items()} == {"b": 0.25, "c": 0.75}


def test_a_rewrite_puts_texts_together() -> None:
    rule = to("b", uri={"prefix": "/api"}, rewrite={"uri": "/"})
    assert answer(virtual_service("a", rule), "/api/x")["path"] == "//x"
    assert answer(virtual_service("a", rule), "/api")["path"] == "/"


def test_rules_of_two_objects_merge_on_a_gateway_and_not_in_the_mesh() -> None:
    first, second = to("b", uri={"prefix": "/one"}), to("c", uri={"prefix": "/two"})
    mesh = virtual_service("first", first) + virtual_service("second", second)
    assert [meets(mesh, target) for target in ("/one", "/two")] == ["b.shop", 404]
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["a.shop.svc.cluster.local"]}
    text = SERVICES + thing("Gateway", "gw", {"servers": [server]})
    text += virtual_service("first", first, gateways=["gw"]) + virtual_service("second", second, gateways=["gw"])
    plan = plan_of(text, kind="gateway", namespace="shop")
    for target, host in (("/one", "b"), ("/two", "c")):
        assert ask(plan, "shop/gw", "a.shop.svc.cluster.local", target)["cluster"].startswith(f"outbound|80||{host}.")


def test_an_empty_traffic_policy_of_a_sidecar_is_registry_only() -> None:
    sidecar = thing("Sidecar", "own", {"egress": [{"hosts": ["./*"]}], "outboundTrafficPolicy": {}})
    assert plan_of(SERVICES + sidecar, namespace="shop").listeners[0].unknown == "blackhole"


def test_short_names_are_those_of_the_rules_namespace() -> None:
    assert meets(virtual_service("a", to("b"))) == "b.shop"
    elsewhere = virtual_service("a", to("b"), namespace="other", hosts=["a.shop.svc.cluster.local"])
    assert meets(elsewhere) == "b.other"
    assert meets(virtual_service("a", to("b"), namespace="other")) == "a.shop", "its host is a.other"


def test_expressions_fit_the_whole_text_and_are_re2() -> None:
    text = virtual_service("a", to("b", uri={"regex": "/a|/b.*"}))
    assert [meets(text, target) for target in ("/a", "/ab", "/bc", "/x/a")] == ["b.shop", 404, "b.shop", 404]
    with pytest.raises(Exception, match="regex"):
        config_of(SERVICES + virtual_service("a", to("b", uri={"regex": "/(?=x)"})))


def test_flags_of_what_leads_nowhere() -> None:
    """The flags and bodies of failures on the wire are in tests/story."""
    assert answer(virtual_service("a", to("b", uri={"exact": "/x"})), "/y")["flags"] == ["NR"]
    assert answer(virtual_service("a", to("nowhere")))["flags"] == ["NC"]
    assert answer("")["flags"] == ["UH"]
