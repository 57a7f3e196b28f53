"""A sidecar: its two sides, what connections each port of its application takes, and whom it stands for."""

from __future__ import annotations

from typing import Any

import pytest

from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.plan import ChainPlan, ListenerPlan, Plan, ServerTLSPlan
from tests.config.asking import config_of, route, rule_for
from tests.config.test_compile_upstream_tls import HTTP, PAY, SHOP
from tests.config.test_peer_authentication import mtls, policy

PAIR = ("127.0.0.1:15006", "127.0.0.1:3000")


def compiled(text: str, **role: Any) -> tuple[Plan, list[str]]:
    wanted = {"kind": "sidecar", "name": "pay-v1", "namespace": "shop", "identity": True, "inbound": (PAIR,), **role}
    plan, problems = compile_plan(config_of(text), Role(**wanted))
    return plan, [str(problem) for problem in problems]


def sidecar(text: str, **role: Any) -> Plan:
    plan, told = compiled(text, **role)
    assert told == []
    return plan


def inbound(plan: Plan) -> ListenerPlan:
    return next(listener for listener in plan.listeners if listener.role == "inbound")


def kinds(chains: list[ChainPlan]) -> list[tuple[str, bool, bool, str]]:
    """How each chain is chosen, whether TLS ends there, and what it carries."""
    return [(chain.transport, chain.mesh_alpn, chain.tls is not None, chain.kind) for chain in chains]


def test_two_sides() -> None:
    plan = sidecar(HTTP, listen="127.0.0.1:15001")
    assert [(each.name, each.role, each.port, each.address) for each in plan.listeners] == [
        ("mesh", "mesh", 0, "127.0.0.1:15001"),
        ("inbound_15006", "inbound", 3000, "127.0.0.1:15006"),
    ]
    assert route(plan, "pay", 80) == ["outbound|80||pay.shop.svc.cluster.local"]


def test_one_side_alone_and_one_port_at_two_addresses() -> None:
    plan = sidecar(HTTP, listen="", inbound=(PAIR, ("[::1]:15006", "127.0.0.1:3000")))
    assert [each.name for each in plan.listeners] == ["inbound_15006", "inbound_[::1]:15006"]
    assert [each.name for each in sidecar(HTTP, inbound=()).listeners] == ["mesh"]


def test_everything_that_comes_in_goes_to_the_application() -> None:
    plan = sidecar(HTTP)
    domain = inbound(plan).domains[0]
    assert [(each.domain, each.port) for each in inbound(plan).domains] == [("*", 0)]
    vhost = plan.vhosts[domain.vhost]
    assert vhost.name == "inbound|http|80"
    rule = rule_for(vhost, "/any")
    assert rule is not None
    assert [(each.cluster, each.weight, each.missing) for each in rule.destinations] == [("inbound|3000||", 1, False)]
    assert (rule.origin.kind, rule.origin.name, rule.origin.route) == ("Service", "pay", "default")
    assert rule.timeout is None
    assert rule.retry is not None
    assert (rule.retry.attempts, rule.retry.retry_on) == (2, ["reset-before-request"])


def test_the_cluster_of_the_application() -> None:
    plan = sidecar(HTTP)
    cluster = plan.clusters[-1]
    assert (cluster.name, cluster.host, cluster.port) == ("inbound|3000||", "pay.shop.svc.cluster.local", 3000)
    assert (cluster.service_name, cluster.service_namespace, cluster.tls) == ("pay", "shop", None)
    assert [(each.address, each.port, each.mesh_tls) for each in cluster.endpoints] == [("127.0.0.1", 3000, False)]
    workload = plan.workloads[cluster.endpoints[0].workload]
    assert (workload.name, workload.app, workload.version, workload.principal) == ("pay-v1", "pay", "v1", SHOP)


def test_a_rule_for_clients_limits_what_comes_in_and_shapes_nothing_else() -> None:
    rule = """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: pay, namespace: shop}
spec:
  host: pay
  trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}, http: {http2MaxRequests: 1}}, outlierDetection: {}}
"""
    outside, inside = sidecar(HTTP + rule).clusters
    assert (outside.max_connections, outside.max_requests, outside.outlier is not None) == (1, 1, True)
    assert (inside.max_connections, inside.max_requests, inside.outlier) == (1, 1, None)


def test_permissive_opens_the_meshs_tls_alone() -> None:
    chains = inbound(sidecar(HTTP)).chains
    assert kinds(chains) == [
        ("tls", True, True, "http"),
        ("tls", False, False, "tcp"),
        ("plaintext", False, False, "http"),
    ]
    assert chains[0].tls == ServerTLSPlan(
        credentials=["mesh"], client="required", mesh=True, trust_domains=["cluster.local"], alpn=["h2", "http/1.1"]
    )
    assert [each.cluster for each in chains[1].destinations] == ["inbound|3000||"]


