"""Bytes of the mesh: the chains by address and port, the sockets of single services, and what is told."""

from __future__ import annotations

from typing import Any

import pytest

from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.plan import ListenerPlan, Plan, encode, iterate
from fastmesh.core.proxy.explain_tcp import explain_connection
from tests.config.asking import config_of, plan_of
from tests.conformance.explaining import ask
from tests.traffic import thing

DB, CACHE = "db.default.svc.cluster.local", "cache.default.svc.cluster.local"


def service(name: str, address: str, *ports: tuple[str, int], **spec: Any) -> str:
    written = [{"name": kind, "port": number} for kind, number in ports]
    return thing("Service", name, {"clusterIP": address, "ports": written, **spec}, "v1")


def entry(host: str, *ports: tuple[str, int], **spec: Any) -> str:
    written = [{"name": f"{kind.lower()}-{number}", "number": number, "protocol": kind} for kind, number in ports]
    return thing("ServiceEntry", host.partition(".")[0], {"hosts": [host], "ports": written, **spec})


def rules(*tcp: dict[str, Any], host: str = "db", name: str = "vs", **spec: Any) -> str:
    return thing("VirtualService", name, {"hosts": [host], "tcp": list(tcp), **spec})


def to(host: str, *others: tuple[str, int], **match: Any) -> dict[str, Any]:
    places = [(host, 1), *others]
    route = [{"destination": {"host": name}, "weight": weight} for name, weight in places]
    return {"route": route} | ({"match": [match]} if match else {})


BOTH = service("db", "10.0.0.5", ("tcp", 5432), ("http", 80)) + service(
    "cache", "10.0.0.6", ("redis", 6379), ("tcp", 80)
)


def whole(host: str, port: int = 5432) -> str:
    return f"outbound|{port}||{host}"


def at(plan: Plan, address: str, port: int, sni: str | None = None, listener: str = "mesh") -> dict[str, Any]:
    return explain_connection(iterate(encode(plan)), listener, address, port, sni)


def shares(plan: Plan, address: str, port: int, sni: str | None = None) -> Any:
    found = at(plan, address, port, sni)
    return found["shares"] if found["kind"] == "tcp" else found["kind"]


def test_by_address_and_port() -> None:
    plan = plan_of(BOTH, intercepts=True)
    assert shares(plan, "10.0.0.5", 5432) == {whole(DB): 1}
    assert shares(plan, "10.0.0.6", 6379) == {whole(CACHE, 6379): 1}
    assert shares(plan, "10.0.0.6", 80) == {whole(CACHE, 80): 1}
    assert shares(plan, "10.0.0.5", 80) == "http"
    assert shares(plan, "10.0.0.9", 80) == "http"  # by its Host, as Istio's 0.0.0.0_80
    assert shares(plan, "10.0.0.9", 5432) == {"PassthroughCluster": 1}
    assert shares(plan, "", 0) == "http"  # who speaks to the proxy itself


def test_an_unknown_place_with_registry_only() -> None:
    policy = thing("Sidecar", "default", {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}})
    plan = plan_of(BOTH + policy, intercepts=True)
    found = at(plan, "10.0.0.9", 5432)
    assert (found["chain"], found["kind"], found["shares"]) == ("blackhole", "tcp", {})


@pytest.mark.parametrize(
    ("tcp", "role", "wanted"),
    [
        ([to("cache")], {}, {whole(CACHE): 1}),
        ([to("db", ("cache", 3))], {}, {whole(DB): 0.25, whole(CACHE): 0.75}),
        ([to("cache", port=5433), to("db")], {}, {whole(DB): 1}),
        ([to("cache", port=5433)], {}, {whole(DB): 1}),  # no rule fits: the service itself
        ([to("cache", sourceLabels={"app": "shop"})], {"labels": {"app": "shop"}}, {whole(CACHE): 1}),
        ([to("cache", sourceLabels={"app": "shop"})], {"labels": {"app": "other"}}, {whole(DB): 1}),
        ([to("cache", sourceNamespace="shop")], {}, {whole(DB): 1}),
        ([to("cache", sourceNamespace="default")], {}, {whole(CACHE): 1}),
        ([to("cache", gateways=["gw"])], {}, {whole(DB): 1}),
        ([to("cache", gateways=["mesh"], sourceLabels={"app": "x"})], {}, {whole(DB): 1}),
        ([to("cache", destinationSubnets=["10.0.0.0/24"])], {}, {whole(DB): 1}),  # the service's own is longer
        ([to("cache", destinationSubnets=["10.0.0.5/32"])], {}, {whole(CACHE): 1}),
    ],
)
def test_rules(tcp: list[dict[str, Any]], role: dict[str, Any], wanted: dict[str, float]) -> None:
    text = service("db", "10.0.0.5", ("tcp", 5432)) + service("cache", "10.0.0.6", ("tcp", 5432))
    plan = plan_of(text + rules(*tcp), intercepts=True, **role)
    assert shares(plan, "10.0.0.5", 5432) == pytest.approx(wanted)


