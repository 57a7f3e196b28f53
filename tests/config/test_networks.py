"""Networks: endpoints of another one are reached through its gateways. Nodes: endpoints that serve their own alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastmesh.config.compile import Role, compile_plan, dns_names
from fastmesh.config.plan import ClusterPlan, Plan
from fastmesh.config.read import load
from fastmesh.config.store import read_documents
from fastmesh.errors import Problem
from tests.config.asking import config_of
from tests.traffic import destination_rule, thing

HERE = {"labels": {"topology.istio.io/network": "here"}, "identity": True}
DIRECT = "10.0.0.1"


def entry(number: int, network: str = "", **spec: Any) -> str:
    whole = {"address": f"10.0.0.{number}", "labels": {"app": "api"}, "serviceAccount": "api", **spec}
    return thing("WorkloadEntry", f"api-{number}", whole | ({"network": network} if network else {}))


API = thing("Service", "api", {"selector": {"app": "api"}, "ports": [{"name": "http", "port": 80}]}, "v1")
SPREAD = API + entry(1, "here") + entry(2, "far") + entry(3, "far", weight=3) + entry(4, "away")


MAP = """\
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  meshNetworks: |
"""


def networks(**written: Any) -> str:
    """The ConfigMap `istio` with MeshNetworks."""
    return f"{MAP}    {json.dumps({'networks': written})}\n"


def gateways(*addresses: str, cidr: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"gateways": [{"address": address, "port": 15443} for address in addresses]}
    return found | ({"endpoints": [{"fromCidr": cidr}]} if cidr else {})


def compiled(text: str, resolve: dict[str, list[str]] | None = None, **role: Any) -> tuple[Plan, list[Problem]]:
    return compile_plan(config_of(text), Role(**(role or HERE)), resolve=resolve)


def api(text: str, **role: Any) -> ClusterPlan:
    return next(each for each in compiled(text, **role)[0].clusters if each.service_name == "api")


def met(text: str, **role: Any) -> dict[str, int]:
    """Address and weight of each endpoint, gateways with their port."""
    return {
        f"{each.address}:{each.port}" if each.port != 80 else each.address: each.weight
        for each in api(text, **role).endpoints
    }


def test_without_gateways_all_networks_are_one() -> None:
    assert met(SPREAD) == {"10.0.0.1": 1, "10.0.0.2": 1, "10.0.0.3": 3, "10.0.0.4": 1}


def test_a_gateway_stands_for_the_endpoints_of_its_network() -> None:
    """With their weights; a network without gateways is reached as before."""
    assert met(SPREAD + networks(far=gateways("192.0.2.1"))) == {DIRECT: 1, "10.0.0.4": 1, "192.0.2.1:15443": 4}


def test_several_gateways_share() -> None:
    text = SPREAD + networks(far=gateways("192.0.2.1", "192.0.2.2"))
    assert met(text) == {DIRECT: 2, "10.0.0.4": 2, "192.0.2.1:15443": 4, "192.0.2.2:15443": 4}


def test_a_gateway_is_spoken_to_in_mutual_tls_that_names_the_service() -> None:
    cluster = api(SPREAD + networks(far=gateways("192.0.2.1")))
    assert cluster.tls is not None
    assert cluster.tls.auto
    assert cluster.tls.sni == "outbound_.80_._.api.default.svc.cluster.local"
    assert [each.mesh_tls for each in cluster.endpoints if each.port == 15443] == [True]


@pytest.mark.parametrize("mode", ["no sidecar", "DISABLE", "SIMPLE", "no identity"])
def test_nobody_gets_through_without_mutual_tls(mode: str) -> None:
    text = API + entry(1, "here") + entry(2, "far", **({"serviceAccount": ""} if mode == "no sidecar" else {}))
    if mode.isupper():
        text += destination_rule("api", {"tls": {"mode": mode}})
    role = {**HERE, "identity": mode != "no identity"}
    text += networks(far=gateways("192.0.2.1"))
    assert met(text, **role) == {DIRECT: 1}
    (told,) = (each for each in compiled(text, **role)[1] if "network far" in each.message)
    assert (told.severity, told.kind) == ("warning", "Service")
    assert ("10.0.0.2" if mode == "no sidecar" else "this proxy") in told.message


def test_a_proxy_of_no_network_goes_through_gateways() -> None:
    text = SPREAD + networks(far=gateways("192.0.2.1"))
    assert met(text, identity=True)["192.0.2.1:15443"] == 4
    assert met(text, identity=True, labels={"topology.istio.io/network": "far"})["10.0.0.2"] == 1


def test_addresses_tell_the_network() -> None:
    text = API + entry(1) + entry(2) + networks(far=gateways("192.0.2.1", cidr="10.0.0.2/32"))
    assert met(text) == {DIRECT: 1, "192.0.2.1:15443": 1}


def test_an_endpoint_that_has_no_address() -> None:
    """Only its network's gateway knows it; without one nobody does."""
    text = API + entry(1, "here") + entry(2, "far", address="") + entry(3, "far", address="")
    assert met(text + networks(far=gateways("192.0.2.1"))) == {DIRECT: 1, "192.0.2.1:15443": 2}
    assert met(text) == {DIRECT: 1}


