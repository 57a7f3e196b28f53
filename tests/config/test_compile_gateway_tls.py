"""Gateway servers with TLS: their chains, whose host is whose, what is passed on, and what gives way."""

from __future__ import annotations

from typing import Any

import pytest

from fastmesh.config.compile import Role, compile_plan
from fastmesh.config.plan import ChainPlan, Plan, ServerTLSPlan
from tests.config.asking import config_of
from tests.config.test_compile_gateways import gateway, rule, server, to, vhost
from tests.config.test_compile_upstream_tls import HTTP
from tests.config.test_peer_authentication import mtls, policy

SECRET = """---
apiVersion: v1
kind: Secret
metadata: {name: %s}
stringData: {cert: c, key: k, cacert: r}
"""
C = SECRET % "c"


def compiled(text: str, **role: Any) -> tuple[Plan, list[str]]:
    plan, problems = compile_plan(config_of(text.removeprefix("\n---\n")), Role(kind="gateway", **role))
    return plan, [str(problem) for problem in problems]


def plan(text: str, **role: Any) -> Plan:
    found, told = compiled(text, **role)
    assert told == []
    return found


def https(*hosts: str, port: int = 443, tls: str = "mode: SIMPLE, credentialName: c", protocol: str = "HTTPS") -> str:
    return server(*hosts, port=port, protocol=protocol, more=f", tls: {{{tls}}}").replace(f"p{port}", f"s{len(hosts)}")


def one(*servers: str, more: str = C, **role: Any) -> list[ChainPlan]:
    return plan(gateway("gw", *servers) + more, **role).listeners[0].chains