def test_subnets_of_rules_take_addresses_that_no_service_has() -> None:
    text = service("db", "10.0.0.5", ("tcp", 5432)) + service("cache", "10.0.0.6", ("tcp", 5432))
    subnet = rules(to("cache", destinationSubnets=["172.16.0.0/12"]))
    plan = plan_of(text + subnet, intercepts=True)
    assert shares(plan, "172.31.1.1", 5432) == {whole(CACHE): 1}
    assert shares(plan, "10.0.0.5", 5432) == {whole(DB): 1}
    assert shares(plan, "172.31.1.1", 5433) == {"PassthroughCluster": 1}


def test_a_service_without_an_address_is_known_by_its_port() -> None:
    plan = plan_of(entry("db.example", ("TCP", 5432), resolution="STATIC"), intercepts=True)
    assert shares(plan, "203.0.113.9", 5432) == {whole("db.example"): 1}


def test_a_headless_service_is_known_by_its_endpoints() -> None:
    text = service("db", "None", ("tcp", 5432), selector={"app": "db"})
    text += thing("WorkloadEntry", "db-0", {"address": "10.1.0.7", "labels": {"app": "db"}})
    plan = plan_of(text, intercepts=True)
    assert shares(plan, "10.1.0.7", 5432) == {whole(DB): 1}
    assert shares(plan, "10.1.0.8", 5432) == {"PassthroughCluster": 1}


def test_tls_by_address_and_name() -> None:
    """A whole address is enough; a block needs the server name."""
    text = entry("one.example", ("TLS", 443), addresses=["10.0.0.5"]) + entry(
        "two.example", ("TLS", 443), addresses=["10.1.0.0/16"]
    )
    plan = plan_of(text, intercepts=True)
    assert shares(plan, "10.0.0.5", 443, "any.example") == {whole("one.example", 443): 1}
    assert shares(plan, "10.1.0.5", 443, "two.example") == {whole("two.example", 443): 1}
    assert at(plan, "10.1.0.5", 443, "any.example")["chain"] in ("", "passthrough")


def listener(plan: Plan, name: str) -> ListenerPlan:
    return next(each for each in plan.listeners if each.name == name)


def test_a_service_on_an_address_of_this_machine_has_a_socket() -> None:
    text = service("db", "127.0.0.10", ("tcp", 5432), ("http", 80)) + service("cache", "10.0.0.6", ("tcp", 5432))
    plan = plan_of(text + rules(to("db", ("cache", 1))))
    assert [each.name for each in plan.listeners] == ["mesh", "127.0.0.10_5432"]
    own = listener(plan, "127.0.0.10_5432")
    assert own.address == "127.0.0.10:5432"
    assert at(plan, "", 0, listener=own.name)["shares"] == {whole(DB): 0.5, whole(CACHE): 0.5}


def test_a_socket_would_be_in_the_way_of_an_endpoint() -> None:
    text = entry("db.example", ("TCP", 5432), addresses=["127.0.0.10"], resolution="STATIC", location="MESH_INTERNAL")
    text = text.replace('"resolution"', '"endpoints": [{"address": "127.0.0.10"}], "resolution"')
    plan, problems = compile_plan(config_of(text), Role())
    assert [each.name for each in plan.listeners] == ["mesh"]
    assert "an endpoint listens on 127.0.0.10:5432 itself" in problems[0].message


def test_what_cannot_be_told_apart_is_told() -> None:
    text = BOTH + rules(to("cache", destinationSubnets=["172.16.0.0/12"]))
    _, problems = compile_plan(config_of(text), Role())
    told = [str(each) for each in problems]
    assert any("bytes do not say that they are for db.default.svc.cluster.local" in each for each in told)
    assert any("destinationSubnets" in each and "--interception-mode" in each for each in told)
    assert compile_plan(config_of(text), Role(intercepts=True))[1] == []
    assert compile_plan(config_of(text), Role(kind="gateway"))[1] == []