def test_a_service_may_be_the_gateway() -> None:
    spec = {"ports": [{"name": "tls", "port": 15443}], "externalIPs": ["192.0.2.7"]}
    labels = {"topology.istio.io/network": "far", "networking.istio.io/gatewayPort": "443"}
    service = thing("Service", "cross", spec, "v1", labels=labels)
    assert met(SPREAD + service)["192.0.2.7:443"] == 4
    named = {"gateways": [{"registryServiceName": "cross.default.svc.cluster.local", "port": 15443}]}
    plain = thing("Service", "cross", spec, "v1")
    assert met(SPREAD + plain + networks(far=named))["192.0.2.7:15443"] == 4
    problems = compiled(SPREAD + networks(far=named))[1]
    assert [(each.code, each.field) for each in problems] == [
        ("reference", "networks.far.gateways[0].registryServiceName")
    ]


def test_a_gateway_with_a_name() -> None:
    text = SPREAD + networks(far=gateways("cross.example"))
    assert "cross.example" in dns_names(config_of(text))
    plan, _ = compiled(text, {"cross.example": ["192.0.2.8"]}, **HERE)
    cluster = next(each for each in plan.clusters if each.service_name == "api")
    assert "192.0.2.8" in [each.address for each in cluster.endpoints]


def test_localities_stay() -> None:
    text = API + entry(1, "here", locality="r1") + entry(2, "far", locality="r2") + networks(far=gateways("192.0.2.1"))
    text += destination_rule("api", {"outlierDetection": {}})
    assert [(each.locality, each.priority) for each in api(text, locality="r1", **HERE).endpoints] == [
        ("r1", 0),
        ("r2", 1),
    ]


@pytest.mark.parametrize(
    ("network", "field", "said"),
    [
        ({"gateways": [{"port": 1}]}, "gateways[0]", "needs one of"),
        ({"gateways": [{"address": "a", "registryServiceName": "b", "port": 1}]}, "gateways[0]", "needs one of"),
        ({"gateways": [{"address": "192.0.2.1", "port": 0}]}, "gateways[0].port", "1 to 65535"),
        ({"endpoints": [{"fromCidr": "10.0.0"}]}, "endpoints[0].fromCidr", "is not a block"),
        ({"endpoints": [{}]}, "endpoints[0]", "needs one of"),
        ({"endpoint": []}, "endpoint", "unknown"),
    ],
)
def test_mistakes(network: dict[str, Any], field: str, said: str) -> None:
    problems: list[Problem] = []
    documents = load.load_text(networks(far=network), "test.yaml", problems)
    found = read_documents(load.Loaded(documents, problems, ["test.yaml"]))
    assert not found.ok
    assert [(each.kind, each.field, each.line) for each in found.errors] == [
        ("MeshNetworks", f"networks.far.{field}", 7)
    ]
    assert said in found.errors[0].message


# --- nodes ------------------------------------------------------------------------------------------------------------

LOCAL = {"internalTrafficPolicy": "Local", "ports": [{"name": "http", "port": 80}]}
ON_NODES = [("10.0.0.1", "n1"), ("10.0.0.2", "n2"), ("10.0.0.3", "")]


def nodes(**spec: Any) -> str:
    addresses = [{"addresses": [address], "nodeName": node} for address, node in ON_NODES]
    slices = {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": addresses,
        "metadata": {"name": "api-1", "labels": {"kubernetes.io/service-name": "api"}},
        "ports": [{"name": "http", "port": 80}],
    }  # fmt: skip
    return thing("Service", "api", LOCAL | spec, "v1") + "---\n" + json.dumps(slices) + "\n"


def test_local_traffic_stays_on_the_node() -> None:
    on_n1 = {"labels": {"kubernetes.io/hostname": "n1"}}
    assert list(met(nodes(), **on_n1)) == ["10.0.0.1"]
    assert list(met(nodes(), labels={"kubernetes.io/hostname": "n9"})) == []
    assert len(met(nodes(internalTrafficPolicy="Cluster"), **on_n1)) == 3


def test_the_node_of_the_own_pod() -> None:
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "cart-0", "labels": {"app": "cart"}},
        "spec": {"nodeName": "n2", "containers": []},
    }  # fmt: skip
    assert list(met(nodes() + "---\n" + json.dumps(pod) + "\n", name="cart-0")) == ["10.0.0.2"]


def test_a_proxy_that_does_not_know_its_node_says_so() -> None:
    plan, problems = compiled(nodes(), namespace="default")
    assert len(next(each for each in plan.clusters if each.service_name == "api").endpoints) == 3
    assert [(each.file, each.severity) for each in problems] == [("--labels", "warning")]