def test_clients_of_other_trust_domains_are_let_in_where_their_roots_are() -> None:
    tls = inbound(sidecar(HTTP, believed=("cluster.local", "east"))).chains[0].tls
    assert tls is not None
    assert tls.trust_domains == ["cluster.local", "east"]


def test_strict_takes_nothing_else() -> None:
    chains = inbound(sidecar(HTTP + policy("p", mtls("STRICT")))).chains
    assert kinds(chains) == [("tls", False, True, "http")]
    assert chains[0].tls is not None
    assert (chains[0].tls.client, chains[0].tls.mesh) == ("required", True)


def test_disable_opens_nothing() -> None:
    chains = inbound(sidecar(HTTP + policy("p", mtls("DISABLE")))).chains
    assert kinds(chains) == [("tls", False, False, "tcp"), ("plaintext", False, False, "http")]


@pytest.mark.parametrize(
    ("written", "count"),
    [
        (policy("p", "selector: {matchLabels: {app: pay}}, portLevelMtls: {3000: {mode: STRICT}}"), 1),
        (policy("p", "selector: {matchLabels: {app: pay}}, portLevelMtls: {80: {mode: STRICT}}"), 3),
        (policy("p", "selector: {matchLabels: {app: pay}}, mtls: {mode: STRICT}, portLevelMtls: {3000: {}}"), 1),
        (policy("p", "selector: {matchLabels: {app: cart}}, mtls: {mode: STRICT}"), 3),
        (policy("p", mtls("STRICT"), "istio-system"), 1),
        (policy("p", mtls("STRICT"), "other"), 3),
        (policy("p", mtls("STRICT"), "istio-system") + policy("q", mtls("PERMISSIVE")), 3),
    ],
)
def test_the_policy_of_the_workloads_own_port_counts(written: str, count: int) -> None:
    assert len(inbound(sidecar(HTTP + written)).chains) == count


def test_a_port_that_no_service_has_is_protected_too() -> None:
    plan = sidecar(HTTP + policy("p", mtls("STRICT")), inbound=(("127.0.0.1:16000", "127.0.0.1:9999"),))
    assert kinds(inbound(plan).chains) == [("tls", False, True, "http")]
    cluster = plan.clusters[-1]
    assert (cluster.name, cluster.service_name, cluster.http) == ("inbound|9999||", "unknown", "client")
    assert plan.vhosts[inbound(plan).domains[0].vhost].rules[0].origin.kind == "Workload"


@pytest.mark.parametrize(
    ("name", "http", "kind", "alpn"),
    [
        ("http", "http1", "http", ["h2", "http/1.1"]),
        ("grpc", "http2", "http", ["h2", "http/1.1"]),
        ("what", "client", "http", ["h2", "http/1.1"]),
        ("tcp", "http1", "tcp", []),
    ],
)
def test_the_protocol_of_the_port_decides_what_the_application_is_spoken_to(
    name: str, http: str, kind: str, alpn: list[str]
) -> None:
    plan, _ = compiled(PAY % (name, name))
    assert plan.clusters[-1].http == http
    mesh, _, plaintext = inbound(plan).chains
    assert mesh.tls is not None
    assert (mesh.kind, plaintext.kind, mesh.tls.alpn) == (kind, kind, alpn)
    assert [each.cluster for each in mesh.destinations] == (["inbound|3000||"] if kind == "tcp" else [])
    rule = plan.vhosts[inbound(plan).domains[0].vhost].rules[0]
    assert (rule.retry is None) == (name == "grpc")


def test_a_service_is_found_by_the_port_of_the_sidecar_and_by_container_names() -> None:
    by_sidecar = HTTP.replace(", targetPort: 3000", "")  # its endpoint says 15006
    assert sidecar(by_sidecar).clusters[-1].service_name == "pay"
    assert sidecar(by_sidecar, inbound=(("127.0.0.1:15007", "127.0.0.1:3000"),)).clusters[-1].service_name == "unknown"
    named = (
        HTTP.partition("---")[0].replace("3000", "web")
        + """---
apiVersion: apps/v1
kind: Deployment
metadata: {name: pay-v1, namespace: shop}
spec:
  template:
    metadata: {labels: {app: pay}}
    spec: {serviceAccountName: payer, containers: [{name: c, ports: [{containerPort: 3000, name: web}]}]}
"""
    )
    plan = sidecar(named)
    assert plan.clusters[-1].service_name == "pay"
    assert plan.mesh.workload.principal == SHOP