def test_an_egress_listener_follows_the_rules() -> None:
    egress = {"port": {"number": 5432, "name": "db", "protocol": "TCP"}, "bind": "127.0.0.1", "hosts": ["./*"]}
    text = BOTH.replace("redis", "tcp-one").replace("6379", "5432")
    text += thing("Sidecar", "default", {"egress": [egress, {"hosts": ["./*"]}]})
    text += rules(to("cache", port=5432), name="vs")
    plan, problems = compile_plan(config_of(text), Role())
    found = at(plan, "", 0, listener="127.0.0.1_5432")
    assert found["shares"] == {whole(CACHE): 1}
    assert not any("5432" in str(each) or "ports[0]" in str(each) for each in problems), problems


@pytest.mark.parametrize("version", ["V1", "V2", None])
def test_fields_of_destination_rules(version: str | None) -> None:
    proxy: dict[str, Any] = {} if version is None else {"version": version}
    pool = {"tcp": {"idleTimeout": "2m", "maxConnectionDuration": "1h", "maxConnections": 3}}
    policy = {"proxyProtocol": proxy, "connectionPool": pool}
    text = service("db", "10.0.0.5", ("tcp", 5432)) + thing(
        "DestinationRule", "db", {"host": "db", "trafficPolicy": policy}
    )
    cluster = next(each for each in plan_of(text, intercepts=True).clusters if each.host == DB)
    assert cluster.proxy_protocol == (2 if version == "V2" else 1)
    assert (cluster.tcp_idle, cluster.max_connection_duration, cluster.max_connections) == (120_000, 3_600_000, 3)


@pytest.mark.parametrize(
    ("tunnel", "request_line"),
    [
        ({"targetHost": "db.example", "targetPort": 5432}, "CONNECT db.example:5432 HTTP/1.1"),
        ({"protocol": "POST", "targetHost": "db.example", "targetPort": 5432}, "POST / HTTP/1.1"),
        ({"protocol": "CONNECT", "targetHost": "2001:db8::1", "targetPort": 1}, "CONNECT [2001:db8::1]:1 HTTP/1.1"),
    ],
)
def test_a_tunnel_of_a_subset(tunnel: dict[str, Any], request_line: str) -> None:
    subset = {"name": "far", "trafficPolicy": {"tunnel": tunnel}}
    text = service("db", "10.0.0.5", ("tcp", 5432)) + thing(
        "DestinationRule", "db", {"host": "db", "subsets": [subset]}
    )
    text += rules({"route": [{"destination": {"host": "db", "subset": "far"}}]})
    cluster = next(each for each in plan_of(text, intercepts=True).clusters if each.subset == "far")
    assert cluster.tunnel.splitlines()[0] == request_line
    assert cluster.tunnel.splitlines()[1] in ("Host: db.example:5432", "Host: [2001:db8::1]:1")
    assert ("Transfer-Encoding: chunked" in cluster.tunnel) == (tunnel.get("protocol") == "POST")


def test_explain_tells_of_a_tunnel(tmp_path: Any) -> None:
    file = tmp_path / "mesh.yaml"
    tunnel = {"protocol": "POST", "targetHost": "far.example", "targetPort": 5432}
    policy = thing("DestinationRule", "db", {"host": "db", "trafficPolicy": {"tunnel": tunnel}})
    file.write_text(BOTH + policy)
    steps = ask([file], "CONNECT", "tcp://10.0.0.5:5432")["steps"]
    assert [step["decision"] for step in steps] == [DB, "POST far.example:5432"]


def test_explain_of_passthrough(tmp_path: Any) -> None:
    """The client's address is the endpoint, whatever the service has."""
    file = tmp_path / "mesh.yaml"
    policy = {"loadBalancer": {"simple": "PASSTHROUGH"}}
    file.write_text(BOTH + thing("DestinationRule", "db", {"host": "db", "trafficPolicy": policy}))
    assert ask([file], "CONNECT", "tcp://10.0.0.5:5432")["endpoints"] == ["10.0.0.5:5432"]


def test_explain_of_connections(tmp_path: Any) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(BOTH + rules(to("db", ("cache", 1), port=5432)))
    answer = ask([file], "CONNECT", "tcp://10.0.0.5:5432")
    assert (answer["action"], answer["steps"][0]["decision"]) == ("passthrough", "default/vs tcp[0]")
    assert answer["weights"] == {whole(DB): 0.5, whole(CACHE): 0.5}
    assert ask([file], "CONNECT", "tcp://10.9.9.9:5432")["cluster"] == "PassthroughCluster"