def passing(
    name: str, hosts: str, tls: str = "", tcp: str = "", gateways: str = "gw", namespace: str = "default"
) -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec: {{hosts: [{hosts}], gateways: [gw], tls: [{tls}], tcp: [{tcp}]}}
"""


def sni(host: str, *names: str, more: str = "") -> str:
    match = f"{{sniHosts: [{', '.join(names)}]{more}}}"
    return f"{{match: [{match}], route: [{{destination: {{host: {host}.example.net}}}}]}}"


def targets(chains: list[ChainPlan]) -> dict[str, list[str]]:
    """Server names to the hosts behind them."""
    return {
        ",".join(chain.server_names): [each.cluster.split("|")[3].split(".")[0] for each in chain.destinations]
        for chain in chains
    }


@pytest.mark.parametrize(
    ("tls", "wanted"),
    [
        ("mode: SIMPLE, credentialName: c", {}),
        ("mode: MUTUAL, credentialName: c", {"client": "required"}),
        ("mode: OPTIONAL_MUTUAL, credentialName: c", {"client": "optional"}),
        ("mode: MUTUAL, credentialName: c, subjectAltNames: [a, b]", {"client": "required", "sans": ["a", "b"]}),
        ("mode: SIMPLE, credentialName: c, subjectAltNames: [a]", {}),
        (f"mode: MUTUAL, credentialName: c, verifyCertificateHash: ['{'AB:' * 31}AB']",
         {"client": "required", "hashes": ["ab" * 32]}),
        (f"mode: MUTUAL, credentialName: c, verifyCertificateSpki: [{'A' * 43}=]",
         {"client": "required", "spkis": ["A" * 43 + "="]}),
        ("mode: MUTUAL, credentialName: c, insecureSkipVerify: true",
         {"client": "required", "accept_unverified": True}),
        ("mode: SIMPLE, credentialName: c, minProtocolVersion: TLSV1_3", {"min_version": "TLSV1_3"}),
        ("mode: SIMPLE, credentialName: c, maxProtocolVersion: TLSV1_2", {"max_version": "TLSV1_2"}),
        ("mode: SIMPLE, credentialName: c, cipherSuites: [AES128-SHA, NONE, ECDHE-RSA-AES128-GCM-SHA256, AES128-SHA]",
         {"ciphers": ["AES128-SHA", "ECDHE-RSA-AES128-GCM-SHA256"]}),
        ("mode: SIMPLE, credentialName: c, ecdhCurves: [P-384, NONE, X25519]", {"curves": ["P-384", "X25519"]}),
        ("mode: SIMPLE, serverCertificate: /c, privateKey: /k", {"credentials": ["file:/c"]}),
        ("mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /ca",
         {"client": "required", "credentials": ["file:/c+ca=file:/ca"]}),
        ("mode: SIMPLE, credentialNames: [c, d]", {"credentials": ["secret:default/c", "secret:default/d"]}),
        ("mode: MUTUAL, credentialName: c, caCertCredentialName: d",
         {"client": "required", "credentials": ["secret:default/c+ca=secret:default/d"]}),
        ("mode: ISTIO_MUTUAL", {"credentials": ["mesh"], "client": "required", "mesh": True,
                                "trust_domains": ["cluster.local"]}),
    ],
)  # fmt: skip
def test_every_field_of_tls(tls: str, wanted: dict[str, Any]) -> None:
    (chain,) = one(https("a.com", tls=tls), more=C + SECRET % "d", identity=True)
    checked = "secret:default/c" if "mode: SIMPLE" in tls else "secret:default/c+ca=secret:default/c"
    plain = ServerTLSPlan(credentials=[checked], alpn=["h2", "http/1.1"])
    assert chain.tls is not None
    assert {name: getattr(chain.tls, name) for name in plain.__struct_fields__} == {
        **{name: getattr(plain, name) for name in plain.__struct_fields__}, **wanted,
    }  # fmt: skip
    assert (chain.transport, chain.kind, chain.server_names, chain.mesh_alpn) == ("tls", "http", ["a.com"], False)


def test_hosts_are_the_server_names() -> None:
    assert one(https("*"))[0].server_names == []
    assert one(https("a.com", "*"))[0].server_names == []
    assert one(https("team/A.com", "./*.b.com"))[0].server_names == ["a.com", "*.b.com"]


def test_https_servers_serve_http_rules() -> None:
    found = plan(gateway("gw", https("a.com")) + C + rule("v", "a.com", to("x")))
    listener = found.listeners[0]
    assert (listener.name, listener.port, listener.origins) == ("0.0.0.0_443", 443, ["default/gw"])
    there = vhost(found, "a.com")
    assert there is not None
    assert there.rules[0].destinations[0].cluster == "outbound|443||x.example.net"


def test_servers_of_one_port_are_told_apart_by_server_name() -> None:
    text = gateway("gw", https("a.com")) + gateway("other", https("b.com", tls="mode: MUTUAL, credentialName: c")) + C
    chains = (
        plan(text + rule("a", "a.com", to("a")) + rule("b", "b.com", to("b"), gateways="other")).listeners[0].chains
    )
    assert [(chain.name, chain.server_names, chain.tls.client) for chain in chains if chain.tls] == [
        ("default/gw s1", ["a.com"], "none"),
        ("default/other s1", ["b.com"], "required"),
    ]


def test_a_host_belongs_to_the_server_that_fits_it_best() -> None:
    """A rule of the wide server is no back door to a host whose own server demands a certificate."""
    text = gateway("gw", https("*.a.com")) + gateway("strict", https("x.a.com", tls="mode: MUTUAL, credentialName: c"))
    found = plan(text + C + rule("wide", "x.a.com, y.a.com", to("wide")))
    assert vhost(found, "x.a.com").rules == []  # type: ignore[union-attr]
    assert len(vhost(found, "y.a.com").rules) == 1  # type: ignore[union-attr]
    found = plan(
        text + C + rule("wide", "'*.a.com'", to("wide")) + rule("own", "x.a.com", to("own"), gateways="strict")
    )
    own = vhost(found, "x.a.com")
    assert own is not None
    assert [each.origin.name for each in own.rules] == ["own"]


def test_the_same_host_twice_is_rejected_and_the_older_server_stays() -> None:
    text = gateway("gw", https("a.com", "b.com")) + gateway("late", https("b.com", "c.com")) + C
    found, told = compiled(text)
    assert [chain.name for chain in found.listeners[0].chains] == ["default/gw s2"]
    assert told == [
        'test.yaml:10: warning: Gateway/late: spec.servers[0]: "b.com" on port 443 is the server at test.yaml:4 '
        "already, keep one of them; this server is left out"
    ]
    apart = gateway("gw", https("a.com")) + gateway("late", https("a.com", port=8443)) + C
    assert len(plan(apart).listeners) == 2


def test_http_and_tls_on_one_port_conflict() -> None:
    for first, second in ((server("*", port=443), https("a.com")), (https("a.com"), server("*", port=443))):
        found, told = compiled(gateway("gw", first) + gateway("late", second) + C)
        assert len(found.listeners) == 1
        assert found.listeners[0].origins == ["default/gw"]
        assert len(told) == 1
        assert told[0].startswith("test.yaml:10: warning: Gateway/late: spec.servers[0]: HTTP")
        assert "cannot share port 443 with HTTP" in told[0]
        assert "at test.yaml:4, give it a port of its own" in told[0]
    bound = server("*", port=443, more=", bind: 127.0.0.2")
    assert len(plan(gateway("gw", bound) + gateway("late", https("a.com")) + C).listeners) == 2


def test_a_missing_secret_is_told_and_its_handshakes_fail() -> None:
    found, told = compiled(gateway("gw", https("a.com")))
    assert found.sources == []
    assert found.listeners[0].chains[0].tls is not None
    assert told == [
        "test.yaml:4: warning: Gateway/gw: spec.servers[0].tls.credentialName: there is no Secret default/c; until it "
        "is there every handshake is refused"
    ]
    assert compiled(gateway("gw", https("a.com", tls="mode: ISTIO_MUTUAL")))[1] == [
        "test.yaml:4: warning: Gateway/gw: spec.servers[0].tls.mode: needs the identity of this proxy, start it with "
        "--certs DIR; until it is there every handshake is refused"
    ]


def test_passthrough_goes_by_server_name() -> None:
    for protocol in ("TLS", "HTTPS"):
        text = gateway("gw", https("*.a.com", "b.com", tls="mode: PASSTHROUGH", protocol=protocol))
        text += passing(
            "v", "x.a.com, '*.a.com', b.com".replace("'*.a.com', ", ""), sni("x", "x.a.com") + ", " + sni("b", "b.com")
        )
        found = plan(text)
        chains = found.listeners[0].chains
        assert targets(chains) == {"x.a.com": ["x"], "b.com": ["b"]}
        assert all((chain.transport, chain.kind, chain.tls) == ("tls", "tcp", None) for chain in chains)
        assert found.listeners[0].domains == []
        assert chains[0].destinations[0].missing  # x.example.net is not in the registry


def test_only_exposed_names_are_passed_on() -> None:
    text = gateway("gw", https("a.com", "*.b.com", tls="mode: PASSTHROUGH"))
    text += passing("v", "a.com, other.com", sni("x", "a.com", "other.com"))
    text += passing("w", "'*.b.com'", sni("y", "'*.b.com'", "q.b.com"))
    assert targets(plan(text).listeners[0].chains) == {"a.com": ["x"], "*.b.com,q.b.com": ["y"]}
    closed = gateway("gw", https("team/a.com", tls="mode: PASSTHROUGH")) + passing("v", "a.com", sni("x", "a.com"))
    assert plan(closed).listeners[0].chains == []
    everything = gateway("gw", https("*", tls="mode: PASSTHROUGH")) + passing("v", "'*'", sni("x", "'*'"))
    assert targets(plan(everything).listeners[0].chains) == {"": ["x"]}


def test_static_conditions_of_tls_matches() -> None:
    text = gateway("gw", https("a.com", tls="mode: PASSTHROUGH"))
    fits = {
        "port: 443": True, "port: 444": False, "gateways: [q]": False, "gateways: [gw]": True,
        # What a client is cannot be known of one outside, so Istio does not ask it on gateways.
        "sourceLabels: {a: b}": True,
    }  # fmt: skip
    for condition, fit in fits.items():
        found = plan(text + passing("v", "a.com", sni("x", "a.com", more=f", {condition}")))
        assert bool(found.listeners[0].chains) is fit, condition


def test_a_server_name_has_one_rule_the_first_one() -> None:
    text = gateway("gw", https("*", tls="mode: PASSTHROUGH"))
    text += passing("v", "a.com, b.com", sni("x", "a.com")) + passing("w", "a.com, c.com", sni("y", "a.com", "c.com"))
    found, told = compiled(text)
    assert targets(found.listeners[0].chains) == {"a.com": ["x"], "c.com": ["y"]}
    assert len(told) == 1
    assert "VirtualService/w: spec.tls[0]: a.com on port 443 is passed on by VirtualService default/v tls[0]" in told[0]


def test_weights_of_bytes() -> None:
    route = "{destination: {host: %s.example.net, port: {number: 8443}}, weight: %d}"
    many = ", ".join(route % (name, weight) for name, weight in (("x", 3), ("y", 0), ("z", 1)))
    text = gateway("gw", https("a.com", tls="mode: PASSTHROUGH"))
    text += passing("v", "a.com", f"{{match: [{{sniHosts: [a.com]}}], route: [{many}]}}")
    (chain,) = plan(text).listeners[0].chains
    assert [(each.cluster, each.weight) for each in chain.destinations] == [
        ("outbound|8443||x.example.net", 3), ("outbound|8443||z.example.net", 1),
    ]  # fmt: skip


def test_tls_may_end_before_bytes_are_passed_on() -> None:
    text = gateway("gw", https("a.com", protocol="TLS")) + C
    (chain,) = (
        plan(text + passing("v", "a.com", tcp="{route: [{destination: {host: x.example.net}}]}")).listeners[0].chains
    )
    assert (chain.kind, chain.server_names) == ("tcp", ["a.com"])
    assert chain.tls is not None
    assert chain.tls.alpn == []
    assert [each.cluster for each in chain.destinations] == ["outbound|443||x.example.net"]
    ports = "{match: [{port: 80}], route: [{destination: {host: x.example.net}}]}"
    (chain,) = plan(text + passing("v", "a.com", tcp=ports)).listeners[0].chains
    assert chain.destinations == []


AUTO = https("*.local", tls="mode: AUTO_PASSTHROUGH", protocol="TLS", port=15443)
SUBSETS = """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: pay, namespace: shop}
spec:
  host: pay
  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}, connectionPool: {tcp: {maxConnections: 7}}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