def test_whom_a_sidecar_stands_for() -> None:
    assert sidecar(HTTP).mesh.workload.principal == SHOP
    assert sidecar(HTTP).mesh.workload.version == "v1"
    assert sidecar(HTTP, labels={"version": "v9"}).mesh.workload.version == "v9"
    plan, told = compiled(HTTP, name="nobody", labels={"app": "pay"})
    assert (plan.mesh.workload.name, plan.mesh.workload.app, plan.mesh.workload.principal) == (
        "nobody",
        "pay",
        "unknown",
    )
    assert told == [
        "--workload nobody.shop:0: warning: there is no WorkloadEntry, Pod, Deployment or StatefulSet of this name, "
        "so it has only --labels"
    ]
    pod = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop, labels: {app: pay}}\nspec: {}\n"
    assert sidecar(HTTP + pod, name="p").mesh.workload.principal == "spiffe://cluster.local/ns/shop/sa/default"


def test_labels_of_the_workload_select_rules_for_its_requests() -> None:
    rule = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: shop}
spec:
  hosts: [pay]
  http: [{match: [{sourceLabels: {version: v1}}], directResponse: {status: 418}}]
"""
    plan = sidecar(HTTP + rule)
    assert route(plan, "pay", 80) == []
    assert route(sidecar(HTTP + rule, name="pay-v2"), "pay", 80) == ["outbound|80||pay.shop.svc.cluster.local"]


def test_the_identity_of_the_certificate_counts_and_a_difference_is_said() -> None:
    other = "spiffe://cluster.local/ns/shop/sa/other"
    plan, told = compiled(HTTP, principal=other)
    assert plan.mesh.workload.principal == other
    assert plan.workloads[plan.clusters[-1].endpoints[0].workload].principal == other
    assert told == [
        f"--workload pay-v1.shop:0: warning: the certificate of --certs is for {other}; clients expect {SHOP} by the "
        "service account"
    ]
    assert compiled(HTTP, principal=SHOP)[1] == []


@pytest.mark.parametrize(
    ("listen", "pair", "reached"),
    [
        ("127.0.0.1:15001", ("127.0.0.1:15006", "127.0.0.1:15001"), "127.0.0.1:15001"),
        ("127.0.0.1:15001", ("127.0.0.1:15006", "127.0.0.1:15006"), "127.0.0.1:15006"),
        ("127.0.0.1:15001", ("0.0.0.0:15006", "127.0.0.1:15006"), "0.0.0.0:15006"),
        ("127.0.0.1:15001", ("[::]:15006", "[::1]:15006"), "[::]:15006"),
        ("127.0.0.1:15001", ("127.0.0.1:15006", "localhost:15006"), "127.0.0.1:15006"),
        ("127.0.0.1:15001", ("127.0.0.1:15006", "127.0.0.2:15006"), ""),
        ("127.0.0.1:15001", ("10.0.0.1:3000", "127.0.0.1:3000"), ""),
    ],
)
def test_a_loop_is_refused(listen: str, pair: tuple[str, str], reached: str) -> None:
    _, told = compiled(HTTP, listen=listen, inbound=(pair,))
    shown = f"--inbound {pair[0]}={pair[1]}:0: forwards to {reached}, where this proxy itself listens; "
    assert told == ([shown + "name the port of the application"] if reached else [])


def test_several_ports() -> None:
    plan = sidecar(HTTP, inbound=(PAIR, ("[::1]:15007", "[::1]:9090")))
    assert [each.name for each in plan.listeners] == ["mesh", "inbound_15006", "inbound_15007"]
    assert [each.name for each in plan.clusters][-2:] == ["inbound|3000||", "inbound|9090||"]
    assert plan.clusters[-1].endpoints[0].address == "::1"


def test_without_an_identity_nothing_is_opened_and_that_is_said() -> None:
    plan, told = compiled(HTTP, identity=False)
    assert plan.sources == []
    assert kinds(inbound(plan).chains)[0] == ("tls", True, True, "http")
    assert told == [
        "--inbound:0: warning: this sidecar has no identity, so mutual TLS with it fails; start it with --certs DIR"
    ]


def test_limits_of_the_service_hold_for_what_comes_in() -> None:
    limit = """---
apiVersion: fastmesh.io/v1alpha1
kind: RateLimit
metadata: {name: r, namespace: shop}
spec: {targetRef: {kind: Service, name: pay}, limits: [{requests: 1}]}
"""
    plan = sidecar(HTTP + limit)
    assert plan.vhosts[inbound(plan).domains[0].vhost].limits == [0]
    assert plan.limits[0].name == "shop/r/0"


def test_a_proxy_without_an_application_says_who_enforces_a_policy() -> None:
    text = HTTP + policy("p", mtls("STRICT"))
    _, told = compiled(text, kind="mesh", inbound=())
    assert told == [
        "test.yaml:16: note: PeerAuthentication/p: is enforced by sidecars (--role sidecar); this proxy only follows "
        "it as a client"
    ]
    assert compiled(text, kind="gateway", inbound=())[1] == []