"""


def test_auto_passthrough_reaches_ports_and_subsets_of_exposed_services() -> None:
    found = plan(HTTP + SUBSETS + gateway("gw", AUTO))
    pay = "pay.shop.svc.cluster.local"
    names = [f"outbound_.80_._.{pay}", f"outbound_.80_.v1_.{pay}", f"outbound_.80_.v2_.{pay}"]
    chains = found.listeners[0].chains
    assert [chain.server_names for chain in chains] == [[name] for name in names]
    assert all((chain.kind, chain.tls, chain.mesh_alpn) == ("tcp", None, True) for chain in chains)
    assert [chain.destinations[0].cluster for chain in chains] == names
    by_name = {cluster.name: cluster for cluster in found.clusters}
    # The clients' own TLS goes through: nothing is wrapped, and only endpoints that end it are there.
    assert [(by_name[name].tls, len(by_name[name].endpoints)) for name in names] == [(None, 1), (None, 1), (None, 0)]
    assert by_name[names[0]].max_connections == 7


@pytest.mark.parametrize("hosts", ["*.other.local", "other/*.local", "pay.shop.svc.cluster.local.evil"])
def test_auto_passthrough_reaches_nothing_else(hosts: str) -> None:
    auto = AUTO.replace("*.local", hosts)
    assert plan(HTTP + gateway("gw", auto)).listeners[0].chains == []


def test_auto_passthrough_never_reaches_plaintext_or_what_is_outside() -> None:
    found = plan(HTTP + policy("p", mtls("DISABLE")) + gateway("gw", AUTO))
    assert [cluster.endpoints for cluster in found.clusters] == [[]]
    outside = """---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: x}
spec:
  hosts: [x.local]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.9, serviceAccount: a}]
"""
    assert plan(gateway("gw", AUTO) + outside).listeners[0].chains == []


def test_several_kinds_of_server_share_a_port() -> None:
    text = gateway("gw", https("a.com"), https("b.com", tls="mode: PASSTHROUGH").replace("s1", "s3"))
    chains = plan(text + C + passing("v", "b.com", sni("x", "b.com"))).listeners[0].chains
    assert [(chain.kind, chain.server_names, chain.tls is not None) for chain in chains] == [
        ("http", ["a.com"], True), ("tcp", ["b.com"], False),
    ]  # fmt: skip


def test_plaintext_servers_have_no_chains() -> None:
    assert plan(gateway("gw", server("*"))).listeners[0].chains == []
